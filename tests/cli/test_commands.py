"""The command line as a user types it: a real process each time, its exit code, and every line it writes."""

import csv
import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import h5py
import numpy as np
import optuna
import psutil
import pytest
from command import INSTANT, Hpo
from filelock import FileLock
from PIL import Image
from recorded import foreign_study
from sqlalchemy.engine import make_url

from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url

# As the files of this repository say, read as text: what `hpo studies` reads them for is what is tested.
SHIPPED = sorted(
    name
    for path in (Path(__file__).parents[2] / "studies").glob("*.py")
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share, so that each launch below is made once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "test_cli"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def launched(shared: Path) -> Place:
    """The study ``sheet`` has run, in a folder whose name is not a plain word."""
    place = Place(shared / "Läufe & mehr")
    with FileLock(shared / "launched.lock"):
        if not place.folder.exists():
            (place.folder / "studies").mkdir(parents=True)
            (place.folder / "studies" / "sheet.py").write_text(SHEET)
            place.hpo("launch", "--study", "sheet", "--workers", "1")
    return place


@pytest.fixture(scope="module")
def digits(shared: Path) -> Place:
    """The shipped digits search has run small, under a name of its own."""
    place = Place(shared / "digits")
    with FileLock(shared / "digits.lock"):
        if not place.folder.exists():
            place.folder.mkdir()
            small = ("--name", "small", "--trials", "2", "--max-epochs", "1", "--subset", "400")
            place.hpo("launch", "--study", "digits-cnn", *small, "--workers", "1", "--gpus", "none")
    return place


@pytest.fixture(scope="module")
def exported(digits: Place) -> tuple[Place, dict[str, Any]]:
    """Its winner lies in ``best.h5``, beside a picture of a digit; and the card that export printed."""
    printed = digits.folder / "printed.json"
    with FileLock(digits.folder / "exported.lock"):
        if not printed.exists():
            text = digits.hpo("export", "--study", "small", "--output", "best.h5", "--json").stdout
            from sklearn.datasets import load_digits

            pixels = (load_digits().images[3] * 15).astype(np.uint8)
            Image.fromarray(pixels).resize((280, 280)).save(digits.folder / "digit.png")
            printed.write_text(text)
    return digits, json.loads(printed.read_text())


def _line(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal: nothing on stdout, no traceback, no second line."""
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    [line] = answer.stderr.splitlines()
    assert line.startswith("hpo: ")
    return line


def _studies(run_dir: RunDir) -> list[str]:
    """The names of the studies in the default storage; none where there is no storage."""
    if not run_dir.database.exists():
        return []
    storage = open_storage(resolve_url(None, run_dir), write=False)
    try:
        return sorted(study.study_name for study in storage.get_all_studies())
    finally:
        backend_of(storage).engine.dispose()


def _launch(tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "hpo", "launch", "--study", "slow", "--workers", "1", *options],
        cwd=tmp_path, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _wait_for_a_trial(launcher: "subprocess.Popen[str]", run_dir: RunDir) -> None:
    """Until a worker has begun the study ``slow``, or the launch has ended without."""
    logs = run_dir.home / "slow" / "logs"
    deadline = time.monotonic() + 300
    while launcher.poll() is None and not any("Trial 0" in path.read_text() for path in logs.glob("*")):
        assert time.monotonic() < deadline, "no trial began"
        time.sleep(0.05)


# Refused: options


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        pytest.param(["--study", "digits-cn"], ["'digits-cn'", "Did you mean digits-cnn"], id="misspelt"),
        pytest.param(["--study", "digits-cnn", "--workers", "0"], ["--workers", "'0'", "at least 1"], id="no-worker"),
        pytest.param(["--study", "digits-cnn", "--workers", "many"], ["--workers", "'many'", "auto"], id="many"),
        pytest.param(
            ["--study", "digits-cnn", "--gpus", "0"], ["GPU 0", "there are 0", "--gpus none"], id="no-such-gpu"
        ),
        pytest.param(["--study", "digits-cnn", "--subset", "5000"], ["1437", "5000", "Leave it out"], id="subset"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(hpo: Hpo, run_dir: RunDir, options: list[str], parts: list[str]) -> None:
    """The value and the way out in one line, and no storage."""
    line = _line(hpo("launch", *options, code=2, CUDA_VISIBLE_DEVICES=""))
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
    line = _line(hpo(*arguments, code=2))
    assert [part for part in parts if part not in line] == []
    assert not run_dir.home.exists()


def test_nothing_at_all_shows_the_help(hpo: Hpo) -> None:
    """With the exit code of a mistake, but without a complaint."""
    answer = hpo(code=2)
    assert "Commands" in answer.stdout
    assert answer.stderr == ""


def test_an_unknown_format_is_refused(hpo: Hpo) -> None:
    """With those there are."""
    answer = hpo("trials", "--study", "s", "--format", "xml", code=2)
    assert "--format must be table or csv, but got 'xml'." in _line(answer)


def test_an_unknown_stored_study_is_refused(hpo: Hpo, launched: Place) -> None:
    """With the nearest that is there."""
    line = _line(hpo("status", "--study", "shet", code=2, HPO_HOME=str(launched.home)))
    assert "no study called 'shet'" in line
    assert "Did you mean sheet?" in line


@pytest.mark.parametrize(
    "arguments", [["launch"], ["export", "--output", "best.h5"], ["worker"]], ids=lambda arguments: arguments[0]
)
def test_a_study_of_another_program_is_not_run(hpo: Hpo, run_dir: RunDir, arguments: list[str]) -> None:
    """Whatever it calls a definition, hpo did not launch it; what there is of it can be read."""
    storage = open_storage(resolve_url(None, run_dir), write=True)
    foreign_study(storage)
    backend_of(storage).engine.dispose()
    answer = hpo(*arguments, "--study", "foreign", code=2)
    assert _line(answer) == "hpo: hpo did not launch the study 'foreign', so there is nothing to run it by."
    assert hpo("status", "--study", "foreign").stdout.startswith("foreign: 2 of 3 trials; ")


def test_a_storage_that_is_not_there_yet_is_named(hpo: Hpo, run_dir: RunDir) -> None:
    """Looking does not make one."""
    line = _line(hpo("status", "--study", "s", code=2))
    assert str(run_dir.database) in line
    assert "`hpo launch` makes it" in line
    assert not run_dir.home.exists()


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, launched: Place) -> None:
    """Bytes of another encoding, as a misconfigured terminal sends them."""
    answer = subprocess.run(
        [sys.executable.encode(), b"-m", b"hpo", b"launch", b"--study", b"\xff\xfe"],
        cwd=tmp_path, env={**os.environ, "HPO_HOME": str(launched.home)}, capture_output=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    [line] = answer.stderr.splitlines()
    assert line.startswith(b"hpo: ")


# Refused: study files


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
    line = _line(hpo("launch", "--study", "studies/bad.py", code=2))
    assert [part for part in ["studies/bad.py", *parts] if part not in line] == []
    assert not run_dir.database.exists()


def test_a_changed_space_is_refused_with_the_difference_and_two_ways_out(
    hpo: Hpo, write_study: Callable[..., Path], launched: Place, run_dir: RunDir
) -> None:
    """And the study stays as it was."""
    shutil.copytree(launched.home, run_dir.home)
    write_study(SHEET.replace("FloatDistribution(0, 1)", "FloatDistribution(0, 3)"), "sheet.py")
    line = _line(hpo("launch", "--study", "sheet", "--trials", "7", code=2))
    assert "space.x.attributes.high: 1.0 -> 3.0" in line
    assert "--name" in line
    assert "--amend" in line
    status = json.loads(hpo("status", "--study", "sheet", "--json").stdout)
    assert (status["budget"], status["finished"]) == (4, 4)


# Refused: storages


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
    line = _line(answer)
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
    line = _line(hpo(command, "--study", "digits-cnn", code=2))
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


# Refused: data


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
    line = _line(hpo("launch", "--study", "fmnist-cnn", code=2, **alone))
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
    line = _line(hpo("launch", "--study", "fmnist-cnn", code=2, **alone))
    assert str(path) in line
    assert part in line
    assert "Delete it" in line
    assert not run_dir.database.exists()


# Refused: exports and model files


def test_a_study_without_model_cannot_be_exported(launched: Place) -> None:
    """Its task is a function."""
    line = _line(launched.hpo("export", "--study", "sheet", "--output", "a.h5", code=2))
    assert "The task of study 'sheet' is a function" in line
    assert not (launched.folder / "a.h5").exists()


def test_an_unfinished_study_cannot_be_exported(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """The way to finish it is named."""
    from hpo.storage import stored_study
    from hpo.study import catalog

    source = write_study(
        INSTANT.replace("task=score", 'task=Train(data="digits", model=score)').replace("Search", "Search, Train", 1)
    )
    storage = open_storage(resolve_url(None, run_dir), write=True)
    stored_study.create_or_resume(storage, catalog.load(str(source)), run_dir)
    backend_of(storage).engine.dispose()
    line = _line(hpo("export", "--study", "instant", "--output", "a.h5", code=2))
    assert "no finished trial" in line
    assert "hpo launch --study instant" in line


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        pytest.param(["--output", "a.onnx"], ["a.onnx", ".h5 or .keras"], id="other-format"),
        pytest.param(["--output", "a.h5", "--trial", "9"], ["no trial 9", "0 to 1"], id="unknown-trial"),
        pytest.param(["--output", "/proc/a.h5"], ["/proc"], id="not-writable"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    hpo: Hpo, digits: Place, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    """Before anything is trained, and leaving no file."""
    line = _line(hpo("export", "--study", "small", *options, code=2, HPO_HOME=str(digits.home)))
    assert [part for part in parts if part not in line] == []
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("command", "name", "part"),
    [
        pytest.param("evaluate", "truncated.h5", "must be whole", id="evaluate-truncated"),
        pytest.param("evaluate", "lambda.h5", "holds a 'Lambda', which runs code", id="evaluate-lambda"),
        pytest.param("predict", "lambda.h5", "holds a 'Lambda', which runs code", id="predict-lambda"),
        pytest.param("predict", "text.h5", "must be HDF5", id="predict-no-model"),
    ],
)
def test_a_model_file_that_cannot_be_used_is_refused(
    hpo: Hpo, tmp_path: Path, command: str, name: str, part: str
) -> None:
    """It is named; nothing in it runs, and no test image is read."""
    layers = [{"class_name": "Lambda", "config": {"function": "print('hello')"}}]
    with h5py.File(tmp_path / "lambda.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        file.create_group("model_weights")
    (tmp_path / "truncated.h5").write_bytes((tmp_path / "lambda.h5").read_bytes()[:600])
    (tmp_path / "text.h5").write_text("text")
    rest = ["--dataset", "digits"] if command == "evaluate" else ["digit.png"]
    line = _line(hpo(command, name, *rest, code=2))
    assert name in line
    assert part in line
    assert not (tmp_path / "runs" / "test-reads.jsonl").exists()


def test_an_image_that_is_none_does_not_stop_the_others(exported: tuple[Place, dict[str, Any]]) -> None:
    """The file is named on a line of its own, and TensorFlow's greetings do not drown it."""
    place, _ = exported
    (place.folder / "text.png").write_text("no image")
    answer = place.hpo("predict", "best.h5", "text.png", "digit.png", code=1)
    assert answer.stdout.startswith("digit.png: ")
    [line] = answer.stderr.splitlines()
    assert line.startswith("hpo: ")
    assert "text.png" in line
    assert "Save it again as PNG or JPEG" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["export", "--study", "small"], "best.h5 exists and is another file", id="export"),
        pytest.param(["data", "show", "--dataset", "digits"], "best.h5 exists and is another file", id="data-show"),
    ],
)
def test_a_file_of_somebody_else_s_is_not_written_over(
    digits: Place, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """``~`` is the home folder, also where the shell leaves it alone."""
    (tmp_path / "best.h5").write_text("mine")
    answer = subprocess.run(
        [sys.executable, "-m", "hpo", *arguments, "--output=~/best.h5"], cwd=digits.folder,
        env={**os.environ, "HPO_HOME": str(digits.home), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert message in _line(answer)
    assert (tmp_path / "best.h5").read_text() == "mine"


# What the commands answer


def test_studies_lists_what_is_stored_and_what_can_be_launched(hpo: Hpo, launched: Place) -> None:
    """A stored study whose file is not here is listed all the same."""
    listed = json.loads(hpo("studies", "--json", HPO_HOME=str(launched.home)).stdout)
    names = [study["name"] for study in listed]
    assert names == sorted([*SHIPPED, "sheet"])
    assert all(study.keys() == {"name", "trials", "budget", "best", "description"} for study in listed)
    sheet = listed[names.index("sheet")]
    assert (sheet["trials"], sheet["budget"], sheet["description"]) == (4, 4, "")
    assert 0 <= sheet["best"] <= 1


def test_status_and_best_as_json(hpo: Hpo, launched: Place) -> None:
    """With the keys that scripts rely on."""
    now = json.loads(hpo("status", "--study", "sheet", "--json", HPO_HOME=str(launched.home)).stdout)
    assert {"name", "budget", "finished", "states", "best", "workers", "seconds"} <= now.keys()
    assert (now["budget"], now["finished"], now["workers"]) == (4, 4, [])
    assert now["states"] == {"COMPLETE": 3, "FAIL": 1}
    assert now.pop("disk_bytes") > 0
    best = json.loads(hpo("best", "--study", "sheet", "--json", HPO_HOME=str(launched.home)).stdout)
    assert now["best"] == best


def test_trials_as_json(hpo: Hpo, launched: Place) -> None:
    """One object a trial, in order, the failed one among them."""
    rows = json.loads(hpo("trials", "--study", "sheet", "--json", HPO_HOME=str(launched.home)).stdout)
    documented = {"number", "state", "value", "params", "epochs", "best_epoch", "seconds", "stop_reason", "failure"}
    assert all(documented <= row.keys() for row in rows)
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    assert [row["stop_reason"] for row in rows] == ["completed", "completed", "error", "completed"]
    assert all(row["params"].keys() == {"x", "kind", "activation", "kernel"} for row in rows)
    assert (rows[2]["value"], rows[2]["failure"]) == (None, "ValueError: =1+1")


def test_infinite_values_are_json_all_the_same(hpo: Hpo, launched: Place) -> None:
    """JSON has no infinity; jq and browsers refuse Python's word for it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    answer = hpo("trials", "--study", "sheet", "--json", HPO_HOME=str(launched.home))
    assert len(json.loads(answer.stdout, parse_constant=refuse)) == 4


def test_trials_as_csv(hpo: Hpo, launched: Place) -> None:
    """A row a trial, a column a parameter; and nothing that a spreadsheet would calculate."""
    text = hpo("trials", "--study", "sheet", "--format", "csv", HPO_HOME=str(launched.home)).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["state"] for row in rows] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert (rows[0]["params.kind"], rows[0]["params.activation"]) == ("'=1+1", "'@SUM(A1)")
    assert rows[0]["params.kernel"] == "[red]3[/red]"
    assert rows[2]["value"] == ""
    assert 0 <= float(rows[0]["params.x"]) <= 1
    assert [cell for row in csv.reader(io.StringIO(text)) for cell in row if cell[:1] in tuple("=+-@\t\r")] == []


def test_trials_as_a_table(hpo: Hpo, launched: Place) -> None:
    """For people: the words of the states, the parameters as they are, square brackets too, and what went wrong."""
    table = hpo("trials", "--study", "sheet", HPO_HOME=str(launched.home), COLUMNS="250").stdout
    assert table.count("COMPLETE") == 3
    assert "FAIL" in table
    assert "kernel=[red]3[/red]" in table
    assert table.splitlines()[-1] == "Trial 2 failed (error): ValueError: =1+1"


def test_best_does_not_speak_of_epochs_that_there_are_not(hpo: Hpo, launched: Place) -> None:
    """What a trial does not have is left out."""
    text = hpo("best", "--study", "sheet", HPO_HOME=str(launched.home)).stdout
    assert ": value 0." in text
    assert "kind = =1+1" in text
    assert "None" not in text


@pytest.mark.parametrize("command", ["trials", "best-trial"])
def test_optunas_own_command_line_reads_our_studies(launched: Place, command: str) -> None:
    """With no plug-in and no conversion."""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import sys; from optuna.cli import main; sys.exit(main())",
         command, "--study-name", "sheet", "--storage", f"sqlite:///{launched.home}/hpo.db", "-f", "json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    read = json.loads(answer.stdout)
    trials = read if isinstance(read, list) else [read]
    assert len(trials) == (4 if command == "trials" else 1)
    assert all(trial["state"] in ("COMPLETE", "FAIL") for trial in trials)
    assert all(trial["params"]["kind"] == "=1+1" for trial in trials)


def test_a_small_search_under_another_name_is_a_study_of_its_own(digits: Place) -> None:
    """And leaves the one it was made of untouched."""
    listed = {study["name"]: study for study in json.loads(digits.hpo("studies", "--json").stdout)}
    assert (listed["small"]["trials"], listed["small"]["budget"]) == (2, 2)
    assert (listed["digits-cnn"]["trials"], listed["digits-cnn"]["budget"]) == (0, 12)
    assert not (digits.home / "digits-cnn").exists()
    rows = json.loads(digits.hpo("trials", "--study", "small", "--json").stdout)
    assert [(row["epochs"], row["best_epoch"]) for row in rows] == [(1, 1), (1, 1)]
    assert all(row["seconds"] > 0 for row in rows)
    assert all({"accuracy", "val_accuracy", "val_loss"} <= row["history"].keys() for row in rows)
    recorded = json.loads((digits.home / "small" / "definition.json").read_text())
    assert (recorded["name"], recorded["task"]["subset"], recorded["budget"]["max_epochs"]) == ("small", 400, 1)


def test_data_show_draws_the_first_images(digits: Place) -> None:
    """Into a PNG, in a folder that it makes."""
    answer = digits.hpo("data", "show", "--dataset", "digits", "--output", "pictures/digits.png")
    assert "10 classes" in answer.stdout
    with Image.open(digits.folder / "pictures" / "digits.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    digits.hpo("data", "show", "--dataset", "digits", "--output", "pictures/digits.png")


def test_export_writes_the_model_twice_and_its_card(exported: tuple[Place, dict[str, Any]]) -> None:
    """What it prints is what lies beside the models."""
    place, card = exported
    assert card == json.loads((place.folder / "best.card.json").read_text())
    assert card["study"] == "small"
    assert sorted(card["files"]) == ["best.h5", "best.keras"]
    assert sorted(path.name for path in place.folder.glob("best.*")) == ["best.card.json", "best.h5", "best.keras"]
    assert list(place.folder.glob(".export-*")) == []


def test_evaluate_measures_what_export_measured(exported: tuple[Place, dict[str, Any]]) -> None:
    """Nothing but JSON is written, and each read of the test images is recorded."""
    place, card = exported
    answer = place.hpo("evaluate", "best.h5", "--json")
    measured = json.loads(answer.stdout)
    assert answer.stderr == ""
    assert measured["images"] == 360
    assert measured["accuracy"] == pytest.approx(card["metrics"]["test_accuracy"])
    assert len(measured["confusion"]) == 10
    reads = [json.loads(line)["reader"] for line in (place.home / "test-reads.jsonl").read_text().splitlines()]
    assert reads[0].startswith("export small trial")
    assert "evaluate best.h5" in reads


def test_predict_names_what_it_sees(exported: tuple[Place, dict[str, Any]]) -> None:
    """One object an image, in the order given."""
    answer = exported[0].hpo("predict", "best.keras", "digit.png", "digit.png", "--json")
    first, second = json.loads(answer.stdout)
    assert answer.stderr == ""
    assert first == second
    assert {"path", "class_name", "probability", "top", "warning"} == first.keys()
    assert first["class_name"] in list("0123456789")
    assert 0 < first["probability"] <= 1
    assert len(first["top"]) == 3


# Passwords


@pytest.fixture(
    params=[
        pytest.param("user", id="before-the-host"),
        pytest.param("query", id="as-option"),
    ]
)
def url_with_password(request: pytest.FixtureRequest, postgres: str) -> Iterator[str]:
    """Of a server that takes any password; the study ``slow`` is not in it, before and after."""
    url = make_url(postgres)._replace(password=None)
    url = url.set(password=CANARY) if request.param == "user" else url.update_query_dict({"password": CANARY})
    yield url.render_as_string(hide_password=False)
    storage = open_storage(resolve_url(postgres, RunDir(Path())), write=True)
    if "slow" in {study.study_name for study in storage.get_all_studies()}:
        optuna.delete_study(study_name="slow", storage=storage)
    backend_of(storage).engine.dispose()


def test_a_password_on_the_command_line_is_seen_by_nobody(
    write_study: Callable[..., Path], tmp_path: Path, run_dir: RunDir, url_with_password: str, postgres: str
) -> None:
    """Not by `ps`, nor in what is printed, logged, stored or browsed."""
    write_study(SLOW, "slow.py")
    launcher = _launch(tmp_path, "--storage", url_with_password)
    _wait_for_a_trial(launcher, run_dir)
    processes = [psutil.Process(launcher.pid), *psutil.Process(launcher.pid).children(recursive=True)]
    lines = [" ".join(process.cmdline()) for process in processes]
    launcher.terminate()
    output, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 143, errors
    assert len(lines) == 2
    assert all("--study slow" in line and CANARY not in line for line in lines)
    assert CANARY not in output + errors
    stored = _everything_in(postgres)
    assert "slow" in stored
    assert CANARY not in stored
    seen = _browsed(tmp_path, url_with_password)
    assert "slow" in seen
    assert CANARY not in seen
    written = [path for path in run_dir.home.rglob("*") if path.is_file()]
    assert run_dir.definition("slow") in written
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []


def test_commands_after_a_launch_say_what_they_need(
    hpo: Hpo, write_study: Callable[..., Path], url_with_password: str
) -> None:
    """They would else ask another storage, which has no such study."""
    write_study(INSTANT.replace("instant", "slow").replace("trials=5", "trials=1"), "slow.py")
    answer = hpo("launch", "--study", "slow", "--workers", "1", "--storage", url_with_password)
    assert "Next, with HPO_STORAGE set to the same storage:\n  hpo trials --study slow\n" in answer.stdout


def test_commands_after_a_launch_can_be_pasted(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path, run_dir: RunDir
) -> None:
    """Into a shell, whatever the storage is called, and in another folder."""
    write_study(INSTANT.replace("trials=5", "trials=1"))
    answer = hpo("launch", "--study", "instant", "--workers", "1", "--storage", "sqlite:///it's my/h p o.db")
    [line] = [line for line in answer.stdout.splitlines() if "hpo trials" in line]
    shell = ["sh", "-c", f'hpo() {{ "{sys.executable}" -m hpo "$@"; }}\n{line}']
    (tmp_path / "elsewhere").mkdir()
    pasted = subprocess.run(shell, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=True)
    assert "COMPLETE" in pasted.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_in_any_encoding_is_no_traceback(
    encoding: str, write_study: Callable[..., Path], run_dir: RunDir, tmp_path: Path
) -> None:
    """A sign that it lacks is written as its number."""
    write_study(INSTANT.replace("budget=", 'description="Größe → 網路", budget='))

    def output(*arguments: str) -> str:
        command = [sys.executable, "-m", "hpo", *arguments]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
        return (answer.stdout + answer.stderr).decode(encoding)

    assert "Traceback" not in output("--help")
    listed = "Größe → 網路".encode(encoding, "backslashreplace").decode(encoding)
    assert listed in output("studies")
    assert output("launch", "--study", "網").startswith("hpo: No study is called")


def _browsed(folder: Path, url: str) -> str:
    """What the dashboard of a storage answers, prints, and shows of itself to `ps`."""
    with subprocess.Popen(
        [sys.executable, "-m", "hpo", "dashboard", "--no-browser", "--port", "0", "--storage", url],
        cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as dashboard:  # fmt: skip
        assert dashboard.stdout is not None
        address = urlsplit(dashboard.stdout.readline().removeprefix("optuna-dashboard: ").strip())
        bearer = {"Authorization": f"Bearer {parse_qs(address.query)['token'][0]}"}
        seen = [" ".join(psutil.Process(dashboard.pid).cmdline())]
        opener = build_opener(ProxyHandler({}))  # it is on this machine
        for path in ("/dashboard", "/api/studies", "/api/meta", "/api/studies/1", "/api/studies/x"):
            request = Request(f"http://{address.netloc}{path}", headers=bearer)
            try:
                with opener.open(request, timeout=30) as answer:
                    seen.append(answer.read().decode())
            except HTTPError as error:
                seen.append(error.read().decode())
        dashboard.terminate()
        return "".join([*seen, *dashboard.communicate(timeout=30)])


def _everything_in(url: str) -> str:
    """Every value of every table of a PostgreSQL database, as text."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        tables = [sqlalchemy.text(f'SELECT * FROM "{table}"') for table in sqlalchemy.inspect(engine).get_table_names()]
        found = [str(row) for table in tables for row in connection.execute(table)]
    engine.dispose()
    return "\n".join(found)


# Clumsy users


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
    """What could not be written did not succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "hpo", "status", "--study", "sheet"],
            cwd=tmp_path, env={**environment, "HPO_HOME": str(launched.home)}, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert answer.returncode == 1
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
    line = _line(hpo(*arguments, code=code, HPO_HOME=str(tmp_path / "home")))
    assert str(tmp_path / "home") in line
    assert (tmp_path / "home").read_text() == "a file"


def test_an_output_that_cannot_be_written_is_one_line(hpo: Hpo, digits: Place, tmp_path: Path) -> None:
    """A folder in its place; nothing is left beside it."""
    (tmp_path / "pictures").mkdir()
    show = ["data", "show", "--dataset", "digits"]
    line = _line(hpo(*show, "--output", "pictures", code=2, HPO_HOME=str(digits.home)))
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
    _line(answer)
    assert _studies(run_dir) == ["sheet"]


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
    launcher = _launch(tmp_path)
    _wait_for_a_trial(launcher, run_dir)
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
    launcher = _launch(tmp_path, "--trials", "2", "--max-epochs", "20")
    _wait_for_a_trial(launcher, run_dir)
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
    assert _studies(run_dir) == []


def test_a_model_needs_a_backend_that_there_is(
    hpo: Hpo, exported: tuple[Place, dict[str, Any]], tmp_path: Path
) -> None:
    """As a launch does."""
    model, image = (str(exported[0].folder / name) for name in ("best.h5", "digit.png"))
    line = _line(hpo("predict", model, image, code=2, KERAS_BACKEND="nonsense"))
    assert "KERAS_BACKEND" in line
    assert "nonsense" in line


# Studies that misbehave


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
    assert _studies(run_dir) == []
    assert "1 of 1 done." in hpo("launch", *options, "--no-export-check").stdout
    line = _line(hpo("export", "--study", "bad", "--output", "best.h5", code=2))
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
