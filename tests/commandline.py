"""Studies for the command line, and a folder in which some were launched once."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url

# As the files of this repository say, read as text: what `hpo studies` reads them for is what is tested.
SHIPPED = sorted(
    name
    for path in (Path(__file__).parents[1] / "studies").glob("*.py")
    for name in re.findall(r'^    name="(.*)",$', path.read_text(), flags=re.MULTILINE)
)


CANARY = "canary-4711"  # a password that nobody may ever see


HEAD = """
import os, signal, sys, time
import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner
from hpo import Budget, Search

X, BUDGET = {"x": FloatDistribution(0, 1)}, Budget(trials=2)

def score(params, trial):
    return params["x"]

def define(**fields):
    return Search(**{"name": "bad", "task": score, "direction": "maximize", "space": X,
                              "budget": BUDGET, **fields})
"""


# What a spreadsheet would calculate, what Rich would take for a colour, a trial that fails and an infinite one.
SHEET = """
from optuna.distributions import CategoricalDistribution, FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    if trial.number == 2:
        raise ValueError("=1+1")
    return float("inf") if trial.number == 3 else params["x"]

study = Search(
    name="sheet", task=score, budget=Budget(trials=4), direction="minimize",
    space={"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["=1+1"]),
           "activation": CategoricalDistribution(["@SUM(A1)"]), "kernel": CategoricalDistribution(["[red]3[/red]"])},
)
"""


SLOW = """
import os, time
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    for epoch in range(1, int(os.environ.get("EPOCHS", 100))):
        time.sleep(0.1)
        trial.report(params["x"], epoch)
    return params["x"]

study = Search(name="slow", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=6))
"""


@dataclass(frozen=True)
class Place:
    """A folder in which something was launched once, for all tests of this file to look at."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "runs"

    def hpo(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("HPO_STORAGE", "KERAS_BACKEND")}
        answer = subprocess.run(
            [sys.executable, "-m", "hpo", *arguments],
            cwd=self.folder, env={**kept, "HPO_HOME": str(self.home), "COLUMNS": "160"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert answer.returncode == code, answer.stdout + answer.stderr
        return answer


def only_line(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal: nothing on stdout, no traceback, no second line."""
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    [line] = answer.stderr.splitlines()
    assert line.startswith("hpo: ")
    return line


def stored_studies(run_dir: RunDir) -> list[str]:
    """The names of the studies in the default storage; none where there is no storage."""
    if not run_dir.database.exists():
        return []
    storage = open_storage(resolve_url(None, run_dir), write=False)
    try:
        return sorted(study.study_name for study in storage.get_all_studies())
    finally:
        backend_of(storage).engine.dispose()


def start_launch(tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "hpo", "launch", "--study", "slow", "--workers", "1", *options],
        cwd=tmp_path, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_a_trial(launcher: "subprocess.Popen[str]", run_dir: RunDir) -> None:
    """Until a worker has begun the study ``slow``, or the launch has ended without."""
    logs = run_dir.home / "slow" / "logs"
    deadline = time.monotonic() + 300
    while launcher.poll() is None and not any("Trial 0" in path.read_text() for path in logs.glob("*")):
        assert time.monotonic() < deadline, "no trial began"
        time.sleep(0.05)
