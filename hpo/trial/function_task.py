"""One trial of a study whose task is a function."""

import gc
import logging
import math
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import NanLoss, TrialError
from hpo.search.claims import Claim
from hpo.storage.records import ResultRecord
from hpo.study.task import Function
from hpo.trial.exhausted import is_out_of_memory
from hpo.trial.outcome import Outcome
from hpo.trial.reported import ReportedTrial

_logger = logging.getLogger("hpo")


class FunctionCalls:
    """Calls the function once per trial, and a second time if there was too little memory."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def __call__(self, claim: Claim, trial: ReportedTrial) -> Outcome:
        """Call the function.

        Raises:
            TrialFailure: it raises, or returns no number.
        """
        try:
            return self._completed(trial)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _logger.warning("Trial %d has too little memory: once more", trial.number)
        gc.collect()  # what the exception held until here
        trial.start_again()
        return self._completed(trial)

    def _completed(self, trial: ReportedTrial) -> Outcome:
        value = self._value(trial)
        if not isinstance(value, int | float) and not hasattr(value, "__float__"):
            raise TrialError(f"the objective must return a number, but returned {value!r}")
        if math.isnan(float(value)):
            raise NanLoss(f"the objective returned {value}")
        return Outcome(
            state=TrialState.COMPLETE, value=float(value), result=ResultRecord(stop_reason="completed", fit=trial.fit)
        )

    def _value(self, trial: ReportedTrial) -> Any:
        try:
            return self._function(trial.params, trial)
        except (StorageInternalError, SQLAlchemyError) as error:
            if error is trial.storage_error:
                raise
            raise TrialError(f"{type(error).__name__}: {error}") from error  # of a database of its own
