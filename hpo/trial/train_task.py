"""One trial of a study that trains a Keras model."""

import dataclasses
import gc
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState

from hpo.datasets import Dataset, Split, load_test
from hpo.devices.slots import Slot
from hpo.errors import OutOfMemory, StudyError, TrialFailure
from hpo.files.run_dir import RunDir
from hpo.search.claims import Claim
from hpo.storage import stored_study
from hpo.storage.records import PAUSED, WEIGHTS, FitRecord, MeasureRecord, ResultRecord
from hpo.study.found import FoundStudy
from hpo.study.space import Params
from hpo.study.task import DEFAULT_BATCH_SIZE, Train
from hpo.trial.checkpoint import Checkpoints, kept_folder
from hpo.trial.events import EventLog
from hpo.trial.exhausted import is_out_of_memory
from hpo.trial.measures import evaluate
from hpo.trial.model import build
from hpo.trial.outcome import Outcome
from hpo.trial.reported import ReportedTrial

if TYPE_CHECKING:
    # Keras takes seconds to import, and a study whose task is a function may do without it.
    from hpo.trial import training

WEIGHTS_FILE = "best-weights.npz"  # arrays in the order of keras.Model.get_weights

_logger = logging.getLogger("hpo")


class Trainings:
    """Trains one model per trial of a study.

    Args:
        found: the study.
        task: its task.
        dataset: its images.
        run_dir: where artifacts and checkpoints go.
        slot: the device of this process.
        interrupted: whether this process has been asked to stop.
        events: where it is logged what happens.
        check_export: raises a StudyError for an untrained model that could not be exported.
        finish_seconds: how long an interrupted epoch may take to its end.
    """

    def __init__(
        self,
        found: FoundStudy,
        task: Train,
        dataset: Dataset,
        run_dir: RunDir,
        slot: Slot,
        *,
        interrupted: Callable[[], bool],
        events: EventLog,
        check_export: Callable[[Any, Dataset], None],
        finish_seconds: float,
    ) -> None:
        self._definition = found.definition
        self._code: Mapping[str, str] = found.code
        self._task = task
        self._dataset = dataset
        self._run_dir = run_dir
        self._slot = slot
        self._interrupted = interrupted
        self._events = events
        self._check = check_export
        self._finish_seconds = finish_seconds
        self._can_export = False

    def __call__(self, claim: Claim, trial: ReportedTrial) -> Outcome:
        """Train the model of one trial.

        Raises:
            TrialFailure: of any type.
            TrialInterrupted: this process has been asked to stop.
            StudyError: no model of this study can be trained, or exported after the search.
        """
        task, dataset = self._task, self._dataset
        precision = self._slot.precision if task.precision == "auto" else task.precision
        if task.prepare is not None:
            prepared = task.prepare(trial.params, dataset.train, trial.seed)
            dataset = dataclasses.replace(dataset, train=prepared)
        self._check_export(claim, trial)
        trial.known = ResultRecord(fit=FitRecord(validation_images=len(dataset.validation.labels)))
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
        has_ended = fit.stop_reason not in ("pruned", PAUSED)
        if has_ended:
            self._keep_weights(claim, model)
        measures = self._measured(model) if self._definition.reads_test_images else MeasureRecord()
        return Outcome(
            state=TrialState.COMPLETE if has_ended else TrialState.PRUNED,
            value=fit.best_value,
            result=ResultRecord(
                stop_reason=fit.stop_reason,
                model=trial.known.model,
                fit=FitRecord(
                    epochs=fit.epochs,
                    best_epoch=fit.best_epoch,
                    seconds=round(fit.seconds, 3),
                    seconds_to_best=round(fit.seconds_to_best, 3),
                    images_per_second=round(fit.images_per_second, 1),
                    validation_images=trial.known.fit.validation_images,
                ),
                measures=measures,
                history=fit.history,
            ),
        )

    def _check_export(self, claim: Claim, trial: ReportedTrial) -> None:
        """See, before the first trial of the study trains, that its models can be exported after the search.

        Raises:
            StudyError: they cannot.
        """
        study, code = claim.trial.study, dict(self._code)
        if self._can_export or stored_study.export_check_of(study) in (stored_study.UNCHECKED, code):
            self._can_export = True
            return
        try:
            # As an export builds it, in float32; the trial's own is built afresh after this.
            model = build(self._task, trial.params, self._dataset, seed=trial.seed, precision="float32")
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

        definition, task, params = self._definition, self._task, trial.params
        model = build(task, params, dataset, seed=trial.seed, precision=precision)
        batch_size = _batch_size(params)
        described = training.describe(model)
        if in_halves:
            training.split_batches(model, training.HALVES)
            batch_size //= training.HALVES
            described = dataclasses.replace(described, physical_batch_size=batch_size)
        trial.known = dataclasses.replace(trial.known, model=described)
        settings = training.FitSettings(
            epochs=min(params.get("epochs", definition.budget.max_epochs), definition.budget.max_epochs),
            batch_size=batch_size,
            metric=task.metric,
            direction=definition.search_direction,
            stopping=dataclasses.replace(
                task.trial_stopping, patience=params.get("patience", task.trial_stopping.patience)
            ),
            seconds=definition.budget.trial_seconds,
            finish_seconds=self._finish_seconds,
        )
        kept = kept_folder(self._run_dir, definition.name, claim)
        return model, training.fit(
            model,
            dataset,
            settings,
            record=trial.record,
            interrupted=self._interrupted,
            # In halves, the optimizer holds more: what was kept of whole batches does not fit.
            checkpoints=Checkpoints(kept / "halved" if in_halves else kept, claim.configuration.attempt),
            resumed=lambda epoch: self._events.write("resume", trial=claim.number, epoch=epoch),
            history=trial.history,
        )

    @cached_property
    def _test(self) -> Split:
        """The test images, which only a comparison reads: it compares what was set before, and chooses nothing."""
        return load_test(
            self._task.data,
            run_dir=self._run_dir,
            reader=f"comparison {self._definition.name}",
            merge=self._task.merge,
        )

    def _measured(self, model: Any) -> MeasureRecord:
        """What the model's best weights do on the test images."""
        measured = evaluate(model, self._test, self._dataset.classes)
        return MeasureRecord(
            test_accuracy=measured.accuracy,
            test_loss=measured.loss,
            test_precision=measured.macro.precision,
            test_recall=measured.macro.recall,
            test_f1=measured.macro.f1,
            test_seconds=round(measured.seconds, 3),
            test_images=measured.images,
        )

    def _keep_weights(self, claim: Claim, model: Any) -> None:
        """Upload the best weights, while Optuna still lets artifacts be added: before the trial ends."""
        self._run_dir.artifacts.mkdir(parents=True, exist_ok=True)
        # Beside the checkpoints, and removed with them.
        path = kept_folder(self._run_dir, self._definition.name, claim) / WEIGHTS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        # Keras's own weights file would hold the optimizer's state as well, three times the size.
        np.savez(path, *model.get_weights())
        artifact = upload_artifact(
            artifact_store=FileSystemArtifactStore(self._run_dir.artifacts),
            file_path=str(path),
            study_or_trial=claim.trial,
        )
        claim.trial.set_user_attr(WEIGHTS, artifact)


def _batch_size(params: Params) -> int:
    size: int = params.get("batch_size", DEFAULT_BATCH_SIZE)
    return size
