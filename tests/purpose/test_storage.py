"""README: "It is Optuna's own schema": any tool of Optuna's reads a study as hpo shows it, and as one of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from command import Hpo
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import plot_intermediate_values, plot_optimization_history, plot_slice

# With one best trial, some that are pruned, and one that fails.
STUDY = """
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler
from hpo import Budget, Search, When

def score(params, trial):
    if params.get("momentum", 1) < 0.2:
        raise ValueError("too slow")
    for epoch in range(1, 6):
        trial.report(-(params["units"] - 100) ** 2 - params["rate"] * 9 + epoch, epoch)
    return -(params["units"] - 100) ** 2 - params["rate"] * 9 + 5

study = Search(
    name="read", task=score, direction="maximize", sampler=RandomSampler(),
    pruner=MedianPruner(n_startup_trials=4),
    space={
        "units": IntDistribution(16, 256, log=True),
        "optimizer": CategoricalDistribution(["adam", "sgd", None]),
        "momentum": When("optimizer", ["sgd"], FloatDistribution(0, 1)),
        "rate": FloatDistribution(1e-4, 1, log=True),
    },
    budget=Budget(trials=24),
)
"""


# Of 24 random trials, few may have the parameter that depends on another; Optuna says so.
@pytest.mark.filterwarnings("ignore:Some regimes for parameter:UserWarning")
def test_optunas_tools_read_a_study_as_one_of_their_own(
    storage_url: str, hpo: Hpo, write_study: Callable[..., Path]
) -> None:
    """What ``load_study`` gives agrees with ``hpo ... --json``, and with ``study.optimize`` of the same parameters."""
    path = write_study(STUDY, "read.py")
    hpo("launch", "--study", str(path), "--workers", "2", "--gpus", "none", HPO_STORAGE=storage_url)
    storage = optuna.storages.RDBStorage(_for_optuna(storage_url))
    read = optuna.load_study(study_name="read", storage=storage)

    def asked(command: str) -> Any:
        return json.loads(hpo(command, "--study", "read", "--json", HPO_STORAGE=storage_url).stdout)

    best, status, rows = asked("best"), asked("status"), asked("trials")
    assert (best["number"], best["value"], best["params"]) == (
        read.best_trial.number, read.best_value, read.best_params
    )  # fmt: skip
    assert status["best"] == best
    assert status["states"] == {
        state.name: count for state in TrialState if (count := len(read.get_trials(states=[state])))
    }
    assert set(status["states"]) == {"COMPLETE", "PRUNED", "FAIL"}
    assert [(row["number"], row["state"], row["value"], row["params"], row["epochs"] or 0) for row in rows] == [
        (trial.number, trial.state.name, trial.value, trial.params, len(trial.intermediate_values))
        for trial in read.trials
    ]

    plain = _plain(read.trials)
    assert _facts(read.best_trial) == _facts(plain.best_trial)
    assert list(map(_facts, read.trials)) == list(map(_facts, plain.trials))
    assert _importances(read) == _importances(plain)
    for plot in (plot_optimization_history, plot_slice, plot_intermediate_values):
        assert json.loads(plot(read).to_json())["data"] == json.loads(plot(plain).to_json())["data"]
    storage.engine.dispose()


def _for_optuna(url: str) -> str:
    """The URL as SQLAlchemy, which Optuna gives it to, takes it with the driver that hpo installs."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def _plain(trials: list[FrozenTrial]) -> optuna.Study:
    """The same in memory by Optuna alone; a trial ends where it did, since pruning depends on who runs beside it."""
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        study.enqueue_trial(trial.params)

    def objective(trial: optuna.Trial) -> float:
        units = trial.suggest_int("units", 16, 256, log=True)
        if trial.suggest_categorical("optimizer", ["adam", "sgd", None]) == "sgd":
            momentum = trial.suggest_float("momentum", 0, 1)
        else:
            momentum = 1
        rate = trial.suggest_float("rate", 1e-4, 1, log=True)
        if momentum < 0.2:
            raise ValueError("too slow")
        for epoch in range(1, 1 + len(trials[trial.number].intermediate_values)):
            trial.report(-((units - 100) ** 2) - rate * 9 + epoch, epoch)
        if trials[trial.number].state == TrialState.PRUNED:
            raise optuna.TrialPruned
        return -((units - 100) ** 2) - rate * 9 + 5

    study.optimize(objective, n_trials=len(trials), catch=ValueError)
    return study


def _facts(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.number, trial.state, trial.value, trial.params, trial.distributions, trial.intermediate_values


def _importances(study: optuna.Study) -> dict[str, float]:
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
