"""Half precision costs no accuracy: each kind of model learns in it what plain Keras learns in float32.

Few images, few epochs, and models that need no gradient through many layers: tests/benchmarks/precision_accuracy.py
compares thirteen kinds over several seeds.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import optuna
import pytest
from definitions import define
from keras import layers
from optuna.distributions import CategoricalDistribution
from running import claimed, runner

from hpo import Budget, Stopping, datasets
from hpo.datasets import Dataset
from hpo.files.run_dir import RunDir

EPOCHS = 4
BATCH = 32
VALIDATION = 0.3  # of the images


def _model(*body: layers.Layer, head: Any = "softmax", loss: Any = "sparse_categorical_crossentropy") -> keras.Model:
    model = keras.Sequential([keras.Input((28, 28, 1)), *body, layers.Dense(10, activation=head)])
    model.compile(keras.optimizers.Adam(0.003), loss=loss, metrics=["accuracy"])
    return model


def _dense() -> list[layers.Layer]:
    return [layers.Flatten(), layers.Dense(64, activation="relu")]


MODELS: dict[str, Callable[[], keras.Model]] = {
    "raw pixels": lambda: _model(*_dense()),
    "scaled pixels": lambda: _model(layers.Rescaling(1 / 255), *_dense()),
    "logits": lambda: _model(*_dense(), head=None, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
    "recurrent": lambda: _model(layers.Rescaling(1 / 255), layers.Reshape((28, 28)), layers.GRU(32)),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The digits, a third of them for validation."""
    return datasets.load("digits", run_dir=RunDir(tmp_path_factory.mktemp("data")), validation_fraction=VALIDATION)


def _records(build: Callable[[], keras.Model], tmp_path: Path) -> dict[str, Any]:
    """What is recorded of a trial in bfloat16 of ``build``'s model."""
    definition = define(
        name="s",
        data="digits",
        model=lambda params, dataset: build(),
        space={"batch_size": CategoricalDistribution([BATCH])},
        budget=Budget(trials=1, max_epochs=EPOCHS),
        stopping=Stopping(patience=None, reduce_lr_patience=None),
        precision="mixed_bfloat16",
        validation=VALIDATION,
    )
    claim = claimed(optuna.create_study().ask(), seed=0)
    return runner(definition, RunDir(tmp_path))(claim).result.as_attributes()


@pytest.mark.parametrize("kind", MODELS)
def test_half_precision_learns_what_float32_learns(kind: str, dataset: Dataset, tmp_path: Path) -> None:
    """From the same weights as plain Keras, which reaches 0.10 with raw pixels where its outputs are in bfloat16."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    train, validation = dataset.train, dataset.validation
    plain = MODELS[kind]().fit(
        train.images,
        train.labels,
        batch_size=BATCH,
        epochs=EPOCHS,
        validation_data=(validation.images, validation.labels),
        verbose=0,
    )
    records = _records(MODELS[kind], tmp_path)
    assert records["precision"] == "mixed_bfloat16"
    assert max(records["history"]["val_accuracy"]) > max(plain.history["val_accuracy"]) - 0.05
