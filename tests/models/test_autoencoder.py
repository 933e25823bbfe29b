"""The autoencoder: its size, and that images come back in their shape."""

from typing import Any

import numpy as np
import pytest

from hpo.datasets import Dataset, Split
from hpo.models import build_autoencoder
from hpo.models.autoencoder import autoencode


@pytest.fixture
def dataset() -> Dataset:
    """16 gray images of noise, 28x28, in 10 classes."""
    split = Split(np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), np.uint8), np.arange(16) % 10)
    return Dataset("noise", split, split, tuple("0123456789"), "", seed=0, validation_fraction=0.5, subset=None)


def _layers(model: Any, kind: str) -> list[Any]:
    return [layer for layer in model.layers if type(layer).__name__ == kind]


def test_parameters_are_those_of_the_report(dataset: Dataset) -> None:
    """28x28 to a code of 3x3x64 and back through 7x7 and 14x14, then dense 300-100-10."""
    model = build_autoencoder({}, dataset)
    encoder, decoder = _layers(model, "Conv2D"), _layers(model, "Conv2DTranspose")
    assert sum(layer.count_params() for layer in encoder) == 23_296
    assert sum(layer.count_params() for layer in decoder) == 23_233
    assert model.count_params() == 313_139
    assert _layers(model, "MaxPooling2D")[-1].output.shape == (None, 3, 3, 64)
    assert [layer.output.shape for layer in decoder] == [(None, 7, 7, 32), (None, 14, 14, 16), (None, 28, 28, 1)]


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        pytest.param((28, 28, 1), (16, 32, 64), id="fashion-mnist"),
        pytest.param((32, 32, 3), (4, 8), id="even-in-colour"),
        pytest.param((27, 27, 1), (4, 8, 8), id="odd"),
        pytest.param((13, 14, 1), (4, 8), id="one-side-odd"),
        pytest.param((30, 17, 2), (4, 8, 8, 8), id="now-one-now-the-other"),
        pytest.param((5, 5, 1), (4,), id="one-stage"),
    ],
)
def test_images_come_back_in_their_shape(shape: tuple[int, int, int], filters: tuple[int, ...]) -> None:
    """Whatever the sides: pooling drops the odd pixel, the decoder puts it back."""
    import keras

    assert autoencode(keras.Input(shape), filters).shape == (None, *shape)


def test_more_poolings_than_pixels_is_an_error_of_the_value() -> None:
    """By which the objective knows a configuration that cannot be built from a bug."""
    import keras

    with pytest.raises(ValueError, match="output size would be zero or negative"):
        autoencode(keras.Input((4, 4, 1)), (2, 2, 2))


def test_each_parameter_reaches_its_layers(dataset: Dataset) -> None:
    """The activation is everywhere but where the image comes out."""
    model = build_autoencoder({"hidden_units": (24,), "activation_optimizer": "elu+nadam"}, dataset)
    activations = {
        kind: [layer.activation.__name__ for layer in _layers(model, kind)]
        for kind in ("Conv2D", "Conv2DTranspose", "Dense")
    }
    assert activations == {
        "Conv2D": ["elu"] * 3,
        "Conv2DTranspose": ["elu", "elu", "linear"],
        "Dense": ["elu", "softmax"],
    }
    assert [layer.units for layer in _layers(model, "Dense")] == [24, 10]
    assert type(model.optimizer).__name__ == "Nadam"


def test_labels_train_every_part(dataset: Dataset) -> None:
    """One step moves the encoder, the decoder and the classifier."""
    import keras

    keras.utils.set_random_seed(0)
    model = build_autoencoder({}, dataset)
    model.run_eagerly = True
    before = model.get_weights()
    model.train_on_batch(dataset.train.images, dataset.train.labels)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert not np.array_equal(old, new)
