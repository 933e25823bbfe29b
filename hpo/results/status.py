"""Where a study stands: its budget, its trials by state, who works on it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.results.trials import TrialRecord, best_record, found_of
from hpo.storage import stored_study
from hpo.storage.records import claim_of, continued, is_paused, was_given_back
from hpo.storage.times import busy_seconds
from hpo.study.budget import limited


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Args:
        budget: trials in all.
        finished: configurations that count towards the budget and do not run.
        states: number of trials by state; besides Optuna's states PAUSED, of a configuration that may be continued,
            CONTINUED, of one that was, and GIVEN_BACK, of one that runs again.
        best: the best trial, None before the first has a value.
        workers: the trials that run, by the worker that runs each.
        seconds: in which any trial ran; pauses between launches do not count.
        limits: of the study's budget, by their names in `hpo.Budget`; those that it does not have are left out.
        epochs: that were trained and recorded.
        ended_by: the limit that has ended the study, or "space" if no configuration is left; None if none has.
    """

    name: str
    budget: int
    finished: int
    states: dict[str, int]
    best: TrialRecord | None
    workers: list[dict[str, Any]]
    seconds: float
    epochs: int = 0
    limits: dict[str, float] = field(default_factory=dict)
    ended_by: str | None = None

    @property
    def done(self) -> str:
        """How much of the budget is done, such as "3 of 5"; it may have been lowered below what had been done."""
        if limited(self.budget) is None:
            return str(self.finished)
        if self.finished <= self.budget:
            return f"{self.finished} of {self.budget}"
        return f"{self.finished} (budget {self.budget})"

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {**vars(self), "budget": limited(self.budget), "best": self.best and self.best.as_json()}


def status_of(study: optuna.Study) -> StudyStatus:
    """Where the study stands; reads its trials once."""
    all_trials = found_of(study)
    gone_on = continued(all_trials)
    states = Counter(_state(trial, is_continued=trial._trial_id in gone_on) for trial in all_trials)
    running = [trial for trial in all_trials if trial.state == TrialState.RUNNING]
    return StudyStatus(
        name=study.study_name,
        budget=stored_study.recorded(study).get("budget", len(all_trials)),
        finished=sum(states[state] for state in ("COMPLETE", "PRUNED", "PAUSED", "FAIL")),
        states=dict(sorted(states.items())),
        best=best_record(study, all_trials, gone_on),
        workers=[_worker(trial) for trial in running],
        seconds=busy_seconds(all_trials),
        epochs=sum(len(trial.intermediate_values) for trial in all_trials if trial._trial_id not in gone_on),
        limits=stored_study.limits_of(study),
        ended_by=stored_study.ended_by(study),
    )


def overview(storage: BaseStorage) -> list[StudyStatus]:
    """The status of every study in the storage that has one objective, by name."""
    studies = (stored_study.load(storage, name) for name in stored_study.names(storage))
    return [status_of(study) for study in studies if len(study.directions) == 1]


def _state(trial: FrozenTrial, *, is_continued: bool) -> str:
    if is_continued:
        return "CONTINUED"
    if is_paused(trial):
        return "PAUSED"
    return "GIVEN_BACK" if was_given_back(trial) else trial.state.name


def _worker(trial: FrozenTrial) -> dict[str, Any]:
    epochs, claim = trial.intermediate_values, claim_of(trial)
    return {
        "worker": claim.worker if claim else None,
        "device": claim.device if claim else None,
        "trial": trial.number,
        "epoch": max(epochs, default=0),
        "value": epochs[max(epochs)] if epochs else None,
    }
