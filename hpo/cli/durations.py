"""Lengths of time as people write and read them."""

import re

from hpo.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")


def seconds_of(text: str) -> float:
    """The seconds of a length of time such as 90s, 30m, 1.5h or 2h30m; a number alone is seconds.

    Raises:
        UsageError: it is none, or not above 0.
    """
    parts = text.strip().lower()
    found = _LENGTH.findall(parts)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    if _LENGTH.sub("", parts).strip() or not 0 < seconds < float("inf"):
        raise UsageError(f"--timeout must be a length of time above 0, such as 90s, 30m or 2h, but got {text!r}.")
    return seconds


def duration(seconds: float) -> str:
    """``seconds`` for people, such as 1 h 02 min, 3 min 20 s or 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
