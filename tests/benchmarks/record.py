"""Records learning curves of fmnist-cnn, for the problem of tests/benchmarks/simulated/recorded.py.

hpo trains random configurations of the space of `fmnist-cnn`, each on 10,000 images for 16 epochs, whatever its curve.
Each becomes a line of tests/benchmarks/simulated/fmnist_cnn.csv: its parameters, the seconds of an epoch on one core
(of whichever machine that was), and the validation accuracy after each epoch; after one that was not a number, the
accuracy of chance. The file is written every minute. The same command continues it with further configurations.

Usage: ``python tests/benchmarks/record.py CONFIGURATIONS [FOLDER]``: how many the file is to have; the trials are kept
in FOLDER (default: a new temporary one).
"""

import csv
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

import hpo
from hpo.results.trials import TrialRecord
from hpo.study import catalog

EPOCHS, IMAGES, CHANCE = 16, 10_000, 0.1
FILE = Path(__file__).parent / "simulated" / "fmnist_cnn.csv"
_STOCK = catalog.load("fmnist-cnn").written
assert isinstance(_STOCK, hpo.Search)
assert isinstance(_STOCK.task, hpo.Train)
PARAMETERS = [name for name in _STOCK.space if name != "epochs"]
# Each start of this script draws other configurations: it is told how many there were.
_BEGINS_AT = int(os.environ.get("RECORDED", "0"))

study = dataclasses.replace(
    _STOCK,
    name=f"recorded-{_BEGINS_AT}",
    description="Random configurations of fmnist-cnn, none ended early",
    task=dataclasses.replace(_STOCK.task, subset=IMAGES, stopping=hpo.Stopping(patience=None)),
    space={name: _STOCK.space[name] for name in PARAMETERS},
    budget=hpo.Budget(trials=1, max_epochs=EPOCHS),
    warm_starts=[],
    sampler=RandomSampler(),
    pruner=NopPruner(),
    seed=_BEGINS_AT,
)


def main() -> None:
    wanted = int(sys.argv[1])
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="hpo-record-")).absolute()
    before = _rows()
    if len(before) >= wanted:
        print(f"{FILE} has {len(before)} configurations.")
        return
    environment = {**os.environ, "RECORDED": str(len(before)), "HPO_HOME": str(folder)}
    options = ["--trials", str(wanted - len(before)), "--gpus", "none", "--no-export-check"]
    launch = subprocess.Popen(
        [sys.executable, "-m", "hpo", "launch", "--study", __file__, *options], env=environment, cwd=folder.parent
    )
    try:
        while launch.poll() is None:
            time.sleep(60)
            _write(before, folder, f"recorded-{len(before)}")
    finally:
        launch.terminate()
        launch.wait()
        _write(before, folder, f"recorded-{len(before)}")


def _rows() -> list[list[str]]:
    if not FILE.exists():
        return []
    with FILE.open(newline="") as stream:
        return list(csv.reader(stream))[1:]


def _write(before: list[list[str]], folder: Path, name: str) -> None:
    """All configurations so far: those of earlier starts, and what this one has ended."""
    if not (folder / "hpo.db").exists():
        return
    trials = hpo.load_study(name, storage=f"sqlite:///{folder}/hpo.db").trials()
    rows = [_row(trial) for trial in trials if "val_accuracy" in trial.result.history and trial.ended]
    if not rows:
        return
    partial = FILE.with_suffix(".partial")
    with partial.open("w", newline="") as stream:
        header = [*PARAMETERS, "seconds", *(f"epoch_{epoch}" for epoch in range(1, EPOCHS + 1))]
        csv.writer(stream, lineterminator="\n").writerows([header, *before, *rows])
    partial.replace(FILE)


def _row(trial: TrialRecord) -> list[object]:
    params = [_short(trial.params.get(name, "")) for name in PARAMETERS]
    curve = trial.result.history["val_accuracy"][:EPOCHS]
    fit = trial.result.fit
    seconds = f"{fit.seconds / fit.epochs:.2f}" if fit.seconds and fit.epochs else ""
    return [*params, seconds, *(f"{value:.4f}" for value in [*curve, *[CHANCE] * (EPOCHS - len(curve))])]


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
