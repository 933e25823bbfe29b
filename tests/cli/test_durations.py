"""Lengths of time as people write and read them."""

import pytest

from hpo.cli.durations import duration, seconds_of
from hpo.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1.5h", 5400),
        ("2h30m", 9000),
        ("1d", 86400),
        (" 2 H ", 7200),
    ],
)
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    """With a unit or without, in parts."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["0", "0s", "-5m", "soon", "", "5x", "h"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    """With the value, and with examples."""
    with pytest.raises(UsageError, match="must be a length of time above 0, such as 90s, 30m or 2h, but got"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    """Rounded before they are taken apart: never 60 s."""
    assert duration(seconds) == text
