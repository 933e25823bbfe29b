"""Rows printed as a table, as JSON or as CSV."""

import csv
import json
import math
import os
import sys
from collections.abc import Iterable
from typing import Any

from hpo.text import one_line

_UNLIMITED = 1_000_000  # characters on a line
_FORMULA = ("=", "+", "-", "@")


def print_json(value: Any) -> None:
    """Print indented JSON."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Print CSV with quoted texts: a column per value and per parameter, without curves."""
    parameters = sorted({name for row in rows for name in row["params"]})
    columns = [name for name in (rows[0] if rows else {}) if name not in ("params", "history")]
    writer = csv.writer(sys.stdout, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*columns, *(f"params.{name}" for name in parameters)])
    for row in rows:
        values = [*(row[name] for name in columns), *(row["params"].get(name) for name in parameters)]
        writer.writerow([_no_formula(value) for value in values])


def _finite(value: Any) -> Any:
    """``value`` with null for each number that JSON cannot express."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _no_formula(value: Any) -> Any:
    """``value``; text that a spreadsheet could run as a formula gets the mark that makes it text."""
    if isinstance(value, str) and (value[:1].isspace() or one_line(value).startswith(_FORMULA)):
        return f"'{value}"
    return value


def print_table(rows: Iterable[dict[str, Any]]) -> None:
    """Print a table with a column for each key of the first row; "none" if there is no row."""
    # Rich takes too long to import for --help.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    first = rows[0] if rows else {}
    last = next(reversed(first), None)
    # In a terminal, the last column is cut at its edge if it is text; other columns, and all in a file, are whole.
    is_cut = sys.stdout.isatty() or "COLUMNS" in os.environ
    long = last if is_cut and last is not None and isinstance(first[last], str) else None
    table: Table = Table(box=None, pad_edge=False, header_style="bold", expand=long is not None)
    for name, value in first.items():
        table.add_column(
            name.replace("_", " "),
            justify="right" if isinstance(value, int | float) else "left",
            no_wrap=True,
            ratio=1 if name == long else None,
        )
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))  # Text, because str would be markup
    Console(width=None if is_cut else _UNLIMITED).print(table if rows else "none")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))
