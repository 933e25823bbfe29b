"""When a trial ends before its last epoch: by Optuna's pruner, by the freeze-thaw search, or by the clock.

A configuration that runs again is judged as if its first attempt had gone on.
"""

import copy
import time
from collections.abc import Callable
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpo.search.curve import Curve
from hpo.search.freeze_thaw import FreezeThaw
from hpo.storage.records import configuration_of, was_given_back

StopReason = Literal["pruned", "paused"]
_LONG = 1 / 40  # of the seconds of a study, after which a training is looked at, whatever its epoch
Judge = Callable[[int], StopReason | None]  # asked after each epoch, by its number: why the trial is to end, or None


def judged_by_pruner(trial: optuna.Trial, *, is_planned: bool) -> Judge:
    """The study's pruner as a judge.

    What the study itself lists runs to its end: the search has to beat it. Still others are compared with it.
    """
    return lambda epoch: "pruned" if should_prune(trial) and not is_planned else None


def judged_by_search(
    search: FreezeThaw, curve: Curve, is_to_go_on: Callable[[], bool], seconds: float | None = None
) -> Judge:
    """Pauses a configuration at an epoch at which the search looks at it, unless it is to go on.

    If the study has a limit of seconds, it looks sooner at one whose epochs take long.

    Args:
        curve: the configuration's, before this trial.
        seconds: all that the study has; None without such a limit.
    """
    until, looked_at = search.pause_after(len(curve.values), curve.epochs), time.monotonic()

    def judge(epoch: int) -> StopReason | None:
        nonlocal until, looked_at
        took_long = seconds is not None and time.monotonic() - looked_at >= _LONG * seconds
        if epoch >= curve.epochs or (epoch < until and not took_long):
            return None
        if not is_to_go_on():
            return "paused"
        until, looked_at = search.pause_after(epoch, curve.epochs), time.monotonic()
        return None

    return judge


def judged_by_clock(seconds: float, judge: Judge) -> Judge:
    """``judge`` for so many seconds from now; then a pause after the epoch that runs."""
    deadline = time.monotonic() + seconds
    return lambda epoch: "paused" if time.monotonic() >= deadline else judge(epoch)


def should_prune(trial: optuna.Trial) -> bool:
    """`optuna.Trial.should_prune` for one trial per configuration, with the configuration's number.

    Otherwise a lost attempt competes with the next one and with all others (successive halving), and the next one's
    own number puts it into another bracket (Hyperband).
    """
    study = copy.copy(trial.study)
    study._storage = _Configurations(study._storage)  # type: ignore[assignment]
    return study.pruner.prune(study, _as_configuration(trial._get_latest_trial()))


class _Configurations:
    """A storage that shows one trial per configuration: that of its last attempt, unless it was given back."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(self, *arguments: Any, **settings: Any) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(*arguments, **settings)
        return [_as_configuration(trial) for trial in trials if not was_given_back(trial)]


def _as_configuration(trial: FrozenTrial) -> FrozenTrial:
    """The trial with its configuration's number; one of another program keeps its own."""
    numbered = copy.copy(trial)
    if known := configuration_of(trial):
        numbered.number = known.number
    return numbered
