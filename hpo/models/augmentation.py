"""Altered images to train on: inside the model, new ones each epoch, or as copies, made once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.datasets import Split

if TYPE_CHECKING:
    import keras

AUGMENTATIONS = ("none", "layers", "copies")

_COPIES = 2
_BATCH = 2000  # images; 6 MB of 28x28 as floats


def augmentation_layers(seed: int | None = None) -> list["keras.Layer"]:
    """Layers that flip, turn and shift images (n, h, w, c) of any range while training, and else leave them.

    Left to right in one of two, up to 10 degrees, and up to 7 % of each side: 2 pixels of 28. What comes in from
    outside is 0, the background. Nothing is zoomed or sheared. Called by itself, a model with these layers takes itself
    to be training: say ``model(images, training=False)``, which ``model.predict`` does.

    Args:
        seed: None for one that follows from ``keras.utils.set_random_seed``.
    """
    from keras import layers

    # One seed for all would draw the same numbers: each flipped image would then turn the same way.
    flip, turn, shift = (None if seed is None else seed + layer for layer in range(3))
    # In half precision a pixel's value would be rounded, and copies would differ between devices.
    return [
        layers.RandomFlip("horizontal", seed=flip, dtype="float32"),
        layers.RandomRotation(10 / 360, fill_mode="constant", seed=turn, dtype="float32"),
        layers.RandomTranslation(0.07, 0.07, fill_mode="constant", seed=shift, dtype="float32"),
    ]


def append_copies(params: Mapping[str, Any], split: Split, seed: int) -> Split:
    """``split`` and two altered copies of each of its images, if ``augmentation`` is "copies"; else ``split`` itself.

    The originals come first and then each copy of all of them, in their order, with their labels.

    Args:
        split: n examples to train on.
        seed: of the alterations.

    Returns:
        3n examples in memory: 48,000 images of 28x28 become 144,000 of 113 MB.
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
