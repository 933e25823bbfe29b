"""Convolutional networks for small images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.models.augmentation import augmentation_layers
from hpo.models.optimizer import activation_of, build_optimizer

if TYPE_CHECKING:
    import keras

    from hpo.datasets import Dataset


def build_cnn(params: Mapping[str, Any], dataset: "Dataset") -> "keras.Model":
    """A stack of convolution blocks, a dense layer and a softmax; the stock CNN of ``fmnist-cnn``.

    A block is one or more convolutions (same padding), each with batch normalization if asked for and the
    activation, then 2x2 pooling and dropout. Each block has twice the filters of the one before and halves the sides of
    the image (Simonyan and Zisserman, 2015): while the image is large, a filter takes the most time.

    Args:
        params: ``filters`` of the last block (default 64), ``blocks`` (2), ``convs_per_block`` (1),
            ``kernel_size`` (3), ``dense_units`` (128), ``dropout`` after each block and the dense layer (0),
            ``batch_norm`` (False), ``pooling`` "max" or "average" ("max"), ``head`` "flatten" or "average" of each
            filter ("flatten"), ``augmentation`` "none", "flip" or "flip+shift" of the images, anew in each epoch
            ("none"), the activation and the optimizer as in ``hpo.models.optimizer``.
        dataset: for the shape of its images, its number of classes and the length of an epoch.

    Returns:
        Compiled model: images (n, h, w, c) uint8 to probabilities (n, classes) float32.
    """
    # Importing Keras takes seconds, and listing or launching studies does not need it.
    import keras
    from keras import layers

    activation = activation_of(params)
    batch_norm = params.get("batch_norm", False)
    pool = _chosen(params, "pooling", {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D})
    head = _chosen(params, "head", {"flatten": layers.Flatten, "average": layers.GlobalAveragePooling2D})
    changes = _chosen(params, "augmentation", {"none": (), "flip": ("flip",), "flip+shift": ("flip", "shift")})
    dropout = params.get("dropout", 0.0)

    images = keras.Input(dataset.input_shape)
    x = images
    for layer in augmentation_layers(only=changes):
        x = layer(x)
    x = layers.Rescaling(1 / 255)(x)
    for halvings in reversed(range(params.get("blocks", 2))):
        filters = max(1, params.get("filters", 64) // 2**halvings)
        for _ in range(params.get("convs_per_block", 1)):
            # Batch normalization would subtract the bias again.
            x = layers.Conv2D(filters, params.get("kernel_size", 3), padding="same", use_bias=not batch_norm)(x)
            if batch_norm:
                # With Keras's momentum of 0.99 it validates well only after hundreds of steps; pruners decide earlier.
                x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.Activation(activation)(x)
        x = pool(2)(x)
        x = layers.Dropout(dropout)(x)
    x = head()(x)
    x = layers.Dense(params.get("dense_units", 128), activation=activation)(x)
    x = layers.Dropout(dropout)(x)
    # Probabilities are float32, also if the other layers compute in half precision.
    probabilities = layers.Dense(dataset.num_classes, activation="softmax", dtype="float32")(x)

    model = keras.Model(images, probabilities)
    model.compile(build_optimizer(params, dataset), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _chosen(params: Mapping[str, Any], name: str, options: dict[str, Any]) -> Any:
    """The option that a parameter names; the first is the default."""
    given = params.get(name, next(iter(options)))
    if given not in options:
        raise ValueError(f"{name} must be {' or '.join(options)}, but got {given!r}")
    return options[given]
