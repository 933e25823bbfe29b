"""A study's results as Markdown, ours beside what others reported; and the best of several studies side by side."""

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.study import StudyDirection

from hpo.errors import UsageError
from hpo.results import repeats
from hpo.results.repeats import Average, SettingAverage
from hpo.results.status import status_of
from hpo.results.trials import best_of, trials_of
from hpo.storage import stored_study
from hpo.storage.command import command, unsaid
from hpo.storage.database import backend_of
from hpo.study.comparison_settings import FIGURES
from hpo.study.space import Params
from hpo.text import one_line, params_text, value_text

_TITLES = {
    "test_accuracy": "test accuracy %",
    "test_loss": "test loss",
    "val_accuracy": "val. accuracy %",
    "val_loss": "val. loss",
    "accuracy": "train accuracy %",
    "loss": "train loss",
    "value": "value",
}
# Shown of every study that has them, reported or not.
_ALWAYS = ("test_accuracy", "val_accuracy", "value", "parameters", "seconds", "best_epoch", "seconds_to_best")
# Compared with what was reported, each that was; if none was, the first figure that was.
_JUDGED = {"test_accuracy", "val_accuracy"}
_MOST_TRIALS = 10  # of a search
_SHADES = "▁▂▃▄▅▆▇█"
_FAR = 2  # standard deviations
_ESCAPES = str.maketrans({"\\": r"\\", "|": r"\|", "<": "&lt;", "&": "&amp;"})

# A column of the table: its title, and its cell for a setting.
_Column = tuple[str, Callable[[SettingAverage], str]]


_TITLE = "# Results"
_HEAD = f"""{_TITLE}

Written by `hpo report --output`, which replaces the sections of the studies that are named. Our figures are means over
the runs ± the standard deviation of one run. A difference is our figure minus the reported one; accuracies differ in
percentage points. In brackets it is divided by a standard deviation (sd): that of the runs, or that which chance gives
to a count of right answers among so many images, whichever is larger. More than two is **bold**. Test figures are
measured with the weights of the best validation epoch. Seconds are the time of training and validation, on a machine
that may have done other work as well.
"""


def document(studies: Sequence[optuna.Study], earlier: str = "") -> str:
    """Several studies as sections under one head, by name, beside those of ``earlier``, a document as this.

    Raises:
        UsageError: ``earlier`` is another kind of document, or no trial of a study has ended.
    """
    if earlier and not earlier.startswith(_TITLE):
        raise UsageError(
            "A report is only added to a report, but the file holds something else. Choose another --output."
        )
    sections = {part.partition("\n")[0]: f"## {part.strip()}\n" for part in earlier.split("\n## ")[1:]}
    sections |= {_escaped(study.study_name): markdown(study) for study in studies}
    return "\n".join([_HEAD, *(sections[name] for name in sorted(sections))])


def markdown(study: optuna.Study) -> str:
    """One study as a section of Markdown: its table, its heat map, what explains the differences, how it was run.

    Raises:
        UsageError: no trial of it has ended.
    """
    rows = repeats.settings(study)
    if not any(row.figures or row.failures for row in rows):
        url = backend_of(study._storage).engine.url
        raise UsageError(
            f"A report needs a finished trial, but {study.study_name!r} has none. "
            f"Run it{unsaid(url)} with: {command(url, 'launch', '--study', study.study_name)}"
        )
    definition = stored_study.recorded(study).get("definition", {})
    rows = _with_base(rows, definition.get("base", {})) if definition.get("settings") else rows[:_MOST_TRIALS]
    varying = _varying(rows)
    failures = [f"{row.name or params_text(row.params)}: {failure}" for row in rows for failure in row.failures]
    parts = [
        f"## {_escaped(study.study_name)}",
        definition.get("description", ""),
        _best_of(study, len(rows)) if definition and not definition.get("settings") else "",
        _table(rows, _columns(rows, varying)),
        "\n".join(["Failed:", *(f"- {_escaped(failure)}" for failure in failures)]) if failures else "",
        _heat_map(rows, varying) if definition.get("settings") else "",
        definition.get("remarks", ""),
        _origin(study, definition),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _best_of(study: optuna.Study, shown: int) -> str:
    """That the table of a search does not show all of its trials."""
    finished = status_of(study).finished
    return f"The {shown} best of {finished} trials, best first." if finished > shown else ""


def best_setting(study: optuna.Study) -> dict[str, Any]:
    """The best of a study in one row: of a comparison the setting with the best mean, of a search the best trial.

    Test figures of a search are those of its last export, if that was of the best trial; otherwise they are None, and
    accuracy and loss are of the validation images. A study with an objective has neither.

    Raises:
        StudyError: no trial has finished with a value.
    """
    trial = best_of(study)
    rows = [row for row in repeats.settings(study) if "value" in row.figures]
    choose = max if study.direction == StudyDirection.MAXIMIZE else min
    best = choose(rows, key=lambda row: row.figures["value"].mean)
    figures = {name: average.mean for name, average in best.figures.items()}
    exported = stored_study.recorded(study).get("exported", {})
    measured = {**(exported["metrics"] if exported.get("trial") == trial.number else {}), **figures}
    validated = "val_accuracy" in figures or "val_loss" in figures
    return {
        "study": study.study_name,
        "measured_on": "test" if "test_accuracy" in measured else "validation" if validated else None,
        "accuracy": measured.get("test_accuracy", figures.get("val_accuracy")),
        "loss": measured.get("test_loss", figures.get("val_loss")),
        "precision": measured.get("test_precision"),
        "recall": measured.get("test_recall"),
        "f1": measured.get("test_f1"),
        "parameters": round(figures["parameters"]) if "parameters" in figures else None,
        "seconds": figures.get("seconds"),
        "setting": best.name or params_text(best.params),
    }


def _columns(rows: Sequence[SettingAverage], varying: Sequence[str]) -> list[_Column]:
    """The setting, then each figure of ours with what was reported on its right."""
    columns: list[_Column] = []
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
    return columns


def _table(rows: Sequence[SettingAverage], columns: Sequence[_Column]) -> str:
    titles = [title for title, _cell in columns]
    return "\n".join(
        [_line(titles), _line(["---"] * len(titles)), *(_line([cell(row) for _title, cell in columns]) for row in rows)]
    )


def _heat_map(rows: Sequence[SettingAverage], varying: Sequence[str]) -> str:
    """If exactly two parameters vary, each with at least three values: one down, one across, shaded."""
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

    lines = [_line([_TITLES[figure], *map(_text, across)]), _line(["---"] * (len(across) + 1))]
    lines += [_line([_text(one), *(cell(means.get((one, other))) for other in across)]) for one in down]
    return "\n".join(lines)


def _origin(study: optuna.Study, definition: Mapping[str, Any]) -> str:
    """The command, the day, the machine, and what was changed for this run."""
    if not definition:
        return ""  # another program made the study
    rows = [row for row in trials_of(study) if row.ended is not None]
    attrs = stored_study.recorded(study)
    environment = attrs.get("environment", {})
    overrides = attrs.get("overrides", {})
    options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in overrides.items())
    source = attrs.get("source", study.study_name)
    # A file is recorded as FILE.py:NAME.
    name = "" if source.rpartition(":")[2] == study.study_name else f" --name {study.study_name}"
    day = max(str(row.as_json()["ended"])[:10] for row in rows)
    precisions = sorted({row.result.model.precision for row in rows if row.result.model.precision})
    facts = [
        f"`hpo launch --study {shlex.quote(source)}{name}{options}`, {day}",
        f"{status_of(study).finished} trials",
        *(_training(definition) if definition.get("task", {}).get("data") else ()),
        f"precision {', '.join(precisions)}" if precisions else "",
        environment.get("machine", ""),
        ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items() if name != "hpo"),
    ]
    base = f"Base: {_escaped(params_text(definition['base']))}.  \n" if definition.get("base") else ""
    return base + "Run: " + "; ".join(fact for fact in facts if fact) + "."


def _training(definition: Mapping[str, Any]) -> list[str]:
    """How long and on how much a trial trained."""
    most: int = definition["budget"]["max_epochs"]
    usual = definition.get("base", {}).get("epochs", most)
    epochs = [setting["params"].get("epochs", usual) for setting in definition.get("settings", ())]
    subset = definition["task"]["subset"]
    images = f"{subset} of the training images" if subset else "all training images"
    return [f"at most {min(most, max(epochs, default=usual))} epochs", images]


def _with_base(rows: Sequence[SettingAverage], base: Params) -> list[SettingAverage]:
    """``rows``, each parameter that a setting lacks, and others have, taken from the study's base, if it has it."""
    names = dict.fromkeys(name for row in rows for name in row.params)
    whole = [{**base, **row.params} for row in rows]
    return [
        dataclasses.replace(row, params={name: params[name] for name in names if name in params})
        for row, params in zip(rows, whole, strict=True)
    ]


def _varying(rows: Sequence[SettingAverage]) -> list[str]:
    """The parameters whose value is not the same in all settings, in order."""
    names = dict.fromkeys(name for row in rows for name in row.params)
    return [name for name in names if len({_text(row.params.get(name)) for row in rows}) > 1 or len(rows) == 1]


def _parameter(name: str, row: SettingAverage) -> str:
    return _text(row.params.get(name))


def _reported(figure: str, row: SettingAverage) -> str:
    return _number(figure, row.reported.get(figure))


def _ours(figure: str, row: SettingAverage) -> str:
    if figure not in row.figures:
        return "failed" if row.failures and "value" not in row.figures else "–"
    average: Average = row.figures[figure]
    deviation = f" ± {_number(figure, average.sd)}" if average.sd is not None and figure != "parameters" else ""
    return _number(figure, average.mean) + deviation


def _difference(figure: str, row: SettingAverage) -> str:
    """Ours minus theirs; bold if it is more than two standard deviations."""
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
    return f"{value:.1f}" if figure in ("seconds", "best_epoch", "seconds_to_best") else f"{value:.4f}"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return value_text(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """``text`` on one line of Markdown, so that it neither ends a cell nor is HTML."""
    return one_line(text).translate(_ESCAPES)
