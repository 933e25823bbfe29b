"""Networks trained on ImageNet, frozen, under a new softmax."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import StudyError
from hpo.files.run_dir import expanded
from hpo.models.optimizer import build_optimizer

if TYPE_CHECKING:
    import keras

    from hpo.datasets import Dataset

# The means of blue, green and red in ImageNet, 0 to 255. Both bases were trained on channels in that order minus these
# means, without scaling (Keras's preprocess_input, mode "caffe").
_MEANS = (103.939, 116.779, 123.68)
_SMALLEST_SIDE = 32  # of images that the bases accept


def build_transfer(params: Mapping[str, Any], dataset: "Dataset") -> "keras.Model":
    """A frozen network trained on ImageNet, without its top, and a softmax; only the softmax is trained.

    Inside the model, smaller images are padded with zeros to 32x32, gray ones get three equal channels, and channels
    are centered as in the training of the base.

    Args:
        params: ``base`` "ResNet50" (the default; He et al., 2016) or "VGG16" (Simonyan and Zisserman, 2015),
            ``weights`` "imagenet" (the default) or None for random ones, the optimizer as in
            ``hpo.models.optimizer``.
        dataset: for the shape of its images, gray or RGB, and its number of classes.

    Returns:
        Compiled model: images (n, h, w, c) uint8 to probabilities (n, classes) float32.

    Raises:
        ValueError: images do not have one or three channels, or the base or the weights are unknown.
        StudyError: ImageNet's weights are not on this machine and cannot be downloaded.
    """
    import keras
    from keras import layers

    height, width, channels = dataset.input_shape
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, but have {channels}")
    images = keras.Input(dataset.input_shape)
    x = layers.ZeroPadding2D([_margins(height), _margins(width)])(images)
    if channels == 1:
        x = layers.Concatenate()([x, x, x])
    else:
        # Red and blue are swapped. Cropping works only on sides, so channels become a side.
        sideways = layers.Permute((1, 3, 2))(x)
        blue_first = [layers.Cropping2D([(0, 0), (channel, 2 - channel)])(sideways) for channel in (2, 1, 0)]
        x = layers.Permute((1, 3, 2))(layers.Concatenate(axis=2)(blue_first))
    x = layers.Rescaling(1.0, offset=[-mean for mean in _MEANS])(x)
    base = _base(params.get("base", "ResNet50"), params.get("weights", "imagenet"), x.shape[1:])
    base.trainable = False
    x = layers.Flatten()(base(x))
    probabilities = layers.Dense(dataset.num_classes, activation="softmax", dtype="float32")(x)

    model = keras.Model(images, probabilities)
    model.compile(build_optimizer(params, dataset), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _margins(side: int) -> tuple[int, int]:
    """Pixels to add before and after ``side``."""
    missing = max(0, _SMALLEST_SIDE - side)
    return missing // 2, missing - missing // 2


def _base(name: str, weights: str | None, shape: tuple[int, int, int]) -> "keras.Model":
    """The network called ``name`` without its top, for images of ``shape``."""
    import keras
    from filelock import FileLock

    bases = {"ResNet50": keras.applications.ResNet50, "VGG16": keras.applications.VGG16}
    if name not in bases:
        raise ValueError(f"base must be one of {', '.join(bases)}, but got {name!r}")
    if weights is None:
        return bases[name](include_top=False, weights=None, input_shape=shape)
    if weights != "imagenet":
        raise ValueError(f"weights must be 'imagenet' or None, but got {weights!r}")
    folder = expanded(os.environ.get("KERAS_HOME") or "~/.keras") / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Keras writes a download in place: without the lock, a worker could read half of a file that another writes.
        with FileLock(folder / f"{name}.lock"):
            return bases[name](include_top=False, weights=weights, input_shape=shape)
    except Exception as error:
        # Keras raises a plain Exception if it cannot download, and a ValueError if the file is damaged.
        if type(error) is not Exception and not isinstance(error, OSError | ValueError):
            raise
        raise StudyError(
            f"The ImageNet weights of {name} must be in {folder} or downloadable, but could not be read "
            f"({' '.join(str(error).split())}). Connect to the network once, put the file there, or set "
            "`weights` to None for random ones."
        ) from error
