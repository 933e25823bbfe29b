"""What learning curves say of the configurations that have not been trained to their end, or not at all."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hpo.search.curve import Curve, ranked
from hpo.search.encoding import Encoding, Rows
from hpo.search.surrogate import Array, CurveModel, Points

# A curve is looked at after a seventeenth of the most epochs, and then each time it is half as long again: on curves
# of real networks, the first epoch says little about the last.
_FIRST_LOOK, _GROWTH = 1 / 17, 1.5
_MOST_POINTS, _MOST_FITTED = 200, 80  # that the model learns from; by which its hyperparameters are found
_POINTS_PER_CURVE, _APART = 3, 1.7  # of which each is at most so much deeper than the one before


class Scale:
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


class Forecast:
    """What some curves say of others, as scores.

    Args:
        curves: all configurations; those that run are taken to reach what is expected at their next look.
        max_epochs: of any configuration.

    Attributes:
        best: the best score so far.
    """

    def __init__(self, curves: Sequence[Curve], encoding: Encoding, max_epochs: int) -> None:
        self._encoding = encoding
        self._max_epochs = max_epochs
        self._looks = looks(max_epochs)
        self._model, self.scale, self.best = self._learned(curves)

    def about(self, rows: Rows, numbers: NDArray[np.int64]) -> None:
        """Choose what `at` is asked about.

        Args:
            rows: configurations, of shape (n, parameters).
            numbers: of shape (n,): their numbers; -1 for one that has not begun.
        """
        self._model.prepare(rows, numbers)

    def at(self, epochs: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[Array, Array]:
        """The expected score, and its standard deviation, that each of the chosen will have after so many epochs.

        Args:
            epochs: of shape (n,), as ``chosen``.
        """
        mean, deviation = np.empty(len(chosen)), np.empty(len(chosen))
        for epoch in np.unique(epochs):
            here = np.flatnonzero(epochs == epoch)
            mean[here], deviation[here] = self._model.predict(self._depth(int(epoch)), chosen[here])
        return mean, deviation

    def _learned(self, curves: Sequence[Curve]) -> tuple[CurveModel, Scale, float]:
        seen = ranked(curves)
        worst = min(curve.values[-1] for curve in seen)
        seen = _thinned(seen)
        found = [(curve, epoch, curve.values[epoch - 1]) for curve in seen for epoch in self._points_of(curve)]
        found += [(curve, self._looks[0], worst) for curve in curves if curve.state == "failed" and not curve.values]
        found = _thinned(found)
        scale = Scale(np.array([value for _curve, _epoch, value in found]))
        points = self._points([(curve, epoch) for curve, epoch, _value in found])
        values = np.array([scale(value) for _curve, _epoch, value in found])
        model = CurveModel(self._encoding.is_choice)
        few = np.unique(np.linspace(0, len(found) - 1, _MOST_FITTED).astype(int))
        model.fit(points.of(few), values[few])
        model.condition(points, values)
        best = scale(max(curve.best for curve in seen))
        running = [curve for curve in curves if curve.state == "running"]
        if running:
            nexts = [next_look(self._looks, len(curve.values), curve.epochs) for curve in running]
            expected = self._points(list(zip(running, nexts, strict=True)))
            model.prepare(expected.rows, expected.curves)
            mean = np.array([model.predict(depth, np.array([i]))[0][0] for i, depth in enumerate(expected.depths)])
            model.condition(points + expected, np.concatenate([values, mean]))
            best = max(best, mean.max())
        return model, scale, best

    def _points_of(self, curve: Curve) -> list[int]:
        """The epochs of a curve that the model learns from: its last, and some before."""
        kept = [len(curve.values)]
        for look in reversed(self._looks):
            if len(kept) < _POINTS_PER_CURVE and look <= kept[-1] / _APART:
                kept.append(look)
        return kept

    def _points(self, found: Sequence[tuple[Curve, int]]) -> Points:
        return Points(
            rows_of([curve for curve, _epoch in found], self._encoding),
            np.array([self._depth(epoch) for _curve, epoch in found]),
            np.array([curve.number for curve, _epoch in found]),
        )

    def _depth(self, epoch: int) -> float:
        return math.log(epoch) / math.log(self._max_epochs) if self._max_epochs > 1 else 0.0


def log_seconds(curves: Sequence[Curve], rows: Rows, encoding: Encoding) -> Array:
    """The logarithm of the seconds that an epoch of these rows takes, compared with the mean; 0 if none are known."""
    known = [curve for curve in curves if curve.seconds][-_MOST_POINTS:]
    if not known:
        return np.zeros(len(rows))
    logs = np.log([curve.seconds or 1.0 for curve in known])
    numbers = np.array([curve.number for curve in known])
    model = CurveModel(encoding.is_choice)
    model.condition(Points(rows_of(known, encoding), np.zeros(len(known)), numbers), logs - logs.mean())
    model.prepare(rows, np.full(len(rows), -1))
    return model.predict(0.0, np.arange(len(rows)))[0]


def looks(max_epochs: int) -> list[int]:
    """The epochs after which a configuration is looked at."""
    found: list[int] = []
    depth = max(1.0, max_epochs * _FIRST_LOOK)
    while depth * _GROWTH**0.5 < max_epochs:
        if round(depth) not in (*found, max_epochs):
            found.append(round(depth))
        depth *= _GROWTH
    return [*found, max_epochs]


def next_look(looks: Sequence[int], done: int, epochs: int) -> int:
    """The first look after ``done`` of the ``epochs`` of a configuration."""
    return min([look for look in looks if look > done] + [epochs])


def rows_of(curves: Sequence[Curve], encoding: Encoding) -> Rows:
    """The configurations of these curves, of shape (n, parameters)."""
    return np.array([encoding.row(curve.params) for curve in curves]).reshape(-1, len(encoding))


def _thinned(ranked: list[Any]) -> list[Any]:
    """At most as many as the model learns from: half of them the first, the others spread over the rest."""
    if len(ranked) <= _MOST_POINTS:
        return ranked
    half = _MOST_POINTS // 2
    return ranked[:half] + [ranked[index] for index in np.linspace(half, len(ranked) - 1, half).astype(int)]
