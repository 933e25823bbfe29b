"""Hyperparameter search for Keras models: what a study file imports."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.budget import Budget, Stopping
    from hpo.experiment import Setting, grid, vary
    from hpo.space import When
    from hpo.study import StudyDefinition

__all__ = ["Budget", "Setting", "Stopping", "StudyDefinition", "When", "grid", "vary"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `hpo --help` does without Optuna, which takes 0.2 s."""
    for module in ("budget", "space", "experiment", "study"):
        if name in __all__ and hasattr(found := importlib.import_module(f"hpo.{module}"), name):
            return getattr(found, name)
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
