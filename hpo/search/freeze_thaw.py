"""Freeze-thaw search: which configuration to begin or to continue next, by the learning curves of all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from hpo.search.curve import Curve, ranked
from hpo.search.encoding import Encoding
from hpo.search.forecast import Forecast, log_seconds, looks, next_look, rows_of
from hpo.search.proposals import Key, Proposals, key_of
from hpo.search.surrogate import Array
from hpo.study.seeds import derive_seed
from hpo.study.space import Params, Space

_FEW = 4  # configurations that begin before there is anything to learn from
_AT_RANDOM = 0.12  # of the decisions: a wrong model cannot keep the search away from anything
_EXPONENT = 0.7  # of the cost by which an improvement is divided; with 1, only what is cheap would run
_MOST_PAUSED = 100  # configurations that may be continued, the best first
_BEST = 5  # configurations near which new ones are looked for
_LAST_PART = 0.85  # of the epochs or seconds of a study, after which nothing new begins
FINISHED = 3  # the best configurations, as far as can be told, which are trained to their end


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
        self._most = min(int(self._encoding.largest("epochs") or max_epochs), max_epochs)  # of a new configuration
        self._proposals = Proposals(space, self._encoding, seed=seed, hints=hints)
        self._looks = looks(max_epochs)

    def pause_after(self, done: int, epochs: int) -> int:
        """The epoch after which a configuration that has ``done`` some of its ``epochs`` is looked at again."""
        return next_look(self._looks, done, epochs)

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
        seen = sum(bool(curve.values) for curve in curves)
        if len(curves) < _FEW or seen < _FEW - 1 or random.random() < _AT_RANDOM:
            new = self._proposals.next_of_sequence(random, known)
            return self._to_finish(curves) if new is None else Begin(new)
        return self._most_promising(curves, random, known)

    def _most_promising(
        self, curves: Sequence[Curve], random: np.random.Generator, known: set[Key]
    ) -> Begin | Continue | None:
        """What has the largest expected improvement for its cost."""
        forecast = Forecast(curves, self._encoding, self._max_epochs)
        best_first = ranked(curves)
        paused = [curve for curve in best_first if curve.state == "paused"][:_MOST_PAUSED]
        new = self._proposals.candidates([curve.params for curve in best_first[:_BEST]], random, len(curves))
        if self._max_epochs > 1:  # a curve says when to end; one that may have few epochs could not be continued
            new = self._encoding.with_largest("epochs", new)
        rows = np.concatenate([rows_of(paused, self._encoding), new])
        forecast.about(rows, np.array([curve.number for curve in paused] + [-1] * len(new)))
        done = np.array([curve.done for curve in paused] + [0] * len(new))
        limits = np.array([curve.epochs for curve in paused] + [self._most] * len(new))
        seconds = log_seconds(curves, rows, self._encoding)
        promise = np.full(len(rows), -np.inf)
        for horizon in {self._max_epochs, max(1, self._max_epochs // 4), self._looks[0]}:
            ends = np.minimum(horizon, limits)
            chosen = np.flatnonzero(done < ends)
            if len(chosen):
                gain = _log_improvement(*forecast.at(ends[chosen], chosen), forecast.best)
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
        forecast = Forecast(curves, self._encoding, self._max_epochs)
        forecast.about(rows_of(paused, self._encoding), np.array([curve.number for curve in paused]))
        mean, _deviation = forecast.at(np.array([curve.epochs for curve in paused]), np.arange(len(paused)))
        reached = [(forecast.scale(curve.best), -curve.number) for curve in ended]
        expected = [
            (max(float(score), forecast.scale(curve.best)), -curve.number)
            for score, curve in zip(mean, paused, strict=True)
        ]
        first = max(expected)
        return Continue(-first[1]) if first in sorted(reached + expected)[-FINISHED:] else None


def _log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """The logarithm of the expected improvement over the best (Jones, Schonlau and Welch, 1998)."""
    z = (mean - best) / deviation
    improvement = deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
    return np.asarray(np.log(np.maximum(improvement, 1e-30)))
