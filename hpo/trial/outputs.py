"""What the outputs of a classifier mean: probabilities or logits, one for each class or one for the second of two."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import UsageError

if TYPE_CHECKING:
    import keras

PROBABILITIES, LOGITS = "probabilities", "logits"
ONE_PROBABILITY, ONE_LOGIT = "probability of the second class", "logit of the second class"
KINDS = (PROBABILITIES, LOGITS, ONE_PROBABILITY, ONE_LOGIT)


def outputs_of(model: "keras.Model", given: NDArray[Any]) -> str:
    """Which of ``KINDS`` a model gives, by its loss, else by its last activation, else by what it gives.

    Args:
        model: compiled or not.
        given: (n, k) what it gives for some images.
    """
    from_logits = _from_logits(model)
    if from_logits is None:
        from_logits = bool(((given < 0) | (given > 1)).any())
    if given.shape[1] == 1:
        return ONE_LOGIT if from_logits else ONE_PROBABILITY
    return LOGITS if from_logits else PROBABILITIES


def as_probabilities(given: NDArray[Any], outputs: str) -> NDArray[np.float64]:
    """The probability of each class, (n, k), from what a model gives.

    Args:
        given: (n, k), or (n, 1) if there are two classes and ``outputs`` is of the second.
        outputs: one of ``KINDS``.

    Raises:
        UsageError: these are no probabilities.
    """
    from scipy.special import expit, softmax

    values = np.asarray(given, dtype=np.float64)
    if outputs == LOGITS:
        values = softmax(values, axis=1)
    elif outputs == ONE_LOGIT:
        values = expit(values)
    if outputs in (ONE_PROBABILITY, ONE_LOGIT):
        values = np.concatenate([1 - values, values], axis=1)
    # A softmax in bfloat16 misses 1 by up to a hundredth; logits miss it by far more.
    sums = values.sum(axis=1)
    wrong = np.flatnonzero(~((np.abs(sums - 1) < 0.02) & (values >= 0).all(axis=1)))
    if wrong.size:
        row = np.array2string(np.asarray(given[wrong[0]][:4], np.float64), precision=3, separator=", ")
        raise UsageError(
            "A model must give probabilities that sum to 1, or logits to a loss with from_logits=True, but for image "
            f"{wrong[0]} it gives {row} with sum {given[wrong[0]].sum():.4g}. End it with a float32 softmax, or a "
            "sigmoid of one unit for two classes; where there is nan, train it again."
        )
    return values


def _from_logits(model: "keras.Model") -> bool | None:
    """Whether a model gives logits; None if neither its loss nor its last activation says so."""
    loss = model.loss if getattr(model, "compiled", False) else None
    told: bool | None = getattr(loss, "from_logits", None)
    if told is not None:
        return told
    if isinstance(loss, str) or getattr(loss, "__module__", "").startswith("keras."):
        return False  # what all of Keras's own losses assume unless told otherwise
    return _ends_linear(model)


def _ends_linear(model: "keras.Model") -> bool | None:
    """Whether the last activation of a model is none at all; None if it is not known which one that is."""
    import keras

    if not hasattr(model, "outputs"):
        return None  # the order of a subclassed model's layers is not that of its computation
    for layer in reversed(model.layers):
        if isinstance(layer, keras.Model):
            return _ends_linear(layer)
        if isinstance(layer, keras.layers.Softmax):
            return False
        activation = getattr(layer, "activation", None)
        if activation is None or (isinstance(layer, keras.layers.Activation) and _name(activation) == "linear"):
            if isinstance(layer, keras.layers.Activation | keras.layers.Flatten | keras.layers.Reshape):
                continue  # a linear activation is how mixed precision ends in float32
            return None
        return {"linear": True, "softmax": False, "sigmoid": False}.get(_name(activation))
    return None


def _name(activation: Any) -> str:
    return getattr(activation, "__name__", "")
