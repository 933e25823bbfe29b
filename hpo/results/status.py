"""Where a study stands: its budget, its trials by state, who works on it."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.results.trials import TrialRecord, ended_at, ranked, records_of, started_at
from hpo.storage import stored_study
from hpo.storage.records import claim_of, was_given_back


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Args:
        budget: the number of trials in all.
        finished: how many trials count towards the budget and have ended.
        states: number of trials by state; those given back, which run again, are GIVEN_BACK.
        best: the best trial; None before the first has a value.
        workers: the running trials, each with its worker.
        seconds: how long at least one trial was running; pauses between launches do not count.
    """

    name: str
    budget: int
    finished: int
    states: dict[str, int]
    best: TrialRecord | None
    workers: list[dict[str, Any]]
    seconds: float

    @property
    def done(self) -> str:
        """How much of the budget is done, such as "3 of 5"; a budget may have been lowered below that."""
        if self.finished <= self.budget:
            return f"{self.finished} of {self.budget}"
        return f"{self.finished} (budget {self.budget})"

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {**vars(self), "best": self.best and self.best.as_json()}


def status_of(study: optuna.Study) -> StudyStatus:
    """Where the study stands; reads its trials once."""
    all_trials = study.get_trials(deepcopy=False)
    states = Counter("GIVEN_BACK" if was_given_back(trial) else trial.state.name for trial in all_trials)
    rows = ranked(records_of(study, all_trials), study.direction)
    running = [trial for trial in all_trials if trial.state == TrialState.RUNNING]
    return StudyStatus(
        name=study.study_name,
        budget=stored_study.recorded(study).get("budget", len(all_trials)),
        finished=sum(states[state] for state in ("COMPLETE", "PRUNED", "FAIL")),
        states=dict(sorted(states.items())),
        best=rows[0] if rows else None,
        workers=[_worker(trial) for trial in running],
        seconds=_busy_seconds(all_trials),
    )


def overview(storage: BaseStorage) -> list[StudyStatus]:
    """The status of every study in the storage that has one objective, by name."""
    studies = (stored_study.load(storage, name) for name in stored_study.names(storage))
    return [status_of(study) for study in studies if len(study.directions) == 1]


def _busy_seconds(trials: list[FrozenTrial]) -> float:
    """The length of the union of all trials' times, in seconds."""
    total, until, now = 0.0, 0.0, time.time()
    spans = [(started, ended_at(trial) or now) for trial in trials if (started := started_at(trial)) is not None]
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _worker(trial: FrozenTrial) -> dict[str, Any]:
    epochs, claim = trial.intermediate_values, claim_of(trial)
    return {
        "worker": claim.worker if claim else None,
        "device": claim.device if claim else None,
        "trial": trial.number,
        "epoch": max(epochs, default=0),
        "value": epochs[max(epochs)] if epochs else None,
    }
