"""A model of learning curves: what a configuration will reach, after how many epochs, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

_SQRT5 = 5**0.5
_JITTER = 1e-6
_FAR = 4.0  # from a hyperparameter's prior, on a logarithmic scale, where no more is looked for
_ITERATIONS = 12  # of the search for the hyperparameters; more changed nothing
# Before any data: lengths of numbers (between 0 and 1) and of choices (equal or not), and the deviations of each part.
_NUMBER_LENGTH, _CHOICE_LENGTH = 0.7, 1.2
_PARTS = {"common": 0.5, "level": 1.0, "shape": 0.5, "own": 0.3, "noise": 0.1, "depth_length": 0.5}
_PRIOR_WIDTHS = {"common": 1.0, "level": 0.5, "shape": 0.5, "own": 0.5, "noise": 1.0, "depth_length": 0.5}


@dataclass(frozen=True)
class Points:
    """Points on learning curves.

    Args:
        rows: the configurations, of shape (n, parameters), as `hpo.search.encoding.Encoding` has them.
        depths: of shape (n,), from 0 for the first epoch to 1 for the last, on a logarithmic scale.
        curves: of shape (n,): which curve each point is on; -1 for one that nobody has begun.
    """

    rows: Array
    depths: Array
    curves: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: "Points") -> "Points":
        return Points(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.depths, other.depths]),
            np.concatenate([self.curves, other.curves]),
        )

    def of(self, chosen: NDArray[np.int64]) -> "Points":
        """Some of the points, by their index."""
        return Points(self.rows[chosen], self.depths[chosen], self.curves[chosen])


class CurveModel:
    """A Gaussian process over configurations and epochs.

    A value is the sum of a curve that all configurations share, a level and a shape that depend on the parameters
    (Matérn 5/2, a length per parameter), what is the configuration's own, and noise; all curves are smooth in the
    logarithm of the epoch. After freeze-thaw Bayesian optimization (Swersky, Snoek and Adams, 2014,
    https://arxiv.org/abs/1406.3896) and MOBSTER (Klein et al., 2020, https://arxiv.org/abs/2003.10865).

    Args:
        is_choice: of shape (parameters,): the columns of rows that are equal or not, instead of near or far.
    """

    def __init__(self, is_choice: NDArray[np.bool_]) -> None:
        self._is_choice = is_choice
        self._columns = len(is_choice)
        lengths = np.where(is_choice, _CHOICE_LENGTH, _NUMBER_LENGTH)
        self._prior = np.log(np.concatenate([lengths, list(_PARTS.values())]))
        self._widths = np.concatenate([np.ones(self._columns), list(_PRIOR_WIDTHS.values())])
        self._logs = self._prior

    def fit(self, points: Points, values: Array) -> None:
        """Find the hyperparameters by their posterior; takes time with the cube of the number of points."""
        difference = points.rows[:, None, :] - points.rows[None]
        difference[..., self._is_choice] = difference[..., self._is_choice] != 0
        found = minimize(
            self._loss,
            self._prior,
            args=(
                difference**2,
                (points.depths[:, None] - points.depths[None]) ** 2,
                points.curves[:, None] == points.curves[None],
                values,
            ),
            jac=True,
            method="L-BFGS-B",
            bounds=[(log - _FAR, log + _FAR) for log in self._prior],
            options={"maxiter": _ITERATIONS},
        )
        self._logs = found.x if np.isfinite(found.fun) else self._prior

    def condition(self, points: Points, values: Array) -> None:
        """Learn from values (n,) at points."""
        self._points = points
        common, level, shape, own, noise, width = self._parts(self._logs)
        near = np.exp(-0.5 * (points.depths[:, None] - points.depths[None]) ** 2 / width)
        same = points.curves[:, None] == points.curves[None]
        covariance = self._matern(points.rows, points.rows) * (level + shape * near) + (own * same + common) * near
        covariance[np.diag_indices(len(values))] += noise + _JITTER
        self._factor = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._factor, True), values, check_finite=False)

    def prepare(self, rows: Array, curves: NDArray[np.int64]) -> None:
        """Choose the configurations (m, parameters) that `predict` is asked about, and which curves they are."""
        self._matern_of = self._matern(rows, self._points.rows)
        self._same_as = curves[:, None] == self._points.curves[None]

    def predict(self, depth: float, chosen: NDArray[np.int64]) -> tuple[Array, Array]:
        """The mean and the standard deviation, without noise, of the chosen of the prepared at a depth."""
        common, level, shape, own, _noise, width = self._parts(self._logs)
        near = np.exp(-0.5 * (depth - self._points.depths) ** 2 / width)
        covariance = self._matern_of[chosen] * (level + shape * near) + (own * self._same_as[chosen] + common) * near
        explained = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        variance = common + level + shape + own - (explained**2).sum(0)
        return covariance @ self._weights, np.sqrt(np.maximum(variance, 1e-8))

    def _parts(self, logs: Array) -> Array:
        """The variance of each part, and the squared length along the depth."""
        return np.exp(2 * logs[self._columns :])

    def _matern(self, left: Array, right: Array) -> Array:
        lengths = np.exp(self._logs[: self._columns])
        numbers, choices = ~self._is_choice, np.flatnonzero(self._is_choice)
        a, b = left[:, numbers] / lengths[numbers], right[:, numbers] / lengths[numbers]
        squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
        for column in choices:
            squared += (left[:, column, None] != right[None, :, column]) / lengths[column] ** 2
        return _matern52(np.maximum(squared, 0))

    def _loss(
        self, logs: Array, squares: Array, depths: Array, same: NDArray[np.bool_], values: Array
    ) -> tuple[float, Array]:
        """The negative log posterior of hyperparameters (their logarithms), and its gradient.

        Rasmussen and Williams, Gaussian Processes for Machine Learning, equations 5.8 and 5.9.
        """
        common, level, shape, own, noise, width = self._parts(logs)
        lengths = np.exp(logs[: self._columns])
        squared = squares @ (1 / lengths**2)
        matern, near = _matern52(squared), np.exp(-0.5 * depths / width)
        covariance = matern * (level + shape * near) + (own * same + common) * near
        covariance[np.diag_indices(len(values))] += noise + _JITTER
        try:
            factor = cho_factor(covariance, lower=True, check_finite=False)
        except LinAlgError:
            return np.inf, np.zeros_like(logs)
        weights = cho_solve(factor, values, check_finite=False)
        offset = (logs - self._prior) / self._widths
        loss = 0.5 * values @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * offset @ offset
        outer = cho_solve(factor, np.eye(len(values)), check_finite=False) - np.outer(weights, weights)
        distance = np.sqrt(squared)
        along = outer * (level + shape * near) * (5 / 6) * (1 + _SQRT5 * distance) * np.exp(-_SQRT5 * distance)
        smooth = outer * near
        gradient = np.concatenate(
            [
                np.tensordot(along, squares, 2) / lengths**2,
                [
                    common * smooth.sum(),
                    level * (outer * matern).sum(),
                    shape * (smooth * matern).sum(),
                    own * (smooth * same).sum(),
                    noise * np.trace(outer),
                    0.5 * (smooth * (matern * shape + same * own + common) * depths).sum() / width,
                ],
            ]
        )
        return float(loss), gradient + offset / self._widths


def _matern52(squared: Array) -> Array:
    distance = np.sqrt(squared)
    return (1 + _SQRT5 * distance + 5 / 3 * squared) * np.exp(-_SQRT5 * distance)
