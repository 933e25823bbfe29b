"""What a study file defines: the data, the model, the space, how to search it, and the budget."""

import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler

from hpo import canonical, datasets
from hpo.budget import Budget, Stopping, is_number, is_whole
from hpo.direction import Direction, direction_of
from hpo.errors import StudyError
from hpo.experiment import Planned, Setting, values_of
from hpo.run_dir import RunDir, check_study_name
from hpo.space import Params, Space

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
        model: ``(params, dataset) -> compiled keras.Model`` that takes images (n, h, w, c) uint8.
        prepare: ``(params, split, seed) -> split``: the images that a trial trains on, such as with altered copies.
        objective: ``(params, trial) -> float``; ``trial.report(value, epoch)`` records a value and ends the
            trial when it is to be pruned; ``trial.params``, ``trial.seed`` and ``trial.number`` are at hand.
        seed: of the validation split, of the sampler and of each trial.
        sampler: an Optuna sampler; each trial draws from a stream of its own, seeded by ``seed`` and its number.
        pruner: an Optuna pruner, asked after each epoch (epochs count from 1). Hyperband's
            ``max_resource="auto"``, which differs between processes, becomes ``budget.max_epochs``.
        warm_starts: configurations to try first, never pruned; a parameter left out is sampled.
        metric: what is searched for, by its name in Keras's epoch logs.
        direction: "maximize" or "minimize". None takes it from the metric's name: losses and errors are minimized,
            accuracy, AUC, precision, recall, F1 and R² are maximized. For every other metric, and for an
            ``objective``, it must be given.
        stopping: early stopping and learning-rate reduction within a trial.
        validation_fraction: the part of the training images held out, stratified.
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
    stopping: Stopping = field(default_factory=Stopping)
    validation_fraction: float = 0.1
    subset: int | None = None
    merge: datasets.Merge | None = None
    precision: str = "auto"
    # Where the loader found it: a study's name or a file's path; a worker finds it there again.
    source: str = ""
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
            ("stopping", isinstance(self.stopping, Stopping), "a Stopping, such as Stopping(patience=6)."),
            ("direction", self.direction in ("maximize", "minimize", None), f"'maximize' or 'minimize'. {single}"),
            ("metric", isinstance(self.metric, str) and bool(self.metric), f"the name of one metric. {single}"),
            ("sampler", isinstance(self.sampler, BaseSampler), "a sampler from optuna.samplers."),
            ("sampler", not _unpickles(self.sampler), _NO_PICKLE),
            ("pruner", isinstance(self.pruner, BasePruner), "a pruner from optuna.pruners."),
            ("seed", is_whole(self.seed, at_least=0), f"{whole} 0."),
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
        object.__setattr__(self, "base", _plain(self.base))
        if self.model is not None:
            for params in (self.base, *(setting.params for setting in self.settings)):
                self._check_training(params)
        if self.settings:
            self._check_experiment()
        elif self.budget.trials is None:
            raise StudyError(
                "a search must have a number of trials. Write budget=Budget(trials=40), or give `settings`."
            )
        space = self._whole_space()
        if not self.settings:
            object.__setattr__(self, "space", space.parameters)
        object.__setattr__(self, "settings", tuple(self.settings))
        object.__setattr__(self, "warm_starts", tuple(_plain(params) for params in self.warm_starts))
        for params in self.warm_starts:
            space.check(params)

    def _check_training(self, params: Params) -> None:
        """The parameters that are not the model's."""
        for name in ("epochs", "batch_size", "patience"):
            value = params.get(name, 1)
            if not is_whole(value, at_least=1) and (name, value) != ("patience", None):
                raise StudyError(
                    f"`{name}` must be a whole number of at least 1, but `base` or a setting has {value!r}."
                )
        most = self.budget.max_epochs
        if params.get("epochs", most) > most and "max_epochs" not in self.overrides:
            raise StudyError(
                f"`epochs` must be at most the budget's {most}, but `base` or a setting has {params['epochs']}. "
                f"Write budget=Budget(max_epochs={params['epochs']})."
            )

    def _check_experiment(self) -> None:
        if self.space:
            raise StudyError("give either `space` to search, or `settings` to compare, but got both.")
        if self.warm_starts:
            raise StudyError("`warm_starts` belong to a search, but there are `settings`. Make each a Setting.")
        params = [dict(setting.params) for setting in self.settings]
        if twice := next((one for one in params if params.count(one) > 1), None):
            raise StudyError(f"each setting must be there once, but {twice!r} is there twice. `repeats` runs it again.")
        most = self.budget.max_epochs
        params = [{**one, "epochs": min(one["epochs"], most)} if "epochs" in one else one for one in params]
        if twice := next((one for one in params if params.count(one) > 1), None):
            raise StudyError(
                f"each setting must differ, but with at most {most} epochs two are {twice!r}. "
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
        """The space, with ``epochs`` limited to the budget; of an experiment the values that its settings have."""
        return self._whole_space().limited("epochs", self.budget.max_epochs)

    def _whole_space(self) -> Space:
        return Space(values_of(self.settings) if self.settings else self.space)

    @property
    def trials(self) -> int:
        """The budget: trials in all."""
        return self.budget.trials or len(self.settings) * self.repeats

    def plan(self) -> list[Planned]:
        """The trials that the study lists: every setting once, then again; or the warm starts."""
        if not self.settings:
            return [Planned({"warm_start": index}, params) for index, params in enumerate(self.first_trials())]
        return [
            Planned({"setting": index, "repeat": repeat}, dict(setting.params))
            for repeat in range(self.repeats)
            for index, setting in enumerate(self.settings)
        ]

    def space_of(self, origin: Mapping[str, int]) -> Space:
        """What a trial is asked for: the search space, or in an experiment the parameters of its setting."""
        if "setting" not in origin:
            return self.search_space
        names = self.settings[origin["setting"]].params
        return Space({name: parameter for name, parameter in self.search_space.parameters.items() if name in names})

    def first_trials(self) -> list[Params]:
        """The warm starts, with ``epochs`` limited to the budget."""
        space = self.search_space
        epochs = space.distribution("epochs") if "epochs" in space.parameters else None
        # Where epochs come in steps, the last one may lie below the budget.
        limit = {"epochs": epochs.high} if isinstance(epochs, IntDistribution) else {}
        return [
            {name: min(value, limit[name]) if name in limit else value for name, value in params.items()}
            for params in self.warm_starts
        ]

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
            "settings": [setting.as_json() for setting in self.settings],
            "repeats": self.repeats,
            "base": dict(self.base),
            "budget": {**dataclasses.asdict(self.budget), "trials": self.trials},
            "seed": self.seed,
            "sampler": _settings(self.sampler),
            "pruner": _settings(self.explicit_pruner()),
            "warm_starts": self.first_trials(),
            "metric": self.metric,
            "direction": self.search_direction,
            "stopping": dataclasses.asdict(self.stopping),
            "validation_fraction": self.validation_fraction,
            "subset": self.subset,
            "merge": None if self.merge is None else [list(group) for group in self.merge],
            "precision": self.precision,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the canonical form, less the budget's trials, which may grow."""
        return canonical.fingerprint(self.canonical())


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
    if not isinstance(params, Mapping):
        return False
    try:
        json.dumps(_plain(params))
    except (TypeError, ValueError):
        return False
    return True


def _is_merge(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(group, Sequence) and all(isinstance(label, int) for label in group) for group in value
    )


def _is_list_of_params(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(params, Mapping) for params in value)


def _plain(params: Mapping[str, Any]) -> Params:
    """``params`` with NumPy's numbers as Python's, which JSON knows."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in params.items()}
