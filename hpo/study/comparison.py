"""A comparison: settings, each run several times, beside what others reported of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler

from hpo.errors import StudyError
from hpo.study.comparison_settings import Planned, Setting, values_of
from hpo.study.definition import Definition, with_epochs
from hpo.study.space import Space
from hpo.study.task import check


@dataclass(frozen=True, kw_only=True)
class Comparison(Definition):
    """Run each of some settings, several times with different seeds, instead of searching; no pruner ends one.

    Each trial's best weights are measured on the test images when it ends: nothing is chosen by them.

    Args, besides those of `Definition`:
        settings: what to compare; `hpo.grid` and `hpo.vary` make them.
        repeats: how often each setting runs.
        budget: by default as many trials as there are settings times repeats.
    """

    settings: Sequence[Setting]
    repeats: int = 1

    def _check(self) -> None:
        super()._check()
        check(
            self,
            ("settings", _is_list_of_settings(self.settings), "a list of Setting, such as grid({...})."),
            ("repeats", _is_count(self.repeats), "a whole number of at least 1."),
        )
        object.__setattr__(self, "settings", tuple(self.settings))
        if twice := _twice(self.settings):
            raise StudyError(f"each setting must be there once, but {twice!r} is there twice. `repeats` runs it again.")
        whole = len(self.settings) * self.repeats
        for name in ("seconds", "total_epochs", "target", "patience"):
            if getattr(self.budget, name) is not None:
                raise StudyError(f"`{name}` must be left out of the budget: a comparison runs all of its settings.")
        if self.trials > whole:
            raise StudyError(
                f"the comparison has {len(self.settings)} settings with {self.repeats} repeats, so at most {whole} "
                f"trials, but its budget is {self.trials}."
            )
        self._check_training(self.search_space, "a setting")

    @property
    def trials(self) -> int:
        """The budget: trials in all."""
        return self.budget.trials or len(self.settings) * self.repeats

    @property
    def is_sampled(self) -> bool:
        """Whether trials that the study does not list belong to it: none do."""
        return False

    @property
    def reads_test_images(self) -> bool:
        """Whether each trial is measured on the test images: it compares what was set before."""
        return True

    @property
    def is_freeze_thaw(self) -> bool:
        """Whether the search decides what runs: every setting runs to its end."""
        return False

    def explicit_sampler(self) -> BaseSampler:
        """One that is never asked: every parameter is set."""
        return RandomSampler()

    @property
    def search_space(self) -> Space:
        """Each parameter with the values that the settings have for it."""
        return Space(values_of(self.settings))

    def space_of(self, origin: Mapping[str, int]) -> Space:
        """What a trial is asked for: the parameters of its setting."""
        names = self.settings[origin["setting"]].params
        return Space({name: parameter for name, parameter in self.search_space.parameters.items() if name in names})

    def plan(self) -> list[Planned]:
        """The trials that the study lists: every setting once, then again."""
        return [
            Planned({"setting": index, "repeat": repeat}, dict(setting.params))
            for repeat in range(self.repeats)
            for index, setting in enumerate(self.settings)
        ]

    def explicit_pruner(self) -> BasePruner:
        """One that ends no trial."""
        return NopPruner()

    def _limited(self, most: int) -> dict[str, Any]:
        settings = [dataclasses.replace(each, params=with_epochs(each.params, most)) for each in self.settings]
        if twice := _twice(settings):
            raise StudyError(
                f"Study {self.name!r}: each setting must differ, but with at most {most} epochs two are {twice!r}. "
                "Raise --max-epochs, or the budget's max_epochs."
            )
        return {**super()._limited(most), "settings": settings}

    def as_json(self) -> dict[str, Any]:
        """The study as plain JSON values: what it means, without its code."""
        return {
            **super().as_json(),
            "settings": [setting.as_json() for setting in self.settings],
            "repeats": self.repeats,
        }


def _is_list_of_settings(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(setting, Setting) for setting in value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _twice(settings: Sequence[Setting]) -> dict[str, Any] | None:
    """The parameters that two of the settings have."""
    params = [dict(setting.params) for setting in settings]
    return next((one for one in params if params.count(one) > 1), None)
