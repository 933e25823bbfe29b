"""A search space: Optuna's own distributions by name, some of them only if another has certain values."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
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
from hpo.study.allowed_values import KINDS, WAY_OUT, is_plain, plain, shown

Params = dict[str, Any]


@dataclass(frozen=True)
class When:
    """A parameter that exists only if ``parameter`` has one of ``values``.

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
        object.__setattr__(self, "values", tuple(map(plain, self.values)))


@dataclass(frozen=True)
class Space:
    """The parameters to search, in the order in which they are suggested.

    A parameter with one value is a pin: what depends on another value of it may stay in the space, and never exists.

    Raises:
        SpaceError: the space is empty, a parameter is not an Optuna distribution, a choice is none that a storage can
            hold or is equal to another, or a condition names a parameter that does not stand before it or a value
            that parameter cannot have.
    """

    parameters: Mapping[str, BaseDistribution | When]

    def __post_init__(self) -> None:
        if not isinstance(self.parameters, Mapping) or not self.parameters:
            raise SpaceError(
                f"A search space must be a dictionary with at least one parameter, but got {self.parameters!r}. "
                'Write, for example, {"filters": IntDistribution(8, 128, log=True)}.'
            )
        object.__setattr__(self, "parameters", {n: _checked(n, parameter) for n, parameter in self.parameters.items()})
        seen: set[str] = set()
        for name, parameter in self.parameters.items():
            if isinstance(parameter, When):
                self._check_condition(name, parameter, seen)
            seen.add(name)

    def _check_condition(self, name: str, parameter: When, seen: set[str]) -> None:
        if parameter.parameter not in seen:
            raise SpaceError(
                f"The condition of {name!r} must name a parameter that stands before it, but got "
                f"{parameter.parameter!r}. Parameters before it: {', '.join(sorted(seen)) or 'none'}."
            )
        distribution = self.distribution(parameter.parameter)
        for value in parameter.values:
            if not distribution.single() and not _contains(distribution, value):
                raise SpaceError(
                    f"The condition of {name!r} can never hold: {parameter.parameter!r} cannot be {shown(value)}. "
                    f"It is {distribution}."
                )

    def distribution(self, name: str) -> BaseDistribution:
        """The distribution of one parameter, without its condition."""
        parameter = self.parameters[name]
        return parameter.distribution if isinstance(parameter, When) else parameter

    @property
    def is_finite(self) -> bool:
        """Whether it has a finite number of configurations."""
        distributions = map(self.distribution, self.parameters)
        return not any(isinstance(each, FloatDistribution) and each.step is None for each in distributions)

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
        return list(self.configurations())

    def configurations(self) -> Iterator[Params]:
        """The configurations of ``grid``, one after another: a finite space may have more than memory holds."""
        values = {name: _grid_values(name, self.distribution(name)) for name in self.parameters}

        def extended(params: Params, names: Sequence[str]) -> Iterator[Params]:
            if not names:
                yield params
                return
            name, *rest = names
            for more in [{name: value} for value in values[name]] if self._exists(name, params) else [{}]:
                yield from extended({**params, **more}, rest)

        return extended({}, list(self.parameters))

    def point(self, params: Mapping[str, Any]) -> Params:
        """``params``, which may be partial, with the values that this space has for them, such as 0.0 for 0.

        Raises:
            SpaceError: they are not in this space.
        """
        point: Params = {}
        for name, value in params.items():
            if name not in self.parameters:
                raise SpaceError(
                    f"{name!r} is not a parameter of this space. Its parameters: {', '.join(self.parameters)}."
                )
            distribution = self.distribution(name)
            if not _contains(distribution, plain(value)):
                raise SpaceError(f"{name}={shown(value)} lies outside of {distribution}. Widen it or change the value.")
            point[name] = distribution.to_external_repr(distribution.to_internal_repr(plain(value)))
        return point

    def limited(self, name: str, high: int) -> "Space":
        """This space with the whole numbers of the parameter ``name``, if there is one, at most ``high``.

        What depends on larger ones is left out.
        """
        if name not in self.parameters:
            return self
        limit = _limited(self.distribution(name), high)
        if limit == self.distribution(name):
            return self
        kept: dict[str, BaseDistribution | When] = {}
        for other, parameter in self.parameters.items():
            distribution = limit if other == name else self.distribution(other)
            if not isinstance(parameter, When):
                kept[other] = distribution
            elif parameter.parameter in kept:
                values = [v for v in parameter.values if parameter.parameter != name or _contains(limit, v)]
                if values:
                    kept[other] = When(parameter.parameter, values, distribution)
        return Space(kept)

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


def _checked(name: object, parameter: object) -> BaseDistribution | When:
    """The parameter with Python's own numbers for NumPy's, if it can be searched."""
    if not isinstance(name, str) or not name:
        raise SpaceError(f"The name of a parameter must be a text, but got {name!r}.")
    if isinstance(parameter, When):
        return When(parameter.parameter, parameter.values, _plain_distribution(name, parameter.distribution))
    return _plain_distribution(name, parameter)


def _plain_distribution(name: str, distribution: object) -> BaseDistribution:
    match distribution:
        case CategoricalDistribution():
            choices = [plain(choice) for choice in distribution.choices]
            for index, choice in enumerate(choices):
                if not is_plain(choice):
                    raise SpaceError(f"A choice of {name!r} must be {KINDS}, but got {shown(choice)}. {WAY_OUT}")
                # Optuna finds a choice by ==, by which True is 1: it would record the one for the other.
                if choice in choices[:index]:
                    other = choices[choices.index(choice)]
                    raise SpaceError(
                        f"The choices of {name!r} must differ, but {other!r} and {choice!r} are equal. "
                        f"Leave one out, or make them texts."
                    )
            return CategoricalDistribution(choices)
        case IntDistribution():
            return IntDistribution(
                distribution.low, distribution.high, log=bool(distribution.log), step=distribution.step
            )
        case FloatDistribution(low=low, high=high):
            if not math.isfinite(low) or not math.isfinite(high):
                raise SpaceError(f"The range of {name!r} must be finite, but got {distribution}.")
            return FloatDistribution(low, high, log=bool(distribution.log), step=distribution.step)
    raise SpaceError(
        f"Parameter {name!r} must be an Optuna distribution, but got {shown(distribution)}. Use FloatDistribution, "
        "IntDistribution or CategoricalDistribution from optuna.distributions."
    )


def _limited(distribution: BaseDistribution, high: int) -> BaseDistribution:
    """``distribution`` with its whole numbers at most ``high``."""
    match distribution:
        case IntDistribution() if distribution.high > high:
            low, step = min(distribution.low, high), distribution.step
            return IntDistribution(low, high - (high - low) % step, log=distribution.log, step=step)
        case CategoricalDistribution():
            return CategoricalDistribution(
                list(dict.fromkeys(at_most(choice, high) for choice in distribution.choices))
            )
    return distribution


def at_most(value: Any, high: int) -> Any:
    """A whole number limited to ``high``; every other value as it is."""
    return min(value, high) if type(value) is int else value


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if not isinstance(distribution, CategoricalDistribution) and type(value) not in (int, float):
        return False  # Optuna takes the text "5" for 5
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError, OverflowError):
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


def _grid_values(name: str, distribution: BaseDistribution) -> Sequence[Any]:
    match distribution:
        case CategoricalDistribution():
            return distribution.choices
        case IntDistribution():
            return range(distribution.low, distribution.high + 1, distribution.step)
        case FloatDistribution(step=float(step)):
            # In decimals, as Optuna does: 0.1 added six times is more than 0.6.
            low, high, width = (Decimal(str(number)) for number in (distribution.low, distribution.high, step))
            return [float(low + i * width) for i in range(int((high - low) / width) + 1)]
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
