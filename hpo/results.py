"""Read-only questions to the storage: trials, the best of them, the state of a study."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo import stored_study
from hpo.command import command, unsaid
from hpo.errors import StudyError
from hpo.leases import claim_of, was_given_back
from hpo.run_dir import RunDir
from hpo.storage import backend_of

# Optuna's key of an artifact; its function that lists them asks the storage for each trial once more. A UUID: another
# program's text must not lead to another folder.
_ARTIFACT = re.compile(r"artifacts:([0-9a-f-]{36})")
_FAR_FUTURE = 1e11  # seconds since 1970; what another program records under our names may be no time at all


@dataclass(frozen=True)
class TrialRecord:
    """One trial as a row; what a trial does not have is None.

    Args:
        number: counts from 0 within the study.
        state: Optuna's: RUNNING, WAITING, COMPLETE, PRUNED or FAIL.
        feasible: whether it meets the sampler's constraints; None if there are none.
        value: of the metric, the best over the epochs; of a running trial the best so far.
        stop_reason: why it ended: completed, early_stopping, time_budget, pruned; or why it failed.
        epochs: finished epochs.
        best_epoch: counted from 1.
        seconds: of training and validation.
        seconds_to_best: until the end of the best epoch.
        parameters: of the model.
        physical_batch_size: images at a time, where memory was too little for a whole batch.
        setting: of an experiment: the index of its setting, and ``repeat`` which run of it; both count from 0.
        test_accuracy: of an experiment: of the best weights on the test images, as ``test_loss`` (nats),
            ``test_precision``, ``test_recall`` and ``test_f1`` (each a mean over the classes); ``test_images`` were
            classified in ``test_seconds``.
        validation_images: on how many the value was measured, where there are images.
        history: for each of Keras's logs a value an epoch.
    """

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    feasible: bool | None = None
    stop_reason: str | None = None
    failure: str | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    seconds_to_best: float | None = None
    images_per_second: float | None = None
    parameters: int | None = None
    physical_batch_size: int | None = None
    seed: int | None = None
    attempt: int | None = None
    warm_start: int | None = None
    setting: int | None = None
    repeat: int | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    test_precision: float | None = None
    test_recall: float | None = None
    test_f1: float | None = None
    test_seconds: float | None = None
    test_images: int | None = None
    validation_images: int | None = None
    worker: str | None = None
    host: str | None = None
    device: str | None = None
    precision: str | None = None
    backend: str | None = None
    started: str | None = None
    ended: str | None = None
    history: dict[str, list[float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Args:
        budget: trials in all.
        finished: trials that count towards the budget and have ended.
        states: number of trials by state; those given back, which run again, as GIVEN_BACK.
        best: the best trial, None before the first has a value.
        workers: the trials that run, by the worker that runs each.
        seconds: in which any trial ran; pauses between launches do not count.
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
        """How much of the budget is done, such as "3 of 5"; it may have been lowered below what had been done."""
        if self.finished <= self.budget:
            return f"{self.finished} of {self.budget}"
        return f"{self.finished} (budget {self.budget})"

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


def trials(study: optuna.Study) -> list[TrialRecord]:
    """Every trial of the study, in order of number.

    Raises:
        StudyError: the study, which another program made, has several objectives.
    """
    return _records(study, study.get_trials(deepcopy=False))


def ranking(study: optuna.Study) -> list[TrialRecord]:
    """The complete trials that meet the constraints, best first; before any is complete, the pruned ones."""
    return _ranked(trials(study), study.direction)


def best(study: optuna.Study) -> TrialRecord:
    """The best trial.

    Raises:
        StudyError: no trial has finished with a value.
    """
    found, url = trials(study), backend_of(study._storage).engine.url
    rows = _ranked(found, study.direction)
    if not rows and any(row.feasible is False for row in found):
        raise StudyError(
            f"No trial of study {study.study_name!r} meets the constraints of its sampler yet. "
            f"Continue it{unsaid(url)} with: {command(url, 'launch', '--study', study.study_name, '--trials', 'N')}"
        )
    if not rows:
        raise StudyError(
            f"Study {study.study_name!r} has no finished trial yet. "
            f"Continue it{unsaid(url)} with: {command(url, 'launch', '--study', study.study_name)}"
        )
    return rows[0]


def trial(study: optuna.Study, number: int) -> TrialRecord:
    """Trial ``number``.

    Raises:
        StudyError: there is none.
    """
    rows = trials(study)
    for row in rows:
        if row.number == number:
            return row
    known = f"Its trials go from 0 to {len(rows) - 1}." if rows else "It has none yet."
    raise StudyError(f"Study {study.study_name!r} has no trial {number}. {known}")


def status(study: optuna.Study) -> StudyStatus:
    """Where the study stands, read once."""
    all_trials = study.get_trials(deepcopy=False)
    states = Counter("GIVEN_BACK" if was_given_back(trial) else trial.state.name for trial in all_trials)
    ranked = _ranked(_records(study, all_trials), study.direction)
    running = [trial for trial in all_trials if trial.state == TrialState.RUNNING]
    return StudyStatus(
        name=study.study_name,
        budget=stored_study.recorded(study).get("budget", len(all_trials)),
        finished=sum(states[state] for state in ("COMPLETE", "PRUNED", "FAIL")),
        states=dict(sorted(states.items())),
        best=ranked[0] if ranked else None,
        workers=[_worker(trial) for trial in running],
        seconds=_busy_seconds(all_trials),
    )


def disk_bytes(study: optuna.Study, run_dir: RunDir) -> int:
    """Bytes that the study takes on this machine: its folder, and the artifacts of its trials."""
    try:
        files = list(run_dir.study(study.study_name).rglob("*"))
    except StudyError:  # a name that only another program gives: hpo has no folder for it
        files = []
    for trial in study.get_trials(deepcopy=False):
        files += artifact_files(trial, run_dir)
    return sum(map(_size, files))


def artifact_files(trial: FrozenTrial, run_dir: RunDir) -> list[Path]:
    """Where the trial's artifacts are, such as its weights, on the machine that ran it."""
    keys = map(_ARTIFACT.fullmatch, trial.system_attrs)
    return [run_dir.artifacts / key[1] for key in keys if key]


def overview(storage: BaseStorage) -> list[StudyStatus]:
    """The status of every study in the storage that has one objective, by name."""
    studies = (stored_study.load(storage, name) for name in stored_study.names(storage))
    return [status(study) for study in studies if len(study.directions) == 1]


def _records(study: optuna.Study, found: list[FrozenTrial]) -> list[TrialRecord]:
    if len(study.directions) != 1:
        raise StudyError(
            f"A study must have one objective, but {study.study_name!r} has {len(study.directions)}. "
            "`hpo dashboard` shows it."
        )
    return [_record(trial, study.direction) for trial in found]


def _ranked(rows: Sequence[TrialRecord], direction: StudyDirection) -> list[TrialRecord]:
    rows = [row for row in rows if row.feasible is not False]
    complete = [row for row in rows if row.state == "COMPLETE"]
    rows = complete or [row for row in rows if row.state == "PRUNED" and row.value is not None]
    return sorted(rows, key=lambda row: row.value or 0.0, reverse=direction == StudyDirection.MAXIMIZE)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # a checkpoint that has just been replaced
        return 0


def _busy_seconds(trials: list[FrozenTrial]) -> float:
    """The length of the union of all trials' times, in seconds."""
    total, until, now = 0.0, 0.0, time.time()
    spans = [(started, _ended(trial) or now) for trial in trials if (started := _started(trial)) is not None]
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _started(trial: FrozenTrial) -> float | None:
    """When the trial started, in seconds since 1970, UTC."""
    claim = stored_study.typed(trial.user_attrs, {"claim": dict}).get("claim", {})
    return _moment(claim.get("started"), trial.datetime_start)


def _ended(trial: FrozenTrial) -> float | None:
    """When the trial ended, in seconds since 1970, UTC."""
    return _moment(trial.user_attrs.get("ended"), trial.datetime_complete) if trial.state.is_finished() else None


def _moment(recorded: object, local: datetime | None) -> float | None:
    """What hpo recorded; for another program's trial Optuna's local time, read as of this machine's zone."""
    if isinstance(recorded, int | float) and 0 <= recorded < _FAR_FUTURE:
        return recorded
    return None if local is None else local.timestamp()


def _worker(trial: FrozenTrial) -> dict[str, Any]:
    epochs, claim = trial.intermediate_values, _claim(trial)
    return {
        "worker": claim.get("worker"),
        "device": claim.get("device"),
        "trial": trial.number,
        "epoch": max(epochs, default=0),
        "value": epochs[max(epochs)] if epochs else None,
    }


def _record(trial: FrozenTrial, direction: StudyDirection) -> TrialRecord:
    claim = _claim(trial)
    reported: Sequence[float] = list(trial.intermediate_values.values())
    best_so_far = (max if direction == StudyDirection.MAXIMIZE else min)(reported, default=None)
    worker = claim.get("worker")
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        value=trial.value if trial.state.is_finished() else best_so_far,
        params=trial.params,
        feasible=all(violation <= 0 for violation in trial.constraints.values()) if trial.constraints else None,
        host=worker.rpartition("-")[0] if worker else None,
        started=_utc(_started(trial)),
        ended=_utc(_ended(trial)),
        history=_history(trial),
        **claim,
        **{"epochs": len(reported) or None, **stored_study.typed(trial.user_attrs, _SCALARS)},
    )


_CLAIM = {
    "seed": int, "attempt": int, "warm_start": int, "setting": int, "repeat": int, "worker": str, "device": str,
}  # fmt: skip
_SCALARS = {
    "stop_reason": str, "failure": str, "precision": str, "backend": str,
    **dict.fromkeys(
        ("epochs", "best_epoch", "parameters", "physical_batch_size", "test_images", "validation_images"), int
    ),
    **dict.fromkeys(
        ("seconds", "seconds_to_best", "images_per_second", "test_accuracy", "test_loss", "test_precision",
         "test_recall", "test_f1", "test_seconds"),
        int | float,
    ),
}  # fmt: skip


def _claim(trial: FrozenTrial) -> dict[str, Any]:
    """What is recorded of the claim of a trial, by the names that a record has for it."""
    return stored_study.typed(claim_of(trial), _CLAIM)


def _history(trial: FrozenTrial) -> dict[str, list[float]]:
    history = stored_study.typed(trial.user_attrs, {"history": dict}).get("history", {})
    return {name: log for name, log in history.items() if isinstance(log, list) and {*map(type, log)} <= {int, float}}


def _utc(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
