"""Hyperparameter search for Keras models: what a study file imports."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.study.budget import Budget, Stopping
    from hpo.study.definition import StudyDefinition
    from hpo.study.settings import Setting, grid, vary
    from hpo.study.space import When

__all__ = ["Budget", "Setting", "Stopping", "StudyDefinition", "When", "grid", "vary"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `hpo --help` does without Optuna, which takes 0.2 s."""
    for module in ("budget", "space", "settings", "definition"):
        if name in __all__ and hasattr(found := importlib.import_module(f"hpo.study.{module}"), name):
            return getattr(found, name)
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
