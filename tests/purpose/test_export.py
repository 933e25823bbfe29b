"""The export predicts what was measured: plain Keras and scikit-learn, without hpo, find the card's accuracy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import datasets
from hpo.files.run_dir import RunDir
from hpo.saved_model.export import export
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url

# One network with each of the heads that two classes may have; what the layers do not say, the loss does.
STUDY = """
import keras
from keras import layers
from optuna.distributions import CategoricalDistribution
from hpo import Budget, Search, Train

def build(params, dataset):
    images = keras.Input(dataset.input_shape)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(layers.Rescaling(1 / 255)(images)))
    units, activation, loss = {
        "softmax": (2, "softmax", "sparse_categorical_crossentropy"),
        "logits": (2, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
        "sigmoid": (1, "sigmoid", "binary_crossentropy"),
    }[params["head"]]
    model = keras.Model(images, layers.Dense(units, activation=activation)(x))
    model.compile("adam", loss, metrics=["accuracy"])
    return model

HEADS = ["softmax", "logits", "sigmoid"]
study = Search(
    name="heads", task=Train(data="digits", merge=((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)), model=build, precision="float32"),
    space={"head": CategoricalDistribution(HEADS)}, warm_starts=[{"head": head} for head in HEADS],
    budget=Budget(trials=3, max_epochs=2),
)
"""

# Nothing of hpo: what a user of the file would write.
PLAIN = """
import json, sys
sys.modules["hpo"] = None
import keras, numpy
from sklearn.metrics import accuracy_score, log_loss

test = numpy.load("test.npz")
found = {}
for name in sys.argv[1:]:
    given = keras.models.load_model(name).predict(test["images"], verbose=0).astype("float64")
    if name.startswith("logits"):
        given = numpy.exp(given) / numpy.exp(given).sum(axis=1, keepdims=True)
    of_second = given[:, -1]
    found[name] = {
        "test_accuracy": accuracy_score(test["labels"], of_second > 0.5),
        "test_loss": log_loss(test["labels"], of_second),
    }
print(json.dumps(found))
"""


def test_the_export_predicts_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searched by a real launch, exported in both formats; for a softmax, for logits and for a sigmoid of one unit."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "heads.py").write_text(STUDY)
    environment = {name: value for name, value in os.environ.items() if name not in ("HPO_HOME", "HPO_STORAGE")}
    launch = [sys.executable, "-m", "hpo", "launch", "--study", "heads", "--workers", "1", "--gpus", "none"]
    subprocess.run(launch, cwd=tmp_path, env=environment, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    runs = RunDir(tmp_path / "runs")
    cards: dict[str, dict[str, Any]] = {}
    storage = open_storage(resolve_url(f"sqlite:///{runs.database}", runs), write=False)
    study = stored_study.load(storage, "heads")
    for trial in study.trials:
        head = trial.params["head"]
        done = export(study, runs, tmp_path / f"{head}.h5", number=trial.number, retrain=True)
        cards |= {path.name: done.card for path in done.models}
    backend_of(storage).engine.dispose()
    assert len(cards) == 6
    merge = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    test = datasets.load_test("digits", run_dir=runs, reader="test", merge=merge)
    np.savez(tmp_path / "test.npz", images=test.images, labels=test.labels)
    answer = subprocess.run(
        [sys.executable, "-P", "-c", PLAIN, *cards], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for name, found in json.loads(answer.stdout).items():
        metrics = cards[name]["metrics"]
        assert found["test_accuracy"] == metrics["test_accuracy"], name
        assert found["test_loss"] == pytest.approx(metrics["test_loss"], rel=1e-5), name
        assert found["test_accuracy"] > 0.7  # it has learnt
        assert json.loads((tmp_path / name).with_suffix(".card.json").read_text()) == cards[name]
