"""The command line as tests run it, and a study for it."""

import subprocess
from collections.abc import Callable

Hpo = Callable[..., subprocess.CompletedProcess[str]]

# A study that needs no Keras: its value is its parameter.
INSTANT = """
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    return params["x"]

study = Search(name="instant", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=5))
"""
