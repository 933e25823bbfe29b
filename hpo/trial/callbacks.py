"""Keras callbacks of a fit: they end it at NaN, record and report its epochs, end it when asked, and keep it."""

import math
import random
import time
from collections.abc import Callable
from typing import Any, Literal

import keras

from hpo.errors import NanLoss, StudyError
from hpo.trial.checkpoint import Checkpoint, Checkpoints

StopReason = Literal["completed", "early_stopping", "time_budget", "pruned", "paused", "interrupted"]
Record = Callable[[float, int], Literal["pruned", "paused"] | None]


class StopAtNan(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the fit at the first loss that is not a number; Keras's own prints and leaves no trace."""

    # Keras may call batch hooks from a thread; these only read a number and set a flag.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0
        self.failure: NanLoss | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the loss."""
        self.batches += 1
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            self.failure = NanLoss(f"the loss was {loss} at batch {batch + 1} of an epoch; lower the learning rate")
            self.model.stop_training = True


class EpochRecorder(StopAtNan):
    """Records each epoch, reports it, and ends the fit if the pruner, the worker or the time budget says so.

    It ends it by Keras's own flag, never by an exception: that would leave the callbacks' threads behind.

    Args:
        metric: the name of a value in Keras's epoch logs.
        seconds: after which the fit ends with its epoch; None for no limit.
        record: called with each epoch's metric and its number, from 1; why the fit is to end, None if it is not.
        interrupted: asked after each batch.
        finish_seconds: how long an interrupted epoch may take to its end; else the fit ends within it.
        history: filled with each of Keras's logs, and ``learning_rate`` and ``seconds``, a value per epoch.
    """

    def __init__(
        self,
        metric: str,
        seconds: float | None,
        record: Record,
        interrupted: Callable[[], bool],
        finish_seconds: float,
        history: dict[str, list[float]],
    ) -> None:
        super().__init__()
        self._metric = metric
        self._seconds = seconds
        self._record = record
        self._interrupted = interrupted
        self._finish_seconds = finish_seconds
        self._asked = 0.0
        self._epoch_started = 0.0
        self.history = history
        history["seconds"] = []
        self.stop_reason: StopReason | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._epoch_started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the loss, and whether somebody wants the fit to end."""
        super().on_train_batch_end(batch, logs)
        if not self._interrupted():
            return
        self._asked = self._asked or time.monotonic()
        if time.monotonic() >= self._asked + self._finish_seconds:
            self._stop("interrupted")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record the epoch, report it, and end the fit if it is to end."""
        if self.failure is not None or self.stop_reason == "interrupted":
            return
        values = {name: float(value) for name, value in (logs or {}).items() if name != "learning_rate"}
        reported = sorted(values)
        values["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        values["seconds"] = time.perf_counter() - self._epoch_started
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        if self._metric not in reported:
            raise StudyError(
                f"The metric {self._metric!r} is not among those that the model reports: {', '.join(reported)}. "
                "Name one of them as the study's `metric`, or compile the model with it."
            )
        reason = self._record(values[self._metric], epoch + 1)
        if reason is not None:
            self._stop(reason)
        elif self._interrupted():
            self._stop("interrupted")
        elif self._seconds is not None and sum(self.history["seconds"]) >= self._seconds:
            self._stop("time_budget")

    def go_on(self, history: dict[str, list[float]], stop_reason: StopReason | None) -> None:
        """Take over what an attempt before this one had recorded."""
        self.history.update({name: list(values) for name, values in history.items()})
        self.stop_reason = stop_reason
        for epoch, value in enumerate(self.history[self._metric]):
            self._record(value, epoch + 1)

    def _stop(self, reason: StopReason) -> None:
        self.stop_reason = reason
        self.model.stop_training = True


class EpochKeeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps each epoch, and at the beginning brings back the one that an earlier attempt kept.

    Args:
        begun: what to go on from; None to begin.
        watch: what records the epochs.
        counters: Keras's callbacks that count epochs, in the order in which they run.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        begun: Checkpoint | None,
        watch: EpochRecorder,
        counters: list[keras.callbacks.Callback],
    ) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._begun = begun
        self._watch = watch
        self._counters = counters

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Bring back what was kept."""
        if self._begun is None:
            return
        arrays = self._begun.arrays
        self.model.set_weights(arrays["weights"])
        for variable, value in zip(self.model.optimizer.variables, arrays["optimizer"], strict=True):
            variable.assign(value)
        for variable, value in zip(_random_states(self.model), arrays.get("random", ()), strict=True):
            variable.assign(value)
        for counter, counts in zip(self._counters, self._begun.state["counters"], strict=True):
            vars(counter).update(counts)
        self._counters[0].best_weights = arrays.get("best", arrays["weights"])
        self._watch.go_on(self._begun.state["history"], self._begun.state["stop_reason"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the epoch, if it was finished."""
        watch, best = self._watch, self._counters[0]
        if watch.failure is not None or len(watch.history["seconds"]) != epoch + 1:
            return  # the epoch was not finished
        arrays = {
            "weights": self.model.get_weights(),
            "optimizer": [keras.ops.convert_to_numpy(variable) for variable in self.model.optimizer.variables],
            "random": [keras.ops.convert_to_numpy(variable) for variable in _random_states(self.model)],
        }
        if best.best_epoch != epoch:
            arrays["best"] = best.best_weights
        state = {
            "history": watch.history,
            "counters": [_counts(counter) for counter in self._counters],
            "stop_reason": None if watch.stop_reason in ("interrupted", "paused") else watch.stop_reason,
            "ended": best.stopped_epoch > 0 or watch.stop_reason in ("pruned", "time_budget"),
            "seed": random.getrandbits(31),  # of the epochs to come
        }
        self._checkpoints.save(Checkpoint(epoch + 1, state, arrays))


def _random_states(model: keras.Model) -> list[Any]:
    """What the model's random layers, such as Dropout, draw from: Keras does not count it among the weights."""
    weights = set(map(id, model.weights))
    return [variable for variable in model.variables if id(variable) not in weights]


def _counts(counter: keras.callbacks.Callback) -> dict[str, Any]:
    """What one of Keras's callbacks has counted."""
    names = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
    counts = {name: vars(counter)[name] for name in names if name in vars(counter)}
    return {name: value if isinstance(value, int | None) else float(value) for name, value in counts.items()}
