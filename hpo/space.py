"""A search space: Optuna's own distributions by name, some of them only where another has certain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)

from hpo.errors import SpaceError

Params = dict[str, Any]


@dataclass(frozen=True)
class When:
    """A parameter that exists only where ``parameter`` has one of ``values``.

    Example: ``"momentum": When("optimizer", ["sgd"], FloatDistribution(0.0, 0.99))``.
    """

    parameter: str
    values: Sequence[Any]
    distribution: BaseDistribution

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Sequence) or not self.values:
            raise SpaceError(
                f"The values of a condition must be a list with at least one value, but got {self.values!r}."
            )
        object.__setattr__(self, "values", tuple(self.values))


@dataclass(frozen=True)
class Space:
    """The parameters to search, in the order in which they are suggested.

    Raises:
        SpaceError: the space is empty, a parameter is not an Optuna distribution, or a condition names
            a parameter that does not stand before it or a value that parameter cannot have.
    """

    parameters: Mapping[str, BaseDistribution | When]

    def __post_init__(self) -> None:
        if not isinstance(self.parameters, Mapping) or not self.parameters:
            raise SpaceError(
                f"A search space must be a dictionary with at least one parameter, but got {self.parameters!r}. "
                'Write, for example, {"filters": IntDistribution(8, 128, log=True)}.'
            )
        object.__setattr__(self, "parameters", dict(self.parameters))
        seen: set[str] = set()
        for name, parameter in self.parameters.items():
            self._check(name, parameter, seen)
            seen.add(name)

    def _check(self, name: str, parameter: object, seen: set[str]) -> None:
        distribution = parameter.distribution if isinstance(parameter, When) else parameter
        if not isinstance(distribution, FloatDistribution | IntDistribution | CategoricalDistribution):
            raise SpaceError(
                f"Parameter {name!r} must be an Optuna distribution, but got {distribution!r}. Use FloatDistribution, "
                "IntDistribution or CategoricalDistribution from optuna.distributions."
            )
        if not isinstance(parameter, When):
            return
        if parameter.parameter not in seen:
            raise SpaceError(
                f"The condition of {name!r} must name a parameter that stands before it, but got "
                f"{parameter.parameter!r}. Parameters before it: {', '.join(sorted(seen)) or 'none'}."
            )
        for value in parameter.values:
            if not _contains(self.distribution(parameter.parameter), value):
                raise SpaceError(
                    f"The condition of {name!r} can never hold: {parameter.parameter!r} cannot be {value!r}. "
                    f"It is {self.distribution(parameter.parameter)}."
                )

    def distribution(self, name: str) -> BaseDistribution:
        """The distribution of one parameter, without its condition."""
        parameter = self.parameters[name]
        return parameter.distribution if isinstance(parameter, When) else parameter

    def suggest(self, trial: optuna.Trial) -> Params:
        """Ask ``trial`` for a value of each parameter that exists, in order."""
        params: Params = {}
        for name in self.parameters:
            if self._exists(name, params):
                params[name] = _suggest(trial, name, self.distribution(name))
        return params

    def grid(self) -> list[Params]:
        """Every configuration once, the last parameter changing fastest.

        Raises:
            SpaceError: a parameter is continuous (a float without a step), so it has no grid.
        """
        grid: list[Params] = [{}]
        for name in self.parameters:
            values = _grid_values(name, self.distribution(name))
            grid = [
                extended
                for params in grid
                for extended in (
                    [{**params, name: value} for value in values] if self._exists(name, params) else [params]
                )
            ]
        return grid

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise ``SpaceError`` where ``params``, which may be partial, is not a point of this space."""
        for name, value in params.items():
            if name not in self.parameters:
                raise SpaceError(
                    f"{name!r} is not a parameter of this space. Its parameters: {', '.join(self.parameters)}."
                )
            if not _contains(self.distribution(name), value):
                raise SpaceError(
                    f"{name}={value!r} lies outside of {self.distribution(name)}. Widen it or change the value."
                )

    def limited(self, name: str, high: int) -> "Space":
        """This space with the integer parameter ``name``, where there is one, at most ``high``."""
        if name not in self.parameters:
            return self
        parameter, distribution = self.parameters[name], self.distribution(name)
        if not isinstance(distribution, IntDistribution) or distribution.high <= high:
            return self
        low, step = min(distribution.low, high), distribution.step
        limit = IntDistribution(low, high - (high - low) % step, log=distribution.log, step=step)
        limited = When(parameter.parameter, parameter.values, limit) if isinstance(parameter, When) else limit
        return Space({**self.parameters, name: limited})

    def as_json(self) -> dict[str, Any]:
        """The canonical form: plain dictionaries in the order of the parameters."""
        return {name: _parameter_as_json(parameter) for name, parameter in self.parameters.items()}

    def _exists(self, name: str, params: Params) -> bool:
        parameter = self.parameters[name]
        return not isinstance(parameter, When) or params.get(parameter.parameter) in parameter.values


def can_continue(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a study of the space ``old`` can go on in ``new``, both in canonical form.

    Optuna's samplers admit other ranges, and parameters that come or go, but no other kind of distribution
    and no other choices.
    """
    for name in old.keys() & new.keys():
        before, after = (json_to_distribution(json.dumps(side[name])) for side in (old, new))
        try:
            check_distribution_compatibility(before, after)
        except ValueError:
            return False
    return True


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution():
            return trial.suggest_float(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case IntDistribution():
            return trial.suggest_int(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case CategoricalDistribution():
            return trial.suggest_categorical(name, distribution.choices)
    raise SpaceError(f"Parameter {name!r} is not an Optuna distribution: {distribution!r}.")


def _grid_values(name: str, distribution: BaseDistribution) -> list[Any]:
    match distribution:
        case CategoricalDistribution():
            return list(distribution.choices)
        case IntDistribution():
            return list(range(distribution.low, distribution.high + 1, distribution.step))
        case FloatDistribution(step=float(step)):
            count = round((distribution.high - distribution.low) / step) + 1
            # Rounded: 0.1 added six times is more than 0.6.
            return [round(distribution.low + i * step, 10) for i in range(count)]
    raise SpaceError(
        f"A grid needs a finite number of values, but {name!r} is continuous: {distribution}. "
        "Give it a step, or list its values in a CategoricalDistribution."
    )


def _parameter_as_json(parameter: BaseDistribution | When) -> dict[str, Any]:
    if isinstance(parameter, When):
        condition = {"parameter": parameter.parameter, "values": list(parameter.values)}
        return {**_parameter_as_json(parameter.distribution), "when": condition}
    form: dict[str, Any] = json.loads(distribution_to_json(parameter))
    return form
