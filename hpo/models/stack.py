"""Networks written as words, one per layer."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.models.augmentation import AUGMENTATIONS, augmentation_layers
from hpo.models.autoencoder import autoencode
from hpo.models.optimizer import activation_of, build_optimizer

if TYPE_CHECKING:
    import keras

    from hpo.datasets import Dataset

# Each word as messages name it, and its pattern.
_WORDS = {
    "convF": r"conv(\d+)",
    "convFxK": r"conv(\d+)x(\d+)",
    "denseU": r"dense(\d+)",
    "dropR": r"drop(\d\.?\d*(?:e-\d+)?)",
    **{word: word for word in ("pool", "avgpool", "norm", "flatten", "softmax", "autoencoder")},
}


def build_stack(params: Mapping[str, Any], dataset: "Dataset") -> "keras.Model":
    """The layers of ``params["layers"]``, one after the other, such as "conv32 pool drop0.2 flatten dense64 softmax".

    The words; nothing is added to them:

        conv32       convolution with 32 filters, then the activation
        conv32x5     the same with a kernel of 5x5
        pool         2x2 max pooling
        avgpool      2x2 average pooling
        norm         batch normalization
        drop0.25     dropout of a quarter
        flatten
        dense64      dense layer of 64 units, then the activation
        softmax      dense layer with one unit per class, then softmax, in float32
        autoencoder  ``hpo.models.autoencoder.autoencode``

    ``{name}`` in the text is the parameter of that name: "conv{filters} pool flatten dense{units} softmax" describes
    many networks to search. If the last word does not give probabilities, the model is built, but its training fails.

    Args:
        params: ``layers``, ``kernel_size`` for words without one (default 3), ``padding`` "valid" or "same"
            ("valid"), ``l1`` and ``l2`` penalties on the kernels of the convolutions (0), ``augmentation`` "none",
            "layers" for new alterations each epoch, or "copies" for images altered beforehand ("none"), the
            activation, which may be "linear", and the optimizer as in ``hpo.models.optimizer``.
        dataset: for the shape of its images and its number of classes.

    Returns:
        Compiled model: images (n, h, w, c) uint8, divided by 255 inside, to the output of the last word.

    Raises:
        ValueError: a word is unknown, a name is no parameter, or layers do not fit each other.
    """
    import keras
    from keras import layers

    try:
        words = str(params["layers"]).format_map(params).split()
    except KeyError as missing:
        raise ValueError(f"`layers` and all that it names must be given, but {missing} is not") from None
    augmentation = params.get("augmentation", "none")
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}, but got {augmentation!r}")

    images = keras.Input(dataset.input_shape)
    x = layers.Rescaling(1 / 255)(images)
    for layer in augmentation_layers() if augmentation == "layers" else []:
        x = layer(x)
    for word in words:
        x = _layer(word, params, dataset.num_classes)(x)

    model = keras.Model(images, x)
    model.compile(build_optimizer(params, dataset), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _layer(word: str, params: Mapping[str, Any], num_classes: int) -> Any:
    """The layer of ``word``, or a function like it."""
    from keras import layers, regularizers

    activation = activation_of(params)
    match _parsed(word):
        case "convF" | "convFxK", [filters, *kernel]:
            l1, l2 = params.get("l1", 0.0), params.get("l2", 0.0)
            return layers.Conv2D(
                int(filters),
                int(kernel[0]) if kernel else params.get("kernel_size", 3),
                padding=params.get("padding", "valid"),
                activation=activation,
                kernel_regularizer=regularizers.L1L2(l1, l2) if l1 or l2 else None,
            )
        case "denseU", [units]:
            return layers.Dense(int(units), activation=activation)
        case "dropR", [rate]:
            return layers.Dropout(float(rate))
        case "softmax", _:
            return layers.Dense(num_classes, activation="softmax", dtype="float32")
        case "autoencoder", _:
            return lambda x: autoencode(x, activation=activation)
        case "norm", _:
            return layers.BatchNormalization(momentum=0.9)  # as in build_cnn
        case "pool", _:
            return layers.MaxPooling2D(2)
        case "avgpool", _:
            return layers.AveragePooling2D(2)
        case _:
            return layers.Flatten()


def _parsed(word: str) -> tuple[str, list[str]]:
    """The key of ``_WORDS`` whose pattern ``word`` matches, and the numbers in it."""
    for kind, pattern in _WORDS.items():
        if found := re.fullmatch(pattern, word):
            return kind, list(found.groups())
    raise ValueError(f"a word of `layers` must be one of {', '.join(_WORDS)}, but got {word!r}")
