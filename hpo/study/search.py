"""A search: a space, and how it is searched."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from hpo.errors import StudyError
from hpo.study.budget import UNLIMITED
from hpo.study.comparison_settings import Planned
from hpo.study.definition import Definition, with_epochs
from hpo.study.space import Params, Space
from hpo.study.task import Train, check

_NO_PICKLE = (
    "another than CmaEsSampler: it unpickles what it finds in the storage, so that whoever can write there could run "
    "code here. TPESampler or GPSampler do without."
)


def _sampler_of_pruner() -> BaseSampler:
    """Tree-structured Parzen estimators over all parameters at once (Bergstra et al., 2011; Falkner et al., 2018)."""
    with warnings.catch_warnings():
        # Conditional parameters need `group`, which has been called experimental since 2021.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, group=True)


@dataclass(frozen=True, kw_only=True)
class Search(Definition):
    """Search a space for the best configuration.

    Without a sampler and a pruner of Optuna's it is a freeze-thaw search (`docs/search.md`): each configuration trains
    for a few epochs, pauses, and is continued when its learning curve, beside all others, promises most.

    Args, besides those of `Definition`:
        space: parameters by name: Optuna distributions, or ``When`` around one. A parameter ``epochs`` sets how
            long a trial trains, ``batch_size`` the size of its batches and ``patience`` its early stopping; all
            others are the model's.
        sampler: an Optuna sampler; each trial draws from a stream of its own, seeded by ``seed`` and its number. None
            is the freeze-thaw search, or Optuna's TPESampler if there is a pruner.
        pruner: an Optuna pruner, asked after each epoch (epochs count from 1). Hyperband's
            ``max_resource="auto"``, which differs between processes, becomes ``budget.max_epochs``. None is the
            freeze-thaw search, or no pruning if there is a sampler.
        warm_starts: configurations to try first; a pruner does not end them. A parameter left out is sampled.
        hints: values that are likely to be good, by parameter: the freeze-thaw search draws more of its first
            configurations near them.
    """

    space: Mapping[str, Any]
    sampler: BaseSampler | None = None
    pruner: BasePruner | None = None
    warm_starts: Sequence[Params] = ()
    hints: Mapping[str, Any] = field(default_factory=dict)

    def _check(self) -> None:
        super()._check()
        check(
            self,
            ("sampler", isinstance(self.sampler, BaseSampler | None), "a sampler from optuna.samplers, or None."),
            ("sampler", not _unpickles(self.sampler), _NO_PICKLE),
            ("pruner", isinstance(self.pruner, BasePruner | None), "a pruner from optuna.pruners, or None."),
            ("warm_starts", _is_list_of_params(self.warm_starts), "a list of dictionaries of parameters."),
            ("hints", isinstance(self.hints, Mapping), 'a dictionary of values, such as {"learning_rate": 1e-3}.'),
            (
                "hints",
                self.is_freeze_thaw or not self.hints,
                "left out if there is a sampler or a pruner: only the freeze-thaw search follows hints.",
            ),
        )
        if not self.budget.has_end:
            raise StudyError("a search must have an end. Write budget=Budget(trials=40), or Budget(seconds=1800).")
        if self.budget.total_epochs is not None and not isinstance(self.task, Train):
            raise StudyError("`total_epochs` must be left out of the budget, because the task is a function.")
        space = Space(self.space)
        object.__setattr__(self, "space", space.parameters)
        self._check_training(space, "the space")
        object.__setattr__(self, "warm_starts", tuple(map(space.point, self.warm_starts)))
        object.__setattr__(self, "hints", space.point(self.hints))

    @property
    def trials(self) -> int:
        """The budget: trials in all."""
        return UNLIMITED if self.budget.trials is None else self.budget.trials

    @property
    def is_sampled(self) -> bool:
        """Whether trials that the study does not list belong to it: drawn by a sampler, or enqueued by somebody."""
        return True

    @property
    def is_freeze_thaw(self) -> bool:
        """Whether hpo's own search decides what runs, and not Optuna's sampler and pruner."""
        return self.sampler is None and self.pruner is None

    @property
    def reads_test_images(self) -> bool:
        """Whether each trial is measured on the test images: nothing may be chosen by them."""
        return False

    @property
    def search_space(self) -> Space:
        """The space."""
        return Space(self.space)

    def space_of(self, origin: Mapping[str, int]) -> Space:
        """What a trial is asked for: all of the space."""
        return self.search_space

    def plan(self) -> list[Planned]:
        """The trials that the study lists: its warm starts."""
        return [Planned({"warm_start": index}, params) for index, params in enumerate(self.warm_starts)]

    def explicit_sampler(self) -> BaseSampler:
        """The sampler; of a freeze-thaw search one that draws at random what an enqueued trial leaves open."""
        if self.sampler is not None:
            return self.sampler
        return RandomSampler() if self.is_freeze_thaw else _sampler_of_pruner()

    def explicit_pruner(self) -> BasePruner:
        """A pruner of this process's own, with Hyperband's "auto" made explicit: each process would resolve it."""
        pruner = NopPruner() if self.pruner is None else copy.deepcopy(self.pruner)
        if isinstance(pruner, HyperbandPruner) and pruner._max_resource == "auto":
            pruner._max_resource = max(self.budget.max_epochs, pruner._min_resource)
        return pruner

    def _limited(self, most: int) -> dict[str, Any]:
        space = self.search_space.limited("epochs", most)
        epochs = space.distribution("epochs") if "epochs" in space.parameters else None
        # If epochs come in steps, the last one may lie below the limit.
        last = epochs.high if isinstance(epochs, IntDistribution) else most
        starts = [{name: start[name] for name in start if name in space.parameters} for start in self.warm_starts]
        hints = {name: hint for name, hint in self.hints.items() if name in space.parameters}
        return {
            **super()._limited(most),
            "space": space.parameters,
            "warm_starts": [with_epochs(start, last) for start in starts],
            "hints": with_epochs(hints, last),
        }

    def as_json(self) -> dict[str, Any]:
        """The study as plain JSON values: what it means, without its code."""
        return {
            **super().as_json(),
            "space": self.search_space.as_json(),
            **(
                {"sampler": "freeze-thaw", "hints": dict(self.hints)}
                if self.is_freeze_thaw
                else {"sampler": _parts(self.explicit_sampler()), "pruner": _parts(self.explicit_pruner())}
            ),
            "warm_starts": [dict(params) for params in self.warm_starts],
        }


def _unpickles(sampler: object) -> bool:
    """Whether a sampler, or one that it wraps, unpickles what it finds in the storage."""
    if not isinstance(sampler, BaseSampler):
        return False
    return isinstance(sampler, CmaEsSampler) or any(map(_unpickles, vars(sampler).values()))


def _parts(part: BaseSampler | BasePruner) -> dict[str, Any]:
    """A sampler's or pruner's class and plain arguments; not its seed, which each trial gets anew."""
    found: dict[str, Any] = {}
    for name, value in vars(part).items():
        if isinstance(value, BaseSampler | BasePruner):  # such as the one that a PatientPruner wraps
            found[name.lstrip("_")] = _parts(value)
        # None says nothing, and a sampler puts its state there once it is used.
        elif isinstance(value, str | int | float | bool) and "seed" not in name:
            found[name.lstrip("_")] = value
    return {"type": type(part).__name__, **dict(sorted(found.items()))}


def _is_list_of_params(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(params, Mapping) for params in value)
