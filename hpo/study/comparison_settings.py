"""The settings of a comparison: what to run instead of a search, each with what others measured of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import CategoricalDistribution

from hpo.errors import StudyError
from hpo.study.allowed_values import KINDS, WAY_OUT, is_plain, plain_params, shown
from hpo.study.space import Params, Space

# What can be reported of a setting and is measured of ours: the names that `hpo report` compares.
FIGURES = (
    "test_accuracy", "test_loss", "val_accuracy", "val_loss", "accuracy", "loss", "parameters", "seconds", "best_epoch",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One setting of a comparison.

    Args:
        params: the values of its parameters; a setting may have parameters that others have not.
        reported: what others measured of it, by the names in ``FIGURES``: accuracies from 0 to 1, losses in nats,
            seconds of training, the number of parameters.
        name: what its report calls it; empty if the parameters say enough.

    Raises:
        StudyError: a parameter, a figure or the name is not as said above.
    """

    params: Params
    reported: Mapping[str, float] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.params, Mapping) or not self.params:
            raise StudyError(f"A setting must be a dictionary of parameters, but got {self.params!r}.")
        if not isinstance(self.reported, Mapping):
            raise StudyError(f"The reported figures of a setting must be a dictionary, but got {self.reported!r}.")
        if not isinstance(self.name, str):
            raise StudyError(f"The name of a setting must be a text, but got {self.name!r}.")
        object.__setattr__(self, "params", plain_params(self.params))
        object.__setattr__(self, "reported", plain_params(self.reported))
        for parameter, value in self.params.items():
            if not isinstance(parameter, str):
                raise StudyError(f"The name of a parameter must be a text, but a setting has {parameter!r}.")
            if not is_plain(value):
                raise StudyError(
                    f"The value of {parameter!r} in a setting must be {KINDS}, but got {shown(value)}. {WAY_OUT}"
                )
        for figure, value in self.reported.items():
            if figure not in FIGURES:
                raise StudyError(f"A reported figure must be one of {', '.join(FIGURES)}, but got {figure!r}.")
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise StudyError(f"A reported {figure} must be a number, but got {value!r}.")
            if figure.endswith("accuracy") and not 0 <= value <= 1:
                raise StudyError(f"A reported {figure} must lie between 0 and 1, but got {value!r}. Divide by 100.")
            if isinstance(value, float) and not math.isfinite(value):
                raise StudyError(f"A reported {figure} must be finite, but got {value!r}. Leave it out.")

    def as_json(self) -> dict[str, Any]:
        """The setting as plain JSON values."""
        return {"name": self.name, "params": dict(self.params), "reported": dict(self.reported)}


@dataclass(frozen=True)
class Planned:
    """A trial that the study itself lists, to be run before any is sampled.

    Args:
        origin: ``{"warm_start": i}``, or ``{"setting": i, "repeat": r}`` of a comparison.
        params: its fixed parameters.
    """

    origin: Mapping[str, int]
    params: Params


def values_of(settings: Sequence[Setting]) -> dict[str, CategoricalDistribution]:
    """Each parameter of any setting, with the values it has, in the order in which they come; a space.

    Raises:
        StudyError: two values of a parameter are equal and not of one type, such as True and 1.
    """
    values: dict[str, list[Any]] = {}
    for setting in settings:
        for name, value in setting.params.items():
            known = values.setdefault(name, [])
            if value not in known:
                known.append(value)
            # Optuna finds a choice by ==, by which True is 1: it would record the one for the other.
            elif type(value) is not type(other := known[known.index(value)]):
                raise StudyError(
                    f"The values of {name!r} in the settings must differ, but {other!r} and {value!r} are equal. "
                    "Write them as one type."
                )
    return {name: CategoricalDistribution(choices) for name, choices in values.items()}


def grid(space: Mapping[str, Any], reported: Iterable[tuple[Params, Mapping[str, float]]] = ()) -> tuple[Setting, ...]:
    """Every combination of the values in ``space``, the last parameter changing fastest.

    Args:
        space: Optuna distributions by name, each with a finite number of values.
        reported: settings of the grid, each with what others measured of it.

    Raises:
        SpaceError: a parameter is continuous, or the space cannot be searched.
        StudyError: a figure is reported for a setting that is not in the grid, or two of them for one; or ``reported``
            has another form.
    """
    settings = Space(space).grid()
    figures: dict[int, Mapping[str, float]] = {}
    for pair in reported:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise StudyError(
                f"Figures must be reported as pairs, such as ({settings[0]!r}, {{'test_accuracy': 0.9}}), "
                f"but got {pair!r}."
            )
        params, figure = pair
        if params not in settings:
            raise StudyError(
                f"Figures must be reported for settings of the grid, but {params!r} is none of its {len(settings)}. "
                f"The first is {settings[0]!r}."
            )
        if settings.index(params) in figures:
            raise StudyError(f"Figures must be reported once for a setting, but {params!r} is there twice.")
        figures[settings.index(params)] = figure
    return tuple(Setting(params, figures.get(index, {})) for index, params in enumerate(settings))


def vary(parameter: str, values: Mapping[Any, Mapping[str, float]]) -> tuple[Setting, ...]:
    """One setting for each value of one parameter, with what others measured of it; ``{}`` if they did not.

    Raises:
        StudyError: ``values`` has another form.
    """
    if not isinstance(values, Mapping) or not values:
        raise StudyError(
            f"The values to vary must be a dictionary, such as vary({parameter!r}, {{8: {{'test_accuracy': 0.9}}, 16: "
            f"{{}}}}), but got {values!r}."
        )
    return tuple(Setting({parameter: value}, figures) for value, figures in values.items())
