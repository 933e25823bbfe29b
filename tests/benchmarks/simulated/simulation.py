"""One search on a problem whose curves are known: workers that train at once, by a simulated clock."""

import heapq
import math
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

SCALED_BY = 1000  # random configurations, whose best and median full curves are regrets of 0 and 1


class Problem(Protocol):
    """What a file given as ``--problems`` defines; higher values are better.

    ``seconds(params)``, the length of an epoch, may be left out: then every epoch is as long.
    """

    name: str
    space: Mapping[str, BaseDistribution]
    max_epochs: int

    def curve(self, params: dict[str, Any]) -> Iterable[float]:
        """The value after each epoch; NaN from where it fails."""


class Method(Protocol):
    """A search method, as the simulation drives it."""

    def ask(self) -> tuple[Any, dict[str, Any], int] | None:
        """A trial: its key, its parameters, and how many epochs it has had. None if there is none now."""

    def tell(self, key: Any, epoch: int, value: float) -> bool:
        """Take the value after an epoch; whether the trial goes on. NaN ends it."""


@dataclass
class Run:
    """What a simulated search did.

    Args:
        best: the best value so far, after each epoch.
        decisions: milliseconds each took.
    """

    best: list[float] = field(default_factory=list)
    decisions: list[float] = field(default_factory=list)


def simulate(problem: Problem, method: Method, *, epochs: int, workers: int) -> Run:
    """Run a search for so many epochs in all."""
    run, clock, running, idle = Run(), 0.0, [], list(range(workers))
    best, order = -math.inf, 0
    curves: dict[Any, list[float]] = {}

    def begin() -> None:
        nonlocal order
        for worker in list(idle):
            started = time.perf_counter()
            trial = method.ask()
            run.decisions.append(1000 * (time.perf_counter() - started))
            if trial is None:
                return
            idle.remove(worker)
            key, params, done = trial
            if key not in curves:
                curves[key] = list(problem.curve(params))
            seconds = problem.seconds(params) if hasattr(problem, "seconds") else 1.0
            order += 1
            heapq.heappush(running, (clock + seconds, order, worker, key, done + 1, seconds))

    begin()
    while running and len(run.best) < epochs:
        clock, _order, worker, key, epoch, seconds = heapq.heappop(running)
        value = curves[key][epoch - 1]
        best = max(best, value) if value == value else best
        run.best.append(best)
        started = time.perf_counter()
        goes_on = method.tell(key, epoch, value)
        run.decisions[-1] += 1000 * (time.perf_counter() - started)
        if goes_on and epoch < len(curves[key]):
            order += 1
            heapq.heappush(running, (clock + seconds, order, worker, key, epoch + 1, seconds))
        else:
            idle.append(worker)
            begin()
    return run


def scale(problem: Problem) -> tuple[float, float]:
    """The values of the median and the best of random configurations, trained to their end."""
    random = np.random.default_rng(20261126)
    best = [np.nanmax(list(problem.curve(drawn(problem.space, random)))) for _ in range(SCALED_BY)]
    return statistics.median(best), max(best)


def regrets(run: Run, epochs: int, scaled: tuple[float, float]) -> NDArray[np.float64]:
    """The regret after each epoch: 0 at the best of random full curves, or beyond it; 1 at their median, or below."""
    median, best = scaled
    values = np.array(run.best + [run.best[-1]] * (epochs - len(run.best)))
    return np.clip((best - values) / max(best - median, 1e-12), 0, 1)


def drawn(space: Mapping[str, BaseDistribution], random: np.random.Generator) -> dict[str, Any]:
    """A random configuration."""
    return {name: _drawn(distribution, random.random()) for name, distribution in space.items()}


def _drawn(distribution: BaseDistribution, place: float) -> Any:
    match distribution:
        case CategoricalDistribution():
            return distribution.choices[int(place * len(distribution.choices))]
        case IntDistribution(low=low, high=high, log=True):
            return min(high, round(math.exp(math.log(low - 0.5) + place * math.log((high + 0.5) / (low - 0.5)))))
        case IntDistribution(low=low, high=high):
            return low + int(place * (high - low + 1))
        case FloatDistribution(low=low, high=high, log=True):
            return math.exp(math.log(low) + place * math.log(high / low))
        case FloatDistribution(low=low, high=high):
            return low + place * (high - low)
    raise TypeError(f"unknown distribution {distribution}")
