"""Which layers compute in float32 when the others compute in half precision."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
from keras import layers

from hpo.trial.half_precision import keep_outputs_in_float32
from hpo.trial.training import start_fresh

SHAPE = (6, 6, 1)
Tensor = keras.KerasTensor


@pytest.fixture(autouse=True)
def half() -> Iterator[None]:
    start_fresh(0, "mixed_bfloat16")
    yield
    start_fresh(0, "float32")


def _dense(images: Tensor) -> Tensor:
    return layers.Dense(8, name="body")(layers.Flatten()(images))


def _nested(*parts: keras.layers.Layer) -> Callable[[Tensor], Tensor]:
    return lambda images: keras.Sequential([keras.Input((8,)), *parts])(_dense(images))


def _branches(images: Tensor) -> list[Tensor]:
    x = _dense(images)
    return [layers.Softmax()(layers.Dense(2, name="last")(x)), layers.Add()([x, layers.Dense(8, name="other")(x)])]


@pytest.mark.parametrize(
    ("outputs", "in_float32"),
    [
        pytest.param(lambda x: layers.Dense(2, name="last")(_dense(x)), {"last"}, id="dense"),
        pytest.param(
            lambda x: layers.Activation("softmax", dtype="float32", name="softmax")(
                layers.BatchNormalization(name="norm")(layers.Dense(2, name="last")(_dense(x)))
            ),
            {"last", "norm", "softmax"},
            id="from-the-last-matrix-on",
        ),
        pytest.param(
            lambda x: keras.ops.softmax(layers.Dense(2, name="last")(_dense(x)) * 2), {"last"}, id="operation"
        ),
        pytest.param(_nested(layers.Dense(2, name="last")), {"last"}, id="in-a-model-inside"),
        pytest.param(_nested(layers.Softmax(name="softmax")), {"body", "softmax"}, id="before-a-model-inside"),
        pytest.param(_branches, {"last", "softmax", "other", "body", "add"}, id="every-path-of-two-outputs"),
        pytest.param(
            lambda x: layers.Bidirectional(layers.GRU(2, name="gru"), name="last")(layers.Reshape((6, 6))(x)),
            {"last", "forward_gru", "backward_gru", "gru_cell"},
            id="with-its-parts",
        ),
        pytest.param(
            lambda x: layers.Dense(2, name="last")(layers.LSTM(2, name="lstm")(layers.Reshape((6, 6))(x))),
            {"last", "lstm", "lstm_cell"},
            id="recurrent",
        ),
        pytest.param(lambda x: layers.Dense(2, dtype="float32", name="last")(_dense(x)), {"last"}, id="by-its-author"),
    ],
)
def test_the_last_weights_and_what_follows_are_in_float32(
    outputs: Callable[[Tensor], Tensor], in_float32: set[str]
) -> None:
    """And nothing else; what the model gives is so, and its weights were all along."""
    images = keras.Input(SHAPE)
    model = keras.Model(images, outputs(images))
    assert keep_outputs_in_float32(model, SHAPE)
    parts = [part for part in model._flatten_layers() if not isinstance(part, keras.Model | layers.InputLayer)]
    assert {part.name for part in parts if part.compute_dtype == "float32"} == in_float32
    given = keras.tree.flatten(model(np.zeros((3, *SHAPE), np.uint8)))
    assert {keras.backend.standardize_dtype(each.dtype) for each in given} == {"float32"}


class Own(keras.Model):
    def __init__(self, dtype: str | None) -> None:
        super().__init__()
        self.last = layers.Dense(2, dtype=dtype)

    def call(self, images: Tensor) -> Tensor:
        return self.last(keras.ops.reshape(images, (-1, 36)))


def _cast() -> keras.Model:
    images = keras.Input(SHAPE)
    return keras.Model(images, keras.ops.cast(_dense(images), "bfloat16"))


@pytest.mark.parametrize(
    ("build", "kept"),
    [
        pytest.param(lambda: Own("float32"), True, id="subclass-by-its-author"),
        pytest.param(lambda: Own(None), False, id="subclass"),
        pytest.param(_cast, False, id="cast"),
    ],
)
def test_what_cannot_be_set_from_outside_is_told(build: Callable[[], keras.Model], kept: bool) -> None:
    """Only a model that gives float32 by itself may stay in half precision."""
    assert keep_outputs_in_float32(build(), SHAPE) == kept
