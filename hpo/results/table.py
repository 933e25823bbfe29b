"""The tables of a report: a row per setting, our figures beside the reported ones; a heat map of two parameters."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hpo.results.repeats import SettingAverage
from hpo.study.comparison_settings import FIGURES
from hpo.text import figure_text, one_line, value_text

_TITLES = {
    "test_accuracy": "test accuracy %",
    "test_loss": "test loss",
    "val_accuracy": "val. accuracy %",
    "val_loss": "val. loss",
    "accuracy": "train accuracy %",
    "loss": "train loss",
}
# Shown for every study that has them, also if nobody reported them.
_ALWAYS = ("test_accuracy", "val_accuracy", "value", "parameters", "seconds", "best_epoch", "seconds_to_best")
# Each of these that was reported has a difference; if none was, the first reported figure has one.
_JUDGED = {"test_accuracy", "val_accuracy"}
_SHADES = "▁▂▃▄▅▆▇█"
_FAR = 2  # standard deviations beyond which a difference is bold
_ESCAPES = str.maketrans({"\\": r"\\", "|": r"\|", "<": "&lt;", "&": "&amp;"})


def varying_parameters(rows: Sequence[SettingAverage]) -> list[str]:
    """The parameters that differ between settings, in order; all of them if there is one setting."""
    names = dict.fromkeys(name for row in rows for name in row.params)
    return [name for name in names if len({_text(row.params.get(name)) for row in rows}) > 1 or len(rows) == 1]


def table(rows: Sequence[SettingAverage], varying: Sequence[str]) -> str:
    """The settings, each with its ``varying`` parameters, then our figures, each with the reported one on its right."""
    columns: list[tuple[str, Callable[[SettingAverage], str]]] = []
    if any(row.name for row in rows):
        columns.append(("setting", lambda row: _text(row.name)))
    columns += [(name.replace("_", " "), partial(_parameter, name)) for name in varying]
    columns.append(("runs", lambda row: str(row.figures["value"].repeats if "value" in row.figures else 0)))
    measured = {name for row in rows for name in row.figures}
    reported = {name for row in rows for name in row.reported}
    always = set(_ALWAYS) - ({"value"} if "val_accuracy" in measured else set())
    shown = [name for name in dict.fromkeys([*FIGURES, *_ALWAYS]) if name in reported | (measured & always)]
    told = [name for name in shown if name in reported]
    compared = [name for name in told if name in _JUDGED] or told[:1]
    for figure in shown:
        columns.append((_TITLES.get(figure, figure.replace("_", " ")), partial(_ours, figure)))
        if figure in reported:
            columns.append(("reported", partial(_reported, figure)))
        if figure in compared:
            columns.append(("difference", partial(_difference, figure)))
    lines = [_line([title for title, _cell in columns]), _line(["---"] * len(columns))]
    return "\n".join([*lines, *(_line([cell(row) for _title, cell in columns]) for row in rows)])


def heat_map(rows: Sequence[SettingAverage], varying: Sequence[str]) -> str:
    """One parameter down, the other across, shaded; empty unless two vary, each with at least three values."""
    if len(varying) != 2:
        return ""
    down, across = (list(dict.fromkeys(row.params.get(name) for row in rows)) for name in varying)
    figure = "test_accuracy" if any("test_accuracy" in row.figures for row in rows) else "value"
    means = {
        tuple(row.params.get(name) for name in varying): row.figures[figure].mean
        for row in rows
        if figure in row.figures and math.isfinite(row.figures[figure].mean)
    }
    if min(len(down), len(across)) < 3 or not means:
        return ""
    low, high = min(means.values()), max(means.values())

    def cell(value: float | None) -> str:
        if value is None:
            return "–"
        share = (value - low) / (high - low) if high > low else 1.0
        return f"{_SHADES[round(share * (len(_SHADES) - 1))]} {_number(figure, value)}"

    lines = [_line([_TITLES.get(figure, figure), *map(_text, across)]), _line(["---"] * (len(across) + 1))]
    lines += [_line([_text(one), *(cell(means.get((one, other))) for other in across)]) for one in down]
    return "\n".join(lines)


def _parameter(name: str, row: SettingAverage) -> str:
    return _text(row.params.get(name))


def _reported(figure: str, row: SettingAverage) -> str:
    return _number(figure, row.reported.get(figure))


def _ours(figure: str, row: SettingAverage) -> str:
    if figure not in row.figures:
        return "failed" if row.failures and "value" not in row.figures else "–"
    average = row.figures[figure]
    deviation = f" ± {_number(figure, average.sd)}" if average.sd is not None and figure != "parameters" else ""
    return _number(figure, average.mean) + deviation


def _difference(figure: str, row: SettingAverage) -> str:
    """Our figure minus the reported one; bold if that is more than two standard deviations."""
    if figure not in row.figures or figure not in row.reported:
        return "–"
    difference = row.figures[figure].mean - row.reported[figure]
    text = f"{difference * 100:+.2f}" if figure.endswith("accuracy") else f"{difference:+.4g}"
    deviation = row.deviation(figure)
    if deviation is None:
        return text
    shown = f"{text} ({abs(deviation):.1f} sd)"
    return f"**{shown}**" if abs(deviation) > _FAR else shown


def _number(figure: str, value: float | None) -> str:
    if value is None:
        return "–"
    if figure.endswith("accuracy"):
        return f"{value * 100:.2f}"
    if figure == "parameters":
        return f"{value:,.0f}"
    return f"{value:.1f}" if figure in ("seconds", "best_epoch", "seconds_to_best") else figure_text(value)


def _text(value: Any) -> str:
    return "–" if value is None else value_text(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def escaped(text: str) -> str:
    """``text`` on one line of Markdown that neither ends a cell nor is HTML."""
    return one_line(text).translate(_ESCAPES)
