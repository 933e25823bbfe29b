"""One fit of a Keras model: early stopping, learning-rate reduction, a report each epoch, failures with types."""

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from hpo.datasets import Dataset, Split
from hpo.errors import InvalidModel, OutOfMemory, TrialFailure, TrialInterrupted
from hpo.storage.records import ModelRecord
from hpo.study.budget import Stopping
from hpo.trial.callbacks import EpochKeeper, EpochRecorder, Record, StopAtNan, StopReason
from hpo.trial.checkpoint import Checkpoint, Checkpoints
from hpo.trial.exhausted import is_out_of_memory

_OF_INTEGERS = ("ctc", "circle")  # losses of Keras that take integer labels and are not called sparse
_LABELS = "labels are integers: use a sparse loss, or a function that encodes them with keras.ops.one_hot"

_logger = logging.getLogger("hpo")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How long and towards what to fit.

    Args:
        epochs: at most.
        batch_size: images per step.
        metric: the name of a value in Keras's epoch logs.
        direction: "maximize" or "minimize".
        stopping: early stopping and learning-rate reduction.
        seconds: after which the fit ends with its epoch; None for no limit.
        finish_seconds: how long an interrupted epoch may take to its end, if it is kept.
    """

    epochs: int
    batch_size: int
    metric: str
    direction: str
    stopping: Stopping
    seconds: float | None = None
    finish_seconds: float = 0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What one fit did; the model holds the weights of its best epoch.

    Args:
        history: for each of Keras's logs, and ``learning_rate`` and ``seconds``, a value per epoch.
        best_epoch: counted from 1.
        seconds: of training and validation.
        images: training images seen.
    """

    history: dict[str, list[float]]
    best_epoch: int
    best_value: float
    seconds: float
    images: int
    stop_reason: StopReason

    @property
    def epochs(self) -> int:
        return len(self.history["seconds"])

    @property
    def seconds_to_best(self) -> float:
        return sum(self.history["seconds"][: self.best_epoch])

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


def start_fresh(seed: int, precision: str) -> None:
    """Forget what earlier models left behind, seed Python, NumPy and the backend, and set the dtype policy."""
    # The garbage collector alone takes 0.2 s with TensorFlow loaded: the worker calls it between trials.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)


HALVES = 2  # the parts of each batch, if memory is too little for whole ones


def split_batches(model: keras.Model, parts: int) -> None:
    """Let each step of the optimizer be one of ``parts`` batches, with the mean of their gradients: in less memory.

    It is the same training as with one batch that large, except for what layers do per batch, such as normalization.

    Raises:
        OutOfMemory: it cannot be, because the optimizer's schedule would count the parts as steps.
    """
    if _has_schedule(model):
        raise OutOfMemory("there is too little memory, and with its learning-rate schedule no batch can be halved")
    _optimizer(model).gradient_accumulation_steps = parts


def fit(
    model: keras.Model,
    dataset: Dataset,
    settings: FitSettings,
    *,
    record: Record,
    interrupted: Callable[[], bool],
    checkpoints: Checkpoints | None = None,
    resumed: Callable[[int], None] = lambda epoch: None,
    history: dict[str, list[float]] | None = None,
) -> Fit:
    """Fit ``model`` on the training images and validate it each epoch; leaves it with its best weights.

    If there is a checkpoint, the fit goes on after its epoch, as if it had not been interrupted: with its weights,
    optimizer and learning rate, its history (recorded again) and what early stopping had counted. Only the order of the
    images in the epochs to come differs.

    Args:
        model: compiled; takes images (n, h, w, c) uint8 and integer labels (n,).
        record: called with each epoch's metric and its number, from 1; why the trial is to end, None if it is not.
        interrupted: asked after each batch; True ends the fit with its epoch, or within it if that takes long.
        checkpoints: where each epoch is kept.
        resumed: called first with the epoch of the checkpoint it goes on from, if there is one.
        history: filled as in `Fit`, also by a fit that fails.

    Raises:
        StudyError: the model does not report the metric; the message names those it does.
        TrialInterrupted: ``interrupted`` said so.
        NanLoss: the loss is not a number.
        OutOfMemory: the device has too little memory.
        InvalidModel: the model does not take these images and labels.
        OSError: no checkpoint can be written, such as on a full disk.
    """
    mode = "max" if settings.direction == "maximize" else "min"
    # Without a checkpoint nothing of an epoch is left, finished or not.
    finish_seconds = settings.finish_seconds if checkpoints else 0
    watch = EpochRecorder(
        settings.metric, settings.seconds, record, interrupted, finish_seconds, {} if history is None else history
    )
    # Keras keeps the best weights only in this callback; to train to the end it waits longer than that.
    best = keras.callbacks.EarlyStopping(
        settings.metric,
        mode=mode,
        patience=settings.stopping.patience or settings.epochs + 1,
        restore_best_weights=True,
    )
    callbacks: list[keras.callbacks.Callback] = [watch, best]
    if settings.stopping.reduce_lr_patience is not None and not _has_schedule(model):
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                settings.metric,
                mode=mode,
                patience=settings.stopping.reduce_lr_patience,
                factor=settings.stopping.reduce_lr_factor,
                min_delta=0,  # as in early stopping: how much better an epoch has to be depends on the metric's unit
            )
        )
    try:
        _build_optimizer(model)
        begun = _latest(checkpoints, model) if checkpoints else None
        if checkpoints:
            # The last, when the others have counted an epoch, or have forgotten all at the beginning.
            callbacks.append(EpochKeeper(checkpoints, begun, watch, callbacks[1:]))
        first = begun.epoch if begun else 0
        if begun:
            resumed(begun.epoch)
            keras.utils.set_random_seed(begun.state["seed"])
        model.fit(
            dataset.train.images,
            dataset.train.labels,
            batch_size=settings.batch_size,
            initial_epoch=first,
            epochs=first if begun and begun.state["ended"] else settings.epochs,
            validation_data=(dataset.validation.images, dataset.validation.labels),
            callbacks=callbacks,
            verbose=0,
        )
    except Exception as error:
        failure = as_failure(error, trained=watch.batches > 0)
        if failure is None:
            raise
        if isinstance(failure, InvalidModel) and not watch.batches and re.search("shape|rank|int64", str(failure)):
            images = _array(dataset.train.images.shape)
            failure = InvalidModel(f"{failure} (images are uint8 of shape {images}; {_LABELS})")
        raise failure from error
    if watch.failure is not None:
        raise watch.failure
    if watch.stop_reason == "interrupted":
        raise TrialInterrupted
    return Fit(
        history=watch.history,
        best_epoch=best.best_epoch + 1,
        best_value=watch.history[settings.metric][best.best_epoch],
        seconds=sum(watch.history["seconds"]),
        images=len(watch.history["seconds"]) * len(dataset.train.labels),
        stop_reason=watch.stop_reason or ("early_stopping" if best.stopped_epoch > 0 else "completed"),
    )


def refit(model: keras.Model, split: Split, *, learning_rates: list[float], batch_size: int) -> None:
    """Fit ``model`` on ``split`` for as many epochs as there are learning rates, one each, with no validation.

    Raises:
        NanLoss: the loss is not a number.
        OutOfMemory: the device has too little memory.
    """
    stop_at_nan = StopAtNan()
    callbacks: list[keras.callbacks.Callback] = [stop_at_nan]
    if not _has_schedule(model):
        callbacks.append(keras.callbacks.LearningRateScheduler(lambda epoch, _rate: learning_rates[epoch]))
    try:
        model.fit(
            split.images,
            split.labels,
            batch_size=batch_size,
            epochs=len(learning_rates),
            callbacks=callbacks,
            verbose=0,
        )
    except Exception as error:
        failure = as_failure(error, trained=True)
        if failure is None:
            raise
        raise failure from error
    if stop_at_nan.failure is not None:
        raise stop_at_nan.failure


def _latest(checkpoints: Checkpoints, model: keras.Model) -> Checkpoint | None:
    """The checkpoint to go on from; None if none fits ``model``, which then begins again.

    One of before the study's code was edited does not fit; nor does any fit a model without an input shape, which is
    built by its first batch.
    """
    found = checkpoints.latest() if model.built else None
    if found is None:
        return None
    kept = [array.shape for name in ("weights", "optimizer") for array in found.arrays.get(name, ())]
    if kept == [tuple(variable.shape) for variable in (*model.weights, *model.optimizer.variables)]:
        return found
    _logger.warning("The checkpoint of epoch %d is of another model: the trial begins anew", found.epoch)
    return None


def _build_optimizer(model: keras.Model) -> None:
    """Make the optimizer's variables now: TensorFlow traces a step that makes variables twice, 0.1 s of each trial."""
    if model.built and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """The model's optimizer itself, which mixed_float16 wraps into one that scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def _has_schedule(model: keras.Model) -> bool:
    """Whether the optimizer follows a schedule of its own, which nobody else may set."""
    return isinstance(_optimizer(model)._learning_rate, keras.optimizers.schedules.LearningRateSchedule)


def as_failure(error: Exception, *, trained: bool) -> TrialFailure | None:
    """``error``, raised by Keras, as a failure with a type; None if it is none of those.

    Args:
        trained: whether any batch had been trained: what raises later is no matter of the model's shape.
    """
    if is_out_of_memory(error):
        return OutOfMemory("the device has too little memory for this model and batch size")
    if (not trained and isinstance(error, ValueError | TypeError)) or "InvalidArgument" in type(error).__name__:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        # TensorFlow begins with where, and ends with what.
        return InvalidModel(text if len(text) <= 300 else f"{text[:100]} … {text[-200:]}")
    return None


def build_layers(model: keras.Model, input_shape: tuple[int, ...]) -> None:
    """Build what ``model`` has not built: it has no Input, or is a subclass without a ``build`` of its own.

    `keras.Model.build` marks such a subclass as built, but makes none of its weights; a call with symbolic images does.
    """
    if not isinstance(model, keras.Sequential):
        if not all(layer.built for layer in model._flatten_layers()):
            model(keras.Input(input_shape, dtype="uint8"))
    elif not model.built:
        model.build((None, *input_shape))


def check_shapes(model: keras.Model, dataset: Dataset) -> None:
    """Check that a model takes the images and labels of ``dataset`` and has an output for each of its classes.

    What it does not say of itself shows when it is fitted.

    Raises:
        InvalidModel: it does not; the message has both shapes.
    """
    takes, gives = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    images = dataset.input_shape
    if isinstance(takes, tuple) and (
        len(takes) != 4 or any(n not in (None, has) for n, has in zip(takes[1:], images, strict=True))
    ):
        raise InvalidModel(f"the model takes images of {_by(takes[1:])}, but those of the data set have {_by(images)}")
    if not isinstance(gives, tuple) or not all(isinstance(n, int) for n in gives[1:]):
        return
    loss = _keras_name(getattr(model, "loss", None))
    if loss == "sparse_categorical_crossentropy":
        if len(gives) == 2 and gives[1] != dataset.num_classes:
            raise InvalidModel(f"the model has {gives[1]} outputs, but the data set has {dataset.num_classes} classes")
    elif loss not in (*_OF_INTEGERS, None) and math.prod(gives[1:]) > 1:
        raise InvalidModel(
            f"the loss {loss} compares outputs of shape {_array(gives)} with labels of the same shape, but the labels "
            f"have shape (n,): {_LABELS}"
        )


def _keras_name(loss: Any) -> str | None:
    """The name of one of Keras's own losses, however it was given to ``compile``; None of any other."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    function = getattr(loss, "fn", loss)
    return function.__name__ if getattr(function, "__module__", "").startswith("keras.") else None


def _array(shape: tuple[int | None, ...]) -> str:
    """The shape of a batch, as people write it."""
    return f"(n, {', '.join(map(str, shape[1:]))})"


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join("any" if n is None else str(n) for n in shape)


def describe(model: keras.Model) -> ModelRecord:
    """What is recorded of a model: its number of parameters, its precision and the backend it runs on."""
    return ModelRecord(
        parameters=int(model.count_params()),
        precision=model.dtype_policy.name,
        backend=keras.backend.backend(),
    )
