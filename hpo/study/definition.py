"""What every study has: a name, a task, a budget, a direction; and what it means as plain values."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo import datasets
from hpo.errors import StudyError
from hpo.files.run_dir import RunDir, check_study_name
from hpo.study import fingerprint
from hpo.study.allowed_values import plain_params, shown
from hpo.study.budget import SIZES, Budget, is_whole
from hpo.study.direction import Direction, direction_of
from hpo.study.space import Params, Space, at_most
from hpo.study.task import Function, Train, check, name_of


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a search and a comparison have in common.

    Args:
        name: the study's name in the storage and its folder's.
        task: what one trial does: `hpo.Train`, or a function ``(params, trial) -> float``. Its
            ``trial.report(value, epoch)`` records a value and ends the trial if it is to be pruned; ``trial.params``,
            ``trial.seed`` and ``trial.number`` are at hand.
        budget: how much the study may cost.
        direction: "maximize" or "minimize". None takes it from the name of the task's metric: losses and errors are
            minimized, accuracy, AUC, precision, recall, F1 and R² are maximized. For every other metric, and for a
            function, it must be given.
        base: parameters that every trial has, unless the space or its setting says otherwise.
        seed: of the validation split, of the sampler and of each trial; from 0 to 2**32 - 1.
        description: one line for ``hpo studies``.
        remarks: what explains how our figures differ from reported ones; `hpo report` prints it.

    Raises:
        StudyError: a field breaks its rule; the message names the study.
    """

    name: str
    task: Train | Function
    budget: Budget
    direction: Direction | None = None
    base: Params = field(default_factory=dict)
    seed: int = 0
    description: str = ""
    remarks: str = ""

    def __post_init__(self) -> None:
        check_study_name(self.name)
        try:
            self._check()
        except StudyError as error:
            raise type(error)(f"Study {self.name!r}: {error}") from None

    def _check(self) -> None:
        """Check all fields; a kind of study checks its own as well."""
        single = "A study has one: a pruner cannot rank trials by two. Combine them into one number."
        check(
            self,
            ("description", isinstance(self.description, str), "a text."),
            ("remarks", isinstance(self.remarks, str), "a text."),
            (
                "task",
                isinstance(self.task, Train) or (callable(self.task) and not isinstance(self.task, type)),
                "hpo.Train(data=..., model=...) or a function (params, trial) -> float.",
            ),
            ("budget", isinstance(self.budget, Budget), "a Budget, such as Budget(trials=40)."),
            ("direction", self.direction in ("maximize", "minimize", None), f"'maximize' or 'minimize'. {single}"),
            (
                "seed",
                is_whole(self.seed, at_least=0) and self.seed < 2**32,
                f"a whole number of at least 0 and at most {2**32 - 1}.",
            ),
            ("base", _is_json(self.base), "a dictionary of parameters that JSON can hold."),
        )
        if (self.direction or self._told_direction()) is None:
            said_by = (
                f"the metric {self.task.metric!r} has no name"
                if isinstance(self.task, Train)
                else "a function has no metric"
            )
            raise StudyError(
                f"`direction` must be given, because {said_by} that says it. "
                'Write direction="maximize" or direction="minimize".'
            )
        object.__setattr__(self, "base", plain_params(self.base))

    def _told_direction(self) -> Direction | None:
        return direction_of(self.task.metric) if isinstance(self.task, Train) else None

    @property
    def search_direction(self) -> Direction:
        """The direction, that of the metric's name if none is given."""
        return self.direction or self._told_direction() or "maximize"  # one of the first two, as was checked

    @property
    def metric(self) -> str:
        """What a trial's value is called."""
        return self.task.metric if isinstance(self.task, Train) else "value"

    def load_dataset(self, run_dir: RunDir) -> datasets.Dataset | None:
        """The training and validation images of this study; None if its task is a function.

        Raises:
            DatasetError: they cannot be had.
        """
        return self.task.load_dataset(run_dir, seed=self.seed) if isinstance(self.task, Train) else None

    def whole_params(self, asked: Params) -> Params:
        """The parameters of a trial: those that it was asked for, on top of the study's base."""
        return {**self.base, **asked}

    def overridden(self, overrides: Mapping[str, Any], name: str | None = None) -> Self:
        """This study as a launch changes it.

        Args:
            overrides: any field of the budget, and ``subset``. If one is ``trials``, ``seconds`` or ``total_epochs``,
                those of these that are left out have no limit.
            name: another name; None keeps it.

        Raises:
            StudyError: a value breaks its rule, or the task has no images to take a subset of.
        """
        if not overrides and name in (None, self.name):
            return self
        budget = {option: value for option, value in overrides.items() if option != "subset"}
        if budget.keys() & SIZES:
            budget = {**dict.fromkeys(SIZES), **budget}
        changed: dict[str, Any] = {"budget": dataclasses.replace(self.budget, **budget)}
        if name is not None:
            changed["name"] = name
        if "subset" in overrides:
            if not isinstance(self.task, Train):
                raise StudyError(
                    f"--subset must be of the images of a study, but the task of {self.name!r} is a function. "
                    "Leave it out."
                )
            changed["task"] = dataclasses.replace(self.task, subset=overrides["subset"])
        if "max_epochs" in overrides:
            changed |= self._limited(overrides["max_epochs"])
        return dataclasses.replace(self, **changed)

    def _limited(self, most: int) -> dict[str, Any]:
        """The fields of this study that name ``epochs``, with at most ``most`` of them."""
        return {"base": with_epochs(self.base, most)}

    def as_json(self) -> dict[str, Any]:
        """The study as plain JSON values: what it means, without its code."""
        return {
            "name": self.name,
            "description": self.description,
            "remarks": self.remarks,
            "task": self.task.as_json() if isinstance(self.task, Train) else {"function": name_of(self.task)},
            "base": self.base,
            "budget": dataclasses.asdict(self.budget),
            "seed": self.seed,
            "direction": self.search_direction,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of `as_json`, except for the budget's trials, which may grow.

        Taken once: a sampler that is used may count in its own attributes.
        """
        return fingerprint.fingerprint(self.as_json())

    def _check_training(self, space: Space, where: str) -> None:
        """Check the parameters that are not the model's: whole numbers, and no more epochs than the budget has.

        Args:
            space: the values that a trial may have.
            where: what holds them, for messages.
        """
        if not isinstance(self.task, Train):
            return
        for name in ("epochs", "batch_size", "patience"):
            for place, value in self._values(name, space, where):
                if not is_whole(value, at_least=1) and (name, value) != ("patience", None):
                    way_out = " Use an IntDistribution." if isinstance(value, FloatDistribution) else ""
                    raise StudyError(
                        f"`{name}` must be a whole number of at least 1, but {place} has {shown(value)}.{way_out}"
                    )
        most = self.budget.max_epochs
        place, longest = max(self._values("epochs", space, where), key=lambda found: found[1], default=("", most))
        if longest > most:
            trials = "" if self.budget.trials is None else f"trials={self.budget.trials}, "
            raise StudyError(
                f"`epochs` must be at most the budget's {most}, but {place} has {longest}. "
                f"Write budget=Budget({trials}max_epochs={longest})."
            )

    def _values(self, name: str, space: Space, where: str) -> list[tuple[str, Any]]:
        """Where the parameter ``name`` stands, with each of its values there; of a range its ends."""
        found = [("`base`", self.base[name])] if name in self.base else []
        match space.distribution(name) if name in space.parameters else None:
            case IntDistribution(low=low, high=high):
                found += [(where, low), (where, high)]
            case CategoricalDistribution(choices=choices):
                found += [(where, choice) for choice in choices]
            case FloatDistribution() as distribution:
                found.append((where, distribution))
        return found


def with_epochs(params: Params, most: int) -> Params:
    """``params`` with at most that many ``epochs``, if they have any."""
    return {**params, "epochs": at_most(params["epochs"], most)} if "epochs" in params else dict(params)


def _is_json(params: object) -> bool:
    """Whether ``params`` are parameters that the storage can hold."""
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        return False  # JSON would make the name 1 the text "1"
    try:
        json.dumps(plain_params(params), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
