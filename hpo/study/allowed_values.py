"""What the value of a parameter may be: what the storage, JSON and the dashboard hold as it is."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpo.text import one_line

KINDS = "a text, a finite number, True, False or None"
WAY_OUT = 'Give it a name, and look that up in a dictionary, such as {"small": ..., "large": ...}[params["size"]].'
_LONGEST = 100  # characters of a value in a message


def plain(value: Any) -> Any:
    """A number of NumPy's as Python's; everything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def plain_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` with NumPy's numbers as Python's."""
    return {name: plain(value) for name, value in params.items()}


def is_plain(value: object) -> bool:
    """Whether a parameter may have ``value``; of a subclass, such as an enumeration's, the storage would keep less."""
    return type(value) in (str, int, bool, type(None)) or (type(value) is float and math.isfinite(value))


def shown(value: object) -> str:
    """``value`` in a message."""
    text = one_line(repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
