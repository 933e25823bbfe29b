"""The problem that all tools search: a small CNN on scikit-learn's digits. Plain Keras; nothing of hpo.

Each finished epoch is a line of the file that ``PEERS_LOG`` names, so that what a kill costs can be counted.
"""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS = 6
BATCH_SIZE = 32
SPACE = {"filters": (8, 32), "units": (16, 128), "dropout": (0.0, 0.5), "learning_rate": (1e-4, 1e-1)}


def data() -> list[np.ndarray]:
    """Training images, validation images, training labels, validation labels."""
    digits = load_digits()
    images = digits.images.astype("float32")[..., np.newaxis] / 16
    return train_test_split(images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)


def build(params: dict[str, Any]) -> keras.Model:
    """The compiled model of one configuration."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(params["filters"], 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(2 * params["filters"], 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(params["dropout"]),
            layers.Dense(params["units"], activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(params["learning_rate"])
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def log(event: str) -> None:
    """Write one line to the log of this run."""
    with Path(os.environ["PEERS_LOG"]).open("a") as file:
        file.write(f"{event}\n")


class LogEpochs(keras.callbacks.Callback):
    """Writes a line for each epoch, with its validation accuracy."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write it."""
        log(f"{epoch + 1} {(logs or {})['val_accuracy']}")


def train(params: dict[str, Any]) -> float:
    """The best validation accuracy over the epochs."""
    train_images, validation_images, train_labels, validation_labels = data()
    keras.utils.clear_session()
    history = build(params).fit(
        train_images,
        train_labels,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        validation_data=(validation_images, validation_labels),
        callbacks=[LogEpochs()],
        verbose=0,
    )
    return max(history.history["val_accuracy"])
