"""README: "It prunes what does not learn", with the decisions of Optuna's pruners, and the best is not lost by it."""

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest
from command import Hpo
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from hpo.files.run_dir import RunDir

Curve = Sequence[float]

# Some learn fast and end low, some slowly and end high: what a pruner has to tell apart.
CURVES = """
import math
from optuna.distributions import FloatDistribution
from optuna.pruners import *
from optuna.samplers import RandomSampler
from hpo import Budget, Search

def curve(x, y):
    speed, top = 0.2 + y, 0.5 + 0.5 * x - 0.2 * y
    return [top * (1 - math.exp(-speed * epoch)) + 0.01 * math.sin(9 * epoch + 99 * x) for epoch in range(1, 10)]

def train(params, trial):
    for epoch, value in enumerate(values := curve(**params), 1):
        trial.report(value, epoch)
    return max(values)

pruner = {pruner}
study = Search(
    name="curves", task=train, direction="maximize",
    space={{"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}}, budget=Budget(trials=24, max_epochs=9),
    sampler=RandomSampler(), pruner=pruner,
)
"""

# A network on bundled digits that learns well, slowly or not at all, as its learning rate says.
TRAINED = """
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import *
from optuna.samplers import RandomSampler
from hpo import Budget, Search, Train
from hpo.study.budget import Stopping

def build(params, dataset):
    import keras
    model = keras.Sequential([
        keras.Input(dataset.input_shape), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
        keras.layers.Dense(params["units"], activation="relu"),
        keras.layers.Dense(dataset.num_classes, activation="softmax"),
    ])
    optimizer = keras.optimizers.SGD(params["learning_rate"])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

pruner = {pruner}
study = Search(
    name="curves", task=Train(data="digits", model=build, precision="float32", stopping=None),
    sampler=RandomSampler(), pruner=pruner,
    space={{"units": IntDistribution(16, 64), "learning_rate": FloatDistribution(1e-4, 1, log=True)}},
    budget=Budget(trials=6, max_epochs=5),
)
"""

MEDIAN = "MedianPruner(n_startup_trials=4, n_warmup_steps=3)"
HYPERBAND = "HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)"
HALVING = "SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)"


@pytest.mark.parametrize("pruner", [MEDIAN, HYPERBAND, HALVING])
def test_a_pruner_saves_epochs_and_decides_as_in_optuna(
    pruner: str, hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Trial by trial, as in ``study.optimize`` on the same curves; the best of all configurations is among them."""
    study_file = write_study(CURVES.format(pruner=pruner), "curves.py")
    trials = _launched(hpo, run_dir, "curves")
    defined = runpy.run_path(str(study_file))
    curves = [defined["curve"](**trial.params) for trial in trials]
    assert _fates(trials) == _fates(_plain(curves, defined["pruner"]))
    assert _epochs(trials) < 0.7 * sum(map(len, curves))
    assert max(_values(trials)) == max(map(max, curves))


def test_a_pruned_search_of_networks_finds_what_the_whole_one_finds(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Every epoch that both train is the same, those that are saved are those that Optuna would save."""
    write_study(TRAINED.format(pruner="NopPruner()"), "curves.py")
    whole = _launched(hpo, run_dir, "curves", "--name", "whole")
    study_file = write_study(TRAINED.format(pruner=HALVING), "curves.py")
    pruned = _launched(hpo, run_dir, "curves")
    curves = [list(trial.intermediate_values.values()) for trial in whole]
    assert [len(curve) for curve in curves] == [5] * 6
    assert _fates(pruned) == _fates(_plain(curves, runpy.run_path(str(study_file))["pruner"]))
    assert [trial.params for trial in pruned] == [trial.params for trial in whole]
    assert _epochs(pruned) < 0.7 * _epochs(whole)
    assert max(_values(pruned)) == max(_values(whole))


def _launched(hpo: Hpo, run_dir: RunDir, name: str, *options: str) -> list[FrozenTrial]:
    """The trials of a launch with one worker, which trains one after another as ``study.optimize`` does."""
    hpo("launch", "--study", f"studies/{name}.py", "--workers", "1", "--gpus", "none", *options)
    name = options[-1] if options else name
    storage = optuna.storages.RDBStorage(f"sqlite:///{run_dir.database}")
    trials = optuna.load_study(study_name=name, storage=storage).trials
    storage.engine.dispose()
    return trials


def _plain(curves: Sequence[Curve], pruner: BasePruner) -> list[FrozenTrial]:
    """What Optuna alone makes of those curves; Hyperband's brackets depend on the study's name."""
    study = optuna.create_study(study_name="curves", direction="maximize", sampler=RandomSampler(), pruner=pruner)

    def objective(trial: optuna.Trial) -> float:
        for epoch, value in enumerate(curves[trial.number], 1):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return max(curves[trial.number])

    study.optimize(objective, n_trials=len(curves))
    return study.trials


def _fates(trials: Sequence[FrozenTrial]) -> list[tuple[TrialState, dict[int, float]]]:
    return [(trial.state, trial.intermediate_values) for trial in trials]


def _epochs(trials: Sequence[FrozenTrial]) -> int:
    return sum(len(trial.intermediate_values) for trial in trials)


def _values(trials: Sequence[FrozenTrial]) -> list[float]:
    return [trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
