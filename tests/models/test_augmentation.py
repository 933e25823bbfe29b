"""Altered images: by how much, and as copies beside the originals."""

import numpy as np
import pytest

from hpo.datasets import Split
from hpo.models import append_copies, augmentation
from hpo.models.augmentation import augmentation_layers

COPIES = {"augmentation": "copies"}


@pytest.fixture
def split() -> Split:
    """10 white triangles on black, 28x28, one of each class: no two alterations look alike."""
    triangle = np.tril(np.full((14, 14), 255, np.uint8))
    images = np.zeros((10, 28, 28, 1), np.uint8)
    images[:, 7:21, 7:21, 0] = triangle
    return Split(images, np.arange(10))


@pytest.mark.parametrize("params", [{}, {"augmentation": "none"}, {"augmentation": "layers"}], ids=str)
def test_without_copies_the_split_is_itself(params: dict[str, str], split: Split) -> None:
    """Nothing is read or copied, so that mapped files stay so."""
    assert append_copies(params, split, seed=0) is split


def test_two_copies_of_each_are_appended(split: Split) -> None:
    """After the originals, with their labels, as raw images."""
    triple = append_copies(COPIES, split, seed=0)
    assert (triple.images.shape, triple.images.dtype) == ((30, 28, 28, 1), np.uint8)
    assert np.array_equal(triple.images[:10], split.images)
    assert np.array_equal(triple.labels, np.tile(split.labels, 3))
    assert triple.labels.dtype == split.labels.dtype


def test_copies_are_altered_a_little_and_each_by_itself(split: Split) -> None:
    """Turned and shifted by less than the margin: as bright as before, in about the same place."""
    copies = append_copies(COPIES, split, seed=0).images[10:].astype(float)
    assert len({copy.tobytes() for copy in copies}) == 20
    assert copies.max() == 255
    assert copies.sum(axis=(1, 2, 3)) == pytest.approx(np.full(20, split.images[0].sum()), rel=0.1)
    rows, columns = np.mgrid[:28, :28]
    for axis in (rows, columns):
        centres = (copies[..., 0] * axis).sum(axis=(1, 2)) / copies.sum(axis=(1, 2, 3))
        assert np.abs(centres - 13.5).max() < 6


def test_about_half_are_flipped_and_turned_to_either_side(split: Split) -> None:
    """Independently: with one seed for all layers, each flipped image would turn the same way."""
    many = Split(np.repeat(split.images[:1], 400, axis=0), np.zeros(400, np.int64))
    layers = augmentation_layers(seed=3)
    flipped = np.asarray(layers[0](many.images.astype(np.float32), training=True))
    is_flipped = (flipped != many.images).any(axis=(1, 2, 3))
    turned = np.asarray(layers[1](many.images.astype(np.float32), training=True))[..., 0]
    # The triangle's upright side is its left one: what moves right at its top was turned clockwise.
    tops = (turned[:, 7:10] * np.arange(28)).sum(axis=(1, 2)) / turned[:, 7:10].sum(axis=(1, 2))
    clockwise = tops > np.median(tops)
    both = [np.sum((is_flipped == flip) & (clockwise == turn)) for flip in (False, True) for turn in (False, True)]
    assert min(both) > 60, both


def test_a_seed_gives_the_same_copies(split: Split) -> None:
    """Also in half precision, and others for another seed."""
    import keras

    first = append_copies(COPIES, split, seed=1).images
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert np.array_equal(append_copies(COPIES, split, seed=1).images, first)
    finally:
        keras.config.set_dtype_policy(policy)
    assert not np.array_equal(append_copies(COPIES, split, seed=2).images[10:], first[10:])


def test_batches_leave_no_image_out(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last one is smaller."""
    monkeypatch.setattr(augmentation, "_BATCH", 4)
    triple = append_copies(COPIES, split, seed=0)
    assert triple.images.reshape(30, -1).max(axis=1).min() == 255


def test_layers_alter_only_while_training(split: Split) -> None:
    """A prediction is of the image as it is."""
    x = split.images.astype(np.float32)
    for layer in augmentation_layers():
        assert np.array_equal(np.asarray(layer(x, training=False)), x)
        assert not np.array_equal(np.asarray(layer(x, training=True)), x)
