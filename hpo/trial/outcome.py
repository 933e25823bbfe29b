"""How a trial ended."""

from dataclasses import dataclass

from optuna.trial import TrialState

from hpo.storage.records import ResultRecord


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended and what is recorded of it."""

    state: TrialState
    value: float | None
    result: ResultRecord
