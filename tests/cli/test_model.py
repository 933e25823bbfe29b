"""The commands about trained models, as a user types them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from command import INSTANT, Hpo
from commandline import Place, only_line

from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url


def test_a_study_without_model_cannot_be_exported(launched: Place) -> None:
    """Its task is a function."""
    line = only_line(launched.hpo("export", "--study", "sheet", "--output", "a.h5", code=2))
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
    line = only_line(hpo("export", "--study", "instant", "--output", "a.h5", code=2))
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
    line = only_line(hpo("export", "--study", "small", *options, code=2, HPO_HOME=str(digits.home)))
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
    line = only_line(hpo(command, name, *rest, code=2))
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
    assert message in only_line(answer)
    assert (tmp_path / "best.h5").read_text() == "mine"


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
