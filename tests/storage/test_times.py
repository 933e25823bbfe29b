"""When trials ran."""

import time
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from hpo.storage.records import ClaimRecord, Configuration
from hpo.storage.times import busy_seconds, span_of, united


def _trial(started: float, ended: float | None = None) -> FrozenTrial:
    claim = ClaimRecord(Configuration(0, "u", 1), "host-1", "cpu", "t", started=started)
    state: dict[str, Any] = {"state": TrialState.RUNNING} if ended is None else {"value": 0.0}
    return optuna.create_trial(**state, user_attrs={**claim.as_attributes(), **({"ended": ended} if ended else {})})


def test_what_overlaps_counts_once() -> None:
    """And what lies between does not count."""
    assert busy_seconds([_trial(100, 160), _trial(130, 190), _trial(130, 150), _trial(200, 260)]) == 150
    assert busy_seconds([]) == 0


def test_what_runs_counts_until_now() -> None:
    """A trial that has no end yet."""
    assert busy_seconds([_trial(time.time() - 50)]) == pytest.approx(50, abs=2)


def test_a_trial_that_waits_has_no_time() -> None:
    """Nobody has begun it."""
    assert span_of(optuna.create_trial(state=TrialState.WAITING)) is None


def test_a_union_of_times_can_be_added_to() -> None:
    """So that not all of them are kept; a clock that was set back gives no time below zero."""
    assert united([*united([(5, 6), (1, 3)]), (2, 5), (9, 8)]) == [(1, 6)]
