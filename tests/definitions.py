"""Studies made of flat fields, as tests vary one field at a time."""

from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo import Budget, Comparison, Search, Train, When, vary
from hpo.models import build_cnn
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


SPACE = {
    "units": IntDistribution(16, 64),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
    "momentum": When("optimizer", ["sgd"], FloatDistribution(0.0, 0.9)),
    "epochs": IntDistribution(1, 20, log=True),
}


def score(params: dict[str, Any], trial: Any) -> float:
    return 0.5


def trained_search(**fields: Any) -> Study:
    """A study with a model; a field set to ``...`` is left out."""
    given = {"name": "s", "data": "digits", "model": build_cnn, "space": SPACE, "budget": Budget(trials=3), **fields}
    return define(**{name: value for name, value in given.items() if value is not ...})


def trained(**fields: Any) -> Train:
    return Train(data="digits", model=build_cnn, **fields)


def called_search(**fields: Any) -> Study:
    return trained_search(**{"data": ..., "model": ..., "task": score, "direction": "maximize", **fields})


def trained_comparison(**fields: Any) -> Study:
    """A study of three settings with a model; a field set to ``...`` is left out."""
    settings = vary("filters", {8: {}, 16: {}, 32: {}})
    return trained_search(**{"space": ..., "settings": settings, "budget": Budget(), **fields})
