"""Read-only questions to the storage: trials, the best of them, the state of a study."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo.errors import StudyError
from hpo.storage import stored_study
from hpo.storage.command import command, unsaid
from hpo.storage.database import backend_of
from hpo.storage.leases import claim_of

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
        setting: of a comparison: the index of its setting, and ``repeat`` which run of it; both count from 0.
        test_accuracy: of a comparison: of the best weights on the test images, as ``test_loss`` (nats),
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


def trials_of(study: optuna.Study) -> list[TrialRecord]:
    """Every trial of the study, in order of number.

    Raises:
        StudyError: the study, which another program made, has several objectives.
    """
    return records_of(study, study.get_trials(deepcopy=False))


def ranking(study: optuna.Study) -> list[TrialRecord]:
    """The complete trials that meet the constraints, best first; before any is complete, the pruned ones."""
    return ranked(trials_of(study), study.direction)


def best_of(study: optuna.Study) -> TrialRecord:
    """The best trial.

    Raises:
        StudyError: no trial has finished with a value.
    """
    found, url = trials_of(study), backend_of(study._storage).engine.url
    rows = ranked(found, study.direction)
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


def trial_of(study: optuna.Study, number: int) -> TrialRecord:
    """Trial ``number``.

    Raises:
        StudyError: there is none.
    """
    rows = trials_of(study)
    for row in rows:
        if row.number == number:
            return row
    known = f"Its trials go from 0 to {len(rows) - 1}." if rows else "It has none yet."
    raise StudyError(f"Study {study.study_name!r} has no trial {number}. {known}")


def records_of(study: optuna.Study, found: list[FrozenTrial]) -> list[TrialRecord]:
    """The records of these trials of the study.

    Raises:
        StudyError: the study, which another program made, has several objectives.
    """
    if len(study.directions) != 1:
        raise StudyError(
            f"A study must have one objective, but {study.study_name!r} has {len(study.directions)}. "
            "`hpo dashboard` shows it."
        )
    return [_record(trial, study.direction) for trial in found]


def ranked(rows: Sequence[TrialRecord], direction: StudyDirection) -> list[TrialRecord]:
    """Those rows that are complete and feasible, best first; before any is complete, the pruned ones."""
    rows = [row for row in rows if row.feasible is not False]
    complete = [row for row in rows if row.state == "COMPLETE"]
    rows = complete or [row for row in rows if row.state == "PRUNED" and row.value is not None]
    return sorted(rows, key=lambda row: row.value or 0.0, reverse=direction == StudyDirection.MAXIMIZE)


def started_at(trial: FrozenTrial) -> float | None:
    """When the trial started, in seconds since 1970, UTC."""
    claim = stored_study.typed(trial.user_attrs, {"claim": dict}).get("claim", {})
    return _moment(claim.get("started"), trial.datetime_start)


def ended_at(trial: FrozenTrial) -> float | None:
    """When the trial ended, in seconds since 1970, UTC."""
    return _moment(trial.user_attrs.get("ended"), trial.datetime_complete) if trial.state.is_finished() else None


def _moment(recorded: object, local: datetime | None) -> float | None:
    """What hpo recorded; for another program's trial Optuna's local time, read as of this machine's zone."""
    if isinstance(recorded, int | float) and 0 <= recorded < _FAR_FUTURE:
        return recorded
    return None if local is None else local.timestamp()


def _record(trial: FrozenTrial, direction: StudyDirection) -> TrialRecord:
    claim = claim_values(trial)
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
        started=_utc(started_at(trial)),
        ended=_utc(ended_at(trial)),
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


def claim_values(trial: FrozenTrial) -> dict[str, Any]:
    """What is recorded of the claim of a trial, by the names that a record has for it."""
    return stored_study.typed(claim_of(trial), _CLAIM)


def _history(trial: FrozenTrial) -> dict[str, list[float]]:
    history = stored_study.typed(trial.user_attrs, {"history": dict}).get("history", {})
    return {name: log for name, log in history.items() if isinstance(log, list) and {*map(type, log)} <= {int, float}}


def _utc(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
