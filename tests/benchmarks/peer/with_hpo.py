"""The study that hpo launches, with the same images, model, batches and epochs as the other tools."""

from typing import Any

import keras
import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from problem import BATCH_SIZE, EPOCHS, SPACE, LogEpochs, build
from sklearn.datasets import load_digits

import hpo

low, high = SPACE["learning_rate"]


class Logged(keras.Sequential):
    """A model whose fits log their epochs."""

    def fit(self, *arguments: Any, callbacks: list[Any], **settings: Any) -> Any:
        """Fit with one more callback."""
        return super().fit(*arguments, callbacks=[*callbacks, LogEpochs()], **settings)


def model(params: dict[str, Any], dataset: object) -> keras.Model:
    """The same model, of bytes from 0 to 240 instead of numbers from 0 to 1."""
    inner = build(params)
    outer = Logged([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 240), *inner.layers])
    outer.compile(inner.optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return outer


digits = load_digits()
images = (digits.images * 15).astype(np.uint8)
# All images train and validate, as they do with the other tools; the test images are not read.
np.savez("digits.npz", x_train=images, y_train=digits.target, x_test=images[:100], y_test=digits.target[:100])

study = hpo.Search(
    name="peers",
    task=hpo.Train(data="digits.npz", model=model, validation=0.2, precision="float32", stopping=None),
    base={"epochs": EPOCHS, "batch_size": BATCH_SIZE},
    space={
        "filters": IntDistribution(*SPACE["filters"], log=True),
        "units": IntDistribution(*SPACE["units"], log=True),
        "dropout": FloatDistribution(*SPACE["dropout"]),
        "learning_rate": FloatDistribution(low, high, log=True),
    },
    budget=hpo.Budget(trials=1000, max_epochs=EPOCHS),
    sampler=TPESampler(multivariate=True, group=True),  # every trial has all of its epochs, as with the other tools
)
