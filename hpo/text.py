"""How texts that anybody may have written, and values of parameters, are printed on one line."""

import re
from collections.abc import Mapping
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # or another command to a terminal, ECMA-48's control sequence


def one_line(text: str) -> str:
    """``text`` without line breaks, colours, and other signs that a terminal obeys or that nobody sees."""
    return " ".join("".join(sign for sign in _COLOUR.sub("", text) if sign.isprintable() or sign.isspace()).split())


def value_text(value: Any) -> str:
    """The value of a parameter, for people: a float with six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))


def figure_text(value: float | None) -> str:
    """A metric or another figure, for people: four decimals, or four significant digits where those say nothing."""
    if value is None:
        return "…"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.4g}"


def count_text(number: int, noun: str) -> str:
    """So many of something, as ``1 trial`` or ``2 trials``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def params_text(params: Mapping[str, Any], separator: str = ", ") -> str:
    """Parameters on one line, as name=value."""
    return separator.join(f"{name}={value_text(value)}" for name, value in params.items())
