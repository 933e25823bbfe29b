"""A study's results as Markdown: the table, what explains the differences, and how the study was run."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from hpo.errors import UsageError
from hpo.results import repeats
from hpo.results.repeats import SettingAverage
from hpo.results.status import status_of
from hpo.results.table import escaped, heat_map, table, varying_parameters
from hpo.results.trials import trials_of
from hpo.storage import stored_study
from hpo.storage.command import command, unsaid
from hpo.storage.database import backend_of
from hpo.study.space import Params
from hpo.text import params_text

_MOST_TRIALS = 10  # of a search that a report shows
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
    """Several studies as sections under one head, sorted by name, with the other sections of the ``earlier`` document.

    Raises:
        UsageError: ``earlier`` is not such a document, or a study has no trial that has ended.
    """
    if earlier and not earlier.startswith(_TITLE):
        raise UsageError(
            "A report is added only to a report, but the file holds something else. Choose another --output."
        )
    sections = {part.partition("\n")[0]: f"## {part.strip()}\n" for part in earlier.split("\n## ")[1:]}
    sections |= {escaped(study.study_name): markdown(study) for study in studies}
    return "\n".join([_HEAD, *(sections[name] for name in sorted(sections))])


def markdown(study: optuna.Study) -> str:
    """One study as a section of Markdown: its table, its heat map, what explains the differences, how it was run.

    Raises:
        UsageError: none of its trials has ended.
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
    varying = varying_parameters(rows)
    failures = [f"{row.name or params_text(row.params)}: {failure}" for row in rows for failure in row.failures]
    parts = [
        f"## {escaped(study.study_name)}",
        definition.get("description", ""),
        _best_of(study, len(rows)) if definition and not definition.get("settings") else "",
        table(rows, varying),
        "\n".join(["Failed:", *(f"- {escaped(failure)}" for failure in failures)]) if failures else "",
        heat_map(rows, varying) if definition.get("settings") else "",
        definition.get("remarks", ""),
        _origin(study, definition),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _best_of(study: optuna.Study, shown: int) -> str:
    """A line that says so if the table of a search does not show all of its trials."""
    finished = status_of(study).finished
    return f"The {shown} best of {finished} trials, best first." if finished > shown else ""


def _origin(study: optuna.Study, definition: Mapping[str, Any]) -> str:
    """The base parameters, the command with what it changed, the day, the trials, the machine and the versions."""
    if not definition:
        return ""  # another program made the study
    rows = [row for row in trials_of(study) if row.ended is not None]
    attrs = stored_study.recorded(study)
    environment = attrs.get("environment", {})
    overrides = attrs.get("overrides", {})
    options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in overrides.items())
    source = attrs.get("source", study.study_name)
    # The source of a file is recorded as FILE.py:NAME.
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
    base = f"Base: {escaped(params_text(definition['base']))}.  \n" if definition.get("base") else ""
    return base + "Run: " + "; ".join(fact for fact in facts if fact) + "."


def _training(definition: Mapping[str, Any]) -> list[str]:
    """For how many epochs and on how many images a trial trained."""
    most: int = definition["budget"]["max_epochs"]
    usual = definition.get("base", {}).get("epochs", most)
    epochs = [setting["params"].get("epochs", usual) for setting in definition.get("settings", ())]
    subset = definition["task"]["subset"]
    images = f"{subset} of the training images" if subset else "all training images"
    return [f"at most {min(most, max(epochs, default=usual))} epochs", images]


def _with_base(rows: Sequence[SettingAverage], base: Params) -> list[SettingAverage]:
    """``rows``, with the base's value of each parameter that some settings have and others lack."""
    names = dict.fromkeys(name for row in rows for name in row.params)
    whole = [{**base, **row.params} for row in rows]
    return [
        dataclasses.replace(row, params={name: params[name] for name in names if name in params})
        for row, params in zip(rows, whole, strict=True)
    ]
