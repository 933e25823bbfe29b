"""Studies made of flat fields, as tests vary one field at a time."""

from typing import Any

from hpo import Comparison, Search, Train
from hpo.study.found import FoundStudy, Study

_OF_TASK = ("data", "model", "prepare", "metric", "stopping", "validation", "subset", "merge", "precision")
_OF_LOADER = ("source", "file", "code", "overrides")


def define(**fields: Any) -> Study:
    """A study of these fields: those of `hpo.Train` make its task, and ``settings`` make it a comparison."""
    if "model" in fields:
        fields["task"] = Train(**{name: fields.pop(name) for name in _OF_TASK if name in fields})
    return (Comparison if "settings" in fields else Search)(**fields)


def found(**fields: Any) -> FoundStudy:
    """The same as a file has it; ``source``, ``file``, ``code`` and ``overrides`` are not the study's own."""
    loaded = {name: fields.pop(name) for name in _OF_LOADER if name in fields}
    return FoundStudy(define(**fields), **loaded)
