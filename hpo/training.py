"""One fit of a Keras model: early stopping, learning-rate reduction, a report each epoch, failures with types."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras

from hpo.budget import Stopping
from hpo.datasets import Dataset, Split
from hpo.errors import InvalidModel, NanLoss, OutOfMemory, StudyError, TrialFailure, TrialInterrupted

StopReason = Literal["completed", "early_stopping", "time_budget", "pruned", "interrupted"]
Record = Callable[[float, int], bool]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How long and towards what to fit.

    Args:
        epochs: at most.
        batch_size: images a step.
        metric: the name of a value in Keras's epoch logs.
        direction: "maximize" or "minimize".
        stopping: early stopping and learning-rate reduction.
        seconds: after which the fit ends with its epoch; None for no limit.
    """

    epochs: int
    batch_size: int
    metric: str
    direction: str
    stopping: Stopping
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What one fit did; the model holds the weights of its best epoch.

    Args:
        history: for each of Keras's logs, and ``learning_rate`` and ``seconds``, a value an epoch.
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


def fit(
    model: keras.Model,
    dataset: Dataset,
    settings: FitSettings,
    *,
    record: Record,
    interrupted: Callable[[], bool],
) -> Fit:
    """Fit ``model`` on the training images and validate it each epoch; leaves it with its best weights.

    Args:
        model: compiled; takes images (n, h, w, c) uint8 and integer labels (n,).
        record: called with each epoch's metric and its number, from 1; True ends the trial as pruned.
        interrupted: asked after each batch; True ends the fit.

    Raises:
        StudyError: the model does not report the metric; the message names those it does.
        TrialInterrupted: ``interrupted`` said so.
        NanLoss: the loss is not a number.
        OutOfMemory: the device has too little memory.
        InvalidModel: the model does not take these images and labels.
    """
    mode = "max" if settings.direction == "maximize" else "min"
    watch = _Watch(settings, record, interrupted)
    # Keras keeps the best weights only in this callback; to train to the end it waits longer than that.
    best = keras.callbacks.EarlyStopping(
        settings.metric,
        mode=mode,
        patience=settings.stopping.patience or settings.epochs + 1,
        restore_best_weights=True,
    )
    callbacks = [watch, best]
    if settings.stopping.reduce_lr_patience is not None and not _has_schedule(model):
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                settings.metric,
                mode=mode,
                patience=settings.stopping.reduce_lr_patience,
                factor=settings.stopping.reduce_lr_factor,
            )
        )
    try:
        model.fit(
            dataset.train.images,
            dataset.train.labels,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            validation_data=(dataset.validation.images, dataset.validation.labels),
            callbacks=callbacks,
            verbose=0,
        )
    except Exception as error:
        failure = as_failure(error, trained=watch.batches > 0)
        if failure is None:
            raise
        failure.history = watch.history
        raise failure from error
    if watch.failure is not None:
        watch.failure.history = watch.history
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
    """
    stop_at_nan = _StopAtNan()
    callbacks: list[keras.callbacks.Callback] = [stop_at_nan]
    if not _has_schedule(model):
        callbacks.append(keras.callbacks.LearningRateScheduler(lambda epoch, _rate: learning_rates[epoch]))
    model.fit(
        split.images,
        split.labels,
        batch_size=batch_size,
        epochs=len(learning_rates),
        callbacks=callbacks,
        verbose=0,
    )
    if stop_at_nan.failure is not None:
        raise stop_at_nan.failure


def _has_schedule(model: keras.Model) -> bool:
    """Whether the optimizer follows a schedule of its own, which nobody else may set."""
    return isinstance(model.optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)


class _StopAtNan(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the fit at the first loss that is not a number; Keras's own prints and leaves no trace."""

    # Keras may call batch hooks from a thread; these only read a number and set a flag.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0
        self.failure: NanLoss | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.batches += 1
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            self.failure = NanLoss(f"the loss was {loss} at batch {batch + 1} of an epoch; lower the learning rate")
            self.model.stop_training = True


class _Watch(_StopAtNan):
    """Records each epoch, reports it, and ends the fit where the outside says so.

    It ends it by Keras's own flag, never by an exception: that would leave the callbacks' threads behind.
    """

    def __init__(self, settings: FitSettings, record: Record, interrupted: Callable[[], bool]) -> None:
        super().__init__()
        self._settings = settings
        self._record = record
        self._interrupted = interrupted
        self._epoch_started = 0.0
        self.history: dict[str, list[float]] = {"seconds": []}
        self.stop_reason: StopReason | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        if self._interrupted():
            self._stop("interrupted")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.failure is not None or self.stop_reason == "interrupted":
            return
        values = {name: float(value) for name, value in (logs or {}).items()}
        if self._settings.metric not in values:
            available = ", ".join(sorted(name for name in values if name != "learning_rate"))
            raise StudyError(
                f"The metric {self._settings.metric!r} is not among those that the model reports: {available}. "
                "Name one of them as the study's `metric`, or compile the model with it."
            )
        values["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        values["seconds"] = time.perf_counter() - self._epoch_started
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        if self._record(values[self._settings.metric], epoch + 1):
            self._stop("pruned")
        elif self._interrupted():
            self._stop("interrupted")
        elif self._settings.seconds is not None and sum(self.history["seconds"]) >= self._settings.seconds:
            self._stop("time_budget")

    def _stop(self, reason: StopReason) -> None:
        self.stop_reason = reason
        self.model.stop_training = True


def as_failure(error: Exception, *, trained: bool) -> TrialFailure | None:
    """``error``, raised by Keras, as a failure with a type; None where it is none of those.

    Args:
        trained: whether any batch had been trained: what raises later is no matter of the model's shape.
    """
    # By name: each backend has its own classes, and this module imports none of them.
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "ResourceExhausted" in text or "RESOURCE_EXHAUSTED" in text:
        return OutOfMemory("the device has too little memory for this model and batch size")
    if (not trained and isinstance(error, ValueError | TypeError)) or "InvalidArgument" in type(error).__name__:
        return InvalidModel(" ".join(text.split())[:300])
    return None


def describe(model: keras.Model) -> dict[str, Any]:
    """What is recorded of a model: its number of parameters and the backend it runs on."""
    return {"parameters": int(model.count_params()), "backend": keras.backend.backend()}
