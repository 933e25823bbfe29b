"""One attempt of a configuration, as it is read from its trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hpo.storage.records import Configuration, configuration_of, is_paused, result_of, was_given_back
from hpo.study.space import Params

_HUGE = 1e100  # in place of an infinite value

State = Literal["running", "paused", "ended", "failed", "lost"]


@dataclass(frozen=True)
class Attempt:
    """One trial of a configuration.

    Args:
        values: one per epoch; higher is better.
        state: "lost" if it was given back.
        seconds: per epoch; None if that is not known.
    """

    trial: FrozenTrial
    configuration: Configuration
    params: Params
    values: Sequence[float]
    state: State
    seconds: float | None


def attempt_of(trial: FrozenTrial, *, sign: float, trains: bool) -> Attempt | None:
    """What a trial is an attempt of; None if hpo did not claim it.

    Args:
        sign: 1 if the study maximizes, -1 if it minimizes.
        trains: whether it has a value per epoch; a function's trial has one at its end.
    """
    configuration = configuration_of(trial)
    if configuration is None:
        return None
    fit = result_of(trial).fit
    state: State
    if trial.state == TrialState.RUNNING:
        state = "running"
    elif trial.state == TrialState.FAIL:
        state = "lost" if was_given_back(trial) else "failed"
    else:
        state = "paused" if is_paused(trial) else "ended"
    reported = [trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)]
    if not trains:
        reported = [trial.value] if trial.value is not None else []
    return Attempt(
        trial=trial,
        configuration=configuration,
        params={**trial.system_attrs.get("fixed_params", {}), **trial.params},
        values=[float(np.clip(sign * value, -_HUGE, _HUGE)) for value in reported if value == value],
        state=state,
        seconds=fit.seconds / fit.epochs if fit.seconds and fit.epochs else None,
    )
