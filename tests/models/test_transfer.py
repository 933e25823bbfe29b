"""Frozen networks under a new softmax, with random weights; and what is said where ImageNet's cannot be had."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.datasets import Dataset, Split
from hpo.models import build_transfer

BASES = pytest.mark.parametrize("base", ["ResNet50", "VGG16"])


def _dataset(height: int = 28, width: int = 28, channels: int = 1, classes: int = 5) -> Dataset:
    """8 images of noise."""
    images = np.random.default_rng(0).integers(0, 256, (8, height, width, channels), np.uint8)
    split = Split(images, np.arange(8) % classes)
    names = tuple(str(label) for label in range(classes))
    return Dataset("noise", split, split, names, sha256="", seed=0, validation_fraction=0.5, subset=None)


def _size(weights: list[Any]) -> int:
    return sum(weight.size for weight in map(np.asarray, weights))


@pytest.mark.parametrize(
    ("base", "frozen", "features"),
    [pytest.param("ResNet50", 23_587_712, 2048, id="resnet50"), pytest.param("VGG16", 14_714_688, 512, id="vgg16")],
)
def test_only_the_softmax_is_trained(base: str, frozen: int, features: int) -> None:
    """32x32 is halved five times to one place of so many features; a step leaves the base as it was."""
    dataset = _dataset()
    model = build_transfer({"base": base, "weights": None, "optimizer": "sgd"}, dataset)
    assert _size(model.trainable_weights) == features * 5 + 5
    assert _size(model.non_trainable_weights) == frozen
    model.run_eagerly = True
    before = model.get_weights()
    model.train_on_batch(dataset.train.images, dataset.train.labels)
    moved = [not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True)]
    assert moved == [False] * (len(moved) - 2) + [True, True]
    assert type(model.optimizer).__name__ == "SGD"


@BASES
@pytest.mark.parametrize(
    ("height", "width", "channels", "margins"),
    [
        pytest.param(28, 28, 1, [(2, 2), (2, 2)], id="gray"),
        pytest.param(28, 28, 3, [(2, 2), (2, 2)], id="colour"),
        pytest.param(31, 40, 1, [(0, 1), (0, 0)], id="one-side-large-enough"),
    ],
)
def test_the_base_sees_what_it_was_trained_on(
    base: str, height: int, width: int, channels: int, margins: list[tuple[int, int]]
) -> None:
    """Padded, in three channels, and then as by Keras's own preprocessing for that network."""
    import keras

    dataset = _dataset(height, width, channels)
    model = build_transfer({"base": base, "weights": None}, dataset)
    seen = keras.Model(model.input, next(layer for layer in model.layers if type(layer).__name__ == "Rescaling").output)
    padded = np.pad(dataset.train.images, [(0, 0), *margins, (0, 0)]).astype(np.float32)
    colours = np.repeat(padded, 3, axis=3) if channels == 1 else padded
    module = {"ResNet50": keras.applications.resnet50, "VGG16": keras.applications.vgg16}[base]
    expected = module.preprocess_input(colours)
    assert np.asarray(seen(dataset.train.images)) == pytest.approx(expected, abs=1e-4)


@BASES
def test_a_saved_model_needs_nothing_but_keras(base: str, tmp_path: Path) -> None:
    """In both formats; every vector of weights is made different, so that none is taken for another."""
    import keras

    dataset = _dataset()
    rng = np.random.default_rng(0)
    model = build_transfer({"base": base, "weights": None}, dataset)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w for w in model.get_weights()])
    expected = np.asarray(model(dataset.train.images))
    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        loaded = keras.models.load_model(tmp_path / name, compile=False)
        assert np.array_equal(np.asarray(loaded(dataset.train.images)), expected)
        (tmp_path / name).unlink()


def test_weights_out_of_reach_are_one_line(tmp_path: Path) -> None:
    """With an empty Keras folder and a proxy that refuses: the rule, the reason, the ways out; no trial's failure."""
    code = (
        "import numpy as np\nfrom hpo.datasets import Dataset, Split\nfrom hpo.errors import StudyError\n"
        "from hpo.models import build_transfer\n"
        "split = Split(np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, np.int64))\n"
        "try:\n    build_transfer({'base': 'VGG16'}, Dataset('z', split, split, ('a', 'b'), '', 0, 0.5, None))\n"
        "except StudyError as error:\n    print('StudyError:', error)"
    )
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    environment |= {"KERAS_HOME": str(tmp_path / "keras"), "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    message = answer.stdout.splitlines()[-1]
    assert message.startswith(f"StudyError: The ImageNet weights of VGG16 must be in {tmp_path / 'keras' / 'models'} ")
    assert "URL fetch failure" in message
    assert message.endswith("or set `weights` to None for random ones.")


@pytest.mark.parametrize(
    ("params", "channels", "message"),
    [
        pytest.param({"base": "ResNet"}, 1, "one of ResNet50, VGG16, but got 'ResNet'", id="base"),
        pytest.param({"weights": "random"}, 1, "'imagenet' or None, but got 'random'", id="weights"),
        pytest.param({"weights": None}, 2, "1 or 3 channels, but have 2", id="channels"),
    ],
)
def test_what_gives_no_model_is_an_error_of_the_value(params: dict[str, Any], channels: int, message: str) -> None:
    """A ValueError, by which the objective knows a configuration that cannot be built from a bug."""
    with pytest.raises(ValueError, match=message):
        build_transfer(params, _dataset(channels=channels))
