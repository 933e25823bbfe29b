"""What hpo records of a trial: the one module that names a trial's attributes in the storage.

Any Optuna program may write to a storage, and use one of our names for something else. What is read here is of the type
that it should be, or it is left out.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

_FAR_FUTURE = 1e11  # seconds since 1970: a larger number of another program's is no time
_ORIGINS = ("warm_start", "setting", "repeat")

# What the fields of these records may be, and how that is asked.
_TYPES: dict[Any, Any] = {
    bool: bool, int: int, str: str, int | None: int, str | None: str, float | None: (int, float),
}  # fmt: skip

CLAIM = "claim"
GIVEN_BACK = "given_back"
ENDED = "ended"
HISTORY = "history"
WEIGHTS = "weights"
PAUSED = "paused"  # the stop reason of a trial whose configuration may be continued
CONTINUED = "continued"  # as it is shown once a later trial has gone on with it


@dataclass(frozen=True)
class Configuration:
    """What a trial runs; the attempts of one configuration share it.

    Args:
        number: counts from 0 within the study, trials of other programs left out.
        uuid: a study of the same name, made after this one was deleted, has others.
        seed: of the weights and batches.
        attempt: 1, or more if the configuration was lost with a worker before.
        deaths: how many workers died while they ran it.
        origin: which of the study's planned trials it is, as in `hpo.study.comparison_settings.Planned`; empty if none.
    """

    number: int
    uuid: str
    seed: int
    attempt: int = 1
    deaths: int = 0
    origin: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ClaimRecord:
    """Who runs a trial.

    Args:
        configuration: what the trial runs.
        worker: the name of the process, host and number.
        device: cpu, or gpu and its index.
        token: of this process alone.
        code: hash of the code that it runs; None if none was recorded.
        started: seconds since 1970, UTC; None if none was recorded.
    """

    configuration: Configuration
    worker: str
    device: str
    token: str
    code: str | None = None
    started: float | None = None

    @property
    def host(self) -> str:
        """The machine of the worker."""
        return self.worker.rpartition("-")[0]

    def as_attributes(self) -> dict[str, Any]:
        """The user attributes of the trial."""
        configuration = dataclasses.asdict(self.configuration)
        known = {name: configuration[name] for name in ("uuid", "seed", "attempt", "deaths")}
        signed = {name: value for name, value in vars(self).items() if name != "configuration"}
        return {CLAIM: {"configuration": self.configuration.number, **known, **self.configuration.origin, **signed}}


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What is recorded of a trial's model; None if it had none, or it is not known.

    Args:
        parameters: how many.
        precision: the Keras dtype policy that it was trained in.
        backend: Keras's.
        physical_batch_size: images at a time, if memory was too little for a whole batch.
    """

    parameters: int | None = None
    precision: str | None = None
    backend: str | None = None
    physical_batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """What is recorded of a trial's epochs; None if it had none, or it is not known.

    Args:
        epochs: finished epochs.
        best_epoch: counted from 1.
        seconds: of training and validation; of a function's trial, of all of it.
        seconds_to_best: until the end of the best epoch.
        validation_images: on how many the value was measured.
    """

    epochs: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    seconds_to_best: float | None = None
    images_per_second: float | None = None
    validation_images: int | None = None


@dataclass(frozen=True, kw_only=True)
class MeasureRecord:
    """What the best weights of a comparison's trial do on the test images.

    Args:
        test_loss: in nats.
        test_precision: a mean over the classes, as are ``test_recall`` and ``test_f1``.
        test_images: how many were classified, in ``test_seconds``.
    """

    test_accuracy: float | None = None
    test_loss: float | None = None
    test_precision: float | None = None
    test_recall: float | None = None
    test_f1: float | None = None
    test_seconds: float | None = None
    test_images: int | None = None


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """How a trial ended; None for what it does not have.

    Args:
        stop_reason: completed, early_stopping, time_budget, pruned, paused; or why it failed.
        failure: the message, if it failed by itself.
        given_back: whether it ended without a result, so that its configuration runs again.
        ended: seconds since 1970, UTC.
        weights: Optuna's id of the artifact that holds the best weights.
        history: for each of Keras's logs a value per epoch.
    """

    stop_reason: str | None = None
    failure: str | None = None
    given_back: bool = False
    ended: float | None = None
    weights: str | None = None
    model: ModelRecord = field(default_factory=ModelRecord)
    fit: FitRecord = field(default_factory=FitRecord)
    measures: MeasureRecord = field(default_factory=MeasureRecord)
    history: Mapping[str, list[float]] = field(default_factory=dict)

    def as_attributes(self) -> dict[str, Any]:
        """The user attributes of the trial; what it does not have is left out."""
        parts = {name: value for name, value in vars(self).items() if name not in _PARTS}
        flat = {**parts, **vars(self.model), **vars(self.fit), **vars(self.measures)}
        return {name: value for name, value in flat.items() if value is not None and value is not False and value != {}}


_PARTS = {"model": ModelRecord, "fit": FitRecord, "measures": MeasureRecord}  # whose fields stand beside the result's
_OURS = {
    CLAIM,
    *(each.name for kind in (ResultRecord, *_PARTS.values()) for each in dataclasses.fields(kind)),
} - _PARTS.keys()


def claim_of(trial: FrozenTrial) -> ClaimRecord | None:
    """The claim of a trial; None if hpo did not claim it, whatever it has under that name."""
    claim = trial.user_attrs.get(CLAIM)
    if not isinstance(claim, dict):
        return None
    of_configuration = _typed(Configuration, claim, number="configuration")
    signed = _typed(ClaimRecord, claim)
    if not of_configuration.keys() >= {"number", "uuid", "seed", "attempt", "deaths"}:
        return None
    if not signed.keys() >= {"worker", "device", "token"}:
        return None
    origin = {name: claim[name] for name in _ORIGINS if type(claim.get(name)) is int}
    return ClaimRecord(configuration=Configuration(**of_configuration, origin=origin), **signed)


def configuration_of(trial: FrozenTrial) -> Configuration | None:
    """What a trial runs; None if hpo did not claim it."""
    claim = claim_of(trial)
    return None if claim is None else claim.configuration


def token_of(trial: FrozenTrial) -> str | None:
    """The token of the process that has claimed a trial; None if hpo did not claim it."""
    claim = claim_of(trial)
    return None if claim is None else claim.token


def result_of(trial: FrozenTrial) -> ResultRecord:
    """How a trial ended; of one that runs, what is known already."""
    attrs = trial.user_attrs
    return ResultRecord(
        **_typed(ResultRecord, attrs),
        model=ModelRecord(**_typed(ModelRecord, attrs)),
        fit=FitRecord(**_typed(FitRecord, attrs)),
        measures=MeasureRecord(**_typed(MeasureRecord, attrs)),
        history=_history(attrs.get(HISTORY)),
    )


def attributes_of_others(trial: FrozenTrial) -> dict[str, Any]:
    """The user attributes that are not ours: of whoever enqueued the trial, or of the function that it ran."""
    return {name: value for name, value in trial.user_attrs.items() if name not in _OURS}


def was_given_back(trial: FrozenTrial) -> bool:
    """Whether the trial ended without a result through no fault of its own, so that it does not count."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get(GIVEN_BACK, False) is True


def is_paused(trial: FrozenTrial) -> bool:
    """Whether the trial ended so that its configuration may be continued; Optuna's tools see a pruned trial."""
    return trial.state == TrialState.PRUNED and trial.user_attrs.get("stop_reason") == PAUSED


def continued(trials: Iterable[FrozenTrial]) -> set[int]:
    """The ids of the paused trials whose configuration a later trial has gone on with."""
    paused: dict[str, list[int]] = {}
    found: set[int] = set()
    for trial in trials:
        if (configuration := configuration_of(trial)) and not was_given_back(trial):
            found.update(paused.pop(configuration.uuid, ()))
            if is_paused(trial):
                paused[configuration.uuid] = [trial._trial_id]
    return found


def _typed(kind: type, attrs: Mapping[str, Any], **names: str) -> dict[str, Any]:
    """Those attributes that are fields of a record, and of the type of the field.

    Args:
        names: what a field is called in the storage, if it is not its own name.
    """
    found: dict[str, Any] = {}
    for name, types in _fields(kind):
        value = attrs.get(names.get(name, name))
        # To Python a bool is an int.
        if isinstance(value, types) and (types is bool or not isinstance(value, bool)):
            found[name] = value
    for moment in ("started", "ended"):
        if not 0 <= found.get(moment, 0) < _FAR_FUTURE:
            del found[moment]
    return found


@functools.cache
def _fields(kind: type) -> list[tuple[str, Any]]:
    """The fields of a record that are attributes, and what each may be."""
    return [(each.name, _TYPES[each.type]) for each in dataclasses.fields(kind) if each.type in _TYPES]


def _history(history: object) -> dict[str, list[float]]:
    if not isinstance(history, dict):
        return {}
    return {name: log for name, log in history.items() if isinstance(log, list) and {*map(type, log)} <= {int, float}}
