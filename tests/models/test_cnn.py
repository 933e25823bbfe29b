"""The stock CNN: its size, its shapes, its precision, and every pair of activation and optimizer trained once."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.datasets import Dataset, Split
from hpo.models import PAIRS, build_cnn


def _dataset(side: int = 8, channels: int = 1, classes: int = 10) -> Dataset:
    """16 images of noise."""
    images = np.random.default_rng(0).integers(0, 256, (16, side, side, channels), np.uint8)
    split = Split(images, np.arange(16) % classes)
    names = tuple(str(label) for label in range(classes))
    return Dataset("noise", split, split, names, sha256="", seed=0, validation_fraction=0.5, subset=None)


@pytest.fixture
def keras() -> Iterator[Any]:
    """Keras, its policy restored after the test."""
    import keras

    policy = keras.config.dtype_policy()
    yield keras
    keras.config.set_dtype_policy(policy)


def _layers(model: Any, kind: str) -> list[Any]:
    return [layer for layer in model.layers if type(layer).__name__ == kind]


@pytest.mark.parametrize(
    ("params", "dataset", "trainable", "fixed"),
    [
        pytest.param(
            {"filters": 4, "blocks": 1, "dense_units": 8},
            _dataset(side=8),
            # 3x3 convolution and biases, 8x8 pooled to 4x4 times 4 filters into 8 units, 8 units into 10 classes
            (3 * 3 * 1 * 4 + 4) + (4 * 4 * 4 * 8 + 8) + (8 * 10 + 10),
            0,
            id="one-block",
        ),
        pytest.param(
            {"filters": 8, "blocks": 2, "kernel_size": 5, "batch_norm": True, "dense_units": 16},
            _dataset(side=28, channels=3, classes=4),
            # no biases but scale and shift for each filter; 28 pooled to 14, to 7; the filters double to 8
            (5 * 5 * 3 * 4 + 2 * 4) + (5 * 5 * 4 * 8 + 2 * 8) + (7 * 7 * 8 * 16 + 16) + (16 * 4 + 4),
            2 * 4 + 2 * 8,  # the mean and the variance of each filter
            id="two-blocks-with-batch-norm",
        ),
        pytest.param(
            {"filters": 4, "blocks": 1, "convs_per_block": 2, "dense_units": 8},
            _dataset(side=8),
            # the second convolution reads the 4 filters of the first, before the pooling
            (3 * 3 * 1 * 4 + 4) + (3 * 3 * 4 * 4 + 4) + (4 * 4 * 4 * 8 + 8) + (8 * 10 + 10),
            0,
            id="two-convolutions",
        ),
    ],
)
def test_parameters_are_as_counted_by_hand(
    params: dict[str, Any], dataset: Dataset, trainable: int, fixed: int, keras: Any
) -> None:
    """Nothing more and nothing less is trained than the docstring says."""
    model = build_cnn(params, dataset)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == trainable
    assert sum(math.prod(weight.shape) for weight in model.non_trainable_weights) == fixed


def test_defaults_are_those_of_the_docstring(keras: Any) -> None:
    """A space may leave every parameter out."""
    model = build_cnn({}, _dataset())
    documented = {
        "filters": 64, "blocks": 2, "convs_per_block": 1, "kernel_size": 3, "dense_units": 128, "dropout": 0,
        "batch_norm": False, "pooling": "max", "head": "flatten", "augmentation": "none", "activation": "relu",
        "optimizer": "adam", "schedule": "constant",
    }  # fmt: skip
    assert _shape_of(model) == _shape_of(build_cnn(documented, _dataset()))
    assert [layer.filters for layer in _layers(model, "Conv2D")] == [32, 64]


def _shape_of(model: Any) -> list[tuple[str, Any]]:
    """Each layer's kind and settings, less its name; and the optimizer's kind."""
    layers = [(type(layer).__name__, {**layer.get_config(), "name": ""}) for layer in model.layers]
    return [*layers, (type(model.optimizer).__name__, None)]


def test_images_become_probabilities(keras: Any) -> None:
    """Raw images (n, h, w, c) uint8 in, one probability for each class out."""
    dataset = _dataset(side=9, channels=3, classes=5)
    probabilities = np.asarray(build_cnn({"filters": 4, "dense_units": 8}, dataset)(dataset.train.images))
    assert probabilities.shape == (16, 5)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(16), abs=1e-5)
    assert probabilities.min() >= 0


def test_images_are_scaled_inside_the_model(keras: Any) -> None:
    """So that an exported model takes a picture's bytes as they are."""
    model = build_cnn({"filters": 4, "blocks": 1, "dense_units": 8}, _dataset())
    scale = model.layers[1]
    assert np.asarray(scale(np.array([[0, 51, 255]], np.uint8))) == pytest.approx(np.array([[0.0, 0.2, 1.0]]))


def test_probabilities_are_float32_in_half_precision(keras: Any) -> None:
    """What is measured is not rounded, while the layers before compute in bfloat16."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    dataset = _dataset()
    model = build_cnn({"filters": 4, "dense_units": 8, "batch_norm": True}, dataset)
    assert {layer.compute_dtype for layer in _layers(model, "Conv2D")} == {"bfloat16"}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert np.asarray(model(dataset.train.images)).dtype == np.float32


@pytest.mark.parametrize(
    ("augmentation", "kinds"),
    [("none", set()), ("flip", {"RandomFlip"}), ("flip+shift", {"RandomFlip", "RandomTranslation"})],
)
def test_images_are_altered_while_it_trains_and_not_when_it_predicts(
    augmentation: str, kinds: set[str], keras: Any
) -> None:
    """By the layers that were asked for, whatever is exported with them."""
    dataset = _dataset()
    model = build_cnn({"filters": 4, "blocks": 1, "augmentation": augmentation}, dataset)
    assert {type(layer).__name__ for layer in model.layers if "Random" in type(layer).__name__} == kinds
    same = [np.asarray(model(dataset.train.images, training=False)) for _ in range(2)]
    assert np.array_equal(*same)
    altered = np.asarray(model(dataset.train.images, training=True))
    assert np.allclose(altered, same[0]) == (not kinds)


def test_an_average_of_each_filter_makes_the_dense_layer_small(keras: Any) -> None:
    """However large the image."""
    small, large = (build_cnn({"head": "average", "filters": 8}, _dataset(side=side)) for side in (8, 28))
    assert small.count_params() == large.count_params()


@pytest.mark.parametrize("convolutions", [1, 2])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_batch_norm_is_there_only_if_asked_for(keras: Any, *, batch_norm: bool, convolutions: int) -> None:
    """Between each convolution and its activation; the convolution then has no bias, which would cancel out."""
    params = {"filters": 4, "blocks": 3, "convs_per_block": convolutions, "dense_units": 8, "batch_norm": batch_norm}
    model = build_cnn(params, _dataset())
    kinds = [type(layer).__name__ for layer in model.layers]
    convolution = ["Conv2D", *(["BatchNormalization"] if batch_norm else []), "Activation"]
    block = [*convolution * convolutions, "MaxPooling2D", "Dropout"]
    assert kinds == ["InputLayer", "Rescaling", *block * 3, "Flatten", "Dense", "Dropout", "Dense"]
    assert {layer.use_bias for layer in _layers(model, "Conv2D")} == {not batch_norm}


@pytest.mark.parametrize(("filters", "widths"), [(128, [32, 64, 128]), (11, [2, 5, 11]), (2, [1, 1, 2])])
def test_filters_double_up_to_the_last_block(keras: Any, filters: int, widths: list[int]) -> None:
    """Few where the image is large, and never none."""
    model = build_cnn({"filters": filters, "blocks": 3, "dense_units": 8}, _dataset())
    assert [layer.filters for layer in _layers(model, "Conv2D")] == widths


def test_each_parameter_reaches_its_layers(keras: Any) -> None:
    """None is accepted and then ignored."""
    params = {
        "filters": 4, "kernel_size": 5, "dense_units": 24, "dropout": 0.25, "pooling": "average",
        "activation_optimizer": "elu+nadam",
    }  # fmt: skip
    model = build_cnn(params, _dataset())
    assert {layer.kernel_size for layer in _layers(model, "Conv2D")} == {(5, 5)}
    assert [layer.units for layer in _layers(model, "Dense")] == [24, 10]
    assert [layer.rate for layer in _layers(model, "Dropout")] == [0.25] * 3
    assert (len(_layers(model, "AveragePooling2D")), len(_layers(model, "MaxPooling2D"))) == (2, 0)
    activations = [layer.activation.__name__ for layer in [*_layers(model, "Activation"), *_layers(model, "Dense")]]
    assert activations == ["elu", "elu", "elu", "softmax"]
    assert type(model.optimizer).__name__ == "Nadam"


@pytest.mark.parametrize("pair", PAIRS)
def test_every_pair_takes_a_step(pair: str, keras: Any) -> None:
    """Each weight moves, and to a number. One step without a graph: tracing one costs a second for each pair."""
    dataset = _dataset()
    keras.utils.set_random_seed(0)
    model = build_cnn({"filters": 4, "blocks": 1, "dense_units": 8, "activation_optimizer": pair}, dataset)
    model.run_eagerly = True
    before = model.get_weights()
    logs = model.train_on_batch(dataset.train.images, dataset.train.labels, return_dict=True)
    assert set(logs) == {"loss", "accuracy"}
    assert all(math.isfinite(value) for value in logs.values())
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert not np.array_equal(old, new)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"activation": "rellu"}, "activation function identifier: rellu", id="activation"),
        pytest.param({"optimizer": "adamm"}, "optimizer identifier: .*adamm", id="optimizer"),
        pytest.param({"activation_optimizer": "rellu+adam"}, "activation .*rellu", id="pair-with-a-bad-activation"),
        pytest.param({"activation_optimizer": "relu+adamm"}, "optimizer .*adamm", id="pair-with-a-bad-optimizer"),
        pytest.param({"blocks": 4}, "output size would be zero or negative", id="more-poolings-than-pixels"),
        pytest.param({"dropout": 1.5}, "between 0 and 1", id="dropout-of-more-than-all"),
        pytest.param({"pooling": "median"}, "pooling must be max or average, but got 'median'", id="pooling"),
        pytest.param({"head": "max"}, "head must be flatten or average, but got 'max'", id="head"),
        pytest.param({"augmentation": "zoom"}, r"none or flip or flip\+shift, but got 'zoom'", id="augmentation"),
        pytest.param({"activation_optimizer": "relu"}, r"must be like relu\+adam, but got 'relu'", id="pair-of-one"),
    ],
)
def test_what_gives_no_model_is_an_error_of_the_value(params: dict[str, Any], message: str, keras: Any) -> None:
    """A ValueError, by which the objective knows a configuration that cannot be built from a bug."""
    with pytest.raises(ValueError, match=message):
        build_cnn({"filters": 4, "dense_units": 8, **params}, _dataset())


def test_an_altering_model_with_a_schedule_is_a_file_that_keras_alone_can_read(tmp_path: Path, keras: Any) -> None:
    """In both formats, and it predicts the same."""
    dataset = _dataset()
    params = {"filters": 4, "augmentation": "flip+shift", "schedule": "cosine", "epochs": 2, "weight_decay": 0.01}
    model = build_cnn({**params, "head": "average", "batch_norm": True}, dataset)
    model.fit(dataset.train.images, dataset.train.labels, epochs=2, batch_size=128, verbose=0)
    expected = model.predict(dataset.train.images, verbose=0)
    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        loaded = keras.models.load_model(tmp_path / name, compile=False)
        assert np.allclose(loaded.predict(dataset.train.images, verbose=0), expected, atol=1e-6)
