"""When trials ran, in seconds since 1970, UTC."""

import time
from collections.abc import Iterable

from optuna.trial import FrozenTrial

from hpo.storage.records import claim_of, result_of

Span = tuple[float, float]


def busy_seconds(trials: Iterable[FrozenTrial]) -> float:
    """How long at least one of the trials ran."""
    return sum(end - start for start, end in united(filter(None, map(span_of, trials))))


def span_of(trial: FrozenTrial) -> Span | None:
    """When a trial began and ended, or now if it runs; None if it has not begun."""
    started = started_at(trial)
    return None if started is None else (started, ended_at(trial) or time.time())


def united(spans: Iterable[Span]) -> list[Span]:
    """The union of these times: disjoint, in order."""
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], end)
        elif end > start:
            union.append((start, end))
    return union


def started_at(trial: FrozenTrial) -> float | None:
    """When the trial started; Optuna's local time if another program ran it."""
    claim = claim_of(trial)
    if claim and claim.started is not None:
        return claim.started
    return None if trial.datetime_start is None else trial.datetime_start.timestamp()


def ended_at(trial: FrozenTrial) -> float | None:
    """When the trial ended; None while it runs."""
    if not trial.state.is_finished():
        return None
    ended = result_of(trial).ended
    if ended is not None:
        return ended
    return None if trial.datetime_complete is None else trial.datetime_complete.timestamp()
