"""The dense network: its widths, its size, and what it makes of images."""

from typing import Any

import numpy as np
import pytest

from hpo.datasets import Dataset, Split
from hpo.models import build_mlp


@pytest.fixture
def dataset() -> Dataset:
    """16 gray images of noise, 28x28, in 10 classes."""
    split = Split(np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), np.uint8), np.arange(16) % 10)
    return Dataset("noise", split, split, tuple("0123456789"), "", seed=0, validation_fraction=0.5, subset=None)


def _layers(model: Any, kind: str) -> list[Any]:
    return [layer for layer in model.layers if type(layer).__name__ == kind]


@pytest.mark.parametrize(
    ("params", "units"),
    [
        pytest.param({}, [128, 10], id="defaults"),
        pytest.param({"hidden_layers": 3}, [128, 64, 32, 10], id="three-layers"),
        pytest.param({"hidden_layers": 3, "units": 3}, [3, 1, 1, 10], id="never-none"),
        pytest.param({"hidden_layers": 0}, [10], id="no-hidden-layer"),
    ],
)
def test_each_layer_is_half_the_one_before(params: dict[str, Any], units: list[int], dataset: Dataset) -> None:
    """And the parameters are those of the dense layers only."""
    model = build_mlp(params, dataset)
    assert [layer.units for layer in _layers(model, "Dense")] == units
    inputs = [28 * 28, *units]
    assert model.count_params() == sum((read + 1) * made for read, made in zip(inputs, units, strict=False))


def test_each_parameter_reaches_its_layers(dataset: Dataset) -> None:
    """None is accepted and then ignored."""
    model = build_mlp({"hidden_layers": 2, "dropout": 0.25, "activation_optimizer": "elu+nadam"}, dataset)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Rescaling", "Flatten", *["Dense", "Dropout"] * 2, "Dense"]
    assert [layer.rate for layer in _layers(model, "Dropout")] == [0.25, 0.25]
    assert [layer.activation.__name__ for layer in _layers(model, "Dense")] == ["elu", "elu", "softmax"]
    assert type(model.optimizer).__name__ == "Nadam"


def test_images_become_probabilities(dataset: Dataset) -> None:
    """Raw images (n, h, w, c) uint8 in, one probability for each class out."""
    probabilities = np.asarray(build_mlp({}, dataset)(dataset.train.images))
    assert (probabilities.shape, probabilities.dtype) == ((16, 10), np.float32)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(16), abs=1e-5)
