"""Families of learning curves that are made up; each breaks some simple method.

A configuration has a level that it approaches and a speed at which it does; both are smooth random functions of its
parameters, of which some matter much and others little.

- smooth: nothing else.
- crossing: the lower the speed, the higher the level, so that what leads early loses late.
- noisy: the noise of an epoch is as large as the difference between good and very good.
- diverging: a third of the space fails after a few epochs, its values are NaN; just before that border it is best.
- dead category: one of five choices learns nothing, another needs other numbers than the rest.
- needle: two parameters matter, in a narrow valley across both; four others do nothing.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

FAMILIES = ("smooth", "crossing", "noisy", "diverging", "dead-category", "needle")
_NUMBERS: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    "momentum": FloatDistribution(0.0, 0.99),
    "dropout": FloatDistribution(0.0, 0.8),
    "layers": IntDistribution(1, 6),
    "units": IntDistribution(16, 512, log=True),
}
_CHOICE = CategoricalDistribution(["relu", "elu", "selu", "tanh", "none"])
_CHANCE = 0.1


class Family:
    """One problem of a family, by its seed."""

    def __init__(self, family: str, seed: int, max_epochs: int = 50) -> None:
        self.name = f"{family}-{seed}"
        self.max_epochs = max_epochs
        self.space: Mapping[str, BaseDistribution] = (
            {**_NUMBERS, "activation": _CHOICE} if family == "dead-category" else _NUMBERS
        )
        self._family = family
        random = np.random.default_rng([seed, FAMILIES.index(family)])
        self._best = random.uniform(0.2, 0.8, len(_NUMBERS))
        self._weights = random.permutation([4.0, 2.5, 1.0, 0.4, 0.1, 0.02])
        self._waves = random.normal(size=(2, 40, len(_NUMBERS))) * 2.5
        self._phases = random.uniform(0, 2 * math.pi, (2, 40))
        self._sizes = random.normal(size=(2, 40)) / math.sqrt(20)
        self._top = random.uniform(0.8, 0.98)
        self._dead, self._other = random.permutation(5)[:2]
        self._direction = random.normal(size=2)

    def curve(self, params: dict[str, Any]) -> list[float]:
        places = np.array([_place(distribution, params[name]) for name, distribution in _NUMBERS.items()])
        best, level, speed = self._best, self._wave(0, places), self._wave(1, places)
        noise, fails = 0.003, False
        if self._family == "dead-category":
            choice = _CHOICE.choices.index(params["activation"])
            best = 1 - best if choice == self._other else best
            level -= 6.0 if choice == self._dead else 0.0
        if self._family == "needle":
            along = self._direction / np.linalg.norm(self._direction)
            across = abs(float((places[:2] - best[:2]) @ np.array([-along[1], along[0]])))
            level = 1.5 - 6 * across - 1.5 * abs(float((places[:2] - best[:2]) @ along))
        else:
            level = 1.0 + 0.4 * level - float(self._weights @ (places - best) ** 2)
        if self._family == "crossing":
            speed = -1.2 * level + 0.3 * speed
        if self._family == "noisy":
            noise = 0.02
        if self._family == "diverging":
            border = places[0] + 0.3 * places[2] - 0.75
            level, fails = level + 0.8 * min(border, 0.0) + 0.4, border > 0
        reached = _CHANCE + (self._top - _CHANCE) / (1 + math.exp(-2 * level))
        epochs = np.arange(1, self.max_epochs + 1)
        half = math.exp(0.8 - speed)  # epochs until about half of it is learned
        values = reached - (reached - _CHANCE) * (1 + epochs / half) ** -1.3
        # The same configuration has the same noise, in any process.
        random = np.random.default_rng([int(place * 1e9) for place in places])
        values = np.clip(values + noise * random.standard_normal(self.max_epochs), 0, 1)
        if fails:
            values[int(random.integers(1, 6)) :] = np.nan
        return [float(value) for value in values]

    def _wave(self, which: int, places: NDArray[np.float64]) -> float:
        return float(self._sizes[which] @ np.cos(self._waves[which] @ places + self._phases[which]))


def problems() -> Iterator[Family]:
    """Two of each family. Seeds from 100 on were not looked at while the search was made."""
    for family in FAMILIES:
        for seed in (100, 101):
            yield Family(family, seed)


def _place(distribution: Any, value: float) -> float:
    low, high = distribution.low, distribution.high
    if distribution.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))
