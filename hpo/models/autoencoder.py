"""A convolutional autoencoder before a dense classifier."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpo.models.optimizer import activation_of, build_optimizer

if TYPE_CHECKING:
    import keras

    from hpo.datasets import Dataset


def autoencode(
    images: "keras.KerasTensor", filters: Sequence[int] = (16, 32, 64), activation: str = "relu"
) -> "keras.KerasTensor":
    """Encode images as a small code and decode them to their shape (Masci et al., 2011).

    The encoder has a 3x3 convolution (same padding) and a 2x2 max pooling for each of ``filters``. For each of these
    the decoder has a 3x3 transposed convolution of stride 2 that restores sides and channels. All convolutions have
    the activation except the last one, which is linear.

    Args:
        images: (n, h, w, c) float.
        filters: the filters of each convolution of the encoder.

    Returns:
        (n, h, w, c) float.

    Raises:
        ValueError: there are more poolings than the sides can be halved.
    """
    from keras import layers

    x, shapes = images, []
    for count in filters:
        shapes.append(x.shape[1:])
        x = layers.Conv2D(count, 3, padding="same", activation=activation)(x)
        x = layers.MaxPooling2D(2)(x)
    # The last one is linear: behind a sigmoid, the classifier did not learn anything in its first epochs.
    for stage, (height, width, channels) in reversed(list(enumerate(shapes))):
        # Stride 2 makes 2n of n with same padding, and 2n + 1 without, which an odd side needs.
        odd = height % 2, width % 2
        x = layers.Conv2DTranspose(
            channels, 3, strides=2, padding="valid" if any(odd) else "same", activation=activation if stage else None
        )(x)
        if any(odd) and not all(odd):
            x = layers.Cropping2D([(0, 1 - side) for side in odd])(x)
    return x


def build_autoencoder(params: Mapping[str, Any], dataset: "Dataset") -> "keras.Model":
    """``autoencode``, then dense layers and a softmax on its output; all trained on the class labels only.

    Args:
        params: ``hidden_units``, one per dense layer (default (300, 100)); the activation and the optimizer as in
            ``hpo.models.optimizer``.
        dataset: for the shape of its images and its number of classes.

    Returns:
        Compiled model: images (n, h, w, c) uint8 to probabilities (n, classes) float32.
    """
    import keras
    from keras import layers

    activation = activation_of(params)
    images = keras.Input(dataset.input_shape)
    x = autoencode(layers.Rescaling(1 / 255)(images), activation=activation)
    x = layers.Flatten()(x)
    for units in params.get("hidden_units", (300, 100)):
        x = layers.Dense(units, activation=activation)(x)
    probabilities = layers.Dense(dataset.num_classes, activation="softmax", dtype="float32")(x)

    model = keras.Model(images, probabilities)
    model.compile(build_optimizer(params, dataset), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
