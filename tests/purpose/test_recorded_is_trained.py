"""What is recorded of a trial is what was trained, also if a launch allows fewer epochs than the study has."""

import json
from collections.abc import Callable
from pathlib import Path

import optuna
from command import Hpo
from optuna.distributions import CategoricalDistribution

from hpo.files.run_dir import RunDir

# Its sizes come out of NumPy, one parameter is a pin, and what depends on another value of it never exists.
LISTED = """
import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, Search, Train, When
from hpo.models import build_mlp

study = Search(
    name="listed", task=Train(data="digits", model=build_mlp, stopping=None), sampler=RandomSampler(),
    space={
        "epochs": CategoricalDistribution([1, 3, 5]),
        "units": CategoricalDistribution([int(units) for units in np.array([8, 16])]),
        "optimizer": CategoricalDistribution(["adam"]),
        "momentum": When("optimizer", ["sgd"], FloatDistribution(0.0, 0.9)),
        "batch_size": IntDistribution(np.int64(64), np.int64(64)),
    },
    budget=Budget(trials=3, max_epochs=5), warm_starts=[{"epochs": 5, "units": np.int64(16)}, {"epochs": 1}],
)
"""


def test_a_trial_has_the_epochs_of_its_record(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """Of a list of them, too: a trial of five epochs would else be recorded, of which two were trained."""
    write_study(LISTED, "listed.py")
    hpo("launch", "--study", "listed", "--max-epochs", "2", "--workers", "1", "--gpus", "none")
    rows = json.loads(hpo("trials", "--study", "listed", "--json").stdout)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    assert all(row["epochs"] == len(row["history"]["loss"]) == row["params"]["epochs"] for row in rows)
    assert [row["params"]["epochs"] for row in rows[:2]] == [2, 1]
    assert all(row["params"].keys() == {"epochs", "units", "optimizer", "batch_size"} for row in rows)
    study = optuna.load_study(study_name="listed", storage=f"sqlite:///{run_dir.database}")
    assert {trial.distributions["epochs"] for trial in study.trials} == {CategoricalDistribution([1, 2])}
