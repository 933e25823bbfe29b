"""The learning curves of a study's configurations, read from its trials."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hpo.search.freeze_thaw import Curve
from hpo.storage.records import Configuration, configuration_of, is_paused, result_of, was_given_back
from hpo.study.found import Study
from hpo.study.space import Params
from hpo.study.task import Train

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


Configurations = dict[int, list[Attempt]]  # the attempts of each configuration, by its number


class Curves:
    """Reads trials again and again; one that has ended is looked at once.

    Args:
        is_kept: whether a paused configuration can be continued here from its last epoch.
    """

    def __init__(self, definition: Study, is_kept: Callable[[Configuration], bool]) -> None:
        self.sign = 1.0 if definition.search_direction == "maximize" else -1.0
        self._trains = isinstance(definition.task, Train)
        self.max_epochs = definition.budget.max_epochs if self._trains else 1
        self._whole = definition.whole_params
        self._is_kept = is_kept
        # Else the same seed would not give the same search: no two runs take the same time.
        self._counts_seconds = definition.budget.seconds is not None
        self._ended: dict[int, Attempt] = {}

    def configurations(self, trials: Iterable[FrozenTrial]) -> Configurations:
        """The trials that hpo claimed, by their configuration."""
        found: Configurations = {}
        for trial in trials:
            attempt = self._ended.get(trial._trial_id) or self._read(trial)
            if attempt is None:
                continue
            # Not one that failed: it may be given back once its code is mended.
            if attempt.state in ("paused", "ended", "lost"):
                self._ended[trial._trial_id] = attempt
            found.setdefault(attempt.configuration.number, []).append(attempt)
        return found

    def of(self, configurations: Configurations) -> list[Curve]:
        """The curve of each configuration, in the order of their numbers."""
        return [self._curve(number, configurations[number]) for number in sorted(configurations)]

    def _curve(self, number: int, attempts: Sequence[Attempt]) -> Curve:
        last = attempts[-1]
        state = "running" if last.state == "lost" else last.state  # one that was lost runs again before anything else
        timed = [attempt.seconds for attempt in attempts if attempt.seconds is not None]
        longest = max(attempts, key=lambda attempt: len(attempt.values))
        epochs = self._whole(last.params).get("epochs", self.max_epochs) if self._trains else 1
        return Curve(
            number=number,
            params=last.params,
            values=() if state == "failed" else longest.values,
            epochs=min(epochs, self.max_epochs),
            state=state,
            is_kept=state != "paused" or self._is_kept(last.configuration),
            seconds=timed[-1] if timed and self._counts_seconds else None,
        )

    def _read(self, trial: FrozenTrial) -> Attempt | None:
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
        if not self._trains:
            reported = [trial.value] if trial.value is not None else []
        return Attempt(
            trial=trial,
            configuration=configuration,
            params={**trial.system_attrs.get("fixed_params", {}), **trial.params},
            values=[float(np.clip(self.sign * value, -_HUGE, _HUGE)) for value in reported if value == value],
            state=state,
            seconds=fit.seconds / fit.epochs if fit.seconds and fit.epochs else None,
        )
