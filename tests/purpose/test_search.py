"""The freeze-thaw search finds more for less, loses nothing by pausing, and ends as its budget says."""

import itertools
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from benchmarks.simulated.methods import METHODS
from benchmarks.simulated.problems import Family
from benchmarks.simulated.simulation import regrets, scale, simulate
from command import Hpo
from optuna.distributions import IntDistribution

# A model that is small and learns at any rate within reason; each look costs a second.
DIGITS = """
from optuna.distributions import FloatDistribution, IntDistribution
import hpo
from hpo.models import build_mlp

study = hpo.Search(
    name="paused", task=hpo.Train(data="digits", model=build_mlp, subset=600, precision="float32"),
    space={"units": IntDistribution(8, 64, log=True), "learning_rate": FloatDistribution(1e-5, 1e-1, log=True)},
    base={"batch_size": 64}, budget=hpo.Budget(trials=8, max_epochs=12),
)
"""

SCORE = """
import time
from optuna.distributions import FloatDistribution
import hpo

def score(params, trial):
    time.sleep({seconds})
    return params["x"]

study = hpo.Search(name="limited", task=score, direction="maximize", space={{"x": FloatDistribution(0, 1)}},
                   budget=hpo.Budget({budget}))
"""


@pytest.mark.parametrize("workers", [1, 8])
def test_it_finds_more_for_less_than_random_search(workers: int) -> None:
    """On curves of two families, by the mean area under the regret; benchmarks/search.py compares all methods."""
    areas: dict[str, list[float]] = {}
    for family in ("smooth", "dead-category"):
        problem = Family(family, 5)
        scaled = scale(problem)
        for name in ("hpo", "random"):
            run = simulate(problem, METHODS[name](problem, 3, 300), epochs=300, workers=workers)
            areas.setdefault(name, []).append(float(regrets(run, 300, scaled).mean()))
    assert statistics.mean(areas["hpo"]) < 0.8 * statistics.mean(areas["random"])


class _WithEpochs:
    """A problem in whose space ``epochs`` is a parameter, as in that of ``fmnist-cnn``: a curve ends after so many."""

    def __init__(self, problem: Family) -> None:
        self.name, self.max_epochs, self._problem = problem.name, problem.max_epochs, problem
        self.space = {**problem.space, "epochs": IntDistribution(1, problem.max_epochs)}

    def curve(self, params: dict[str, Any]) -> list[float]:
        """The value after each epoch."""
        return self._problem.curve(params)[: params["epochs"]]


def test_epochs_as_a_parameter_cost_nothing() -> None:
    """The search decides itself how long each trains: it finds nearly as much as without the parameter.

    Once, every configuration that it proposed had one epoch: the cost was that of one, the promise that of all.
    """
    areas: dict[str, list[float]] = {"without": [], "with": []}
    for family in ("smooth", "needle", "dead-category"):
        problem = Family(family, 5)
        scaled = scale(problem)
        for (name, searched), seed in itertools.product(
            (("without", problem), ("with", _WithEpochs(problem))), range(4)
        ):
            run = simulate(searched, METHODS["hpo"](searched, seed, 300), epochs=300, workers=2)
            areas[name].append(float(regrets(run, 300, scaled).mean()))
    assert statistics.mean(areas["with"]) < 1.5 * statistics.mean(areas["without"])


def _trials(folder: Path, name: str) -> list[dict[str, Any]]:
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/runs/hpo.db")
    return [
        {
            "number": trial.number,
            "configuration": trial.user_attrs["claim"]["configuration"],
            "attempt": trial.user_attrs["claim"]["attempt"],
            "state": trial.state.name,
            "reason": trial.user_attrs.get("stop_reason"),
            "values": [trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)],
            "value": trial.value,
            "params": trial.params,
        }
        for trial in study.trials
    ]


def _check(trials: list[dict[str, Any]], configurations: int) -> None:
    """Each continuation begins with the epochs before, no configuration came twice, and the best few have ended."""
    attempts: dict[int, list[dict[str, Any]]] = {}
    for trial in trials:
        attempts.setdefault(trial["configuration"], []).append(trial)
    assert len(attempts) == configurations
    assert len({json.dumps(each[0]["params"]) for each in attempts.values()}) == configurations
    for each in attempts.values():
        for before, after in itertools.pairwise(each):
            assert before["reason"] in ("paused", "interrupted", "lost_worker")
            assert after["attempt"] == before["attempt"] + 1
            assert after["params"] == before["params"]
            if before["reason"] == "paused":
                assert after["values"][: len(before["values"])] == before["values"]
    ended = [each[-1] for each in attempts.values() if each[-1]["state"] == "COMPLETE"]
    assert len(ended) >= min(3, configurations)
    best = max(each[-1]["value"] for each in attempts.values())
    assert max(trial["value"] for trial in ended) == best


def test_paused_configurations_are_continued_and_the_best_are_finished(hpo: Hpo, tmp_path: Path) -> None:
    """Fewer epochs than to train all; the same seed gives the same search; a larger budget goes on where it was."""
    (tmp_path / "st.py").write_text(DIGITS)
    options = ("--workers", "1", "--gpus", "none", "--no-export-check")
    first = hpo("launch", "--study", "st.py", *options)
    assert "8 trials in this launch; 8 of 8 done." in first.stdout
    trials = _trials(tmp_path, "paused")
    _check(trials, 8)
    assert any(trial["attempt"] > 1 for trial in trials)
    epochs = sum(len(trial["values"]) for trial in trials if trial["reason"] != "paused" or trial["attempt"] == 1)
    assert epochs < 8 * 12
    hpo("launch", "--study", "st.py", "--name", "again", *options)
    assert _trials(tmp_path, "again") == trials
    assert (
        "Nothing to run: all 8 trials of paused are done. More with --trials."
        in hpo("launch", "--study", "st.py", *options).stdout
    )
    more = hpo("launch", "--study", "st.py", "--trials", "10", *options)
    assert "10 of 10 done." in more.stdout
    _check(_trials(tmp_path, "paused"), 10)


def test_a_checkpoint_that_is_gone_or_damaged_costs_its_epochs_and_nothing_else(hpo: Hpo, tmp_path: Path) -> None:
    """The configuration starts again if it is continued."""
    (tmp_path / "st.py").write_text(DIGITS)
    options = ("--workers", "1", "--gpus", "none", "--no-export-check")
    hpo("launch", "--study", "st.py", "--trials", "7", *options)
    kept = list((tmp_path / "runs").rglob("*.checkpoint"))
    assert kept
    for index, path in enumerate(kept):
        if index % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-100])
    more = hpo("launch", "--study", "st.py", "--trials", "9", *options)
    assert "9 of 9 done." in more.stdout
    trials = _trials(tmp_path, "paused")
    assert {trial["state"] for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert len({trial["configuration"] for trial in trials}) == 9


def test_a_launch_that_is_killed_between_pauses_loses_nothing(hpo: Hpo, tmp_path: Path) -> None:
    """SIGKILL of the launcher and its workers, thrice; the same command then ends as if nothing had been."""
    (tmp_path / "st.py").write_text(DIGITS)
    command = [sys.executable, "-m", "hpo", "launch", "--study", "st.py", "--workers", "2", "--gpus", "none"]
    for _ in range(3):
        process = subprocess.Popen([*command, "--no-export-check"], cwd=tmp_path, start_new_session=True)
        database, deadline = tmp_path / "runs" / "hpo.db", time.monotonic() + 60
        before = len(_trials(tmp_path, "paused")) if database.exists() else 0
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.3)
            try:
                if len(_trials(tmp_path, "paused")) > before + 2:
                    break
            except Exception:  # the study is just being made
                continue
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = hpo("launch", "--study", "st.py", "--workers", "2", "--gpus", "none", "--no-export-check")
    assert "8 of 8 done." in done.stdout or "Nothing to run: all 8 trials" in done.stdout
    trials = _trials(tmp_path, "paused")
    assert not [trial for trial in trials if trial["state"] == "RUNNING"]
    assert len({trial["configuration"] for trial in trials}) == 8


@pytest.mark.parametrize(
    ("budget", "options", "line"),
    [
        pytest.param("trials=500", ("--target", "0.8"), "has reached the target 0.8.", id="target"),
        pytest.param("target=-1.0, trials=9", (), "look whether the target is on the right side", id="wrong-side"),
        pytest.param("patience=6", (), "The last 6 trials were not better than the best.", id="patience"),
        pytest.param("trials=500", ("--timeout", "2s"), "The time of 2 s is over. More with --timeout.", id="timeout"),
    ],
)
def test_a_limit_ends_the_search_and_says_so(
    budget: str, options: tuple[str, ...], line: str, hpo: Hpo, tmp_path: Path
) -> None:
    """From the study file or the command line; the same command again has nothing to run."""
    (tmp_path / "st.py").write_text(SCORE.format(budget=budget, seconds=0.05))
    first = hpo("launch", "--study", "st.py", "--workers", "2", *options)
    assert line in first.stdout
    again = hpo("launch", "--study", "st.py", *options)
    assert "Nothing to run." in again.stdout
    assert line in again.stdout
    assert line in hpo("status", "--study", "limited").stdout


def test_time_that_is_over_pauses_a_training_and_more_time_continues_it(hpo: Hpo, tmp_path: Path) -> None:
    """No epoch is lost: its next trial begins with the epochs before."""
    endless = DIGITS.replace("max_epochs=12", "max_epochs=100_000").replace("subset=600,", "subset=600, stopping=None,")
    (tmp_path / "st.py").write_text(endless)
    options = ("--workers", "1", "--gpus", "none", "--no-export-check", "--trials", "1")
    first = hpo("launch", "--study", "st.py", "--timeout", "4s", *options)
    assert "The time of 4 s is over. More with --timeout." in first.stdout
    (before,) = _trials(tmp_path, "paused")
    assert before["reason"] == "paused"
    hpo("launch", "--study", "st.py", "--timeout", "8s", *options)
    _before, after = _trials(tmp_path, "paused")
    assert (after["attempt"], after["reason"]) == (2, "paused")
    assert after["values"][: len(before["values"])] == before["values"]
    assert len(after["values"]) > len(before["values"])
