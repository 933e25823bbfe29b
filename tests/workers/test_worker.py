"""A worker of its own, and one that outgrows its memory."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from command import INSTANT, Hpo

from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url
from hpo.study import catalog

DEAF = """
import time
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    print("begun", flush=True)
    time.sleep(60)

study = Search(name="deaf", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=1))
"""

PATIENT = (
    "from hpo.workers import shutdown\nshutdown.GIVE_UP_SECONDS = 1\nshutdown.EXIT_SECONDS = 10\n"  # 9 and 1 otherwise
)

HUNG = """
import subprocess, time
from pathlib import Path
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    if trial.number == 1:
        Path("child").write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        time.sleep(60)
    return trial.number

study = Search(name="hung", task=score, direction="maximize", space={"x": FloatDistribution(0, 1)},
                        budget=Budget(trials=3, trial_timeout=6))
"""

FAILING = """
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    raise RuntimeError("the sensor is unplugged")

study = Search(name="failing", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=20))
"""

GROWING = """
from optuna.distributions import FloatDistribution
from hpo import Budget, Search
from hpo.workers import worker

worker._GROWTH_BYTES = 30_000_000
kept = []

def score(params, trial):
    kept.append(bytearray(20_000_000))
    return len(kept)

study = Search(name="growing", task=score, direction="maximize", space={"x": FloatDistribution(0, 1)},
                        budget=Budget(trials=6))
"""


def _record(source: Path, run_dir: RunDir) -> optuna.Study:
    """What a launch does before it starts workers."""
    storage = open_storage(resolve_url(None, run_dir), write=True)
    study, _ = stored_study.create_or_resume(storage, catalog.load(str(source)), run_dir)
    return study


def test_a_worker_joins_a_launched_study(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """From any shell: it runs what is left of the budget and says so."""
    study = _record(write_study(INSTANT), run_dir)
    answer = hpo("worker", "--study", "instant")
    assert "The budget of instant has ended; this worker ran 5 trials." in answer.stdout
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5
    backend_of(study._storage).engine.dispose()


def test_a_worker_with_another_definition_refuses_to_join(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Its trials could not be compared."""
    path = write_study(INSTANT)
    study = _record(path, run_dir)
    path.write_text(INSTANT.replace("FloatDistribution(0, 1)", "FloatDistribution(0, 2)"))
    answer = hpo("worker", "--study", "instant", code=2)
    assert "has changed since its first launch" in answer.stderr
    assert "space.x.attributes.high: 1.0 -> 2.0" in answer.stderr
    assert study.trials == []
    backend_of(study._storage).engine.dispose()


def test_a_worker_whose_study_is_deleted_ends_in_one_line(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """As in the dashboard; here by the trial itself, for want of a moment to meet."""
    delete = "__import__('optuna').delete_study(study_name='instant', storage=trial._trial.storage)"
    study = _record(write_study(INSTANT.replace("return", f"{delete}; return")), run_dir)
    [*_, last] = hpo("worker", "--study", "instant", code=1).stderr.splitlines()
    assert last == "hpo: The study 'instant' was deleted while it ran."
    backend_of(study._storage).engine.dispose()


def test_a_worker_needs_a_launch_first(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """It says what to type."""
    study = _record(write_study(INSTANT), run_dir)
    answer = hpo("worker", "--study", "instand", code=2)
    assert "holds no study called 'instand'. Did you mean instant?" in answer.stderr
    backend_of(study._storage).engine.dispose()


# Two machines: each with a folder and an HPO_HOME of its own, one storage.


@pytest.fixture
def machine(tmp_path: Path, storage_url: str) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command line on a machine: ``machine("b", "worker", "--study", "x")``."""

    def run(name: str, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        answer = subprocess.run(
            [sys.executable, "-m", "hpo", *arguments],
            cwd=folder,
            env={**os.environ, "HPO_HOME": str(folder / "runs"), "HPO_STORAGE": storage_url},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert answer.returncode == code, answer.stdout + answer.stderr
        return answer

    return run


def test_a_second_machine_joins_with_the_file(
    machine: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    """Without it, it names the file and the remedy; another version of the file is refused, by the function's name.

    Wherever the file lies: the path of the machine that launched the study leads nobody astray.
    """
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "mine.py").write_text(INSTANT.replace("trials=5", "trials=2"))
    machine("a", "launch", "--study", "mine.py", "--workers", "1")
    machine("a", "launch", "--study", "mine.py", "--workers", "1", "--trials", "2")
    (tmp_path / "a" / "mine.py").rename(tmp_path / "kept.py")
    refused = machine("b", "worker", "--study", "instant", code=2).stderr
    assert f"was launched from the file {tmp_path}/a/mine.py, which is not here" in refused
    assert "--file FILE.py" in refused
    text = (tmp_path / "kept.py").read_text()
    (tmp_path / "b" / "own.py").write_text(text.replace('return params["x"]', 'return 2 * params["x"]'))
    refused = machine("b", "worker", "--study", "instant", "--file", "own.py", code=2).stderr
    assert "score in own.py differs" in refused
    assert "--amend" in refused
    (tmp_path / "b" / "own.py").write_text(text + "# the same\n")
    (tmp_path / "a" / "mine.py").write_text(text)
    machine("a", "launch", "--study", "mine.py", "--workers", "1", "--trials", "3")
    (tmp_path / "a" / "mine.py").unlink()
    answer = machine("b", "worker", "--study", "instant", "--file", "own.py")
    assert "this worker ran 0 trials" in answer.stdout
    # By its name in the working folder, too.
    (tmp_path / "b" / "own.py").rename(tmp_path / "b" / "mine.py")
    assert "this worker ran 0 trials" in machine("b", "worker", "--study", "instant").stdout


def test_a_worker_may_be_several(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """As a launch starts them, with its exit codes."""
    study = _record(write_study(INSTANT), run_dir)
    answer = hpo("worker", "--study", "instant", "--workers", "2")
    assert "5 trials in this launch; 5 of 5 done." in answer.stdout
    assert len({trial.user_attrs["claim"]["worker"] for trial in study.trials}) <= 2
    assert hpo("worker", "--study", "instant", "--workers", "0", code=2).stderr.startswith("hpo: --workers must be")
    backend_of(study._storage).engine.dispose()


def _deaf_worker(folder: Path) -> "subprocess.Popen[str]":
    """A worker amid a trial of ``DEAF``."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "hpo", "worker", "--study", "deaf"],
        cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stdout.readline() == "begun\n"
    return worker


def test_a_second_signal_ends_a_worker_at_once(
    write_study: Callable[..., Path], run_dir: RunDir, tmp_path: Path
) -> None:
    """An objective that never reports cannot hold a worker for ever."""
    study = _record(write_study(DEAF, "deaf.py"), run_dir)
    worker = _deaf_worker(tmp_path)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 143
    worker.communicate()
    backend_of(study._storage).engine.dispose()


def test_a_trial_that_does_not_notice_a_signal_is_given_back_all_the_same(
    write_study: Callable[..., Path], run_dir: RunDir, tmp_path: Path
) -> None:
    """One signal is enough, whoever started the worker."""
    study = _record(write_study(PATIENT + DEAF, "deaf.py"), run_dir)
    worker = _deaf_worker(tmp_path)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 143
    assert [(trial.state.name, trial.user_attrs["stop_reason"]) for trial in study.trials] == [("FAIL", "interrupted")]
    worker.communicate()
    backend_of(study._storage).engine.dispose()


def test_a_hung_trial_ends_without_a_launcher(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir, tmp_path: Path
) -> None:
    """The worker fails it, with what it has started, and starts afresh; the other trials run."""
    study = _record(write_study(HUNG, "hung.py"), run_dir)
    answer = hpo("worker", "--study", "hung")
    assert "Starting afresh: trial 1 ran longer than 6 seconds" in answer.stderr
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[1].user_attrs["stop_reason"] == "timeout"
    child = int((tmp_path / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    backend_of(study._storage).engine.dispose()


def test_a_worker_that_has_grown_starts_afresh(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """It keeps its process number, and no trial is lost or run twice."""
    study = _record(write_study(GROWING, "growing.py"), run_dir)
    answer = hpo("worker", "--study", "growing")
    assert "Starting afresh: memory has grown" in answer.stderr
    values = [trial.value for trial in study.trials]
    assert len(values) == 6
    assert max(value for value in values if value is not None) < 4
    assert len({trial.user_attrs["claim"]["worker"] for trial in study.trials}) == 1
    backend_of(study._storage).engine.dispose()


def test_trials_that_all_fail_end_a_worker_without_a_launcher(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """As many as its launch said, with the same exit code; those that failed before it began do not count."""
    study = _record(write_study(FAILING, "failing.py"), run_dir)
    study.set_user_attr("max_failures", 3)
    for trials in (3, 6):
        answer = hpo("worker", "--study", "failing", code=3)
        assert "The last 3 trials of 'failing' failed (error), the latest with: RuntimeError" in answer.stderr
        assert [trial.state.name for trial in study.trials] == ["FAIL"] * trials
    backend_of(study._storage).engine.dispose()
