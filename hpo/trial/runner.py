"""One trial, from its parameters to its outcome, whatever its task is."""

import logging
import shutil
from collections.abc import Callable

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import Outage, OutOfMemory, StudyError, TrialError, TrialFailure, TrialInterrupted
from hpo.files.run_dir import RunDir
from hpo.search.claims import Claim
from hpo.storage.records import HISTORY, ResultRecord
from hpo.study.found import Study
from hpo.text import one_line
from hpo.trial.checkpoint import kept_folder
from hpo.trial.events import EventLog
from hpo.trial.exhausted import is_disk_full, is_out_of_memory
from hpo.trial.outcome import Outcome
from hpo.trial.reported import ReportedTrial

_LONGEST_MESSAGE = 500  # characters; the log has all of it

_logger = logging.getLogger("hpo")


class TrialRunner:
    """Runs claimed trials of one study in this process.

    Args:
        definition: the study.
        run_task: what a trial does; `hpo.trial.train_task.Trainings` or `hpo.trial.function_task.FunctionCalls`.
        run_dir: where checkpoints are.
        interrupted: whether this process has been asked to stop.
        events: where it is logged what happens.
    """

    def __init__(
        self,
        definition: Study,
        run_task: Callable[[Claim, ReportedTrial], Outcome],
        run_dir: RunDir,
        *,
        interrupted: Callable[[], bool],
        events: EventLog,
    ) -> None:
        self._definition = definition
        self._run_task = run_task
        self._run_dir = run_dir
        self._interrupted = interrupted
        self._events = events

    def __call__(self, claim: Claim) -> Outcome:
        """Run one trial to its end, whatever that is.

        Raises:
            StudyError: no trial of this study can run, for example with a metric that the model does not report.
            TrialInterrupted: this process has been asked to stop.
            Outage: the storage has not answered for long, or a disk is full.
            StorageInternalError, SQLAlchemyError: the storage cannot do what it is asked.
            UpdateFinishedTrialError: the trial was presumed lost, and ended, while it ran.
        """
        trial = ReportedTrial(claim, self._definition.search_direction, self._interrupted, self._events)
        try:
            trial.params = self._definition.whole_params(
                self._definition.space_of(claim.configuration.origin).suggest(claim.trial)
            )
            return self._run_task(claim, trial)
        except optuna.TrialPruned:
            result = ResultRecord(stop_reason="pruned", fit=trial.fit)
            return Outcome(state=TrialState.PRUNED, value=trial.best, result=result)
        except StudyError:
            if trial.history:
                claim.trial.set_user_attr(HISTORY, trial.history)
            raise
        except (Outage, TrialInterrupted, StorageInternalError, UpdateFinishedTrialError, SQLAlchemyError):
            raise  # not this trial's fault: it is given back
        except TrialFailure as failure:
            return self._failed(trial, failure)
        except (Exception, SystemExit) as error:
            if is_disk_full(error):
                raise Outage(
                    f"The disk that holds {self._run_dir.home} is full. Free some space and launch again: what was "
                    "recorded is whole."
                ) from error
            own = (
                OutOfMemory("there is too little memory for this configuration")
                if is_out_of_memory(error)
                else TrialError(f"{type(error).__name__}: {error}")
            )
            own.__cause__ = error
            return self._failed(trial, own)

    def forget(self, claim: Claim) -> None:
        """Remove what was kept of a trial's epochs: its result is told."""
        shutil.rmtree(kept_folder(self._run_dir, self._definition.name, claim), ignore_errors=True)

    def _failed(self, trial: ReportedTrial, failure: TrialFailure) -> Outcome:
        message = one_line(str(failure))[:_LONGEST_MESSAGE]
        cause = failure.__cause__
        _logger.warning("Trial %d failed (%s): %s", trial.number, failure.reason, message, exc_info=cause)
        result = ResultRecord(
            stop_reason=failure.reason,
            failure=message,
            model=trial.known.model,
            fit=trial.fit,
            history=trial.history,
        )
        return Outcome(state=TrialState.FAIL, value=None, result=result)
