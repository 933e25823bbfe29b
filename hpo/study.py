"""What a study file defines: the data, the model, the space, how to search it, and the budget."""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler

from hpo import datasets
from hpo.errors import StudyError
from hpo.run_dir import RunDir, check_study_name
from hpo.space import Params, Space, can_continue

# What an amended study may change: it alters how the search goes on, not what its past trials mean.
_SAFE_CHANGES = {"description", "budget", "sampler", "pruner", "warm_starts"}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a study may cost.

    Args:
        trials: trials in all, over every launch.
        max_epochs: the most epochs of one trial; where the space has a parameter ``epochs``, its upper end.
        trial_seconds: seconds of training after which a trial ends with its epoch and keeps its best.
    """

    trials: int
    max_epochs: int = 50
    trial_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("trials", self.trials), ("max_epochs", self.max_epochs)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise StudyError(f"Budget: {name} must be a whole number of at least 1, but got {value!r}.")
        if self.trial_seconds is not None and not self.trial_seconds > 0:
            raise StudyError(f"Budget: trial_seconds must be positive, but got {self.trial_seconds!r}.")


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When a trial has learned what it can; each is a number of epochs without a better metric.

    Args:
        patience: epochs until the trial ends with the weights of its best epoch; None trains to the end.
        reduce_lr_patience: epochs until the learning rate is multiplied by ``reduce_lr_factor``; None never.
        reduce_lr_factor: between 0 and 1.
    """

    patience: int | None = 6
    reduce_lr_patience: int | None = 2
    reduce_lr_factor: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("patience", self.patience), ("reduce_lr_patience", self.reduce_lr_patience)):
            if value is not None and value < 1:
                raise StudyError(f"Stopping: {name} must be at least 1 or None, but got {value!r}.")
        if not 0 < self.reduce_lr_factor < 1:
            raise StudyError(f"Stopping: reduce_lr_factor must lie between 0 and 1, but got {self.reduce_lr_factor!r}.")


def _default_sampler() -> BaseSampler:
    """Tree-structured Parzen estimators over all parameters at once (Bergstra et al., 2011; Falkner et al., 2018)."""
    with warnings.catch_warnings():
        # Conditional parameters need `group`, which has been called experimental since 2021.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, group=True)


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """A study: what to search, on which data, with which budget.

    Give either ``dataset`` and ``model``, or ``objective``.

    Args:
        name: the study's name in the storage and its folder's.
        description: one line for ``hpo studies``.
        space: parameters by name: Optuna distributions, or ``When`` around one. A parameter ``epochs`` sets how
            long a trial trains and ``batch_size`` the size of its batches; all others are the model's.
        budget: how much the study may cost.
        dataset: a data set's name or the path of a ``.npz`` or ``.npy`` file.
        model: ``(params, dataset) -> compiled keras.Model`` that takes images (n, h, w, c) uint8.
        objective: ``(params, trial) -> float``; ``trial.report(value, epoch)`` records a value and ends the
            trial when it is to be pruned; ``trial.params``, ``trial.seed`` and ``trial.number`` are at hand.
        seed: of the validation split, of the sampler and of each trial.
        sampler: an Optuna sampler; each trial draws from a stream of its own, seeded by ``seed`` and its number.
        pruner: an Optuna pruner, asked after each epoch (epochs count from 1). Hyperband's
            ``max_resource="auto"``, which differs between processes, becomes ``budget.max_epochs``.
        warm_starts: configurations to try first, never pruned; a parameter left out is sampled.
        metric: what is searched for, by its name in Keras's epoch logs.
        direction: "maximize" or "minimize".
        stopping: early stopping and learning-rate reduction within a trial.
        validation_fraction: the part of the training images held out, stratified.
        subset: how many of the training images to use, validation included; None for all.
        merge: which old classes make up each class; None leaves them as they are.
        precision: a Keras dtype policy, or "auto" for the fastest the device has.

    Raises:
        StudyError: a field breaks its rule; the message names the study.
    """

    name: str
    space: Mapping[str, Any]
    budget: Budget
    description: str = ""
    dataset: str | None = None
    model: Callable[..., Any] | None = None
    objective: Callable[..., float] | None = None
    seed: int = 0
    sampler: BaseSampler = field(default_factory=_default_sampler)
    pruner: BasePruner = field(default_factory=NopPruner)
    warm_starts: Sequence[Params] = ()
    metric: str = "val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"
    stopping: Stopping = Stopping()
    validation_fraction: float = 0.1
    subset: int | None = None
    merge: datasets.Merge | None = None
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    # Where the loader found it: a study's name or a file's path; a worker finds it there again.
    source: str = ""

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
        for name in ("model", "objective"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise StudyError(f"`{name}` must be callable, but got {function!r}.")
        if not isinstance(self.budget, Budget):
            raise StudyError(f"`budget` must be a Budget, but got {self.budget!r}. Write Budget(trials=40).")
        if self.direction not in ("maximize", "minimize"):
            raise StudyError(
                f"`direction` must be 'maximize' or 'minimize', but got {self.direction!r}. A study has one objective: "
                "a pruner cannot rank trials by two. Combine them into one number."
            )
        if not isinstance(self.metric, str) or not self.metric:
            raise StudyError(
                f"`metric` must be the name of one metric, but got {self.metric!r}. A study has one objective: "
                "a pruner cannot rank trials by two. Combine them into one number."
            )
        if not isinstance(self.sampler, BaseSampler):
            raise StudyError(f"`sampler` must be an Optuna sampler, but got {self.sampler!r}.")
        if not isinstance(self.pruner, BasePruner):
            raise StudyError(f"`pruner` must be an Optuna pruner, but got {self.pruner!r}.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise StudyError(f"`seed` must be a whole number of at least 0, but got {self.seed!r}.")
        if not 0 < self.validation_fraction < 1:
            raise StudyError(f"`validation_fraction` must lie between 0 and 1, but got {self.validation_fraction!r}.")
        space = (self.space if isinstance(self.space, Space) else Space(self.space)).limited(
            "epochs", self.budget.max_epochs
        )
        warm_starts = tuple(_limit_epochs(params, self.budget.max_epochs) for params in self.warm_starts)
        for params in warm_starts:
            space.check(params)
        object.__setattr__(self, "space", space.parameters)
        object.__setattr__(self, "warm_starts", warm_starts)
        object.__setattr__(self, "pruner", _with_explicit_resource(self.pruner, self.budget.max_epochs))

    @property
    def search_space(self) -> Space:
        return Space(self.space)

    def with_overrides(
        self,
        *,
        name: str | None = None,
        trials: int | None = None,
        max_epochs: int | None = None,
        subset: int | None = None,
    ) -> "StudyDefinition":
        """This study with what a launch may set; what is None stays."""
        budget = dataclasses.replace(
            self.budget,
            trials=self.budget.trials if trials is None else trials,
            max_epochs=self.budget.max_epochs if max_epochs is None else max_epochs,
        )
        return dataclasses.replace(
            self, name=name or self.name, budget=budget, subset=self.subset if subset is None else subset
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
            "dataset": self.dataset,
            "model": _qualified_name(self.model),
            "objective": _qualified_name(self.objective),
            "space": self.search_space.as_json(),
            "budget": dataclasses.asdict(self.budget),
            "seed": self.seed,
            "sampler": type(self.sampler).__name__,
            "pruner": type(self.pruner).__name__,
            "warm_starts": [dict(params) for params in self.warm_starts],
            "metric": self.metric,
            "direction": self.direction,
            "stopping": dataclasses.asdict(self.stopping),
            "validation_fraction": self.validation_fraction,
            "subset": self.subset,
            "merge": None if self.merge is None else [list(group) for group in self.merge],
            "precision": self.precision,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the canonical form, less the budget's trials, which may grow."""
        return fingerprint(self.canonical())


def fingerprint(canonical: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of a canonical form, less what two launches of one study may differ in."""
    meaning = {key: value for key, value in canonical.items() if key != "description"}
    meaning["budget"] = {key: value for key, value in canonical["budget"].items() if key != "trials"}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each value in which two canonical forms differ, trials and description left out."""
    lines = []
    for path in sorted(_leaves(old).keys() | _leaves(new).keys()):
        before, after = _leaves(old).get(path), _leaves(new).get(path)
        if before != after and path not in ("budget.trials", "description"):
            lines.append(
                f"{path}: {before if before is not None else 'absent'} -> {after if after is not None else 'absent'}"
            )
    return lines


def may_amend(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the trials of ``old`` stay comparable with those of ``new``, both canonical forms."""

    same = all(old.get(key) == new.get(key) for key in old.keys() | new.keys() if key not in _SAFE_CHANGES | {"space"})
    return same and can_continue(old["space"], new["space"])


def _leaves(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in _leaves(item, f"{path}.{key}".lstrip(".")).items()}
    return {path: json.dumps(value)}


def _limit_epochs(params: Params, max_epochs: int) -> Params:
    epochs = params.get("epochs")
    return {**params, "epochs": min(epochs, max_epochs)} if isinstance(epochs, int) else dict(params)


def _qualified_name(function: Callable[..., Any] | None) -> str | None:
    return None if function is None else getattr(function, "__qualname__", type(function).__name__)


def _with_explicit_resource(pruner: BasePruner, max_epochs: int) -> BasePruner:
    """Hyperband with its "auto" resource made explicit: each process would resolve it by itself."""
    if isinstance(pruner, HyperbandPruner) and pruner._max_resource == "auto":
        return HyperbandPruner(
            min_resource=pruner._min_resource,
            max_resource=max_epochs,
            reduction_factor=pruner._reduction_factor,
            bootstrap_count=pruner._bootstrap_count,
        )
    return pruner
