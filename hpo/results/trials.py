"""Trials as they are read from the storage, with all that `hpo trials` shows; their ranking; the best one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo.errors import StudyError
from hpo.storage.command import command, unsaid
from hpo.storage.database import backend_of
from hpo.storage.records import CONTINUED, PAUSED, ClaimRecord, ResultRecord, claim_of, continued, result_of
from hpo.storage.times import ended_at, started_at


@dataclass(frozen=True)
class TrialRecord:
    """One trial, as it is read from the storage.

    Args:
        number: counts from 0 within the study.
        state: as Optuna names it: RUNNING, WAITING, COMPLETE, PRUNED or FAIL.
        value: the metric's best value over the epochs; while the trial runs, the best so far.
        feasible: whether it meets the sampler's constraints; None if there are none.
        claim: the worker that runs or ran it; None if another program did.
        result: how it ended; while it runs, what is known already.
        started: in seconds since 1970, UTC, like ``ended``; None if it has not started.
    """

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    feasible: bool | None = None
    claim: ClaimRecord | None = None
    result: ResultRecord = field(default_factory=ResultRecord)
    started: float | None = None
    ended: float | None = None

    @property
    def seed(self) -> int:
        """The seed of its weights and batches; 0 if another program ran it."""
        return self.claim.configuration.seed if self.claim else 0

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values, None for what is unknown; times are in ISO 8601, UTC."""
        claim, result = self.claim, self.result
        configuration = claim.configuration if claim else None
        origin = configuration.origin if configuration else {}
        return {
            **{name: getattr(self, name) for name in ("number", "state", "value", "params", "feasible")},
            **{name: getattr(result, name) for name in ("stop_reason", "failure")},
            **vars(result.fit),
            **vars(result.model),
            **{name: getattr(configuration, name, None) for name in ("seed", "attempt")},
            **{name: origin.get(name) for name in ("warm_start", "setting", "repeat")},
            **vars(result.measures),
            **{name: getattr(claim, name, None) for name in ("worker", "host", "device")},
            "started": _utc(self.started),
            "ended": _utc(self.ended),
            "history": dict(result.history),
        }


def trials_of(study: optuna.Study) -> list[TrialRecord]:
    """Every trial of the study, in order of number.

    Raises:
        StudyError: the study, which another program made, has several objectives.
    """
    return records_of(study, study.get_trials(deepcopy=False))


def ranking(study: optuna.Study) -> list[TrialRecord]:
    """The complete or paused trials that meet the constraints, best first; before there are any, the pruned ones."""
    return ranked(trials_of(study), study.direction)


def best_of(study: optuna.Study) -> TrialRecord:
    """The best trial.

    Raises:
        StudyError: no trial has finished with a value.
    """
    found, url = trials_of(study), backend_of(study._storage).engine.url
    if rows := ranked(found, study.direction):
        return rows[0]
    why, more = f"Study {study.study_name!r} has no finished trial yet.", []
    if any(row.feasible is False for row in found):
        why = f"No trial of study {study.study_name!r} meets the constraints of its sampler yet."
        more = ["--trials", "N"]
    again = command(url, "launch", "--study", study.study_name, *more)
    raise StudyError(f"{why} Continue it{unsaid(url)} with: {again}")


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
    gone_on = continued(found)
    return [_record(trial, study.direction, is_continued=trial._trial_id in gone_on) for trial in found]


def ranked(rows: Sequence[TrialRecord], direction: StudyDirection) -> list[TrialRecord]:
    """Those rows that are complete or paused, and feasible, best first; before there are any, the pruned ones."""
    rows = [row for row in rows if row.feasible is not False and row.result.stop_reason != CONTINUED]
    complete = [row for row in rows if row.state == "COMPLETE" or row.result.stop_reason == PAUSED]
    rows = complete or [row for row in rows if row.state == "PRUNED" and row.value is not None]
    return sorted(rows, key=lambda row: row.value or 0.0, reverse=direction == StudyDirection.MAXIMIZE)


def _record(trial: FrozenTrial, direction: StudyDirection, *, is_continued: bool) -> TrialRecord:
    reported = list(trial.intermediate_values.values())
    best_so_far = (max if direction == StudyDirection.MAXIMIZE else min)(reported, default=None)
    result = result_of(trial)
    if is_continued:
        result = dataclasses.replace(result, stop_reason=CONTINUED)
    if result.fit.epochs is None:
        result = dataclasses.replace(result, fit=dataclasses.replace(result.fit, epochs=len(reported) or None))
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        value=trial.value if trial.state.is_finished() else best_so_far,
        params=trial.params,
        feasible=all(violation <= 0 for violation in trial.constraints.values()) if trial.constraints else None,
        claim=claim_of(trial),
        result=result,
        started=started_at(trial),
        ended=ended_at(trial),
    )


def _utc(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
