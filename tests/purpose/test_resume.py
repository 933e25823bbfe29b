"""README: "A worker that dies is replaced at once, and its trial goes on from its last finished epoch"."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from faults.launching import Begin

from hpo.devices.slots import slots
from hpo.files.run_dir import RunDir
from hpo.storage.records import was_given_back

KILLED_AFTER = 3  # epochs; eight are trained, with the learning rate lowered and the end decided by counts of epochs

# Each trial kills its process with SIGKILL once, within its fourth epoch. The order of the images in the epochs after
# that is drawn anew; without it, the trial can be held against an undisturbed one number by number.
STUDY = """
import itertools, os, random, signal
from pathlib import Path
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, Search, Train
from hpo.study.budget import Stopping

def build(params, dataset):
    import keras
    from keras import layers

    died = Path(__file__).with_name(f"died-{{hash(random.getstate()[1])}}")  # a file for each seed
    model = keras.Sequential([
        keras.Input(dataset.input_shape), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(32, "relu"),
        layers.Dropout(params["dropout"]), layers.Dense(dataset.num_classes, "softmax"),
    ])
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches, whole = itertools.count(), model.fit
    last = {after} * len(dataset.train.labels) // 32 + 9

    def die(batch, logs):
        if next(batches) == last and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def fit(*data, callbacks, **settings):
        deadly = keras.callbacks.LambdaCallback(on_train_batch_end=die)
        return whole(*data, callbacks=[*callbacks, deadly], shuffle=params["is_random"], **settings)

    model.fit = fit
    return model

study = Search(
    name="faults",
    task=Train(
        data="digits", model=build, precision="float32", stopping=Stopping(patience=4, reduce_lr_patience=1),
    ),
    space={{
        "dropout": CategoricalDistribution([0.3]), "is_random": CategoricalDistribution([False, True]),
        "run": IntDistribution(0, 2),
    }},
    warm_starts=[{{"dropout": 0.3, "is_random": run > 0, "run": run}} for run in range(3)],
    base={{"batch_size": 32}}, budget=Budget(trials=3, max_epochs=8), sampler=RandomSampler(),
)
"""

# Keras alone: the same model, seeds, images and callbacks.
PLAIN = """
import json, sys
import keras
from hpo.study import catalog
from hpo.files.run_dir import RunDir

study = catalog.load("faults_study.py").definition
data = study.load_dataset(RunDir.from_environment())
for seed, params in json.load(sys.stdin):
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    history = study.task.model(params, data).fit(
        data.train.images, data.train.labels, batch_size=32, epochs=8, verbose=0,
        validation_data=(data.validation.images, data.validation.labels),
        callbacks=[
            keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=4),
            keras.callbacks.ReduceLROnPlateau("val_accuracy", mode="max", patience=1, factor=0.5),
        ],
    )
    print(json.dumps(history.history))
"""

Curves = dict[str, list[float]]


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: Path, run_dir: RunDir, begin: Begin) -> None:
    """Its curve begins with the epochs before its death, and goes on to where ``model.fit`` comes without one."""
    faults = begin(tmp_path, f"sqlite:///{run_dir.database}", STUDY, after=KILLED_AFTER)
    faults.run(workers=2)
    assert len(list(tmp_path.glob("died-*"))) == faults.count("resume") == 3
    assert faults.check().repeated == 0
    trials = [trial for trial in faults.trials() if not was_given_back(trial)]
    claims = [trial.user_attrs["claim"] for trial in trials]
    assert [claim["attempt"] for claim in claims] == [2] * 3
    curves = [_without_seconds(trial.user_attrs["history"]) for trial in trials]
    plain = _plain(tmp_path, [(claim["seed"], trial.params) for claim, trial in zip(claims, trials, strict=True)])

    exact, random = ([trial.params["is_random"] is kind for trial in trials] for kind in (False, True))
    assert _chosen(curves, exact) == _chosen(plain, exact)
    assert _begun(_chosen(curves, random)) == _begun(_chosen(plain, random))
    assert mean(map(_best, _chosen(curves, random))) == pytest.approx(
        mean(map(_best, _chosen(plain, random))), abs=0.03
    )


def _plain(folder: Path, trials: list[tuple[int, dict[str, Any]]]) -> list[Curves]:
    """What ``model.fit`` comes to, in a process with as many threads as a worker has."""
    [slot, _] = slots(workers=2, gpus="none", workers_per_gpu=1)
    answer = subprocess.run(
        [sys.executable, "-c", PLAIN],
        cwd=folder,
        env={**os.environ, **slot.environment()},
        input=json.dumps(trials),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


def _chosen(curves: list[Curves], which: list[bool]) -> list[Curves]:
    return [curve for curve, is_chosen in zip(curves, which, strict=True) if is_chosen]


def _without_seconds(history: Curves) -> Curves:
    return {name: values for name, values in history.items() if name != "seconds"}


def _begun(curves: list[Curves]) -> list[Curves]:
    """The epochs before the death."""
    return [{name: values[:KILLED_AFTER] for name, values in curve.items()} for curve in curves]


def _best(curve: Curves) -> float:
    return max(curve["val_accuracy"])
