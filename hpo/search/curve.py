"""One configuration, as the search sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from hpo.search.proposals import Key, key_of
from hpo.study.space import Params


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The learning curve of a configuration.

    Args:
        number: of the configuration.
        values: one per epoch; higher is better.
        epochs: how many it may have.
        state: whether it runs, may be continued, has ended, or failed.
        is_kept: whether it can be continued from its last epoch; else it would begin again.
        seconds: per epoch; None if that is not known, or does not count.
    """

    number: int
    params: Params
    values: Sequence[float]
    epochs: int
    state: Literal["running", "paused", "ended", "failed"]
    is_kept: Callable[[], bool] = lambda: True
    seconds: float | None = None

    @cached_property
    def best(self) -> float:
        """The best value so far."""
        return max(self.values)

    @cached_property
    def key(self) -> Key:
        """The parameters, as they are compared."""
        return key_of(self.params)

    @property
    def done(self) -> int:
        """How many epochs it has that need not be trained again."""
        return len(self.values) if self.is_kept() else 0


def ranked(curves: Sequence[Curve]) -> list[Curve]:
    """Those that have a value, the best first."""
    return sorted((curve for curve in curves if curve.values), key=lambda curve: (-curve.best, curve.number))
