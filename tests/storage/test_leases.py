"""Who has lost its trial: told by a pulse that stands still, whatever the clocks say."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from hpo.storage.leases import BEAT, LEASE, HeartbeatMonitor
from hpo.storage.trial_rows import Heartbeat


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("hpo.storage.leases.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


NOON = datetime(2026, 1, 1, 12)


def _lost_after(
    watch: HeartbeatMonitor, clock: Clock, pulse: Callable[[float], Heartbeat], *, at_most: float = 3600
) -> float | None:
    """Seconds of looking at one trial each beat until it is lost; None where it is not."""
    begun = clock.now
    while clock.now <= begun + at_most:
        if watch.lost({7: pulse(clock.now - begun)}):
            return clock.now - begun
        clock.now += BEAT
    return None


def test_a_trial_without_any_beat_is_lost_like_others(clock: Clock) -> None:
    """Such as one that was enqueued, whose worker died before the first; not before others would have been missed."""
    assert _lost_after(HeartbeatMonitor(), clock, lambda _now: Heartbeat(None, math.inf)) == pytest.approx(4 * BEAT)


def test_a_pulse_that_stands_still_for_a_lease_is_lost(clock: Clock) -> None:
    """By the watcher's clock: whatever the database's says of its age."""
    found = _lost_after(HeartbeatMonitor(), clock, lambda _now: Heartbeat(NOON, -3600.0))
    assert found is not None
    assert LEASE < found <= LEASE + 2 * BEAT


def test_an_old_pulse_is_lost_sooner(clock: Clock) -> None:
    """After a machine has died and a launch begins: as soon as it is plain that nobody beats."""
    found = _lost_after(HeartbeatMonitor(), clock, lambda now: Heartbeat(NOON, 3600 + now))
    assert found is not None
    assert found < LEASE


def test_a_pulse_that_beats_is_not_lost(clock: Clock) -> None:
    """Not even where somebody has set the database's clock by an hour, so that all its beats look old or to come."""
    for hours in (-1, 0, 1):
        beat = NOON + timedelta(hours=hours)
        watch = HeartbeatMonitor()
        assert _lost_after(watch, clock, lambda now, beat=beat: Heartbeat(beat + timedelta(seconds=now), 3600)) is None


def test_a_watcher_that_could_not_look_begins_anew(clock: Clock) -> None:
    """After an outage all heartbeats are as old as it lasted, until the workers have beaten again."""
    watch = HeartbeatMonitor()
    assert watch.lost({7: Heartbeat(NOON, 1)}) == []
    clock.now += 300
    assert watch.lost({7: Heartbeat(NOON, 301)}) == []
    clock.now += BEAT
    assert watch.lost({7: Heartbeat(NOON, 306)}) == []
    clock.now += BEAT
    assert watch.lost({7: Heartbeat(NOON + timedelta(seconds=310), 1)}) == []
    assert _lost_after(watch, clock, lambda _now: Heartbeat(NOON, 301)) is not None
