"""Freeze-thaw search: which configuration to begin or to continue next, by the learning curves of all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hpo.search.encoding import Encoding, Rows
from hpo.search.proposals import Key, Proposals, key_of
from hpo.search.surrogate import Array, CurveModel, Points
from hpo.study.seeds import derive_seed
from hpo.study.space import Params, Space

# A curve is looked at after a seventeenth of the most epochs, and then each time it is half as long again: on curves
# of real networks, the first epoch says little about the last.
_FIRST_LOOK, _GROWTH = 1 / 17, 1.5
_FEW = 4  # configurations that begin before there is anything to learn from
_AT_RANDOM = 0.12  # of the decisions: a wrong model cannot keep the search away from anything
_EXPONENT = 0.7  # of the cost by which an improvement is divided; with 1, only what is cheap would run
_MOST_PAUSED = 100  # configurations that may be continued, the best first
_BEST = 5  # configurations near which new ones are looked for
_MOST_POINTS, _MOST_FITTED = 200, 80  # that the model learns from; by which its hyperparameters are found
_POINTS_PER_CURVE, _APART = 3, 1.7  # of which each is at most so much deeper than the one before
_LAST_PART = 0.85  # of the epochs or seconds of a study, after which nothing new begins
FINISHED = 3  # the best configurations, as far as can be told, which are trained to their end


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One configuration, as the search sees it.

    Args:
        number: of the configuration.
        values: one per epoch; higher is better.
        epochs: how many it may have.
        state: whether it runs, may be continued, has ended, or failed.
        is_kept: whether it can be continued from its last epoch; else it would begin again.
        seconds: per epoch; None if that is not known, or does not count.
    """

    number: int
    params: Params
    values: Sequence[float]
    epochs: int
    state: Literal["running", "paused", "ended", "failed"]
    is_kept: Callable[[], bool] = lambda: True
    seconds: float | None = None

    @cached_property
    def best(self) -> float:
        """The best value so far."""
        return max(self.values)

    @cached_property
    def key(self) -> Key:
        """The parameters, as they are compared."""
        return key_of(self.params)

    @property
    def done(self) -> int:
        """How many epochs it has that need not be trained again."""
        return len(self.values) if self.is_kept() else 0


@dataclass(frozen=True)
class Begin:
    """Begin a new configuration."""

    params: Params


@dataclass(frozen=True)
class Continue:
    """Continue a paused configuration, by its number."""

    number: int


class FreezeThaw:
    """Decides by the curves alone: the same curves give the same decision, in any process.

    A Gaussian process over configurations and epochs says what each paused configuration, and each of many new ones,
    would reach. What promises the largest improvement of the best value for its cost is next. `docs/search.md` has the
    reasons and the sources.

    Args:
        max_epochs: of any configuration.
        seed: of every draw.
        hints: values that are likely to be good, by parameter.
    """

    def __init__(self, space: Space, max_epochs: int, *, seed: int, hints: Mapping[str, Any]) -> None:
        self._max_epochs = max_epochs
        self._seed = seed
        self._encoding = Encoding(space, hints)
        self._proposals = Proposals(space, self._encoding, seed=seed, hints=hints)
        self._looks = _looks(max_epochs)

    def pause_after(self, done: int, epochs: int) -> int:
        """The epoch after which a configuration that has ``done`` some of its ``epochs`` is looked at again."""
        return min([look for look in self._looks if look > done] + [epochs])

    def next(self, curves: Sequence[Curve], *, spent: float = 0.0, may_begin: bool = True) -> Begin | Continue | None:
        """What to run next.

        Args:
            curves: all configurations so far.
            spent: how much of the epochs or seconds of the study has been spent, from 0 to 1.
            may_begin: whether a new configuration may begin.

        Returns:
            None if nothing is worth running any more: no new one may begin, and the best few have ended.
        """
        if not may_begin or spent >= _LAST_PART:
            last = self._to_finish(curves)
            if last is not None or not may_begin:
                return last
        epochs = sum(len(curve.values) for curve in curves)
        random = np.random.default_rng(derive_seed(self._seed, f"decision after {epochs} epochs", len(curves)))
        known = {curve.key for curve in curves}
        seen = [curve for curve in curves if curve.values]
        if len(curves) < _FEW or len(seen) < _FEW - 1 or random.random() < _AT_RANDOM:
            new = self._proposals.next_of_sequence(random, known)
            return self._to_finish(curves) if new is None else Begin(new)
        return self._most_promising(curves, seen, random, known)

    def _most_promising(
        self, curves: Sequence[Curve], seen: Sequence[Curve], random: np.random.Generator, known: set[Key]
    ) -> Begin | Continue | None:
        """What has the largest expected improvement for its cost."""
        learned = self._learn(curves)
        ranked = sorted(seen, key=lambda curve: (-curve.best, curve.number))
        paused = [curve for curve in ranked if curve.state == "paused"][:_MOST_PAUSED]
        new = self._proposals.candidates([curve.params for curve in ranked[:_BEST]], random, len(curves))
        rows = np.concatenate([self._rows(paused), new])
        learned.model.prepare(rows, np.array([curve.number for curve in paused] + [-1] * len(new)))
        done = np.array([curve.done for curve in paused] + [0] * len(new))
        limits = np.concatenate([[curve.epochs for curve in paused], self._epochs_of(new)])
        seconds = self._log_seconds(curves, rows)
        promise = np.full(len(rows), -np.inf)
        for horizon in {self._max_epochs, max(1, self._max_epochs // 4), self._looks[0]}:
            ends = np.minimum(horizon, limits)
            chosen = np.flatnonzero(done < ends)
            if len(chosen):
                gain = _log_improvement(*learned.model.predict(self._depth(horizon), chosen), learned.best)
                cost = np.log((ends - done)[chosen]) + seconds[chosen]
                promise[chosen] = np.maximum(promise[chosen], gain - _EXPONENT * cost)
        for index in np.argsort(-promise, kind="stable"):
            if index < len(paused):
                return Continue(paused[index].number)
            if key_of(params := self._encoding.params(rows[index])) not in known:
                return Begin(params)
        left = self._proposals.next_of_sequence(random, known)
        return self._to_finish(curves) if left is None else Begin(left)

    def _to_finish(self, curves: Sequence[Curve]) -> Continue | None:
        """The best configuration that has not ended, by what it is expected to reach; None if the best few have."""
        paused = [curve for curve in curves if curve.state == "paused" and curve.values]
        ended = [curve for curve in curves if curve.state in ("ended", "running") and curve.values]
        if not paused:
            return None
        learned = self._learn(curves)
        learned.model.prepare(self._rows(paused), np.array([curve.number for curve in paused]))
        mean, _deviation = learned.model.predict(1.0, np.arange(len(paused)))
        reached = [(learned.scale(curve.best), -curve.number) for curve in ended]
        expected = [
            (max(float(forecast), learned.scale(curve.best)), -curve.number)
            for forecast, curve in zip(mean, paused, strict=True)
        ]
        first = max(expected)
        return Continue(-first[1]) if first in sorted(reached + expected)[-FINISHED:] else None

    def _learn(self, curves: Sequence[Curve]) -> "_Learned":
        """The model of all curves; those that run are taken to reach what it expects at their next look."""
        seen = sorted((curve for curve in curves if curve.values), key=lambda curve: (-curve.best, curve.number))
        worst = min(curve.values[-1] for curve in seen)
        seen = _thinned(seen)
        found = [(curve, epoch, curve.values[epoch - 1]) for curve in seen for epoch in self._points_of(curve)]
        found += [(curve, self._looks[0], worst) for curve in curves if curve.state == "failed" and not curve.values]
        found = _thinned(found)
        scale = _Scale(np.array([value for _curve, _epoch, value in found]))
        points = self._points([(curve, epoch) for curve, epoch, _value in found])
        values = np.array([scale(value) for _curve, _epoch, value in found])
        model = CurveModel(self._encoding.is_choice)
        few = np.unique(np.linspace(0, len(found) - 1, _MOST_FITTED).astype(int))
        model.fit(points.of(few), values[few])
        model.condition(points, values)
        best = scale(max(curve.best for curve in seen))
        running = [curve for curve in curves if curve.state == "running"]
        if running:
            expected = self._points([(curve, self.pause_after(len(curve.values), curve.epochs)) for curve in running])
            model.prepare(expected.rows, expected.curves)
            mean = np.array([model.predict(depth, np.array([i]))[0][0] for i, depth in enumerate(expected.depths)])
            model.condition(points + expected, np.concatenate([values, mean]))
            best = max(best, mean.max())
        return _Learned(model, scale, best)

    def _points_of(self, curve: Curve) -> list[int]:
        """The epochs of a curve that the model learns from: its last, and some before."""
        kept = [len(curve.values)]
        for look in reversed(self._looks):
            if len(kept) < _POINTS_PER_CURVE and look <= kept[-1] / _APART:
                kept.append(look)
        return kept

    def _points(self, found: Sequence[tuple[Curve, int]]) -> Points:
        return Points(
            self._rows([curve for curve, _epoch in found]),
            np.array([self._depth(epoch) for _curve, epoch in found]),
            np.array([curve.number for curve, _epoch in found]),
        )

    def _rows(self, curves: Sequence[Curve]) -> Rows:
        return np.array([self._encoding.row(curve.params) for curve in curves]).reshape(-1, len(self._encoding))

    def _depth(self, epoch: int) -> float:
        return math.log(epoch) / math.log(self._max_epochs) if self._max_epochs > 1 else 0.0

    def _epochs_of(self, rows: Rows) -> NDArray[np.int64]:
        """How many epochs new configurations may have."""
        epochs = self._encoding.numbers("epochs", rows)
        return np.full(len(rows), self._max_epochs) if epochs is None else np.minimum(epochs, self._max_epochs)

    def _log_seconds(self, curves: Sequence[Curve], rows: Rows) -> Array:
        """The logarithm of the seconds that an epoch takes, compared with the mean; 0 if none are known."""
        known = [curve for curve in curves if curve.seconds][-_MOST_POINTS:]
        if not known:
            return np.zeros(len(rows))
        logs = np.log([curve.seconds or 1.0 for curve in known])
        model = CurveModel(self._encoding.is_choice)
        model.condition(self._points([(curve, 1) for curve in known]), logs - logs.mean())
        model.prepare(rows, np.full(len(rows), -1))
        return model.predict(0.0, np.arange(len(rows)))[0]


@dataclass(frozen=True)
class _Learned:
    """What has been learned of all curves: a model of their scores, the scale of these, the best score so far."""

    model: CurveModel
    scale: "_Scale"
    best: float


class _Scale:
    """Values as scores: the mean of the normal score of their rank and of their distance from the median.

    By ranks alone, how much better the best are would be lost; by distances alone, a few values far off would count
    for all.
    """

    def __init__(self, values: Array) -> None:
        self._values, counts = np.unique(values, return_counts=True)
        self._ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
        low, self._median, high = np.quantile(values, [0.1, 0.5, 0.9])
        self._width = max(high - low, 1e-9) / 2.5

    def __call__(self, value: float) -> float:
        rank = ndtri(np.interp(value, self._values, self._ranks))
        return float((rank + np.clip((value - self._median) / self._width, -3, 3)) / 2)


def _looks(max_epochs: int) -> list[int]:
    """The epochs after which a configuration is looked at."""
    looks, depth = [], max(1.0, max_epochs * _FIRST_LOOK)
    while depth * _GROWTH**0.5 < max_epochs:
        if round(depth) not in looks:
            looks.append(round(depth))
        depth *= _GROWTH
    return [*looks, max_epochs]


def _thinned(ranked: list[Any]) -> list[Any]:
    """At most as many as the model learns from: half of them the first, the others spread over the rest."""
    if len(ranked) <= _MOST_POINTS:
        return ranked
    half = _MOST_POINTS // 2
    return ranked[:half] + [ranked[index] for index in np.linspace(half, len(ranked) - 1, half).astype(int)]


def _log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """The logarithm of the expected improvement over the best (Jones, Schonlau and Welch, 1998)."""
    z = (mean - best) / deviation
    improvement = deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
    return np.asarray(np.log(np.maximum(improvement, 1e-30)))
