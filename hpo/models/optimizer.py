"""Optimizers and activations by name, as the stock builders read them from a trial's parameters."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.study.task import DEFAULT_BATCH_SIZE

if TYPE_CHECKING:
    import keras

    from hpo.datasets import Dataset

ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "tanh")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "sgd", "rmsprop", "adagrad", "adadelta", "adamax", "nadam")

# Activation and optimizer are one choice, because an optimizer that suits one activation may not suit another.
PAIRS = tuple(f"{activation}+{optimizer}" for activation in ACTIVATIONS for optimizer in OPTIMIZERS)


def pairs_with(optimizer: str) -> tuple[str, ...]:
    """The pairs of ``PAIRS`` with this optimizer."""
    return tuple(pair for pair in PAIRS if pair.endswith(f"+{optimizer}"))


def activation_of(params: Mapping[str, Any]) -> str:
    """The activation's name: from ``activation_optimizer``, else ``activation``, else "relu"."""
    pair = _pair(params)
    return pair[0] if pair else str(params.get("activation", "relu"))


def build_optimizer(params: Mapping[str, Any], dataset: "Dataset") -> "keras.optimizers.Optimizer":
    """The optimizer: from ``activation_optimizer``, else ``optimizer``, else adam.

    Args:
        params: ``learning_rate`` (default: Keras's own for that optimizer), ``weight_decay`` (0), for sgd ``momentum``
            (0.9), and ``schedule``: "constant" (the default; the trial may still reduce it), or "cosine", by which the
            rate falls to 0 within the parameter ``epochs`` (Loshchilov and Hutter, 2017).
        dataset: for how many batches an epoch has.

    Raises:
        ValueError: there is no such schedule, or a cosine without ``epochs``.
    """
    import keras

    pair = _pair(params)
    name = pair[1] if pair else params.get("optimizer", "adam")
    settings = {setting: params[setting] for setting in ("learning_rate", "weight_decay") if setting in params}
    if name == "sgd":
        settings["momentum"] = params.get("momentum", 0.9)
    optimizer = keras.optimizers.get({"class_name": name, "config": settings})
    schedule = params.get("schedule", "constant")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, but got {schedule!r}")
    if schedule == "cosine":
        if "epochs" not in params:
            raise ValueError("a cosine schedule needs to know its length: give the study a parameter epochs")
        batches = math.ceil(len(dataset.train.labels) / params.get("batch_size", DEFAULT_BATCH_SIZE))
        optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(
            float(optimizer.learning_rate), decay_steps=params["epochs"] * batches
        )
    return optimizer


def _pair(params: Mapping[str, Any]) -> tuple[str, str] | None:
    if "activation_optimizer" not in params:
        return None
    activation, separator, optimizer = str(params["activation_optimizer"]).partition("+")
    if not separator:
        raise ValueError(f"activation_optimizer must be like relu+adam, but got {params['activation_optimizer']!r}")
    return activation, optimizer
