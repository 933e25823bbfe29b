"""What a study file defines: the data, the model, the space, how to search it, and the budget."""

import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler

from hpo import datasets
from hpo.errors import StudyError
from hpo.files.run_dir import RunDir, check_study_name
from hpo.study import fingerprint
from hpo.study.budget import Budget, Stopping, is_number, is_whole
from hpo.study.direction import Direction, direction_of
from hpo.study.settings import Planned, Setting, values_of
from hpo.study.space import Params, Space, at_most
from hpo.study.values import plain_params, shown

_NO_PICKLE = (
    "another than CmaEsSampler: it unpickles what it finds in the storage, so that whoever can write there could run "
    "code here. TPESampler or GPSampler do without."
)
_PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def _default_sampler() -> BaseSampler:
    """Tree-structured Parzen estimators over all parameters at once (Bergstra et al., 2011; Falkner et al., 2018)."""
    with warnings.catch_warnings():
        # Conditional parameters need `group`, which has been called experimental since 2021.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, group=True)


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """A study: what to search, on which data, with which budget. Or an experiment: which settings to compare.

    Give either ``dataset`` and ``model``, or ``objective``; and either ``space``, or ``settings``.

    Args:
        name: the study's name in the storage and its folder's.
        description: one line for ``hpo studies``.
        space: parameters by name: Optuna distributions, or ``When`` around one. A parameter ``epochs`` sets how
            long a trial trains, ``batch_size`` the size of its batches and ``patience`` its early stopping; all
            others are the model's.
        settings: run each of these, ``repeats`` times with different seeds, instead of searching; no pruner ends one.
            Each trial's best weights are measured on the test images when it ends: nothing is chosen by them.
        repeats: of each setting.
        base: parameters that every trial has, unless the space or its setting says otherwise.
        remarks: what explains how ours differ from the reported figures; `hpo report` prints it.
        budget: how much the study may cost.
        dataset: a data set's name or the path of a ``.npz`` or ``.npy`` file.
        model: ``(params, dataset) -> compiled keras.Model`` that takes images (n, h, w, c) uint8, 0 to 255, so that it
            scales them itself, and is compiled with a loss for integer labels (n,), such as
            "sparse_categorical_crossentropy".
        prepare: ``(params, split, seed) -> split``: the images that a trial trains on, such as with altered copies.
        objective: ``(params, trial) -> float``; ``trial.report(value, epoch)`` records a value and ends the
            trial when it is to be pruned; ``trial.params``, ``trial.seed`` and ``trial.number`` are at hand.
        seed: of the validation split, of the sampler and of each trial; from 0 to 2**32 - 1.
        sampler: an Optuna sampler; each trial draws from a stream of its own, seeded by ``seed`` and its number.
        pruner: an Optuna pruner, asked after each epoch (epochs count from 1). Hyperband's
            ``max_resource="auto"``, which differs between processes, becomes ``budget.max_epochs``.
        warm_starts: configurations to try first, never pruned; a parameter left out is sampled.
        metric: what is searched for, by its name in Keras's epoch logs.
        direction: "maximize" or "minimize". None takes it from the metric's name: losses and errors are minimized,
            accuracy, AUC, precision, recall, F1 and R² are maximized. For every other metric, and for an
            ``objective``, it must be given.
        stopping: early stopping and learning-rate reduction within a trial, both on by default; None for neither.
        validation_fraction: the part of the training images held out, stratified. An epoch is the rest of them, in
            batches of 128, or of ``batch_size`` if it is a parameter: of 60,000 images 54,000, in 422 batches.
        subset: how many of the training images to use, validation included; None for all.
        merge: which old classes make up each class; None leaves them as they are.
        precision: a Keras dtype policy, or "auto" for the fastest the device has.

    Raises:
        StudyError: a field breaks its rule; the message names the study.
    """

    name: str
    space: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget
    description: str = ""
    dataset: str | None = None
    model: Callable[..., Any] | None = None
    prepare: Callable[..., datasets.Split] | None = None
    objective: Callable[..., float] | None = None
    seed: int = 0
    sampler: BaseSampler = field(default_factory=_default_sampler)
    pruner: BasePruner = field(default_factory=NopPruner)
    warm_starts: Sequence[Params] = ()
    settings: Sequence[Setting] = ()
    repeats: int = 1
    base: Params = field(default_factory=dict)
    remarks: str = ""
    metric: str = "val_accuracy"
    direction: Direction | None = None
    stopping: Stopping | None = field(default_factory=Stopping)
    validation_fraction: float = 0.1
    subset: int | None = None
    merge: datasets.Merge | None = None
    precision: str = "auto"
    # Where the loader found it: a study's name or a file's path; a worker finds it there again.
    source: str = ""
    # The file on this machine that it was read from.
    file: str = ""
    # Hashes of the code that builds and trains its models, by its parts, as the loader found it.
    code: Mapping[str, str] = field(default_factory=dict)
    # What a launch set otherwise than the file, by the names of `with_overrides`.
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_study_name(self.name)
        try:
            self._check()
        except StudyError as error:
            raise type(error)(f"Study {self.name!r}: {error}") from None

    def _check(self) -> None:
        if self.objective is not None and (self.model is not None or self.dataset is not None):
            raise StudyError("give either `objective`, or `dataset` and `model`, but got both.")
        if self.objective is None and (self.model is None or self.dataset is None):
            raise StudyError(
                "`dataset` and `model` must both be given, or `objective` instead, but got "
                f"dataset={self.dataset!r}, model={self.model!r}."
            )
        single = "A study has one: a pruner cannot rank trials by two. Combine them into one number."
        whole = "a whole number of at least"
        rules: list[tuple[str, bool, str]] = [
            ("description", isinstance(self.description, str), "a text."),
            ("remarks", isinstance(self.remarks, str), "a text."),
            ("dataset", self.dataset is None or isinstance(self.dataset, str), "a data set's name or a file's path."),
            ("model", self.model is None or callable(self.model), "a function (params, dataset) -> compiled model."),
            ("objective", self.objective is None or callable(self.objective), "a function (params, trial) -> float."),
            ("prepare", self.prepare is None or callable(self.prepare), "a function (params, split, seed) -> split."),
            ("budget", isinstance(self.budget, Budget), "a Budget, such as Budget(trials=40)."),
            (
                "stopping",
                isinstance(self.stopping, Stopping | None),
                "a Stopping, such as Stopping(patience=6), or None.",
            ),
            ("direction", self.direction in ("maximize", "minimize", None), f"'maximize' or 'minimize'. {single}"),
            ("metric", isinstance(self.metric, str) and bool(self.metric), f"the name of one metric. {single}"),
            ("sampler", isinstance(self.sampler, BaseSampler), "a sampler from optuna.samplers."),
            ("sampler", not _unpickles(self.sampler), _NO_PICKLE),
            ("pruner", isinstance(self.pruner, BasePruner), "a pruner from optuna.pruners."),
            ("seed", is_whole(self.seed, at_least=0) and self.seed < 2**32, f"{whole} 0 and at most {2**32 - 1}."),
            ("validation_fraction", is_number(self.validation_fraction, above=0, below=1), "between 0 and 1."),
            ("subset", self.subset is None or is_whole(self.subset, at_least=1), f"{whole} 1, or None for all."),
            ("merge", self.merge is None or _is_merge(self.merge), "groups of old labels, such as ((0, 1), (2, 3))."),
            ("precision", self.precision in _PRECISIONS, f"one of {', '.join(_PRECISIONS)}."),
            ("warm_starts", _is_list_of_params(self.warm_starts), "a list of dictionaries of parameters."),
            ("settings", _is_list_of_settings(self.settings), "a list of Setting, such as grid({...})."),
            ("repeats", is_whole(self.repeats, at_least=1), f"{whole} 1."),
            ("base", _is_json(self.base), "a dictionary of parameters that JSON can hold."),
        ]
        for name, holds, rule in rules:
            if not holds:
                raise StudyError(f"`{name}` must be {rule} It is {getattr(self, name)!r}.")
        if self._direction() is None:
            said_by = "the objective has no metric" if self.objective else f"the metric {self.metric!r} has no name"
            raise StudyError(
                f"`direction` must be given, because {said_by} that says it. "
                'Write direction="maximize" or direction="minimize".'
            )
        object.__setattr__(self, "base", plain_params(self.base))
        object.__setattr__(self, "settings", tuple(self.settings))
        if self.settings:
            self._check_experiment()
        elif self.budget.trials is None:
            raise StudyError(
                "a search must have a number of trials. Write budget=Budget(trials=40), or give `settings`."
            )
        space = Space(values_of(self.settings) if self.settings else self.space)
        if not self.settings:
            object.__setattr__(self, "space", space.parameters)
        if self.model is not None:
            self._check_training(space)
        object.__setattr__(self, "warm_starts", tuple(map(space.point, self.warm_starts)))

    def _check_training(self, space: Space) -> None:
        """The parameters that are not the model's: whole numbers, and no more epochs than the budget has."""
        for name in ("epochs", "batch_size", "patience"):
            for where, value in self._values(name, space):
                if not is_whole(value, at_least=1) and (name, value) != ("patience", None):
                    way_out = " Use an IntDistribution." if isinstance(value, FloatDistribution) else ""
                    raise StudyError(
                        f"`{name}` must be a whole number of at least 1, but {where} has {shown(value)}.{way_out}"
                    )
        most = self.budget.max_epochs
        where, longest = max(self._values("epochs", space), key=lambda found: found[1], default=("", most))
        if longest > most and "max_epochs" not in self.overrides:
            trials = "" if self.budget.trials is None else f"trials={self.budget.trials}, "
            raise StudyError(
                f"`epochs` must be at most the budget's {most}, but {where} has {longest}. "
                f"Write budget=Budget({trials}max_epochs={longest})."
            )

    def _values(self, name: str, space: Space) -> list[tuple[str, Any]]:
        """Where the parameter ``name`` stands, with each of its values there; of a range its ends."""
        found = [("`base`", self.base[name])] if name in self.base else []
        where = "a setting" if self.settings else "the space"
        match space.distribution(name) if name in space.parameters else None:
            case IntDistribution(low=low, high=high):
                found += [(where, low), (where, high)]
            case CategoricalDistribution(choices=choices):
                found += [(where, choice) for choice in choices]
            case FloatDistribution() as distribution:
                found.append((where, distribution))
        return found

    def _check_experiment(self) -> None:
        if self.space:
            raise StudyError("give either `space` to search, or `settings` to compare, but got both.")
        if self.warm_starts:
            raise StudyError("`warm_starts` belong to a search, but there are `settings`. Make each a Setting.")
        params = [setting.params for setting in self.settings]
        if twice := next((one for one in params if params.count(one) > 1), None):
            raise StudyError(f"each setting must be there once, but {twice!r} is there twice. `repeats` runs it again.")
        params = [setting.params for setting in self.search_settings]
        if twice := next((one for one in params if params.count(one) > 1), None):
            raise StudyError(
                f"each setting must differ, but with at most {self.budget.max_epochs} epochs two are {twice!r}. "
                "Raise --max-epochs, or the budget's max_epochs."
            )
        if self.trials > len(self.settings) * self.repeats:
            raise StudyError(
                f"the experiment has {len(self.settings)} settings with {self.repeats} repeats, so at most "
                f"{len(self.settings) * self.repeats} trials, but its budget is {self.trials}."
            )

    @property
    def search_direction(self) -> Direction:
        """The direction, that of the metric's name if none is given."""
        direction = self._direction()
        assert direction is not None  # checked above
        return direction

    def _direction(self) -> Direction | None:
        return self.direction or (direction_of(self.metric) if self.objective is None else None)

    @property
    def search_space(self) -> Space:
        """The space, with ``epochs`` limited to ``--max-epochs``; of an experiment the values of its settings."""
        if self.settings:
            return Space(values_of(self.search_settings))
        space = Space(self.space)
        return space.limited("epochs", self.budget.max_epochs) if "max_epochs" in self.overrides else space

    @property
    def search_settings(self) -> tuple[Setting, ...]:
        """The settings, with ``epochs`` limited to ``--max-epochs``."""
        return tuple(dataclasses.replace(setting, params=self._limited(setting.params)) for setting in self.settings)

    def whole_params(self, asked: Params) -> Params:
        """The parameters of a trial: those that it was asked for, on top of the study's base."""
        return {**self._limited(self.base), **asked}

    @property
    def trials(self) -> int:
        """The budget: trials in all."""
        return self.budget.trials or len(self.settings) * self.repeats

    @property
    def trial_stopping(self) -> Stopping:
        """The early stopping and learning-rate reduction of a trial."""
        return self.stopping or Stopping(patience=None, reduce_lr_patience=None)

    def plan(self) -> list[Planned]:
        """The trials that the study lists: every setting once, then again; or the warm starts."""
        if not self.settings:
            return [Planned({"warm_start": index}, params) for index, params in enumerate(self.first_trials())]
        return [
            Planned({"setting": index, "repeat": repeat}, dict(setting.params))
            for repeat in range(self.repeats)
            for index, setting in enumerate(self.search_settings)
        ]

    def space_of(self, origin: Mapping[str, int]) -> Space:
        """What a trial is asked for: the search space, or in an experiment the parameters of its setting."""
        if "setting" not in origin:
            return self.search_space
        names = self.settings[origin["setting"]].params
        return Space({name: parameter for name, parameter in self.search_space.parameters.items() if name in names})

    def first_trials(self) -> list[Params]:
        """The warm starts, with ``epochs`` limited to ``--max-epochs``."""
        space = self.search_space
        epochs = space.distribution("epochs") if "epochs" in space.parameters else None
        # If epochs come in steps, the last one may lie below the limit.
        most = epochs.high if isinstance(epochs, IntDistribution) else None
        return [
            {name: value for name, value in self._limited(params, most).items() if name in space.parameters}
            for params in self.warm_starts
        ]

    def _limited(self, params: Params, most: int | None = None) -> Params:
        """``params`` with the ``epochs`` that it trains: at most ``--max-epochs``, if that was given."""
        if "epochs" not in params or "max_epochs" not in self.overrides:
            return dict(params)
        return {**params, "epochs": at_most(params["epochs"], most or self.budget.max_epochs)}

    def explicit_pruner(self) -> BasePruner:
        """A pruner of this process's own, with Hyperband's "auto" made explicit: each process would resolve it."""
        pruner = copy.deepcopy(self.pruner)
        if isinstance(pruner, HyperbandPruner) and pruner._max_resource == "auto":
            pruner._max_resource = max(self.budget.max_epochs, pruner._min_resource)
        return pruner

    def with_overrides(
        self,
        *,
        name: str | None = None,
        trials: int | None = None,
        max_epochs: int | None = None,
        subset: int | None = None,
        trial_timeout: float | None = None,
        max_retries: int | None = None,
    ) -> "StudyDefinition":
        """This study with what a launch may set; None leaves it. All but the name is recorded in ``overrides``.

        Raises:
            StudyError: a value breaks its rule.
        """
        given = {
            "trials": trials,
            "max_epochs": max_epochs,
            "subset": subset,
            "trial_timeout": trial_timeout,
            "max_retries": max_retries,
        }
        kept = {option: value for option, value in given.items() if value is not None}
        budget: dict[str, Any] = {option: value for option, value in kept.items() if option != "subset"}
        return dataclasses.replace(
            self,
            name=self.name if name is None else name,
            budget=dataclasses.replace(self.budget, **budget),
            subset=self.subset if subset is None else subset,
            overrides={**self.overrides, **kept},
        )

    def load_dataset(self, run_dir: RunDir) -> datasets.Dataset | None:
        """The training and validation images of this study; None where it has an objective of its own.

        Raises:
            DatasetError: they cannot be had.
        """
        if self.dataset is None:
            return None
        return datasets.load(
            self.dataset,
            run_dir=run_dir,
            seed=self.seed,
            validation_fraction=self.validation_fraction,
            subset=self.subset,
            merge=self.merge,
        )

    def canonical(self) -> dict[str, Any]:
        """The study's data as plain JSON values: what it means, without its code."""
        return {
            "name": self.name,
            "description": self.description,
            "remarks": self.remarks,
            "dataset": self.dataset,
            "model": _qualified_name(self.model),
            "prepare": _qualified_name(self.prepare),
            "objective": _qualified_name(self.objective),
            "space": self.search_space.as_json(),
            "settings": [setting.as_json() for setting in self.search_settings],
            "repeats": self.repeats,
            "base": self._limited(self.base),
            "budget": {**dataclasses.asdict(self.budget), "trials": self.trials},
            "seed": self.seed,
            "sampler": _settings(self.sampler),
            "pruner": _settings(self.explicit_pruner()),
            "warm_starts": self.first_trials(),
            "metric": self.metric,
            "direction": self.search_direction,
            "stopping": dataclasses.asdict(self.trial_stopping),
            "validation_fraction": self.validation_fraction,
            "subset": self.subset,
            "merge": None if self.merge is None else [list(group) for group in self.merge],
            "precision": self.precision,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the canonical form, except for the budget's trials, which may grow.

        Taken once: a sampler that is used may count in its own attributes.
        """
        return fingerprint.fingerprint(self.canonical())


def _unpickles(sampler: object) -> bool:
    """Whether a sampler, or one that it wraps, unpickles what it finds in the storage."""
    if not isinstance(sampler, BaseSampler):
        return False
    return isinstance(sampler, CmaEsSampler) or any(map(_unpickles, vars(sampler).values()))


def _qualified_name(function: Callable[..., Any] | None) -> str | None:
    return None if function is None else getattr(function, "__qualname__", type(function).__name__)


def _settings(part: BaseSampler | BasePruner) -> dict[str, Any]:
    """A sampler's or pruner's class and plain settings; not its seed, which each trial gets anew."""
    settings: dict[str, Any] = {}
    for name, value in vars(part).items():
        if isinstance(value, BaseSampler | BasePruner):  # such as the one that a PatientPruner wraps
            settings[name.lstrip("_")] = _settings(value)
        # None says nothing, and a sampler puts its state there once it is used.
        elif isinstance(value, str | int | float | bool) and "seed" not in name:
            settings[name.lstrip("_")] = value
    return {"type": type(part).__name__, **dict(sorted(settings.items()))}


def _is_list_of_settings(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(setting, Setting) for setting in value)


def _is_json(params: object) -> bool:
    """Whether ``params`` are parameters that the storage can hold."""
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        return False  # JSON would make the name 1 the text "1"
    try:
        json.dumps(plain_params(params), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _is_merge(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(group, Sequence) and all(isinstance(label, int) for label in group) for group in value
    )


def _is_list_of_params(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(params, Mapping) for params in value)
