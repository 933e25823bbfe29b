"""Dense networks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.models.optimizer import activation_of, build_optimizer

if TYPE_CHECKING:
    import keras

    from hpo.datasets import Dataset


def build_mlp(params: Mapping[str, Any], dataset: "Dataset") -> "keras.Model":
    """Dense layers, each half as wide as the one before, and a softmax; a convolutional network should do better.

    Args:
        params: ``hidden_layers`` (default 1), ``units`` of the first (128), ``dropout`` after each (0); the
            activation and the optimizer as in ``hpo.models.optimizer``.
        dataset: for the shape of its images and its number of classes.

    Returns:
        Compiled model: images (n, h, w, c) uint8 to probabilities (n, classes) float32.
    """
    import keras
    from keras import layers

    activation = activation_of(params)
    images = keras.Input(dataset.input_shape)
    x = layers.Flatten()(layers.Rescaling(1 / 255)(images))
    for halvings in range(params.get("hidden_layers", 1)):
        x = layers.Dense(max(1, params.get("units", 128) // 2**halvings), activation=activation)(x)
        x = layers.Dropout(params.get("dropout", 0.0))(x)
    probabilities = layers.Dense(dataset.num_classes, activation="softmax", dtype="float32")(x)

    model = keras.Model(images, probabilities)
    model.compile(build_optimizer(params, dataset), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
