"""One trial, from its parameters to its recorded result."""

import dataclasses
import gc
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from hpo.datasets import Dataset, Split, load_test
from hpo.devices.slots import Slot
from hpo.errors import NanLoss, Outage, OutOfMemory, StudyError, TrialError, TrialFailure, TrialInterrupted
from hpo.files.run_dir import RunDir
from hpo.search.claims import Claim
from hpo.storage import stored_study
from hpo.study.definition import StudyDefinition
from hpo.study.space import Params
from hpo.text import one_line
from hpo.trial.checkpoint import Checkpoints
from hpo.trial.events import EventLog
from hpo.trial.failures import is_disk_full, is_out_of_memory
from hpo.trial.measures import evaluate
from hpo.trial.model import build
from hpo.trial.reported import ReportedTrial

if TYPE_CHECKING:
    # Keras takes seconds to import and a study with an objective may do without it.
    from hpo.trial import training

DEFAULT_BATCH_SIZE = 128
_LONGEST_MESSAGE = 500  # the log has all of it
WEIGHTS_FILE = "best-weights.npz"  # arrays in the order of keras.Model.get_weights

_logger = logging.getLogger("hpo")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended and what is recorded of it."""

    state: TrialState
    value: float | None
    stop_reason: str
    records: dict[str, Any] = field(default_factory=dict)


class Objective:
    """Runs claimed trials of one study in this process.

    Args:
        definition: of the study.
        dataset: for a study with a model, None for one with an objective.
        run_dir: where artifacts go.
        slot: the device of this process.
        interrupted: whether this process has been asked to stop.
        events: where it is logged what happens.
        check_export: raises a StudyError for an untrained model that could not be exported.
    """

    def __init__(
        self,
        definition: StudyDefinition,
        dataset: Dataset | None,
        run_dir: RunDir,
        slot: Slot,
        interrupted: Callable[[], bool],
        events: EventLog,
        check_export: Callable[[Any, Dataset], None],
    ) -> None:
        self._definition = definition
        self._dataset = dataset
        self._run_dir = run_dir
        self._slot = slot
        self._interrupted = interrupted
        self._events = events
        self._check = check_export
        self._can_export = False

    def __call__(self, claim: Claim) -> Outcome:
        """Run one trial to its end, whatever that is.

        Raises:
            StudyError: no trial of this study can run, such as with a metric that the model does not report.
            TrialInterrupted: this process has been asked to stop.
            Outage: the storage has not answered for long, or a disk is full.
            StorageInternalError, SQLAlchemyError: the storage cannot do what it is asked.
            UpdateFinishedTrialError: the trial was presumed lost, and ended, while it ran.
        """
        trial = ReportedTrial(claim, self._definition.search_direction, self._interrupted, self._events)
        try:
            trial.params = self._definition.whole_params(self._definition.space_of(claim.origin).suggest(claim.trial))
            return self._train(claim, trial) if self._definition.objective is None else self._call(trial)
        except optuna.TrialPruned:
            return Outcome(state=TrialState.PRUNED, value=trial.best, stop_reason="pruned", records=trial.epochs)
        except StudyError:
            if trial.history:
                claim.trial.set_user_attr("history", trial.history)
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

    def _call(self, trial: ReportedTrial) -> Outcome:
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
        """What the study's objective comes to."""
        value = self._value(trial)
        if not isinstance(value, int | float) and not hasattr(value, "__float__"):
            raise TrialError(f"the objective must return a number, but returned {value!r}")
        if math.isnan(float(value)):
            raise NanLoss(f"the objective returned {value}")
        return Outcome(state=TrialState.COMPLETE, value=float(value), stop_reason="completed", records=trial.epochs)

    def _value(self, trial: ReportedTrial) -> Any:
        """What the study's objective returns."""
        assert self._definition.objective is not None
        try:
            return self._definition.objective(trial.params, trial)
        except (StorageInternalError, SQLAlchemyError) as error:
            if error is trial.storage_error:
                raise
            raise TrialError(f"{type(error).__name__}: {error}") from error  # of a database of its own

    def _train(self, claim: Claim, trial: ReportedTrial) -> Outcome:
        definition, dataset = self._definition, self._dataset
        assert dataset is not None
        precision = self._slot.precision if definition.precision == "auto" else definition.precision
        if definition.prepare is not None:
            prepared = definition.prepare(trial.params, dataset.train, trial.seed)
            dataset = dataclasses.replace(dataset, train=prepared)
        self._check_export(claim, trial)
        trial.records = {"validation_images": len(dataset.validation.labels)}
        fitted = None
        try:
            fitted = self._fit(claim, trial, dataset, precision, in_halves=False)
        except OutOfMemory:
            if _batch_size(trial.params) == 1:
                raise
            _logger.warning("Trial %d has too little memory: half of each batch at a time", trial.number)
        if fitted is None:
            gc.collect()  # the first model, which its exception held until here
            trial.start_again()
            fitted = self._fit(claim, trial, dataset, precision, in_halves=True)
        model, fit = fitted
        pruned = fit.stop_reason == "pruned"
        if not pruned:
            self._keep_weights(claim, model)
        if definition.settings:
            trial.records.update(self._measured(model))
        return Outcome(
            state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
            value=fit.best_value,
            stop_reason=fit.stop_reason,
            records={
                "epochs": fit.epochs,
                "best_epoch": fit.best_epoch,
                "seconds": round(fit.seconds, 3),
                "seconds_to_best": round(fit.seconds_to_best, 3),
                "images_per_second": round(fit.images_per_second, 1),
                "history": fit.history,
                **trial.records,
            },
        )

    def _check_export(self, claim: Claim, trial: ReportedTrial) -> None:
        """See, before the first trial of the study trains, that its models can be exported after the search.

        Raises:
            StudyError: they cannot.
        """
        study, code = claim.trial.study, dict(self._definition.code)
        if self._can_export or stored_study.export_check_of(study) in (stored_study.UNCHECKED, code):
            self._can_export = True
            return
        assert self._dataset is not None
        try:
            # As an export builds it, in float32; the trial's own is built afresh after this.
            model = build(self._definition, trial.params, self._dataset, seed=trial.seed, precision="float32")
            self._check(model, self._dataset)
        except StudyError as error:
            raise StudyError(f"{error} `hpo launch` with --no-export-check searches all the same.") from error
        except Exception as error:
            if isinstance(error, TrialFailure) or is_out_of_memory(error):
                return  # of this configuration: the next trial tells
            raise
        finally:
            model = None
            gc.collect()  # it would take memory from the model that trains
        stored_study.set_export_check(study, code)

    def _fit(
        self, claim: Claim, trial: ReportedTrial, dataset: Dataset, precision: str, *, in_halves: bool
    ) -> tuple[Any, "training.Fit"]:
        """Build and fit the trial's model, each batch as a whole or in two halves.

        Raises:
            TrialFailure: of any type.
        """
        from hpo.trial import training

        definition, params = self._definition, trial.params
        model = build(definition, params, dataset, seed=trial.seed, precision=precision)
        batch_size = _batch_size(params)
        if in_halves:
            training.split_batches(model, training.HALVES)
            batch_size //= training.HALVES
            trial.records["physical_batch_size"] = batch_size
        trial.records.update(training.describe(model))
        settings = training.FitSettings(
            epochs=min(params.get("epochs", definition.budget.max_epochs), definition.budget.max_epochs),
            batch_size=batch_size,
            metric=definition.metric,
            direction=definition.search_direction,
            stopping=dataclasses.replace(
                definition.trial_stopping, patience=params.get("patience", definition.trial_stopping.patience)
            ),
            seconds=definition.budget.trial_seconds,
        )
        kept = self._kept(claim)
        return model, training.fit(
            model,
            dataset,
            settings,
            record=trial.record,
            interrupted=self._interrupted,
            # In halves, the optimizer holds more: what was kept of whole batches does not fit.
            checkpoints=Checkpoints(kept / "halved" if in_halves else kept, claim.attempt),
            resumed=lambda epoch: self._events.write("resume", trial=claim.number, epoch=epoch),
            history=trial.history,
        )

    def forget(self, claim: Claim) -> None:
        """Remove what was kept of a trial's epochs: its result is told."""
        shutil.rmtree(self._kept(claim), ignore_errors=True)

    def _kept(self, claim: Claim) -> Path:
        """The folder of what is kept of a configuration while it runs."""
        return self._run_dir.trial(self._definition.name, claim.configuration, claim.uuid)

    @cached_property
    def _test(self) -> Split:
        """The test images, which only an experiment reads: it compares what was set before, and chooses nothing."""
        return load_test(
            self._definition.dataset or "",
            run_dir=self._run_dir,
            reader=f"experiment {self._definition.name}",
            merge=self._definition.merge,
        )

    def _measured(self, model: Any) -> dict[str, float]:
        """What the model's best weights do on the test images; averages over the classes, each the same weight."""
        assert self._dataset is not None
        measured = evaluate(model, self._test, self._dataset.classes)
        return {
            "test_accuracy": measured.accuracy,
            "test_loss": measured.loss,
            "test_precision": measured.macro.precision,
            "test_recall": measured.macro.recall,
            "test_f1": measured.macro.f1,
            "test_seconds": round(measured.seconds, 3),
            "test_images": measured.images,
        }

    def _keep_weights(self, claim: Claim, model: Any) -> None:
        """Upload the best weights, while Optuna still lets artifacts be added: before the trial ends."""
        self._run_dir.artifacts.mkdir(parents=True, exist_ok=True)
        path = self._kept(claim) / WEIGHTS_FILE  # beside the checkpoints, and removed with them
        path.parent.mkdir(parents=True, exist_ok=True)
        # Keras's own weights file would hold the optimizer's state as well, three times the size.
        np.savez(path, *model.get_weights())
        artifact = upload_artifact(
            artifact_store=FileSystemArtifactStore(self._run_dir.artifacts),
            file_path=str(path),
            study_or_trial=claim.trial,
        )
        claim.trial.set_user_attr("weights", artifact)

    def _failed(self, trial: ReportedTrial, failure: TrialFailure) -> Outcome:
        message = one_line(str(failure))[:_LONGEST_MESSAGE]
        cause = failure.__cause__
        _logger.warning("Trial %d failed (%s): %s", trial.number, failure.reason, message, exc_info=cause)
        return Outcome(
            state=TrialState.FAIL,
            value=None,
            stop_reason=failure.reason,
            records={**trial.epochs, **trial.records, "history": trial.history, "failure": message},
        )


def _batch_size(params: Params) -> int:
    size: int = params.get("batch_size", DEFAULT_BATCH_SIZE)
    return size
