"""Hyperparameter search for Keras models: what a study file imports."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.space import When
    from hpo.study import Budget, Stopping, StudyDefinition

__all__ = ["Budget", "Stopping", "StudyDefinition", "When"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `hpo --help` does without Optuna, which takes 0.2 s."""
    if name == "When":
        from hpo import space

        return space.When
    if name in __all__:
        from hpo import study

        return getattr(study, name)
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
