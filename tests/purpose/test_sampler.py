"""The search learns: within one launch each sampler does what it does in plain Optuna, with one worker and with two."""

import collections
import signal
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from command import Hpo
from definitions import found
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    GridSampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpo import Budget
from hpo.devices.slots import Slot
from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url
from hpo.study.space import Params
from hpo.workers.worker import Worker

NINE = {"choice": CategoricalDistribution(list(range(1, 10)))}
SMOOTH = {name: FloatDistribution(0, 1) for name in "xyz"}


def _nine(params: Params, _trial: object) -> float:
    return float(params["choice"])


def _smooth(params: Params, _trial: object) -> float:
    """At most 0, at (0.8, 0.3, 0.6)."""
    return -float(sum((params[name] - best) ** 2 for name, best in (("x", 0.8), ("y", 0.3), ("z", 0.6))))


@pytest.fixture
def run(sqlite: BaseStorage, run_dir: RunDir) -> Iterator[Callable[..., list[FrozenTrial]]]:
    """Run a study to its end as one worker process does, in this one; its trials."""
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    count = iter(range(1000))

    def run(
        score: Callable[[Params, Any], float],
        space: dict[str, BaseDistribution],
        sampler: BaseSampler | None,
        *,
        trials: int = 60,
        seed: int = 0,
    ) -> list[FrozenTrial]:
        definition = found(
            name=f"s{next(count)}", task=score, direction="maximize", space=space,
            budget=Budget(trials=trials), seed=seed, **({"sampler": sampler} if sampler else {}),
        )  # fmt: skip
        study, _ = stored_study.create_or_resume(sqlite, definition, run_dir)
        Worker(study, definition, run_dir, Slot(threads=1)).run()
        return study.get_trials(deepcopy=False)

    yield run
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def _plain(
    score: Callable[[Params, Any], float],
    space: dict[str, BaseDistribution],
    sampler: BaseSampler,
    *,
    trials: int = 60,
) -> list[FrozenTrial]:
    """The trials of the same study in plain Optuna."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials):
        trial = study.ask(space)
        study.tell(trial, score(trial.params, trial))
    return study.trials


def _late_mean(trials: list[FrozenTrial]) -> float:
    return statistics.mean(trial.value for trial in trials[len(trials) // 2 :] if trial.value is not None)


def _best(trials: list[FrozenTrial]) -> float:
    return max(trial.value for trial in trials if trial.value is not None)


def _sampler(name: str, seed: int | None = None) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return {
            "TPE": lambda: TPESampler(multivariate=True, group=True, seed=seed),
            "TPE of each parameter": lambda: TPESampler(seed=seed),
            "NSGA-II": lambda: NSGAIISampler(population_size=10, seed=seed),
            "quasi-random": lambda: QMCSampler(warn_independent_sampling=False, seed=seed),
            "fixed": lambda: PartialFixedSampler({"x": 0.8, "y": 0.25}, TPESampler(seed=seed)),
            "GP": lambda: GPSampler(seed=seed, n_startup_trials=8),
        }[name]()


def test_tpe_finds_the_best_of_nine_choices(run: Callable[..., list[FrozenTrial]]) -> None:
    """Chance draws it 7 times of 60 and has a mean of 5, as a launch had whose sampler saw no result."""
    ours = run(_nine, NINE, _sampler("TPE of each parameter"))
    plain = _plain(_nine, NINE, _sampler("TPE of each parameter", seed=0))
    for trials in (ours, plain):
        assert _late_mean(trials) > 6.2
        assert sum(trial.value == 9 for trial in trials) > 12


def test_tpe_beats_random_search_as_it_does_in_plain_optuna(run: Callable[..., list[FrozenTrial]]) -> None:
    """On a smooth function of three parameters, 60 trials, by the median of ten seeds: half the distance or less."""
    seeds = range(10)
    learned = statistics.median(_best(run(_smooth, SMOOTH, _sampler("TPE"), seed=seed)) for seed in seeds)
    drawn = statistics.median(_best(_plain(_smooth, SMOOTH, RandomSampler(seed=seed))) for seed in seeds)
    plain = statistics.median(_best(_plain(_smooth, SMOOTH, _sampler("TPE", seed))) for seed in seeds)
    assert learned > drawn / 2
    assert learned > 3 * plain


@pytest.mark.parametrize("name", ["TPE of each parameter", "NSGA-II", "GP"])
def test_a_sampler_learns_as_in_plain_optuna(name: str, run: Callable[..., list[FrozenTrial]]) -> None:
    """The later half of its trials is far better than those of a random search, and about as good as in Optuna."""
    trials = 30 if name == "GP" else 60
    if name == "GP":
        pytest.importorskip("torch", reason="GPSampler needs PyTorch: pip install '.[gp]'")
    ours = run(_smooth, SMOOTH, _sampler(name), trials=trials)
    plain = _plain(_smooth, SMOOTH, _sampler(name, seed=1), trials=trials)
    drawn = _plain(_smooth, SMOOTH, RandomSampler(seed=1), trials=trials)
    assert _late_mean(ours) > 0.75 * _late_mean(drawn)
    assert _late_mean(ours) > 2.5 * _late_mean(plain)


def test_a_quasi_random_sequence_covers_the_space(run: Callable[..., list[FrozenTrial]]) -> None:
    """Each sixteenth of a range has four of 64 points, as in plain Optuna; of random points some have none."""
    trials = run(_smooth, SMOOTH, _sampler("quasi-random"), trials=65)
    plain = _plain(_smooth, SMOOTH, _sampler("quasi-random", seed=3), trials=65)
    for drawn in (trials, plain):
        for name in SMOOTH:
            cells = collections.Counter(int(trial.params[name] * 16) for trial in drawn[1:])
            assert {cells[cell] for cell in range(16)} == {4}


def test_a_partially_fixed_sampler_learns_the_rest(run: Callable[..., list[FrozenTrial]]) -> None:
    """What is fixed stays fixed; the others are found as in plain Optuna."""
    fixed = {"x": 0.8, "y": 0.25}
    ours = run(_smooth, SMOOTH, _sampler("fixed"), trials=40)
    plain = _plain(_smooth, SMOOTH, _sampler("fixed", seed=1), trials=40)
    for trials in (ours, plain):
        assert all(fixed.items() <= trial.params.items() for trial in trials)
        assert _late_mean(trials) > -0.06  # of random points, -0.1


# What a finite space comes to, by the name of its sampler.
FINITE = {
    "GridSampler": 'GridSampler({"size": [1, 2, 3], "kind": ["a", "b", "c", "d"]})',
    "BruteForceSampler": "BruteForceSampler()",
}
FINITE_STUDY = """
import time
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import *
from hpo import Budget, Search

def score(params, trial):
    time.sleep(0.02 * params["size"])
    return params["size"]

study = Search(
    name="finite", task=score, direction="maximize", budget=Budget(trials=50), sampler={sampler},
    space={{"size": IntDistribution(1, 3), "kind": CategoricalDistribution(["a", "b", "c", "d"])}},
)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sampler", FINITE)
def test_a_finite_space_is_listed_once_and_ends_the_launch(
    sampler: str, workers: int, hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Each combination has a result, none has two, and the rest of the budget is left; a second launch adds none."""
    write_study(FINITE_STUDY.format(sampler=FINITE[sampler]), "finite.py")
    expected = {(size, kind) for size in (1, 2, 3) for kind in "abcd"}
    for ran in (12, 0):
        answer = hpo("launch", "--study", "finite", "--workers", str(workers), "--gpus", "none")
        assert f"{ran} trials in this launch; 12 of 50 done." in answer.stdout
        assert "Every configuration that the sampler can draw has run." in answer.stdout
        storage = open_storage(resolve_url(None, run_dir), write=False)
        trials = optuna.load_study(study_name="finite", storage=storage).trials
        backend_of(storage).engine.dispose()
        assert {trial.state.name for trial in trials} == {"COMPLETE"}
        listed = collections.Counter((trial.params["size"], trial.params["kind"]) for trial in trials)
        assert listed == dict.fromkeys(expected, 1)


def test_plain_optuna_lists_the_same_grid() -> None:
    """The yardstick of the test above."""

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical("kind", ["a", "b", "c", "d"])
        return trial.suggest_int("size", 1, 3)

    study = optuna.create_study(sampler=GridSampler({"size": [1, 2, 3], "kind": ["a", "b", "c", "d"]}))
    study.optimize(objective, n_trials=50)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == len(study.trials) == 12


LEARNING_STUDY = """
import os, time
from pathlib import Path
from optuna.distributions import FloatDistribution
from optuna.samplers import *
from hpo import Budget, Search

def score(params, trial):
    Path(f"{os.getpid()}.worker").touch()
    while len(list(Path().glob("*.worker"))) < 2:  # neither worker runs alone
        time.sleep(0.01)
    return -sum((params[name] - best) ** 2 for name, best in (("x", 0.8), ("y", 0.3), ("z", 0.6)))

def study_of(name, **sampler):
    return Search(name=name, task=score, direction="maximize", budget=Budget(trials=60), **sampler,
                           space={name: FloatDistribution(0, 1) for name in "xyz"})

tpe = study_of("tpe")
nsga = study_of("nsga", sampler=NSGAIISampler(population_size=10))
qmc = study_of("qmc", sampler=QMCSampler(warn_independent_sampling=False))
"""


@pytest.mark.parametrize("name", ["tpe", "nsga", "qmc"])
def test_two_workers_learn_from_each_other(
    name: str, hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Each sees what the other has found; of a quasi-random sequence no point is drawn twice."""
    write_study(LEARNING_STUDY, "learning.py")
    hpo("launch", "--study", name, "--workers", "2", "--gpus", "none")
    storage = open_storage(resolve_url(None, run_dir), write=False)
    trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    backend_of(storage).engine.dispose()
    assert len({trial.user_attrs["claim"]["worker"] for trial in trials}) == 2
    drawn = _plain(_smooth, SMOOTH, RandomSampler(seed=1))
    if name == "qmc":
        assert len({tuple(trial.params.values()) for trial in trials}) == 60
    else:
        assert _late_mean(trials) > 0.75 * _late_mean(drawn)
