"""Half precision that costs no accuracy: the outputs of a model, and so its loss and metrics, are in float32.

In bfloat16 a softmax of logits far apart is exactly 0 and 1, the loss has no gradient, and a network on raw pixels does
not learn (measured by tests/benchmarks/precision_accuracy.py).
"""

from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models.functional import Functional

_HALF = ("bfloat16", "float16")


def keep_outputs_in_float32(model: keras.Model, input_shape: tuple[int, ...]) -> bool:
    """Let ``model``, which has not run yet, compute its outputs in float32; whether it does so now.

    Recurrent layers compute in float32 as well: their states add up many small numbers, and JAX has no such kernel in
    bfloat16 on a GPU.

    In a functional or sequential model, also inside another one, the last layer with a matrix of weights before each
    output and everything after it are set to float32. The other layers of a model with a ``call`` of its own are left
    as they are: it computes its outputs in float32 only if its author says so.
    """
    recurrent = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    for layer in [part for each in recurrent for part in each._flatten_layers()]:
        layer.dtype_policy = "float32"
    if not _is_graph(model):
        outputs = model(keras.Input(input_shape, dtype="uint8"))
        return all(output.dtype not in _HALF for output in keras.tree.flatten(outputs))
    last = list(_last_operations(model))
    for layer in [part for each in last if isinstance(each, keras.Layer) for part in each._flatten_layers()]:
        if layer.compute_dtype in _HALF:
            layer.dtype_policy = "float32"
    # What is left is an operation such as `keras.ops.cast`, which has a type of its own.
    return not any(getattr(each, "dtype", None) in _HALF for each in last)


def _is_graph(layer: Any) -> bool:
    """Whether the layers of ``layer`` and their order are known: it is a functional or sequential model."""
    return getattr(type(layer), "call", None) in (Functional.call, keras.Sequential.call) and bool(layer.outputs)


def _last_operations(model: keras.Model) -> Iterator[Any]:
    """What computes the outputs of ``model``, from each back to the last layer with a matrix of weights."""
    tensors, seen = keras.tree.flatten(model.outputs), set()
    while tensors:
        operation, node, _ = tensors.pop()._keras_history
        if (operation, node) in seen:
            continue
        seen.add((operation, node))
        if _is_graph(operation):
            tensors += keras.tree.flatten(operation.outputs)
        else:
            yield operation
        if not any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ())):
            tensors += operation._inbound_nodes[node].input_tensors
