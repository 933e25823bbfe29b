"""Configurations as rows of numbers, which a model of the search can learn from."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.study.space import Params, Space, When

Rows = NDArray[np.float64]
_ABSENT_NUMBER = 0.5  # halfway: no value of a parameter that exists is far from that of one that does not
_ABSENT_CHOICE = -1.0
_NEAR_HINT = 0.15  # standard deviation of a draw around a hint, as a part of the range
_CHANGED = 2.5  # parameters that a neighbour changes, on average


class Encoding:
    """The rows of a space: one column per parameter.

    A number lies between 0 and 1, on a logarithmic scale if its distribution has one; a choice is its index. A
    parameter that does not exist in a configuration has a value of its own.

    Args:
        hints: values that are likely to be good, by parameter.
    """

    def __init__(self, space: Space, hints: Mapping[str, Any]) -> None:
        self._space = space
        self._names = list(space.parameters)
        self._distributions = [space.distribution(name) for name in self._names]
        self.is_choice = np.array([isinstance(each, CategoricalDistribution) for each in self._distributions])
        self._sizes = np.array(
            [len(each.choices) if isinstance(each, CategoricalDistribution) else 0 for each in self._distributions]
        )
        self._known: dict[tuple[tuple[str, Any], ...], Rows] = {}  # the same curves are asked about at each decision
        self._hints = {self._names.index(name): self._code(name, value) for name, value in hints.items()}

    def __len__(self) -> int:
        return len(self._names)

    def row(self, params: Params) -> Rows:
        """A configuration, as one row; a parameter that this space does not have is left out."""
        key = tuple(params.items())
        if key not in self._known:
            self._known[key] = self._row(params)
        return self._known[key]

    def _row(self, params: Params) -> Rows:
        return np.array(
            [
                self._code(name, params[name]) if name in params else self._absent(column)
                for column, name in enumerate(self._names)
            ]
        )

    def params(self, row: Rows) -> Params:
        """The parameters of a row that exist, in the order of the space."""
        return {
            name: self._value(column, row[column])
            for column, name in enumerate(self._names)
            if row[column] != _ABSENT_CHOICE and self._exist(column, row[None])[0]
        }

    def rows(self, units: Rows, near_hint: NDArray[np.bool_]) -> Rows:
        """Configurations from points of the unit cube.

        Args:
            units: of shape (n, parameters), from 0 to 1.
            near_hint: of shape (n,): those whose hinted parameters lie near the hints.
        """
        rows = units.copy()
        for column, hint in self._hints.items():
            if self.is_choice[column]:
                places = units[near_hint, column]  # half of them take the hint itself
                rows[near_hint, column] = np.where(places < 0.5, (hint + 0.5) / self._sizes[column], 2 * places - 1)
            else:
                offset = _NEAR_HINT * math.sqrt(12) * (units[near_hint, column] - 0.5)
                rows[near_hint, column] = _mirrored(hint + offset)
        choices = np.flatnonzero(self.is_choice)
        rows[:, choices] = np.minimum(np.floor(rows[:, choices] * self._sizes[choices]), self._sizes[choices] - 1)
        return self._possible(rows)

    def largest(self, name: str) -> float | None:
        """The largest value of a parameter; None if the space has no such, or it has choices that are no numbers."""
        if name not in self._names:
            return None
        distribution: Any = self._distributions[self._names.index(name)]
        if not isinstance(distribution, CategoricalDistribution):
            return float(distribution.high)
        numbers = [choice for choice in distribution.choices if isinstance(choice, int | float)]
        return max(numbers) if len(numbers) == len(distribution.choices) else None

    def with_largest(self, name: str, rows: Rows) -> Rows:
        """The rows with the largest value of a parameter, where it exists and has one."""
        largest, rows = self.largest(name), rows.copy()
        if largest is not None:
            column = self._names.index(name)
            rows[self._exist(column, rows), column] = self._code(name, largest)
        return rows

    def neighbours(self, rows: Rows, random: np.random.Generator, distances: Rows) -> Rows:
        """A configuration near each of these.

        Args:
            distances: of shape (n,), the standard deviation of a number's change, as a part of its range; a choice
                changes to any.
        """
        count, columns = rows.shape
        changed = random.random(rows.shape) < min(1.0, _CHANGED / columns)
        changed[np.arange(count), random.integers(columns, size=count)] = True
        near = _mirrored(rows + distances[:, None] * random.standard_normal(rows.shape))
        choices = np.flatnonzero(self.is_choice)
        near[:, choices] = np.floor(random.random((count, len(choices))) * self._sizes[choices])
        # What did not exist in the one may exist in a neighbour: then it is anywhere.
        absent = rows == np.where(self.is_choice, _ABSENT_CHOICE, _ABSENT_NUMBER)
        return self._possible(np.where(changed | absent, near, rows))

    def _possible(self, rows: Rows) -> Rows:
        """The nearest rows that the space has: whole numbers, steps, and nothing that does not exist."""
        for column, distribution in enumerate(self._distributions):
            if not isinstance(distribution, CategoricalDistribution):
                values = _numbers(distribution, rows[:, column])
                rows[:, column] = _places(distribution, values)
        for column in range(len(self._names)):
            rows[~self._exist(column, rows), column] = self._absent(column)
        return rows

    def _exist(self, column: int, rows: Rows) -> NDArray[np.bool_]:
        """In which rows the parameter of a column exists; the columns before it must be right."""
        parameter = self._space.parameters[self._names[column]]
        if not isinstance(parameter, When):
            return np.ones(len(rows), bool)
        parent = self._names.index(parameter.parameter)
        distribution = self._distributions[parent]
        if isinstance(distribution, CategoricalDistribution):
            codes = [distribution.choices.index(value) for value in parameter.values if value in distribution.choices]
            return np.isin(rows[:, parent], codes)
        values = _numbers(distribution, rows[:, parent])
        return np.isin(values, parameter.values) & self._exist(parent, rows)

    def _absent(self, column: int) -> float:
        return _ABSENT_CHOICE if self.is_choice[column] else _ABSENT_NUMBER

    def _code(self, name: str, value: Any) -> float:
        distribution = self._space.distribution(name)
        if isinstance(distribution, CategoricalDistribution):
            return float(distribution.choices.index(value)) if value in distribution.choices else _ABSENT_CHOICE
        return float(_places(distribution, np.array([float(value)]))[0])

    def _value(self, column: int, code: float) -> Any:
        distribution = self._distributions[column]
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(code)]
        number = float(_numbers(distribution, np.array([code]))[0])
        return int(number) if isinstance(distribution, IntDistribution) else number


def _bounds(distribution: Any) -> tuple[float, float]:
    """The range of a number on its scale, whole numbers with half a unit more at both ends, so that all are as wide."""
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution) and high > low:
        low, high = low - 0.5, high + 0.5
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _numbers(distribution: Any, places: Rows) -> Rows:
    """The nearest numbers that a distribution has to places between 0 and 1."""
    low, high = _bounds(distribution)
    numbers = low + np.clip(places, 0, 1) * (high - low)
    if distribution.log:
        numbers = np.exp(numbers)
    step = distribution.step
    if step is not None:
        numbers = distribution.low + np.round((numbers - distribution.low) / step) * step
        if isinstance(distribution, FloatDistribution):
            numbers = np.round(numbers, 12)  # 0.1 added six times is more than 0.6
    return np.clip(numbers, distribution.low, distribution.high)


def _places(distribution: Any, numbers: Rows) -> Rows:
    low, high = _bounds(distribution)
    if high == low:
        return np.full(len(numbers), _ABSENT_NUMBER)
    scaled = np.log(np.maximum(numbers, np.finfo(float).tiny)) if distribution.log else numbers
    return np.clip((scaled - low) / (high - low), 0, 1)


def _mirrored(places: Rows) -> Rows:
    """Places that lie outside of 0 to 1, mirrored back into it."""
    places = np.abs(places)
    return np.clip(np.where(places > 1, 2 - places, places), 0, 1)
