"""Hyperparameter search for Keras models: what a study file imports."""

from hpo.space import When
from hpo.study import Budget, Stopping, StudyDefinition

__all__ = ["Budget", "Stopping", "StudyDefinition", "When"]
