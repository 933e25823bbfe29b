"""What the command line makes of interrupts, closed outputs, full disks and other accidents."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from command import Hpo
from commandline import HEAD, SHIPPED, SLOW, Place, only_line, start_launch, stored_studies, wait_for_a_trial

from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url


def test_an_interrupt_while_the_program_starts_is_silent(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Ctrl-C while a study file is imported; nothing has been stored yet."""
    write_study(HEAD + "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", "bad.py")
    answer = hpo("launch", "--study", "studies/bad.py", code=130)
    assert answer.stdout + answer.stderr == ""
    assert not run_dir.database.exists()


def test_an_interrupt_while_the_first_modules_load_is_silent(hpo: Hpo, tmp_path: Path) -> None:
    """The first tenth of a second is no exception."""
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "typer.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path / "early"), os.environ.get("PYTHONPATH", "")])
    answer = hpo("studies", code=130, PYTHONPATH=path)
    assert answer.stdout + answer.stderr == ""


def test_a_reader_that_goes_away_is_no_error(hpo: Hpo, tmp_path: Path, launched: Place) -> None:
    """As in `| head -1`, which has read enough."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    answer = subprocess.run(
        [sys.executable, "-m", "hpo", "trials", "--study", "sheet", "--format", "csv"],
        cwd=tmp_path, env={**environment, "HPO_HOME": str(launched.home)}, stdout=writing, stderr=subprocess.PIPE,
        check=False,
    )  # fmt: skip
    os.close(writing)
    assert answer.stderr == b""
    assert answer.returncode in (0, 1, 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_behind_the_output_is_one_line(hpo: Hpo, tmp_path: Path, launched: Place) -> None:
    """What could not be written did not succeed, and may later."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "hpo", "status", "--study", "sheet"],
            cwd=tmp_path, env={**environment, "HPO_HOME": str(launched.home)}, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert answer.returncode == 75
    [line] = answer.stderr.splitlines()
    assert line.startswith("hpo: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_an_error_that_cannot_be_written_keeps_its_exit_code(tmp_path: Path) -> None:
    """A worker's goes to its log; its launcher knows the error by the code."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "hpo", "status", "--study", "never-launched"]
        environment = {**os.environ, "HPO_HOME": str(tmp_path)}
        answer = subprocess.run(command, cwd=tmp_path, env=environment, stdout=full, stderr=full, check=False)
    assert answer.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["launch", "--study", "instant"], 2, id="launch"),
        pytest.param(["data", "show", "--dataset", "digits", "--output", "a.png"], 1, id="data"),
    ],
)
def test_a_home_that_is_a_file_is_one_line(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path, arguments: list[str], code: int
) -> None:
    """It is named, and stays what it is."""
    write_study()
    (tmp_path / "home").write_text("a file")
    line = only_line(hpo(*arguments, code=code, HPO_HOME=str(tmp_path / "home")))
    assert str(tmp_path / "home") in line
    assert (tmp_path / "home").read_text() == "a file"


def test_an_output_that_cannot_be_written_is_one_line(hpo: Hpo, digits: Place, tmp_path: Path) -> None:
    """A folder in its place; nothing is left beside it."""
    (tmp_path / "pictures").mkdir()
    show = ["data", "show", "--dataset", "digits"]
    line = only_line(hpo(*show, "--output", "pictures", code=2, HPO_HOME=str(digits.home)))
    assert "pictures" in line
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_disk_that_fills_up_ends_the_launch_in_one_line(launched: Place, tmp_path: Path, run_dir: RunDir) -> None:
    """A limit on the size of files stands in for the disk; what was written before stays readable."""
    shutil.copytree(launched.home, run_dir.home)
    limited = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        "os.execv(sys.executable, [sys.executable, '-m', 'hpo', *sys.argv[1:]])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", limited, "launch", "--study", "sheet", "--trials", "9", "--workers", "1"],
        cwd=launched.folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert answer.returncode in (1, 2)
    only_line(answer)
    assert stored_studies(run_dir) == ["sheet"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_no_error(closed: str, hpo: Hpo, tmp_path: Path) -> None:
    """Some programs start others so."""
    command = f"{shlex.quote(sys.executable)} -m hpo studies {closed}"
    answer = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_an_empty_folder_has_the_shipped_studies(hpo: Hpo, tmp_path: Path) -> None:
    """And looking at them writes nothing."""
    listed = json.loads(hpo("studies", "--json").stdout)
    assert [study["name"] for study in listed] == SHIPPED
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_is_deleted_while_it_runs_ends_its_launch(
    write_study: Callable[..., Path], tmp_path: Path, run_dir: RunDir
) -> None:
    """As in the dashboard; in one line, and with all of its workers."""
    write_study(SLOW, "slow.py")
    launcher = start_launch(tmp_path)
    wait_for_a_trial(launcher, run_dir)
    workers = psutil.Process(launcher.pid).children()
    storage = open_storage(resolve_url(None, run_dir), write=True)
    optuna.delete_study(study_name="slow", storage=storage)
    backend_of(storage).engine.dispose()
    _, errors = launcher.communicate(timeout=60)
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    assert launcher.returncode == 1
    [line] = errors.splitlines()
    assert "slow" in line


def test_the_way_to_continue_continues(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path, run_dir: RunDir
) -> None:
    """What an interrupted launch tells its user to type, with what that launch had set."""
    write_study(SLOW, "slow.py")
    launcher = start_launch(tmp_path, "--trials", "2", "--max-epochs", "20")
    wait_for_a_trial(launcher, run_dir)
    launcher.terminate()
    _, errors = launcher.communicate(timeout=60)
    typed = errors.strip().rpartition("hpo ")[2].split()
    assert typed[0] == "launch"
    assert "2 of 2 done." in hpo(*typed, EPOCHS="2").stdout


def test_a_backend_that_is_none_is_refused(hpo: Hpo, run_dir: RunDir) -> None:
    """Before it spends the study's budget."""
    options = ["--study", "digits-cnn", "--trials", "1", "--workers", "1", "--gpus", "none"]
    errors = hpo("launch", *options, code=2, KERAS_BACKEND="nonsense").stderr
    assert "KERAS_BACKEND" in errors
    assert "nonsense" in errors
    assert stored_studies(run_dir) == []


def test_a_model_needs_a_backend_that_there_is(
    hpo: Hpo, exported: tuple[Place, dict[str, Any]], tmp_path: Path
) -> None:
    """As a launch does."""
    model, image = (str(exported[0].folder / name) for name in ("best.h5", "digit.png"))
    line = only_line(hpo("predict", model, image, code=2, KERAS_BACKEND="nonsense"))
    assert "KERAS_BACKEND" in line
    assert "nonsense" in line
