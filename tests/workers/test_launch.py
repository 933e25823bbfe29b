"""Launches of real worker processes, undisturbed and disturbed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from command import Hpo
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import StorageError, StudyError
from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage, study_lock
from hpo.storage.url import resolve_url

SLOW = """
import os, time
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    for epoch in range(1, 11):
        time.sleep(0.1)
        trial.report(params["x"], epoch)
    return params["x"]

study = Search(name="slow", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=6))
"""

FAILING = """
import time
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    time.sleep(0.1)
    raise RuntimeError("the sensor is unplugged")

study = Search(name="failing", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=50))
"""

FULL_DISK = """
import errno
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    raise OSError(errno.ENOSPC, "No space left on device")

study = Search(name="full", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=50))
"""

WRONG_METRIC = """
import dataclasses
from hpo.study.catalog import load
task = dataclasses.replace(load("digits-cnn").written.task, metric="val_f1")
study = dataclasses.replace(load("digits-cnn").written, name="wrong-metric", task=task)
"""

DYING = """
import os
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    os._exit((41, 0, 2, 75)[trial.number % 4])

study = Search(name="dying", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=50))
"""

STILLBORN = """
import os, sys
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

if "worker" in sys.argv:
    print("hpo: the driver is too old", file=sys.stderr, flush=True)
    os._exit(41)

study = Search(name="stillborn", task=print, direction="maximize", space={"x": FloatDistribution(0, 1)},
                        budget=Budget(trials=50))
"""

SHORT_OF_TIME = "from hpo.workers import processes, shutdown\nprocesses.BEAT = shutdown.GIVE_UP_SECONDS = 1\n"

HUNG = """
import signal, subprocess, time
from pathlib import Path
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    if trial.number == 1:
        Path("child").write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        time.sleep(600)
    return params["x"]

study = Search(name="hung", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=3))
"""


def _start(tmp_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "hpo", "launch", *arguments],
        cwd=tmp_path, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _workers(launcher: "subprocess.Popen[str]") -> list[psutil.Process]:
    return [child for child in psutil.Process(launcher.pid).children() if "worker" in child.cmdline()]


def _is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a dead orphan may wait for init to collect it."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and _is_alive(psutil.Process(pid))


def _wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def _trials(tmp_path: Path, name: str) -> list[optuna.trial.FrozenTrial]:
    run_dir = RunDir(tmp_path / "runs")
    try:
        storage = open_storage(resolve_url(f"sqlite:///{run_dir.database}", run_dir), write=False)
    except StorageError:
        return []  # not made yet
    try:
        return stored_study.load(storage, name).trials
    except (StudyError, StorageInternalError, SQLAlchemyError, KeyError):  # its tables are being made
        return []
    finally:
        backend_of(storage).engine.dispose()


def _running(tmp_path: Path, name: str) -> int:
    return sum(trial.state == optuna.trial.TrialState.RUNNING for trial in _trials(tmp_path, name))


def test_a_launch_runs_its_budget_and_a_second_runs_nothing(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """The total counts over all launches; more is a flag away."""
    write_study()
    first = hpo("launch", "--study", "instant", "--workers", "2")
    assert "5 trials in this launch; 5 of 5 done." in first.stdout
    assert "Best trial of instant" in first.stdout
    assert "hpo trials --study instant" in first.stdout
    again = hpo("launch", "--study", "instant")
    assert "Nothing to run: all 5 trials of instant are done." in again.stdout
    more = hpo("launch", "--study", "instant", "--trials", "7")
    assert "2 trials in this launch; 7 of 7 done." in more.stdout
    assert len(_trials(tmp_path, "instant")) == 7


def test_what_killed_trials_left_is_removed(hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path) -> None:
    """By the next launch at the latest, also by one with nothing to run: checkpoints, and weights without a result."""
    write_study()
    hpo("launch", "--study", "instant")
    run_dir = RunDir(tmp_path / "runs")
    storage = open_storage(resolve_url(f"sqlite:///{run_dir.database}", run_dir), write=True)
    lost, kept = str(uuid.uuid4()), str(uuid.uuid4())
    study = stored_study.load(storage, "instant")
    for artifact, attrs in ((lost, {"given_back": True}), (kept, {})):
        state = optuna.trial.TrialState.FAIL
        system_attrs = {f"artifacts:{artifact}": "{}"}
        study.add_trial(optuna.create_trial(state=state, user_attrs=attrs, system_attrs=system_attrs))
    backend_of(storage).engine.dispose()
    files = [run_dir.artifacts / lost, run_dir.artifacts / kept, run_dir.trials("instant") / "0-x" / "checkpoint"]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert "Nothing to run" in hpo("launch", "--study", "instant").stdout
    assert [path.exists() for path in files] == [False, True, False]


def test_one_worker_and_one_seed_give_the_same_trials_twice(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """Under another name, too: the seed decides, not the name or the process."""
    write_study()
    for name in ("once", "twice"):
        hpo("launch", "--study", "instant", "--workers", "1", "--name", name, "--trials", "15")
    once, twice = ([trial.params for trial in _trials(tmp_path, name)] for name in ("once", "twice"))
    assert once == twice
    assert len({trial["x"] for trial in once}) == 15


def test_two_launches_at_once_share_one_budget(hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path) -> None:
    """A second launch beside the first joins it."""
    write_study(SLOW, "slow.py")
    launches = [_start(tmp_path, "--study", "slow", "--workers", "2") for _ in range(2)]
    errors = [launcher.communicate(timeout=120)[1] for launcher in launches]
    assert [launcher.returncode for launcher in launches] == [0, 0], errors
    assert len(_trials(tmp_path, "slow")) == 6


def test_a_launch_counts_its_own_trials(write_study: Callable[..., Path], tmp_path: Path) -> None:
    """Not those of another that shares the budget."""
    write_study(SLOW, "slow.py")
    launches = [_start(tmp_path, "--study", "slow", "--workers", "1") for _ in range(2)]
    outputs = [launcher.communicate(timeout=120)[0] for launcher in launches]
    counts = [re.search(r"^(\d+) trials in this launch; 6 of 6 done\.", output, re.MULTILINE) for output in outputs]
    assert sum(int(count[1]) if count else 0 for count in counts) == 6


def test_a_launch_ends_after_its_trials_when_others_amend_the_study(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """It says why; no trial is lost, and none begins with the code that the study had before."""
    text = SLOW.replace("trials=6", "trials=30")
    path = write_study(text, "slow.py")
    launcher = _start(tmp_path, "--study", "slow", "--workers", "2")
    # Both have loaded the file.
    _wait_for(lambda: len({trial.user_attrs["claim"]["worker"] for trial in _trials(tmp_path, "slow")}) == 2)
    path.write_text(text.replace('return params["x"]', 'return -params["x"]'))
    assert "score in studies/slow.py differs" in hpo("launch", "--study", "slow", "--workers", "1", code=2).stderr
    second = _start(tmp_path, "--study", "slow", "--workers", "2", "--amend")
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 1
    assert "Study 'slow' was amended by another launch: the workers of this one ended after their trials" in errors
    assert second.communicate(timeout=120)[1] == ""
    assert second.returncode == 0
    trials = _trials(tmp_path, "slow")
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    old = [trial.number for trial in trials if trial.value == trial.params["x"]]
    new = [trial.number for trial in trials if trial.value == -trial.params["x"]]
    assert len(old) + len(new) == 30
    assert max(old) < max(new)


def test_a_budget_that_others_lower_ends_the_launch_and_is_said(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """To those who ask for it, before, and to those who work on the study; what runs comes to its end."""
    write_study(SLOW.replace("trials=6", "trials=200"), "slow.py")
    launcher = _start(tmp_path, "--study", "slow", "--workers", "2")
    _wait_for(lambda: sum(trial.state.is_finished() for trial in _trials(tmp_path, "slow")) >= 2)
    refused = hpo("launch", "--study", "slow", "--trials", "1", code=2).stderr
    assert "has a budget of 200 trials, and 1 is less" in refused
    lowered = hpo("launch", "--study", "slow", "--trials", "1", "--amend").stdout
    assert re.search(r"Nothing to run: all 1 trials of slow are done, its budget: there are \d+\. More with", lowered)
    output, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    assert "Others have lowered the budget of slow from 200 to 1 trials." in output
    trials = _trials(tmp_path, "slow")
    assert 2 <= len(trials) < 200
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert f"slow: {len(trials)} (budget 1) trials" in hpo("status", "--study", "slow").stdout


@pytest.mark.parametrize("table", ["studies", "study_user_attributes"])
def test_a_launch_beside_one_that_makes_the_tables(
    table: str, hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """It finds some of them, waits until all are there, and joins."""
    write_study()
    run_dir = RunDir(tmp_path / "runs")
    storage = open_storage(resolve_url(f"sqlite:///{run_dir.database}", run_dir), write=True)
    with backend_of(storage).engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {table}")
    backend_of(storage).engine.dispose()
    assert "5 of 5 done." in hpo("launch", "--study", "instant").stdout


def test_a_killed_worker_is_replaced_and_its_trial_runs_again(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """SIGKILL costs an attempt, never a result; the launcher notices at once."""
    write_study(SLOW, "slow.py")
    launcher = _start(tmp_path, "--study", "slow", "--workers", "2")
    busy: list[str] = []

    def has_just_begun() -> bool:
        for trial in _trials(tmp_path, "slow"):
            if trial.state == optuna.trial.TrialState.RUNNING and trial.params and len(trial.intermediate_values) < 3:
                busy.append(trial.user_attrs["claim"]["worker"])
        return bool(busy)

    _wait_for(has_just_begun)
    os.kill(int(busy[0].rpartition("-")[2]), signal.SIGKILL)
    output, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    assert "6 of 6 done." in output
    trials = _trials(tmp_path, "slow")
    lost = [trial for trial in trials if trial.user_attrs["stop_reason"] == "lost_worker"]
    assert len(lost) == 1
    again = [trial for trial in trials if trial.user_attrs["claim"]["attempt"] == 2]
    assert [trial.params for trial in again] == [lost[0].params]
    assert sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials) == 6


@pytest.mark.parametrize(
    ("signum", "code"), [pytest.param(signal.SIGINT, 130, id="ctrl-c"), pytest.param(signal.SIGTERM, 143, id="term")]
)
def test_an_interrupted_launch_gives_back_and_says_how_to_continue(
    signum: int, code: int, hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """Nothing stays RUNNING, no process is left, and the same command ends with the whole budget."""
    write_study(SLOW, "slow.py")
    launcher = _start(tmp_path, "--study", "slow", "--workers", "2")
    _wait_for(lambda: _running(tmp_path, "slow") == 2)
    workers = _workers(launcher)
    launcher.send_signal(signum)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == code
    assert "Continue with the same command, or: hpo launch --study slow" in errors
    assert "Traceback" not in errors
    assert _running(tmp_path, "slow") == 0
    assert not any(_is_alive(worker) for worker in workers)
    assert "6 of 6 done." in hpo("launch", "--study", "slow").stdout


def test_a_second_signal_ends_a_launch_at_once(write_study: Callable[..., Path], tmp_path: Path) -> None:
    """A worker that does not listen is not waited for; its trial is given back, and what it has started ends, too."""
    write_study("from hpo.workers import shutdown\nshutdown.KILL_SECONDS = 60\n" + HUNG, "hung.py")
    launcher = _start(tmp_path, "--study", "hung", "--workers", "1")
    _wait_for(lambda: (tmp_path / "child").exists() and bool((tmp_path / "child").read_text()))
    workers = _workers(launcher)
    launcher.send_signal(signal.SIGINT)
    time.sleep(2)
    assert launcher.poll() is None
    assert all(_is_alive(worker) for worker in workers)
    launcher.send_signal(signal.SIGINT)
    _, errors = launcher.communicate(timeout=30)
    assert launcher.returncode == 130
    assert "Continue with the same command" in errors
    assert "Traceback" not in errors
    assert not any(_is_alive(worker) for worker in workers)
    assert not _runs(int((tmp_path / "child").read_text()))
    assert [trial.user_attrs["stop_reason"] for trial in _trials(tmp_path, "hung")[1:]] == ["interrupted"]


def test_workers_end_with_a_killed_launcher(hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path) -> None:
    """kill -9 of the launcher leaves no orphans, and the same command continues."""
    write_study(SLOW, "slow.py")
    launcher = _start(tmp_path, "--study", "slow", "--workers", "2")
    _wait_for(lambda: _running(tmp_path, "slow") == 2)
    workers = _workers(launcher)
    launcher.kill()
    launcher.communicate()
    _wait_for(lambda: not any(_is_alive(worker) for worker in workers))
    assert _running(tmp_path, "slow") == 0
    assert "6 of 6 done." in hpo("launch", "--study", "slow").stdout


def test_trials_that_all_fail_end_the_launch(hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path) -> None:
    """It says what they have in common instead of failing fifty times."""
    write_study(FAILING, "failing.py")
    answer = hpo("launch", "--study", "failing", "--workers", "1", "--max-failures", "3", code=3)
    assert "The last 3 trials of 'failing' failed (error)" in answer.stderr
    assert "the sensor is unplugged" in answer.stderr
    assert len(_trials(tmp_path, "failing")) < 50


def test_workers_that_cannot_start_end_the_launch(hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path) -> None:
    """A process that cannot live is not started for ever."""
    write_study(STILLBORN, "stillborn.py")
    answer = hpo("launch", "--study", "stillborn", "--workers", "1", code=1)
    assert "3 workers died one after another (exit code 41) without a result in between" in answer.stderr
    assert "the driver is too old" in answer.stderr
    assert _trials(tmp_path, "stillborn") == []


def test_a_full_disk_ends_the_launch_at_once(hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path) -> None:
    """Other workers would fill it no less; no trial is failed for it; the exit code says: later, perhaps."""
    write_study(FULL_DISK, "full.py")
    answer = hpo("launch", "--study", "full", "--workers", "1", code=75)
    assert "is full. Free some space and launch again" in answer.stderr
    assert [trial.user_attrs["given_back"] for trial in _trials(tmp_path, "full")] == [True]


@pytest.mark.parametrize(
    ("retries", "configurations", "said"),
    [(0, [0, 1], "1 worker died while it ran"), (1, [0, 0, 1, 1], "2 workers died while they ran")],
)
def test_configurations_that_kill_their_workers_fail(
    retries: int, configurations: list[int], said: str, hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """Each after as many retries as it may have, and then as trials that fail one after another do.

    Whatever their code: also one that says, of a worker without a trial, that it has done its work or that no other
    worker could.
    """
    write_study(DYING, "dying.py")
    options = ("--workers", "1", "--max-retries", str(retries), "--max-failures", "2")
    answer = hpo("launch", "--study", "dying", *options, code=3)
    assert "The last 2 trials of 'dying' failed (lost_worker)" in answer.stderr
    assert f"{said} this configuration" in answer.stderr
    claims = [trial.user_attrs["claim"]["configuration"] for trial in _trials(tmp_path, "dying")]
    assert claims[: len(configurations)] == configurations
    assert _running(tmp_path, "dying") == 0


def test_a_hung_trial_is_killed_and_its_worker_replaced(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """From outside, with what it has started: a process that does not listen to anything either; the others run."""
    write_study(HUNG, "hung.py")
    answer = hpo("launch", "--study", "hung", "--workers", "1", "--trial-timeout", "6")
    assert "3 of 3 done." in answer.stdout
    trials = _trials(tmp_path, "hung")
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].user_attrs["stop_reason"] == "timeout"
    assert "ran longer than 6 seconds" in trials[1].user_attrs["failure"]
    assert not (tmp_path / "runs" / "hung" / "trials").exists()
    assert not _runs(int((tmp_path / "child").read_text()))


def test_a_launch_listens_while_somebody_holds_the_study(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """Such as a worker of another launch that was stopped amid a claim."""
    write_study(SHORT_OF_TIME + SLOW, "slow.py")
    launcher = _start(tmp_path, "--study", "slow", "--workers", "1")
    _wait_for(lambda: _running(tmp_path, "slow") == 1)
    database = RunDir(tmp_path / "runs").database
    storage = open_storage(resolve_url(f"sqlite:///{database}", RunDir(tmp_path / "runs")), write=True)
    with study_lock(storage, stored_study.load(storage, "slow")._study_id):
        time.sleep(3)  # the worker asks for a trial, and the launcher looks for lost ones
        launcher.send_signal(signal.SIGINT)
        launcher.communicate(timeout=30)
    assert launcher.returncode == 130
    assert _running(tmp_path, "slow") == 0
    backend_of(storage).engine.dispose()


def test_a_metric_that_the_model_lacks_fails_the_launch_and_leaves_nothing(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """Not each trial; the available ones are named."""
    write_study(WRONG_METRIC, "wrong_metric.py")
    answer = hpo("launch", "--study", "wrong-metric", "--workers", "1", code=2)
    assert "The metric 'val_f1' is not among those that the model reports: accuracy, loss" in answer.stderr
    listed = json.loads(hpo("studies", "--json").stdout)
    assert [study["trials"] for study in listed if study["name"] == "wrong-metric"] == [0]
    assert _trials(tmp_path, "wrong-metric") == []
