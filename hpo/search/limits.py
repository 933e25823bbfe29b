"""When a study has had enough: the limits of its budget, and how much of each has been spent."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from hpo.search.curves import Configurations
from hpo.storage.records import claim_of, result_of
from hpo.study.budget import UNLIMITED


@dataclass(frozen=True)
class Spent:
    """How much of a study's budget has been spent.

    Args:
        budget: the study's, as plain values, as the storage has it now.
        trials: configurations.
        seconds: in which trials ran.
        epochs: trained, those of failed trials included.
        target_reached: whether a configuration has reached the budget's target.
        without_better: configurations that began after the best value so far was reached.
    """

    budget: Mapping[str, Any]
    trials: int
    seconds: float
    epochs: int
    target_reached: bool
    without_better: int

    @property
    def reached(self) -> str | None:
        """The limit that ends the study at once, by its name in `hpo.Budget`; not the number of trials.

        When all trials have begun, some may still be worth finishing.
        """
        budget = self.budget
        if self.target_reached:
            return "target"
        if budget.get("patience") is not None and self.without_better >= budget["patience"]:
            return "patience"
        if budget.get("seconds") is not None and self.seconds >= budget["seconds"]:
            return "seconds"
        if budget.get("total_epochs") is not None and self.epochs >= budget["total_epochs"]:
            return "total_epochs"
        return None

    @property
    def may_begin(self) -> bool:
        """Whether another configuration may begin."""
        return self.reached is None and self.trials < self.budget.get("trials", UNLIMITED)

    @property
    def part(self) -> float:
        """How much of the seconds or epochs has been spent, whichever is more, from 0 to 1; 0 without such a limit."""
        parts = [
            spent / self.budget[name]
            for name, spent in (("seconds", self.seconds), ("total_epochs", self.epochs))
            if self.budget.get(name) is not None
        ]
        return min(1.0, max(parts, default=0.0))

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the study's time is over; None without such a limit."""
        limit = self.budget.get("seconds")
        return None if limit is None else limit - self.seconds


def spent_of(
    trials: Sequence[FrozenTrial], configurations: Configurations, budget: Mapping[str, Any], *, sign: float
) -> Spent:
    """What the trials of a study have spent of its budget.

    Args:
        sign: 1 if the study maximizes, as the values in ``configurations`` do; -1 if it minimizes.
    """
    foreign = [trial for trial in trials if claim_of(trial) is None and trial.state.is_finished()]
    attempts = sorted(
        (attempt for attempts in configurations.values() for attempt in attempts), key=lambda each: each.trial.number
    )
    begun = sum(any(each.state != "lost" for each in attempts) for attempts in configurations.values())
    best, best_trial = float("-inf"), -1
    for attempt in attempts:
        if attempt.values and attempt.state != "failed" and max(attempt.values) > best:
            best, best_trial = max(attempt.values), attempt.trial.number
    target = budget.get("target")
    return Spent(
        budget=budget,
        trials=begun + len(foreign),
        seconds=busy_seconds(trials) if budget.get("seconds") is not None else 0.0,
        epochs=sum(max(len(each.values) for each in attempts) for attempts in configurations.values()),
        target_reached=target is not None and best >= sign * target,
        without_better=sum(
            attempts[0].trial.number > best_trial and attempts[-1].state not in ("running", "lost")
            for attempts in configurations.values()
        )
        if best_trial >= 0
        else 0,
    )


def busy_seconds(trials: Iterable[FrozenTrial]) -> float:
    """The length of the union of all trials' times, in seconds."""
    total, until, now = 0.0, 0.0, time.time()
    spans = [(started, ended_at(trial) or now) for trial in trials if (started := started_at(trial)) is not None]
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def started_at(trial: FrozenTrial) -> float | None:
    """When the trial started, in seconds since 1970, UTC; Optuna's local time if another program ran it."""
    claim = claim_of(trial)
    if claim and claim.started is not None:
        return claim.started
    return None if trial.datetime_start is None else trial.datetime_start.timestamp()


def ended_at(trial: FrozenTrial) -> float | None:
    """When the trial ended, in seconds since 1970, UTC; None while it runs."""
    if not trial.state.is_finished():
        return None
    ended = result_of(trial).ended
    if ended is not None:
        return ended
    return None if trial.datetime_complete is None else trial.datetime_complete.timestamp()
