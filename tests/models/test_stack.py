"""Networks in words: what each word makes, what the reports counted, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import Stopping
from hpo.datasets import Dataset, Split
from hpo.models import build_stack


def _dataset(side: int = 8, channels: int = 1, classes: int = 10) -> Dataset:
    """16 images of noise."""
    images = np.random.default_rng(0).integers(0, 256, (16, side, side, channels), np.uint8)
    split = Split(images, np.arange(16) % classes)
    names = tuple(str(label) for label in range(classes))
    return Dataset("noise", split, split, names, sha256="", seed=0, validation_fraction=0.5, subset=None)


def _layers(model: Any, kind: str) -> list[Any]:
    return [layer for layer in model.layers if type(layer).__name__ == kind]


_CONVS = "conv32 pool conv64 pool conv64 flatten"
_DEEP = (
    "conv32 norm conv32 norm pool drop0.2 conv64 norm conv128 norm pool drop0.2 "
    "flatten dense512 norm drop0.3 dense128 norm drop0.4 softmax"
)


@pytest.mark.parametrize(
    ("layers", "parameters"),
    [
        pytest.param(f"{_CONVS} dense64 softmax", 93_322, id="b1"),
        pytest.param("conv32x5 pool conv64x5 pool conv64x3 flatten dense64 softmax", 106_122, id="b2"),
        pytest.param("conv32 pool", 320, id="b3"),
        pytest.param("conv32 pool conv64 flatten dense64 softmax", 515_146, id="b4"),
        pytest.param("conv32 conv32 pool conv32 pool conv64 conv64 flatten dense64 softmax", 79_050, id="b5"),
        pytest.param("conv32 conv64 conv64 flatten dense64 softmax", 2_038_922, id="b6"),
        pytest.param(f"{_CONVS} dense128 softmax", 130_890, id="b7"),
        pytest.param(f"{_CONVS} drop0.3 dense128 softmax", 130_890, id="b7-with-dropout"),
        pytest.param("conv32 conv64 conv64 flatten dense128 softmax", 4_022_090, id="b8"),
        pytest.param("conv32 pool flatten dense64 softmax", 347_146, id="b9"),
        pytest.param("autoencoder flatten dense300 dense100 softmax", 313_139, id="a"),
        pytest.param("conv32 pool flatten dense100 softmax", 542_230, id="e-reference"),
    ],
)
def test_parameters_are_those_of_the_reports_on_ten_classes(layers: str, parameters: int) -> None:
    """Counted by their authors, with the same layers on 28x28 images."""
    assert build_stack({"layers": layers}, _dataset(28)).count_params() == parameters


@pytest.mark.parametrize(
    ("layers", "padding", "parameters"),
    [
        pytest.param("conv32 pool conv64 pool conv128 flatten dense128 softmax", "valid", 240_901, id="c1"),
        pytest.param(
            "conv32 norm pool drop0.25 conv64 norm pool drop0.25 conv128 norm drop0.4 "
            "flatten dense128 norm drop0.3 softmax",
            "valid",
            242_309,
            id="c2",
        ),
        pytest.param(_DEEP, "valid", 1_220_901, id="c3"),
        pytest.param(_DEEP, "same", 3_383_589, id="c4"),
    ],
)
def test_parameters_are_those_of_the_report_on_five_classes(layers: str, padding: str, parameters: int) -> None:
    """The same architecture with padding has three times as many."""
    model = build_stack({"layers": layers, "padding": padding}, _dataset(28, classes=5))
    assert model.count_params() == parameters


def test_each_word_is_one_layer_in_its_place() -> None:
    """Nothing is added but the scaling of the images."""
    words = "conv4 norm conv8x5 pool drop0.25 conv4x1 avgpool flatten dense16 softmax"
    model = build_stack({"layers": words, "padding": "same", "activation": "linear"}, _dataset())
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == [
        "InputLayer", "Rescaling", "Conv2D", "BatchNormalization", "Conv2D", "MaxPooling2D", "Dropout", "Conv2D",
        "AveragePooling2D", "Flatten", "Dense", "Dense",
    ]  # fmt: skip
    convolutions = [(layer.filters, layer.kernel_size) for layer in _layers(model, "Conv2D")]
    assert convolutions == [(4, (3, 3)), (8, (5, 5)), (4, (1, 1))]
    assert {layer.activation.__name__ for layer in _layers(model, "Conv2D")} == {"linear"}
    assert [(layer.units, layer.activation.__name__) for layer in _layers(model, "Dense")] == [
        (16, "linear"),
        (10, "softmax"),
    ]
    assert model.layers[1].scale == 1 / 255


def test_names_are_filled_in_from_the_parameters() -> None:
    """So that a study searches within a family of networks."""
    family = "conv{filters} pool drop{dropout} flatten dense{dense_units} softmax"
    values = {"filters": 6, "dropout": 5e-05, "dense_units": 12}
    model = build_stack({"layers": family, **values}, _dataset())
    assert _layers(model, "Conv2D")[0].filters == 6
    assert _layers(model, "Dropout")[0].rate == 5e-05
    assert _layers(model, "Dense")[0].units == 12


def test_each_parameter_reaches_its_layers() -> None:
    """Penalties are on the kernels of the convolutions only."""
    params = {
        "layers": "conv4 conv4x1 flatten dense8 softmax", "kernel_size": 5, "padding": "same", "l1": 0.125,
        "l2": 0.25, "activation_optimizer": "elu+nadam",
    }  # fmt: skip
    model = build_stack(params, _dataset())
    convolutions = _layers(model, "Conv2D")
    assert [layer.kernel_size for layer in convolutions] == [(5, 5), (1, 1)]
    assert {layer.padding for layer in convolutions} == {"same"}
    penalties = [layer.kernel_regularizer.get_config() for layer in convolutions]
    assert penalties == [{"l1": 0.125, "l2": 0.25}] * 2
    assert {layer.kernel_regularizer for layer in _layers(model, "Dense")} == {None}
    assert {layer.activation.__name__ for layer in convolutions} == {"elu"}
    assert type(model.optimizer).__name__ == "Nadam"
    assert _layers(build_stack({"layers": "conv4"}, _dataset()), "Conv2D")[0].kernel_regularizer is None


@pytest.mark.parametrize(("augmentation", "layers"), [("none", 0), ("copies", 0), ("layers", 3)])
def test_images_are_altered_in_the_model_only_if_asked_for(augmentation: str, layers: int) -> None:
    """Before the first word; copies are made elsewhere."""
    model = build_stack({"layers": "conv4", "augmentation": augmentation}, _dataset())
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == [
        "InputLayer", "Rescaling", *["RandomFlip", "RandomRotation", "RandomTranslation"][:layers], "Conv2D"
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_saved_model_needs_nothing_but_keras(suffix: str, tmp_path: Path) -> None:
    """It loads with every kind of layer and predicts the same."""
    import keras

    words = "conv4 autoencoder norm pool drop0.2 avgpool flatten dense8 softmax"
    dataset = _dataset(16)
    model = build_stack({"layers": words, "padding": "same", "l2": 0.01, "augmentation": "layers"}, dataset)
    model.run_eagerly = True
    model.train_on_batch(dataset.train.images, dataset.train.labels)
    model.save(tmp_path / f"model{suffix}")
    loaded = keras.models.load_model(tmp_path / f"model{suffix}")
    images = dataset.train.images
    # Called by itself, a layer that alters images would do so: Keras's default for it is to be training.
    assert np.array_equal(np.asarray(model(images, training=False)), np.asarray(loaded(images, training=False)))


def test_a_stack_without_probabilities_is_built_but_not_trained() -> None:
    """It fails as an invalid model, before the first step."""
    from hpo.errors import InvalidModel
    from hpo.trial.training import FitSettings, fit

    model = build_stack({"layers": "conv32 pool"}, _dataset())
    settings = FitSettings(epochs=1, batch_size=8, metric="val_accuracy", direction="maximize", stopping=Stopping())
    with pytest.raises(InvalidModel, match=r"rank|shapes"):  # TensorFlow, JAX
        fit(model, _dataset(), settings, record=lambda value, epoch: None, interrupted=lambda: False)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"layers": "conv4 pol"}, "one of convF, .*pool, .*autoencoder, but got 'pol'", id="unknown"),
        pytest.param({"layers": "conv"}, "but got 'conv'", id="without-its-number"),
        pytest.param({"layers": "dense4x3"}, "but got 'dense4x3'", id="kernel-of-a-dense-layer"),
        pytest.param({"layers": "conv4, pool"}, "but got 'conv4,'", id="comma"),
        pytest.param({"layers": "conv{filters}"}, "must be given, but 'filters' is not", id="missing-name"),
        pytest.param({}, "must be given, but 'layers' is not", id="no-layers"),
        pytest.param({"layers": "conv{}"}, "positional", id="no-name"),
        pytest.param({"layers": "dense{units}", "units": 2.5}, "but got 'dense2.5'", id="half-a-unit"),
        pytest.param({"layers": "flatten drop2"}, "between 0 and 1", id="dropout-of-more-than-all"),
        pytest.param({"layers": "conv4x9"}, "negative", id="kernel-larger-than-the-image"),
        pytest.param({"layers": "flatten conv4"}, "expected min_ndim=4", id="convolution-after-flatten"),
        pytest.param({"layers": "conv4", "padding": "some"}, "padding", id="padding"),
        pytest.param({"layers": "conv4", "activation": "rellu"}, "identifier: rellu", id="activation"),
        pytest.param(
            {"layers": "conv4", "augmentation": "some"}, "one of none, layers, copies, but got 'some'", id="augment"
        ),
    ],
)
def test_what_gives_no_model_is_an_error_of_the_value(params: dict[str, Any], message: str) -> None:
    """A ValueError, by which the objective knows a configuration that cannot be built from a bug."""
    with pytest.raises(ValueError, match=message):
        build_stack(params, _dataset())
