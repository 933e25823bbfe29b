"""The model of learning curves."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from hpo.search.surrogate import CurveModel, Points


def _points(count: int, epochs: int, seed: int = 0) -> Points:
    rows = np.random.default_rng(seed).random((count, 2))
    return Points(
        np.repeat(rows, epochs, axis=0), np.tile(np.linspace(0, 1, epochs), count), np.repeat(np.arange(count), epochs)
    )


def _values(points: Points) -> np.ndarray:
    """Curves that rise to a level: the nearer the first parameter is to 0.3, the higher; the second does nothing."""
    return (1 - 4 * (points.rows[:, 0] - 0.3) ** 2) * (0.3 + 0.7 * points.depths)


def test_the_gradient_is_that_of_the_loss() -> None:
    """By finite differences, for every hyperparameter."""
    points = _points(6, 3)
    model = CurveModel(np.array([False, False]))
    difference = points.rows[:, None, :] - points.rows[None]
    parts = (
        difference**2,
        (points.depths[:, None] - points.depths[None]) ** 2,
        points.curves[:, None] == points.curves[None],
        _values(points),
    )
    _loss, gradient = model._loss(model._prior, *parts)
    for index in range(len(gradient)):
        step = np.zeros(len(gradient))
        step[index] = 1e-5
        up, down = (model._loss(model._prior + sign * step, *parts)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-5)


def test_at_one_depth_it_is_scikit_learn_s_process() -> None:
    """The same kernel, noise and data give the same mean and deviation."""
    points, new = _points(12, 1), _points(5, 1, seed=1)
    values = _values(points)
    model = CurveModel(np.array([False, False]))
    model.condition(points, values)
    model.prepare(new.rows, np.full(5, -1))
    mean, deviation = model.predict(0.0, np.arange(5))
    common, level, shape, own, noise, _width = model._parts(model._logs)
    kernel = ConstantKernel(level + shape) * Matern(0.7, nu=2.5) + ConstantKernel(common)
    peer = GaussianProcessRegressor(kernel, alpha=own + noise + 1e-6, optimizer=None).fit(points.rows, values)
    expected, spread = peer.predict(new.rows, return_std=True)
    assert mean == pytest.approx(expected, abs=1e-6)
    assert deviation == pytest.approx(np.sqrt(spread**2 + own), abs=1e-6)


def test_it_tells_the_end_of_curves_from_their_beginning() -> None:
    """Curves of which only the first part is known; others are known to their end."""
    points = _points(20, 5)
    values = _values(points)
    known = np.flatnonzero((points.curves < 12) | (points.depths < 0.5))
    model = CurveModel(np.array([False, False]))
    model.fit(points.of(known), values[known])
    model.condition(points.of(known), values[known])
    last = np.flatnonzero((points.depths == 1) & (points.curves >= 12))
    model.prepare(points.rows[last], points.curves[last])
    mean, deviation = model.predict(1.0, np.arange(len(last)))
    assert np.corrcoef(mean, values[last])[0, 1] > 0.95
    assert np.abs(mean - values[last]).max() < 0.25
    assert (deviation > 0).all()


def test_it_finds_which_parameter_matters() -> None:
    """The one that does nothing gets the greater length."""
    points = _points(30, 1)
    model = CurveModel(np.array([False, False]))
    model.fit(points, _values(points))
    first, second = model._logs[:2]
    assert first < second
