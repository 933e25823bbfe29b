"""Hyperparameter search for Keras models: what study files and notebooks import."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.api import StoredStudy, launch, load_study
    from hpo.study.budget import Budget, Stopping
    from hpo.study.comparison import Comparison
    from hpo.study.comparison_settings import Setting, grid, vary
    from hpo.study.search import Search
    from hpo.study.space import When
    from hpo.study.task import Train

_MODULES = {
    **dict.fromkeys(("StoredStudy", "launch", "load_study"), "hpo.api"),
    **dict.fromkeys(("Budget", "Stopping"), "hpo.study.budget"),
    "Comparison": "hpo.study.comparison",
    "Search": "hpo.study.search",
    **dict.fromkeys(("Setting", "grid", "vary"), "hpo.study.comparison_settings"),
    "When": "hpo.study.space",
    "Train": "hpo.study.task",
}
__all__ = [
    "Budget", "Comparison", "Search", "Setting", "Stopping", "StoredStudy", "Train", "When", "grid", "launch",
    "load_study", "vary",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `hpo --help` does without Optuna, which takes 0.2 s."""
    if name == "__version__":
        from importlib.metadata import version

        return version("hpo")
    if name not in _MODULES:
        raise AttributeError(f"module 'hpo' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
