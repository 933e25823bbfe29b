"""What must hold of a study however its processes died: asked of the event logs and the storage afterwards."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.records import was_given_back
from hpo.storage.url import resolve_url

Event = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a checked study came to.

    Args:
        broken: each rule with a line for each time it was broken; none is what is wanted.
        budget: configurations that were asked for.
        finished: configurations that have ended, or were paused and not continued.
        pauses: trials after which their configuration was continued.
        attempts: trials in all, those given back and those paused included.
        repeated: epochs that were trained more than once.
    """

    broken: dict[str, list[str]]
    budget: int
    finished: int
    pauses: int
    attempts: int
    repeated: int

    @property
    def violations(self) -> list[str]:
        """The lines of all rules."""
        return [line for lines in self.broken.values() for line in lines]


def check(run_dir: RunDir, url: str, name: str, *, is_kept: bool) -> Finding:
    """Hold a study's storage and its workers' event logs against each other.

    Args:
        is_kept: whether each epoch is kept, so that an attempt trains at most one again; an objective's are not.
    """
    storage = open_storage(resolve_url(url, run_dir), write=False)
    study = stored_study.load(storage, name)
    trials = study.get_trials(deepcopy=False)
    budget = study.user_attrs["budget"]
    backend_of(storage).engine.dispose()
    return find(trials, read_events(run_dir, name), budget=budget, is_kept=is_kept)


def find(trials: list[FrozenTrial], events: list[Event], *, budget: int, is_kept: bool) -> Finding:
    """What trials, with hpo's records of who claimed them, and events come to; ``is_kept`` as in ``check``."""
    ended = [trial for trial in trials if trial.state.is_finished() and not was_given_back(trial)]
    pauses = _pauses(ended)
    finished = [trial for trial in ended if trial.number not in pauses]
    repeated = _repeated(events)
    broken = {
        "claimed twice": _claims(events),
        "records": _records(trials, events),
        "attempted twice": _attempts(trials, events),
        "at once": _overlaps(events),
        "results": _results(trials, events),
        "unfinished": [
            f"trial {trial.number} is still {trial.state.name}" for trial in trials if not trial.state.is_finished()
        ],
        # No study of the fault tests fails by itself.
        "failed": [
            f"trial {trial.number} failed ({trial.user_attrs.get('stop_reason')}): {trial.user_attrs.get('failure')}"
            for trial in finished
            if trial.state == TrialState.FAIL
        ],
        "budget": [],
        "trained again": _trained_again(events, repeated) if is_kept else [],
    }
    if len(finished) != budget:
        broken["budget"].append(f"{len(finished)} trials finished, but the budget is {budget}")
    return Finding(broken, budget, len(finished), len(pauses), len(trials), sum(map(len, repeated.values())))


def read_events(run_dir: RunDir, name: str) -> list[Event]:
    """The events of all workers in the order of the machine's clock; the half line of a killed one is left out."""
    events = []
    for path in Path(run_dir.events(name)).glob("*.jsonl"):
        *whole, _half = path.read_text(encoding="utf-8").split("\n")
        events += [{**json.loads(line), "log": path.stem} for line in whole]
    return sorted(events, key=lambda event: event["monotonic"])


def _claims(events: list[Event]) -> list[str]:
    """Each trial is claimed once."""
    claims = Counter(event["trial"] for event in events if event["event"] == "claim")
    return [f"trial {number} was claimed {count} times" for number, count in claims.items() if count > 1]


def _records(trials: list[FrozenTrial], events: list[Event]) -> list[str]:
    """The storage has each claim and each report that a worker wrote down, and no result of a trial without."""
    stored = {trial.number: trial for trial in trials}
    violations = [f"trial {n} is in no storage" for n in sorted({event["trial"] for event in events} - stored.keys())]
    claimed = [event for event in events if event["event"] == "claim" and event["trial"] in stored]
    for event in claimed:
        claim = stored[event["trial"]].user_attrs.get("claim", {})
        said = event["configuration"], event["attempt"]
        if said != (claim.get("configuration"), claim.get("attempt")):
            violations.append(f"trial {event['trial']} was claimed as {said}, but is stored as {claim}")
    begun = {event["trial"] for event in claimed}
    violations += [
        f"trial {trial.number} is {trial.state.name}, but nobody claimed it"
        for trial in trials
        if trial.state.is_finished() and not was_given_back(trial) and trial.number not in begun
    ]
    reports: dict[tuple[int, int], float] = {}
    for event in events:
        if event["event"] == "report" and event["trial"] in stored:
            reports.setdefault((event["trial"], event["epoch"]), event["value"])
    for (number, epoch), value in reports.items():
        found = stored[number].intermediate_values.get(epoch)
        if found != value:
            violations.append(f"trial {number} reported {value} at epoch {epoch}, but {found} is stored")
    return violations


def _attempts(trials: list[FrozenTrial], events: list[Event]) -> list[str]:
    """Each attempt of a configuration has one trial, and each configuration one result, whatever pauses came before."""
    violations = []
    # One that nobody began and that was given back is of a claim whose answer was lost.
    begun = {event["trial"] for event in events if event["event"] == "claim"}
    meant = [trial for trial in trials if trial.number in begun or not was_given_back(trial)]
    claims = [trial.user_attrs["claim"] for trial in meant if "claim" in trial.user_attrs]
    for (configuration, attempt), count in Counter((c["configuration"], c["attempt"]) for c in claims).items():
        if count > 1:
            violations.append(f"attempt {attempt} of configuration {configuration} has {count} trials")
    ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    pauses = _pauses(ended)
    results = Counter(
        trial.user_attrs["claim"]["configuration"]
        for trial in ended
        if "claim" in trial.user_attrs and trial.number not in pauses
    )
    violations += [f"configuration {number} has {count} results" for number, count in results.items() if count > 1]
    return violations


def _pauses(ended: list[FrozenTrial]) -> set[int]:
    """The trials that were paused, and whose configuration has a later result."""
    last: dict[int, int] = defaultdict(int)
    claimed = [(trial, trial.user_attrs["claim"]) for trial in ended if "claim" in trial.user_attrs]
    for _trial, claim in claimed:
        last[claim["configuration"]] = max(last[claim["configuration"]], claim["attempt"])
    return {
        trial.number
        for trial, claim in claimed
        if trial.user_attrs.get("stop_reason") == "paused" and claim["attempt"] < last[claim["configuration"]]
    }


def _overlaps(events: list[Event]) -> list[str]:
    """No attempt of a configuration does anything that counts after the next one was claimed."""
    fenced = {event["trial"] for event in events if event["event"] == "fenced"}
    last: dict[int, float] = {}
    for event in events:
        # A fenced worker said what it would tell, and was refused.
        if event["event"] in ("report", "told") or (event["event"] == "tell" and event["trial"] not in fenced):
            last[event["trial"]] = event["monotonic"]
    violations = []
    attempts: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event["event"] == "claim":
            attempts[event["configuration"]].append(event)
    for configuration, claims in attempts.items():
        for before, after in pairwise(claims):
            if last.get(before["trial"], 0.0) > after["monotonic"]:
                violations.append(
                    f"configuration {configuration}: trial {before['trial']} went on after trial {after['trial']} began"
                )
    return violations


def _results(trials: list[FrozenTrial], events: list[Event]) -> list[str]:
    """What the storage holds is what a worker said, and what a worker was told to be written is there."""
    said: dict[int, list[tuple[str, float | None]]] = defaultdict(list)
    for event in events:
        if event["event"] == "tell":
            said[event["trial"]].append((event["state"], event["value"]))
    stored = {trial.number: (trial.state.name, trial.value) for trial in trials}
    violations = [
        f"trial {trial.number} is stored as {stored[trial.number]}, but its worker said {said[trial.number]}"
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and stored[trial.number] not in said[trial.number]
    ]
    violations += [
        f"trial {event['trial']} was told as {event['value']}, but is stored as {stored.get(event['trial'])}"
        for event in events
        if event["event"] == "told" and stored.get(event["trial"]) != (event["state"], event["value"])
    ]
    return violations


def _trained_again(events: list[Event], repeated: dict[int, list[int]]) -> list[str]:
    """One epoch at most is trained again, none after a signal or a pause, and none is skipped."""
    violations = [
        f"trial {number} trained epochs {epochs} again" for number, epochs in repeated.items() if len(epochs) > 1
    ]
    configuration = {event["trial"]: event["configuration"] for event in events if event["event"] == "claim"}
    in_order: dict[int, bool] = {}  # by configuration, whether its last attempt ended by a signal or a pause
    trained: dict[int, int] = defaultdict(int)
    for event in events:
        number = configuration.get(event["trial"], event["trial"])
        if event["event"] == "claim" and in_order.get(number) and repeated.get(event["trial"]):
            violations.append(f"trial {event['trial']} trained {repeated[event['trial']]} again without a kill")
        if event["event"] in ("claim", "give_back", "told"):
            in_order[number] = bool(event.get("signal")) or event["event"] == "told"
        if event["event"] == "resume" and event["epoch"] > trained[number]:
            violations.append(
                f"trial {event['trial']} went on from epoch {event['epoch']}, but {trained[number]} were trained"
            )
        if event["event"] == "report":
            trained[number] = max(trained[number], event["epoch"])
    return violations


def _repeated(events: list[Event]) -> dict[int, list[int]]:
    """By trial, the epochs it trained that had been trained before; one brought back from a checkpoint was not."""
    configuration = {event["trial"]: event["configuration"] for event in events if event["event"] == "claim"}
    begun = {event["trial"]: event["epoch"] for event in events if event["event"] == "resume"}
    trained: set[tuple[int, int]] = set()
    repeated: dict[int, list[int]] = defaultdict(list)
    for event in events:
        if event["event"] != "report" or event["epoch"] <= begun.get(event["trial"], 0):
            continue
        epoch = configuration[event["trial"]], event["epoch"]
        if epoch in trained:
            repeated[event["trial"]].append(event["epoch"])
        trained.add(epoch)
    return repeated
