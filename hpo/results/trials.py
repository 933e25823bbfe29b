"""Trials as they are read from the storage, with all that `hpo trials` shows; their ranking; the best one."""

import dataclasses
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import StudyError
from hpo.storage.command import command, unsaid
from hpo.storage.database import backend_of
from hpo.storage.records import CONTINUED, ClaimRecord, ResultRecord, claim_of, continued, is_paused, result_of
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
    found = found_of(study)
    return _records(study, found, continued(found))


def ranking(study: optuna.Study) -> list[TrialRecord]:
    """The complete or paused trials that meet the constraints, best first; before there are any, the pruned ones."""
    found = found_of(study)
    gone_on = continued(found)
    return _records(study, _ranked(found, study.direction), gone_on)


def best_of(study: optuna.Study) -> TrialRecord:
    """The best trial.

    Raises:
        StudyError: no trial has finished with a value.
    """
    found, url = found_of(study), backend_of(study._storage).engine.url
    if best := best_record(study, found, continued(found)):
        return best
    why, more = f"Study {study.study_name!r} has no finished trial yet.", []
    if any(_is_feasible(trial) is False for trial in found):
        why = f"No trial of study {study.study_name!r} meets the constraints of its sampler yet."
        more = ["--trials", "N"]
    again = command(url, "launch", "--study", study.study_name, *more)
    raise StudyError(f"{why} Continue it{unsaid(url)} with: {again}")


def best_record(study: optuna.Study, found: list[FrozenTrial], gone_on: Set[int]) -> TrialRecord | None:
    """The best of all trials of the study; None if none has a value.

    Args:
        gone_on: the ids of those whose configuration was continued.
    """
    return next(iter(_records(study, _ranked(found, study.direction)[:1], gone_on)), None)


def trial_of(study: optuna.Study, number: int) -> TrialRecord:
    """Trial ``number``.

    Raises:
        StudyError: there is none.
    """
    found = found_of(study)
    for trial in found:
        if trial.number == number:
            return _records(study, [trial], continued(found))[0]
    known = f"Its trials go from 0 to {len(found) - 1}." if found else "It has none yet."
    raise StudyError(f"Study {study.study_name!r} has no trial {number}. {known}")


def found_of(study: optuna.Study) -> list[FrozenTrial]:
    """Every trial of the study, as Optuna has it.

    Raises:
        StudyError: the study, which another program made, has several objectives.
    """
    if len(study.directions) != 1:
        raise StudyError(
            f"A study must have one objective, but {study.study_name!r} has {len(study.directions)}. "
            "`hpo dashboard` shows it."
        )
    return study.get_trials(deepcopy=False)


def _records(study: optuna.Study, chosen: Iterable[FrozenTrial], gone_on: Set[int]) -> list[TrialRecord]:
    return [_record(trial, study.direction, is_continued=trial._trial_id in gone_on) for trial in chosen]


def _ranked(found: list[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """Those that are complete or paused, and feasible, best first; before there are any, the pruned ones.

    A paused trial counts until its continuation has ended: the best does not get worse while that runs.
    """
    replaced = continued(trial for trial in found if trial.state.is_finished())
    valued = [
        trial
        for trial in found
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial._trial_id not in replaced
        if _is_feasible(trial) is not False
    ]
    complete = [trial for trial in valued if trial.state == TrialState.COMPLETE or is_paused(trial)]
    ranked = complete or [trial for trial in valued if trial.value is not None]
    return sorted(ranked, key=lambda trial: trial.value or 0.0, reverse=direction == StudyDirection.MAXIMIZE)


def _is_feasible(trial: FrozenTrial) -> bool | None:
    """Whether a trial meets the sampler's constraints; None if there are none."""
    constraints = trial.constraints
    return all(violation <= 0 for violation in constraints.values()) if constraints else None


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
        feasible=_is_feasible(trial),
        claim=claim_of(trial),
        result=result,
        started=started_at(trial),
        ended=ended_at(trial),
    )


def _utc(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
