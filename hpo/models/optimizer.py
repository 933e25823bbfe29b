"""Optimizers and activations by name, as the stock builders read them from a trial's parameters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "tanh")
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


def build_optimizer(params: Mapping[str, Any]) -> "keras.optimizers.Optimizer":
    """The optimizer: from ``activation_optimizer``, else ``optimizer``, else adam.

    Args:
        params: ``learning_rate`` (default: Keras's own for that optimizer) and, for sgd, ``momentum`` (default 0.9).
    """
    import keras

    pair = _pair(params)
    name = pair[1] if pair else params.get("optimizer", "adam")
    settings = {"learning_rate": params["learning_rate"]} if "learning_rate" in params else {}
    if name == "sgd":
        settings["momentum"] = params.get("momentum", 0.9)
    return keras.optimizers.get({"class_name": name, "config": settings})


def _pair(params: Mapping[str, Any]) -> tuple[str, str] | None:
    if "activation_optimizer" not in params:
        return None
    activation, separator, optimizer = str(params["activation_optimizer"]).partition("+")
    if not separator:
        raise ValueError(f"activation_optimizer must be like relu+adam, but got {params['activation_optimizer']!r}")
    return activation, optimizer
