"""The commands that search, as a user types them: what is refused, and what a study may do."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import INSTANT, Hpo
from commandline import CANARY, HEAD, SHEET, Place, only_line, stored_studies
from recorded import foreign_study

from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        pytest.param(["--study", "digits-cn"], ["'digits-cn'", "Did you mean digits-cnn"], id="misspelt"),
        pytest.param(["--study", "digits-cnn", "--workers", "0"], ["--workers", "'0'", "at least 1"], id="no-worker"),
        pytest.param(["--study", "digits-cnn", "--workers", "many"], ["--workers", "'many'", "auto"], id="many"),
        pytest.param(
            ["--study", "digits-cnn", "--gpus", "0"], ["GPU 0", "but 0 can be used", "--gpus none"], id="no-such-gpu"
        ),
        pytest.param(["--study", "digits-cnn", "--subset", "5000"], ["1437", "5000", "Leave it out"], id="subset"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(hpo: Hpo, run_dir: RunDir, options: list[str], parts: list[str]) -> None:
    """The value and the way out in one line, and no storage."""
    line = only_line(hpo("launch", *options, code=2, CUDA_VISIBLE_DEVICES=""))
    assert [part for part in parts if part not in line] == []
    assert not run_dir.database.exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        pytest.param(["launch", "--study", "digits-cnn", "--trials", "0"], ["--trials", "1"], id="no-trial"),
        pytest.param(["launch", "--study", "digits-cnn", "--trails", "3"], ["--trails", "--trials"], id="option"),
        pytest.param(["lunch"], ["'lunch'", "'launch'"], id="command"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_refused(
    hpo: Hpo, run_dir: RunDir, arguments: list[str], parts: list[str]
) -> None:
    """As any other mistake: in one line."""
    line = only_line(hpo(*arguments, code=2))
    assert [part for part in parts if part not in line] == []
    assert not run_dir.home.exists()


def test_nothing_at_all_shows_the_help(hpo: Hpo) -> None:
    """With the exit code of a mistake, but without a complaint."""
    answer = hpo(code=2)
    assert "Commands" in answer.stdout
    assert answer.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["launch"], ["export", "--output", "best.h5"], ["worker"]], ids=lambda arguments: arguments[0]
)
def test_a_study_of_another_program_is_not_run(hpo: Hpo, run_dir: RunDir, arguments: list[str]) -> None:
    """Whatever it calls a definition, hpo did not launch it; what there is of it can be read."""
    storage = open_storage(resolve_url(None, run_dir), write=True)
    foreign_study(storage)
    backend_of(storage).engine.dispose()
    answer = hpo(*arguments, "--study", "foreign", code=2)
    assert only_line(answer) == "hpo: hpo did not launch the study 'foreign', so there is nothing to run it by."
    assert hpo("status", "--study", "foreign").stdout.startswith("foreign: 2 of 3 trials; ")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, launched: Place) -> None:
    """Bytes of another encoding, as a misconfigured terminal sends them."""
    answer = subprocess.run(
        [sys.executable.encode(), b"-m", b"hpo", b"launch", b"--study", b"\xff\xfe"],
        cwd=tmp_path, env={**os.environ, "HPO_HOME": str(launched.home)}, capture_output=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    [line] = answer.stderr.splitlines()
    assert line.startswith(b"hpo: ")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("import no_such_module", ["does not import", "no_such_module", "(line 16)"], id="import"),
        pytest.param("", ["defines no study", "Assign a Search or a Comparison"], id="no-study"),
        pytest.param("a, b = define(), define(seed=1)", ["two studies called 'bad'", "own name"], id="two-of-one-name"),
        pytest.param("a = define(space={})", ["'bad'", "at least one parameter", "{}"], id="empty-space"),
        pytest.param("a = define(space={'x': [1, 2]})", ["'x'", "[1, 2]", "FloatDistribution"], id="no-distribution"),
        pytest.param(
            "a = define(direction=['maximize', 'minimize'], pruner=MedianPruner())",
            ["`direction`", "['maximize', 'minimize']", "Combine them"],
            id="two-objectives-and-a-pruner",
        ),
    ],
)
def test_a_study_file_that_cannot_be_used_is_refused(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir, text: str, parts: list[str]
) -> None:
    """It is named, with what is wrong in it, and nothing is stored."""
    write_study(HEAD + text, "bad.py")
    line = only_line(hpo("launch", "--study", "studies/bad.py", code=2))
    assert [part for part in ["studies/bad.py", *parts] if part not in line] == []
    assert not run_dir.database.exists()


def test_a_changed_space_is_refused_with_the_difference_and_two_ways_out(
    hpo: Hpo, write_study: Callable[..., Path], launched: Place, run_dir: RunDir
) -> None:
    """And the study stays as it was."""
    shutil.copytree(launched.home, run_dir.home)
    write_study(SHEET.replace("FloatDistribution(0, 1)", "FloatDistribution(0, 3)"), "sheet.py")
    line = only_line(hpo("launch", "--study", "sheet", "--trials", "7", code=2))
    assert "space.x.attributes.high: 1.0 -> 3.0" in line
    assert "--name" in line
    assert "--amend" in line
    status = json.loads(hpo("status", "--study", "sheet", "--json").stdout)
    assert (status["budget"], status["finished"]) == (4, 4)


@pytest.mark.parametrize(
    ("url", "code", "parts"),
    [
        pytest.param("runs/hpo.db", 2, ["must be a URL", "sqlite:///", "--storage"], id="a-path"),
        pytest.param(
            f"postgresql://u:{CANARY}@127.0.0.1:1/d", 75, ["u:***@127.0.0.1:1/d", "refused"], id="nobody-answers"
        ),
        pytest.param("sqlite:///studies/instant.py", 2, ["instant.py", "not a database"], id="another-file"),
        pytest.param(
            f"postgresql://u@127.0.0.1:1/d?password={CANARY}", 75, ["127.0.0.1:1/d", "refused"], id="password-as-option"
        ),
        pytest.param(f"postgresql://u:a@{CANARY}@127.0.0.1:1/d", 2, ["%40"], id="at-sign-in-the-password"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path, url: str, code: int, parts: list[str]
) -> None:
    """Its password is never shown, and a file that is something else stays what it is."""
    study = write_study()
    answer = hpo("launch", "--study", "instant", "--storage", url, code=code)
    assert CANARY not in answer.stdout + answer.stderr
    line = only_line(answer)
    assert [part for part in parts if part not in line] == []
    assert study.read_text() == INSTANT
    assert list(tmp_path.rglob("*.db")) == []


def test_an_empty_storage_variable_is_none(hpo: Hpo) -> None:
    """As in `export HPO_STORAGE=`."""
    assert "digits-cnn" in hpo("studies", HPO_STORAGE="").stdout


@pytest.mark.parametrize(
    ("command", "keep"),
    [
        pytest.param("launch", 0, id="launch-other-content"),
        pytest.param("status", 50_000, id="status-truncated"),
    ],
)
def test_a_damaged_storage_is_called_damaged(
    hpo: Hpo, launched: Place, run_dir: RunDir, command: str, keep: int
) -> None:
    """By those who read and those who write; and it is left as it is, for whoever can mend it."""
    run_dir.home.mkdir()
    content = (launched.home / "hpo.db").read_bytes()[:keep] or b"no database"
    run_dir.database.write_bytes(content)
    line = only_line(hpo(command, "--study", "digits-cnn", code=2))
    assert str(run_dir.database) in line
    assert "not a database" in line or "malformed" in line
    assert run_dir.database.read_bytes() == content


def test_the_storage_lies_in_its_home_whatever_that_is_called(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """And nowhere else."""
    write_study(INSTANT.replace("trials=5", "trials=1"))
    home = tmp_path / "100%20 sure?"
    hpo("launch", "--study", "instant", "--workers", "1", HPO_HOME=str(home))
    assert list(tmp_path.rglob("hpo.db")) == [home / "hpo.db"]


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without any data and without a network."""
    for name in ("data-dir", "user", "keras"):
        (tmp_path / name).mkdir()
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:1")
    folders = {"HPO_DATA_DIR": "data-dir", "HOME": "user", "KERAS_HOME": "keras"}
    return {**proxies, "no_proxy": "", "NO_PROXY": "", **{name: str(tmp_path / f) for name, f in folders.items()}}


def test_without_data_and_network_the_ways_out_are_named(hpo: Hpo, run_dir: RunDir, alone: dict[str, str]) -> None:
    """A folder of one's own, or the search that needs none."""
    line = only_line(hpo("launch", "--study", "fmnist-cnn", code=2, **alone))
    assert "HPO_DATA_DIR" in line
    assert "digits-cnn" in line
    assert not run_dir.database.exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        pytest.param(gzip.compress(b"x" * 1000)[:-8], "it ends too early", id="truncated"),
        pytest.param(gzip.compress(b"x" * 1000), "SHA-256", id="altered"),
    ],
)
def test_damaged_data_are_refused(
    hpo: Hpo, tmp_path: Path, run_dir: RunDir, alone: dict[str, str], content: bytes, part: str
) -> None:
    """The file is named, and what to do with it."""
    path = tmp_path / "data-dir" / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    path.parent.mkdir()
    path.write_bytes(content)
    line = only_line(hpo("launch", "--study", "fmnist-cnn", code=2, **alone))
    assert str(path) in line
    assert part in line
    assert "Delete it" in line
    assert not run_dir.database.exists()


def test_a_study_that_cannot_be_exported_is_not_searched(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Unless it is asked to; else nothing of it is left."""
    head = """
import keras
from hpo import Budget, Search, Train
from optuna.distributions import IntDistribution

def build(params, dataset):
    layers = [keras.layers.Lambda(lambda x: x / 255), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input(dataset.input_shape), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

study = Search(
    name="bad", task=Train(data="digits", model=build, subset=100), budget=Budget(trials=1, max_epochs=1),
    space={"x": IntDistribution(0, 1)},
)
"""
    write_study(head, "bad.py")
    options = ["--study", "bad", "--workers", "1", "--gpus", "none"]
    line = hpo("launch", *options, code=2).stderr.splitlines()[-1]
    assert line.startswith("hpo: The study's model could not be saved and loaded again after the search: ")
    assert line.endswith("`hpo launch` with --no-export-check searches all the same.")
    assert stored_studies(run_dir) == []
    assert "1 of 1 done." in hpo("launch", *options, "--no-export-check").stdout
    line = only_line(hpo("export", "--study", "bad", "--output", "best.h5", code=2))
    assert "'Lambda'" in line
    assert not run_dir.test_reads.exists()


def test_a_search_of_failures_alone_is_no_success(hpo: Hpo, write_study: Callable[..., Path]) -> None:
    """Even one smaller than --max-failures; the study stays, to see why."""
    fail = """
def fail(params, trial):
    if trial.number == 1:
        raise ValueError("x" * 100_000)
    return np.array([1.0, 2.0])

study = define(task=fail)
"""
    write_study(HEAD + fail, "bad.py")
    answer = hpo("launch", "--study", "bad", "--workers", "1", code=3)
    [line] = answer.stderr.splitlines()
    assert "ValueError: xxx" in line
    assert len(line) < 2000
    rows = json.loads(hpo("trials", "--study", "bad", "--json").stdout)
    assert [row["state"] for row in rows] == ["FAIL", "FAIL"]


def test_an_objective_that_exits_fails_its_trial(hpo: Hpo, write_study: Callable[..., Path]) -> None:
    """And only that: a script's main() as an objective, or a library that gives up."""
    exits = "lambda params, trial: 1.0 if trial.number == 2 else sys.exit(2 * trial.number)"
    write_study(HEAD + f"study = define(task={exits}, budget=Budget(trials=3))\n", "bad.py")
    answer = hpo("launch", "--study", "bad", "--workers", "1")
    assert "3 of 3 done." in answer.stdout
    rows = json.loads(hpo("trials", "--study", "bad", "--json").stdout)
    assert [row["state"] for row in rows] == ["FAIL", "FAIL", "COMPLETE"]
    assert all("SystemExit" in row["failure"] for row in rows[:2])


def test_a_storage_that_fails_costs_no_trial(hpo: Hpo, write_study: Callable[..., Path]) -> None:
    """The configuration is given back and runs again, as after any loss that is not its own fault."""
    fail = """
def fail(params, trial):
    if trial.number == 0:
        trial._trial.report = closed
        trial.report(0.5, 1)
    return params["x"]

def closed(value, step):
    from optuna.exceptions import StorageInternalError

    raise StorageInternalError("the server closed the connection")

study = define(task=fail)
"""
    write_study(HEAD + fail, "bad.py")
    assert "2 of 2 done." in hpo("launch", "--study", "bad", "--workers", "1").stdout
    rows = json.loads(hpo("trials", "--study", "bad", "--json").stdout)
    assert [row["stop_reason"] for row in rows] == ["interrupted", "completed", "completed"]
    assert rows[0]["params"] == rows[1]["params"]


def test_an_objective_may_do_as_it_likes(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """NumPy's numbers are numbers, what it prints goes to the worker's log, and what it changes is its own affair."""
    free = """
def free(params, trial):
    if trial.number == 0:
        print("hello")
        print("hpo: hello", file=sys.stderr)
        trial.report(np.float32(0.5), np.int64(1))
        return np.float32(0.5)
    if trial.number == 1:
        os.chdir("/")
        os.environ.clear()
        return np.int64(3)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return True

study = define(task=free, budget=Budget(trials=3))
"""
    write_study(HEAD + free, "bad.py")
    answer = hpo("launch", "--study", "bad", "--workers", "1")
    assert "3 of 3 done." in answer.stdout
    assert "hello" not in answer.stdout + answer.stderr
    [log] = (run_dir.home / "bad" / "logs").glob("*.log")
    assert log.read_text().count("hello") == 2
    rows = json.loads(hpo("trials", "--study", "bad", "--json").stdout)
    assert [row["value"] for row in rows] == [0.5, 3.0, 1.0]


def test_files_in_the_folder_do_not_replace_modules(
    write_study: Callable[..., Path], tmp_path: Path, run_dir: RunDir
) -> None:
    """A file of one's own may be called string.py or keras.py: `hpo` starts, so its workers do."""
    command = shutil.which("hpo", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("hpo is not installed as a command")
    write_study()
    (tmp_path / "string.py").write_text("raise RuntimeError('this is not the string module')")
    launch = [command, "launch", "--study", "instant", "--workers", "1"]
    answer = subprocess.run(launch, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "5 of 5 done." in answer.stdout
