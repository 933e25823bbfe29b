"""A trial as an objective sees it: its parameters, and where it reports its values."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import NanLoss, TrialInterrupted
from hpo.search.claims import Claim
from hpo.search.pruning import StopReason
from hpo.storage.records import FitRecord, ResultRecord
from hpo.storage.trial_rows import forget_reports
from hpo.study.space import Params
from hpo.trial.events import EventLog


class ReportedTrial:
    """The trial as an objective sees it.

    Args:
        claim: the claimed trial.
        direction: "maximize" or "minimize".
        interrupted: whether the worker has been asked to stop.
        events: where each report is logged.
    """

    def __init__(self, claim: Claim, direction: str, interrupted: Callable[[], bool], events: EventLog) -> None:
        self.params: Params = {}  # what was suggested, on top of the study's base
        self.seed = claim.seed
        self.number = claim.number
        self.values: dict[int, float] = {}
        self.known = ResultRecord()  # what is known of its result besides what it reports
        self.history: dict[str, list[float]] = {}  # Keras's logs, a value per epoch
        self.storage_error: Exception | None = None  # which ended a report
        self._trial = claim.trial
        self._judge = claim.judge
        self._better = max if direction == "maximize" else min
        self._interrupted = interrupted
        self._events = events

    def report(self, value: float, epoch: int) -> None:
        """Record the objective's value at an epoch; ends the trial if it is to be pruned.

        Raises:
            optuna.TrialPruned: let it pass, the trial then ends with its best value so far.
        """
        if self.record(value, epoch):
            raise optuna.TrialPruned
        if self._interrupted():
            raise TrialInterrupted

    def record(self, value: float, epoch: int) -> StopReason | None:
        """Record the objective's value at an epoch; why the trial is to end, None if it is not."""
        value, epoch = float(value), int(epoch)  # NumPy's numbers are no JSON
        if math.isnan(value):
            raise NanLoss(f"the objective reported {value} at epoch {epoch}")
        self.values.setdefault(epoch, value)  # as Optuna does, which ignores a second report of an epoch
        try:
            self._trial.report(value, epoch)
            self._events.write("report", trial=self.number, epoch=epoch, value=value)
            return self._judge(epoch)
        except (StorageInternalError, SQLAlchemyError) as error:
            self.storage_error = error
            raise

    def set_user_attr(self, name: str, value: Any) -> None:
        """Keep a value with the trial, for a sampler's ``constraints_func`` and for people; JSON has to hold it."""
        self._trial.set_user_attr(name, value)

    def set_constraint(self, name: str, value: float) -> None:
        """Record by how much the trial violates a constraint; at 0 or below it is met.

        Raises:
            TypeError, ValueError: ``value`` is no number.
        """
        self._trial.set_constraint(name, value)

    def start_again(self) -> None:
        """Forget what a try without enough memory has reported, here, in Optuna's trial and in the storage."""
        forget_reports(self._trial)
        self.values.clear()
        self.history.clear()

    @property
    def best(self) -> float | None:
        """The best value reported so far."""
        return self._better(self.values.values(), default=None)

    @property
    def fit(self) -> FitRecord:
        """What is recorded of the epochs of a trial that reported by itself, beside what is known of them."""
        if not self.values:
            return self.known.fit
        best_epoch = next(epoch for epoch, value in self.values.items() if value == self.best)
        return replace(self.known.fit, epochs=len(self.values), best_epoch=best_epoch)
