"""The methods that are compared: hpo's freeze-thaw search, and what the other libraries offer."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from hpo.search.curve import Curve
from hpo.search.freeze_thaw import Begin, Continue, FreezeThaw
from hpo.study.space import Space

from .simulation import Method, Problem, drawn

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


@dataclass
class _Configuration:
    params: dict[str, Any]
    until: int
    values: list[float] = field(default_factory=list)
    state: Any = "running"


class Ours:
    """hpo's own search: the class that decides in a launch, told what it is told there."""

    def __init__(self, problem: Problem, seed: int, epochs: int) -> None:
        self._most = problem.max_epochs
        self._epochs = epochs
        self._search = FreezeThaw(Space(problem.space), self._most, seed=seed, hints={})
        self._configurations: list[_Configuration] = []
        self._decision: Begin | Continue | None = None  # of a pause, which the next claim would come to again
        self._spent = 0

    def ask(self) -> tuple[int, dict[str, Any], int] | None:
        decision, self._decision = self._decision or self._decide(), None
        if decision is None:
            return None
        if isinstance(decision, Continue):
            number = decision.number
            found = self._configurations[number]
        else:
            number = len(self._configurations)
            found = _Configuration(decision.params, 0)
            self._configurations.append(found)
        found.state, found.until = "running", self._search.pause_after(len(found.values), self._limit(found.params))
        return number, found.params, len(found.values)

    def tell(self, key: int, epoch: int, value: float) -> bool:
        found = self._configurations[key]
        self._spent += 1
        if math.isnan(value):
            found.state, found.values = "failed", []
            return False
        found.values.append(value)
        if epoch == self._limit(found.params):
            found.state = "ended"
        elif epoch == found.until:
            found.state = "paused"
            self._decision = self._decide()
            if self._decision == Continue(key):
                self.ask()
        return bool(found.state == "running")

    def _decide(self) -> Begin | Continue | None:
        curves = [
            Curve(
                number=number,
                params=each.params,
                values=each.values,
                epochs=self._limit(each.params),
                state=each.state,
            )
            for number, each in enumerate(self._configurations)
        ]
        return self._search.next(curves, spent=self._spent / self._epochs)

    def _limit(self, params: dict[str, Any]) -> int:
        return int(min(params.get("epochs", self._most), self._most))


class OptunaStudy:
    """A sampler and a pruner of Optuna's, asked after each epoch."""

    def __init__(self, problem: Problem, sampler: BaseSampler, pruner: BasePruner) -> None:
        self._problem = problem
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, dict[str, Any], int]:
        trial = self._study.ask(dict(self._problem.space))
        self._trials[trial.number] = trial
        return trial.number, dict(trial.params), 0

    def tell(self, key: int, epoch: int, value: float) -> bool:
        trial = self._trials[key]
        if math.isnan(value):
            self._study.tell(trial, state=TrialState.FAIL)
            return False
        trial.report(value, epoch)
        if epoch == self._problem.max_epochs:
            self._study.tell(trial, max(trial._get_latest_trial().intermediate_values.values()))
            return False
        if trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True


class CheapLook:
    """A cheap look at many, a tenth of the epochs of each, for half of the budget; then the best in full, in order."""

    def __init__(self, problem: Problem, seed: int, epochs: int) -> None:
        self._problem = problem
        self._random = np.random.default_rng(seed)
        self._look = max(1, problem.max_epochs // 10)
        self._many = max(1, epochs // 2 // self._look)
        self._params: list[dict[str, Any]] = []
        self._values: dict[int, float] = {}
        self._left: list[int] | None = None

    def ask(self) -> tuple[int, dict[str, Any], int] | None:
        if len(self._params) < self._many:
            self._params.append(drawn(self._problem.space, self._random))
            return len(self._params) - 1, self._params[-1], 0
        if self._left is None:
            if len(self._values) < self._many:
                return None
            self._left = sorted(self._values, key=lambda key: self._values[key])
        if not self._left:
            return None
        key = self._left.pop()
        return key, self._params[key], self._look

    def tell(self, key: int, epoch: int, value: float) -> bool:
        if epoch <= self._look:
            self._values[key] = -math.inf if math.isnan(value) else value
        return not math.isnan(value) and epoch != self._look


class KerasTunerHyperband:
    """Keras Tuner's Hyperband: its oracle says which trial goes on from which other, for how many epochs."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import tempfile

        import keras_tuner
        from keras_tuner.src.tuners.hyperband import HyperbandOracle

        space = keras_tuner.HyperParameters()
        for name, distribution in problem.space.items():
            if isinstance(distribution, CategoricalDistribution):
                space.Choice(name, list(distribution.choices), ordered=False)
            else:
                kind = space.Float if isinstance(distribution, FloatDistribution) else space.Int
                sampling = "log" if distribution.log else "linear"
                kind(name, distribution.low, distribution.high, sampling=sampling)
        self._names = list(problem.space)
        self._oracle = HyperbandOracle(
            objective=keras_tuner.Objective("value", "max"),
            max_epochs=problem.max_epochs,
            hyperband_iterations=1000,
            hyperparameters=space,
            seed=seed,
        )
        self._oracle.verbose = 0  # it prints a table for each trial
        self._oracle._set_project_dir(tempfile.mkdtemp(), "simulated")
        self._trials: dict[str, Any] = {}

    def ask(self) -> tuple[str, dict[str, Any], int] | None:
        trial = self._oracle.create_trial("tuner")
        if trial.status != "RUNNING":
            return None
        values = trial.hyperparameters.values
        self._trials[trial.trial_id] = (trial, values.get("tuner/epochs", 1), -math.inf)
        return trial.trial_id, {name: values[name] for name in self._names}, values.get("tuner/initial_epoch", 0)

    def tell(self, key: str, epoch: int, value: float) -> bool:
        trial, until, best = self._trials[key]
        best = best if math.isnan(value) else max(best, value)
        self._trials[key] = (trial, until, best)
        if epoch < until and not math.isnan(value):
            return True
        if math.isfinite(best):
            self._oracle.update_trial(key, {"value": best})
            trial.status = "COMPLETED"
        else:
            trial.status = "INVALID"
        self._oracle.end_trial(trial)
        return False


class RayAsha:
    """Random search with Ray Tune's ASHA, as its scheduler decides after each epoch."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from ray.tune.schedulers import ASHAScheduler

        self._problem = problem
        self._random = np.random.default_rng(seed)
        self._scheduler = ASHAScheduler(time_attr="epoch", metric="value", mode="max", max_t=problem.max_epochs)
        self._trials: list[Any] = []

    def ask(self) -> tuple[int, dict[str, Any], int]:
        trial = type("Trial", (), {"trial_id": str(len(self._trials)), "__hash__": object.__hash__})()
        self._trials.append(trial)
        self._scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        return len(self._trials) - 1, drawn(self._problem.space, self._random), 0

    def tell(self, key: int, epoch: int, value: float) -> bool:
        trial, result = self._trials[key], {"epoch": epoch, "value": value}
        if math.isnan(value):
            self._scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
            return False
        if epoch == self._problem.max_epochs:
            self._scheduler.on_trial_complete(None, trial, result)  # type: ignore[arg-type]
            return False
        answer = self._scheduler.on_trial_result(None, trial, result)  # type: ignore[arg-type]
        return bool(answer == self._scheduler.CONTINUE)


def _halving() -> BasePruner:
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


METHODS: dict[str, Callable[[Problem, int, int], Method]] = {
    "hpo": Ours,
    "random": lambda problem, seed, _epochs: OptunaStudy(problem, RandomSampler(seed), NopPruner()),
    "random-halving": lambda problem, seed, _epochs: OptunaStudy(problem, RandomSampler(seed), _halving()),
    "tpe": lambda problem, seed, _epochs: OptunaStudy(problem, TPESampler(seed=seed), NopPruner()),
    "tpe-percentile": lambda problem, seed, _epochs: OptunaStudy(problem, TPESampler(seed=seed), PercentilePruner(75)),
    "tpe-hyperband": lambda problem, seed, _epochs: OptunaStudy(
        problem, TPESampler(seed=seed), HyperbandPruner(min_resource=1, max_resource=problem.max_epochs)
    ),
    "tpe-halving": lambda problem, seed, _epochs: OptunaStudy(problem, TPESampler(seed=seed), _halving()),
    "cheap-look": CheapLook,
    "keras-tuner-hyperband": lambda problem, seed, _epochs: KerasTunerHyperband(problem, seed),
    "ray-asha": lambda problem, seed, _epochs: RayAsha(problem, seed),
}
PEERS = {"keras-tuner-hyperband": "keras_tuner", "ray-asha": "ray"}  # the package that a method needs
