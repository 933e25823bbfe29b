"""Learning curves of real networks: `fmnist-cnn`, as tests/benchmarks/record.py has recorded it.

What was not recorded is predicted: 200 extremely randomized trees (scikit-learn) learn the whole curve and the seconds
of an epoch from the parameters. A momentum counts only with SGD. As a file of problems: ``python
tests/benchmarks/search.py --problems tests/benchmarks/simulated/recorded.py``.
"""

import csv
import math
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict

from hpo import Search, When
from hpo.study import catalog

FILE = Path(__file__).parent / "fmnist_cnn.csv"
Row = dict[str, Any]


def problems() -> list["Recorded"]:
    """The one problem, once its curves have been recorded."""
    if not FILE.exists():
        sys.exit(f"There is no {FILE} yet: python tests/benchmarks/record.py 400 records it, which takes hours.")
    return [Recorded()]


class Recorded:
    """The space of `fmnist-cnn`, without ``epochs``."""

    name = "recorded-fmnist-cnn"

    def __init__(self) -> None:
        study = catalog.load("fmnist-cnn").written
        assert isinstance(study, Search)
        parameters = {name: study.space[name] for name in study.space if name != "epochs"}
        self.space: dict[str, BaseDistribution] = {
            name: parameter.distribution if isinstance(parameter, When) else parameter
            for name, parameter in parameters.items()
        }
        with FILE.open(newline="") as stream:
            recorded = list(csv.DictReader(stream))
        self._inputs = np.array([self._encoded(row) for row in recorded])
        self._curves = np.array([[float(row[name]) for name in row if name.startswith("epoch_")] for row in recorded])
        self._log_seconds = np.log([float(row["seconds"] or "nan") for row in recorded])
        self.max_epochs = self._curves.shape[1]

    def curve(self, params: dict[str, Any]) -> list[float]:
        """The validation accuracy after each epoch."""
        return list(self._of_curves.predict([self._encoded(params)])[0])

    def seconds(self, params: dict[str, Any]) -> float:
        """The seconds of an epoch."""
        return float(math.exp(self._of_seconds.predict([self._encoded(params)])[0]))

    def explained(self) -> float:
        """How much of the variance of the last epoch's accuracy is predicted, in five-fold cross-validation."""
        predicted = cross_val_predict(_trees(), self._inputs, self._curves, cv=5)
        ends = self._curves[:, -1]
        return float(1 - np.mean((predicted[:, -1] - ends) ** 2) / ends.var())

    @cached_property
    def _of_curves(self) -> ExtraTreesRegressor:
        return _trees().fit(self._inputs, self._curves)

    @cached_property
    def _of_seconds(self) -> ExtraTreesRegressor:
        timed = np.isfinite(self._log_seconds)
        return _trees().fit(self._inputs[timed], self._log_seconds[timed])

    def _encoded(self, row: Row) -> NDArray[np.float64]:
        """Numbers, on their scale; a column per choice, of a pair one per part."""
        columns: list[float] = []
        for name, distribution in self.space.items():
            if isinstance(distribution, CategoricalDistribution):
                chosen = str(row[name]).split("+")
                parts = [str(choice).split("+") for choice in distribution.choices]
                for place, part in enumerate(chosen):
                    columns += [float(part == other) for other in sorted({each[place] for each in parts})]
            elif name == "momentum":
                columns.append(float(row[name]) if "sgd" in str(row["activation_optimizer"]) and row.get(name) else 0.0)
            else:
                columns.append(math.log(float(row[name])) if distribution.log else float(row[name]))  # type: ignore[attr-defined]
        return np.array(columns)


def _trees() -> ExtraTreesRegressor:
    return ExtraTreesRegressor(200, random_state=0, n_jobs=1)


if __name__ == "__main__":
    found = Recorded()
    print(f"{len(found._curves)} curves; {found.explained():.2f} of the variance is explained.")
