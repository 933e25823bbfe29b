"""The best is the best: what a launch calls so is what plain Optuna, and a plain look at all trials, call so."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from command import Hpo

from hpo.files.run_dir import RunDir

# Worst, best and middle are spread over the trials; one fails and one is pruned, with values that no result has.
SCORED = """
import optuna
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    if trial.number == 2:
        raise ValueError("no value at all")
    if trial.number == 4:
        trial.report(-1.0 if DIRECTION == "minimize" else 9.0, 1)
        raise optuna.TrialPruned
    return (params["x"] - 0.5) ** 2

DIRECTION = "{direction}"
study = Search(
    name="scored", task=score, direction=DIRECTION, space={{"x": FloatDistribution(0, 1)}},
    budget=Budget(trials=12), warm_starts=[{{"x": 0.25}}, {{"x": 1.0}}, {{"x": 0.25}}, {{"x": 0.5}}, {{"x": 0.25}}],
)
"""

# The same network with three learning rates: the middle one learns, the others hardly do.
TRAINED = """
from optuna.distributions import FloatDistribution
from hpo import Budget, Search, Train
from hpo.models import build_mlp

study = Search(
    name="trained", task=Train(data="digits", model=build_mlp, metric="{metric}"),
    space={{"learning_rate": FloatDistribution(1e-6, 1e-2)}},
    budget=Budget(trials=3, max_epochs=2), direction={direction},
    warm_starts=[{{"learning_rate": rate}} for rate in (1e-6, 1e-2, 2e-6)],
)
"""


def _launched(hpo: Hpo, run_dir: RunDir, name: str) -> tuple[int, dict[str, Any], list[dict[str, Any]], optuna.Study]:
    """The best by what the launch printed, the best by the status, all rows, and the study as plain Optuna has it."""
    answer = hpo("launch", "--study", name, "--workers", "2", "--gpus", "none")
    printed = re.search(rf"Best trial of {name}: (\d+),", answer.stdout)
    assert printed
    assert ("stopping=None turns both off." in answer.stdout) == (name == "trained")
    best = json.loads(hpo("status", "--study", name, "--json").stdout)["best"]
    rows = json.loads(hpo("trials", "--study", name, "--json").stdout)
    return int(printed[1]), best, rows, optuna.load_study(study_name=name, storage=f"sqlite:///{run_dir.database}")


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_of_an_objective_is_the_best(
    direction: str, hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Neither the trial that failed, nor the one that was pruned."""
    write_study(SCORED.format(direction=direction), "scored.py")
    printed, best, rows, study = _launched(hpo, run_dir, "scored")
    assert [row["state"] for row in rows].count("COMPLETE") == 10
    choose = max if direction == "maximize" else min
    value = choose((row["params"]["x"] - 0.5) ** 2 for row in rows if row["state"] == "COMPLETE")
    assert best["value"] == study.best_value == value
    assert printed == best["number"] == study.best_trial.number
    assert study.best_params == best["params"]
    assert study.best_params["x"] in ((0.0, 1.0) if direction == "maximize" else (0.5,))


@pytest.mark.parametrize(("metric", "direction"), [("val_accuracy", "maximize"), ("val_loss", None)])
def test_the_best_of_a_network_is_the_best(
    metric: str, direction: str | None, hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Of a loss the smallest, without a word of it in the study: else the network that learned nothing would win."""
    write_study(TRAINED.format(metric=metric, direction=repr(direction)), "trained.py")
    printed, best, rows, study = _launched(hpo, run_dir, "trained")
    choose = max if metric == "val_accuracy" else min
    values = {row["number"]: choose(row["history"][metric]) for row in rows}
    assert best["params"] == {"learning_rate": 1e-2}
    assert printed == best["number"] == study.best_trial.number == choose(values, key=lambda number: values[number])
    assert best["value"] == study.best_value == choose(values.values())


# The better the value, the larger the network; what is above 0.6 is too large.
CONSTRAINED = """
import warnings
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler
from hpo import Budget, Search

def score(params, trial):
    trial.set_constraint("size", params["x"] - 0.6)
    return params["x"]

def told(params, trial):
    trial.set_user_attr("size", params["x"])
    return params["x"]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sampler = TPESampler(constraints_func=lambda trial: (trial.user_attrs["size"] - 0.6,))

space = {"x": FloatDistribution(0, 1)}
budget = Budget(trials=20)
by_trial = Search(name="by-trial", task=score, direction="maximize", space=space, budget=budget)
by_sampler = Search(
    name="by-sampler", task=told, direction="maximize", space=space, budget=budget, sampler=sampler
)
"""


@pytest.mark.parametrize("name", ["by-trial", "by-sampler"])
def test_the_best_is_one_that_meets_the_constraints(
    name: str, hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """However good the others are; and the sampler turns to those that do."""
    write_study(CONSTRAINED, "constrained.py")
    printed, best, rows, study = _launched(hpo, run_dir, name)
    feasible = [row for row in rows if row["params"]["x"] <= 0.6]
    assert printed == best["number"] == study.best_trial.number
    assert best["value"] == max(row["value"] for row in feasible) < max(row["value"] for row in rows)
    assert [row["feasible"] for row in rows] == [row in feasible for row in rows]
