"""Altered images to train on: made inside the model in each epoch, or as copies, made once."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.datasets import Split

if TYPE_CHECKING:
    import keras

AUGMENTATIONS = ("none", "layers", "copies")
_CHANGES = ("flip", "turn", "shift")

_COPIES = 2
_BATCH = 2000  # images altered at a time; 6 MB if they are 28x28, as floats


def augmentation_layers(seed: int | None = None, *, only: Collection[str] = _CHANGES) -> list["keras.Layer"]:
    """Layers that flip, turn and shift images (n, h, w, c) of any range while a model trains.

    They flip about half of the images left to right, turn by up to 10 degrees, and shift by up to 7 % of each side,
    which is 2 pixels of 28. New pixels at the border are 0, the background. Nothing is zoomed or sheared. A model with
    these layers alters images also if it is just called: use ``predict``, or ``model(images, training=False)``.

    Args:
        seed: None for a seed that ``keras.utils.set_random_seed`` determines.
        only: those of "flip", "turn" and "shift" that are wanted.
    """
    from keras import layers

    # With one seed for all layers, each flipped image would turn in the same direction.
    flip, turn, shift = (None if seed is None else seed + layer for layer in range(3))
    # In half precision pixels would be rounded, and copies would differ between devices.
    makes: dict[str, Callable[[], keras.Layer]] = {
        "flip": lambda: layers.RandomFlip("horizontal", seed=flip, dtype="float32"),
        "turn": lambda: layers.RandomRotation(10 / 360, fill_mode="constant", seed=turn, dtype="float32"),
        "shift": lambda: layers.RandomTranslation(0.07, 0.07, fill_mode="constant", seed=shift, dtype="float32"),
    }
    return [make() for change, make in makes.items() if change in only]


def append_copies(params: Mapping[str, Any], split: Split, seed: int) -> Split:
    """``split`` with two altered copies of each image if ``augmentation`` is "copies"; otherwise ``split`` itself.

    First come the originals, then the first copy of each of them, then the second; all in the same order.

    Args:
        split: n examples to train on.
        seed: the seed of the alterations.

    Returns:
        3n examples in memory: 48,000 images of 28x28 become 144,000, which are 113 MB.
    """
    if params.get("augmentation") != "copies":
        return split
    import keras

    layers = augmentation_layers(seed)
    count = len(split.labels)
    images = np.empty(((1 + _COPIES) * count, *split.images.shape[1:]), np.uint8)
    images[:count] = split.images
    for copy in range(1, 1 + _COPIES):
        for start in range(0, count, _BATCH):
            batch = split.images[start : start + _BATCH].astype(np.float32)
            for layer in layers:
                batch = layer(batch, training=True)
            altered = np.rint(keras.ops.convert_to_numpy(batch)).clip(0, 255)
            images[copy * count + start :][: len(altered)] = altered
    return Split(images, np.tile(split.labels, 1 + _COPIES))
