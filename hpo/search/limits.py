"""When a study has had enough: the limits of its budget, and how much of each has been spent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.search.history import History
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


def spent_of(history: History, budget: Mapping[str, Any]) -> Spent:
    """What the trials of a study have spent of its budget."""
    target, patience = budget.get("target"), budget.get("patience")
    best, without_better = float("-inf"), 0
    if target is not None or patience is not None:
        best, without_better = _best(history)
    return Spent(
        budget=budget,
        trials=history.begun,
        seconds=history.seconds() if budget.get("seconds") is not None else 0.0,
        epochs=history.epochs,
        target_reached=target is not None and best >= history.sign * target,
        without_better=without_better,
    )


def _best(history: History) -> tuple[float, int]:
    """The best value so far, and how many configurations began after it was reached and have ended."""
    attempts = [each for attempts in history.attempts.values() for each in attempts]
    reached = [(max(each.values), -each.trial.number) for each in attempts if each.values and each.state != "failed"]
    if not reached:
        return float("-inf"), 0
    best, number = max(reached)
    later = [attempts for attempts in history.attempts.values() if attempts[0].trial.number > -number]
    return best, sum(attempts[-1].state not in ("running", "lost") for attempts in later)
