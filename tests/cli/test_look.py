"""The commands that show what there is, as a user types them."""

import csv
import io
import json
import subprocess
import sys

import pytest
from command import Hpo
from commandline import SHIPPED, Place, only_line
from PIL import Image

from hpo.files.run_dir import RunDir


def test_an_unknown_format_is_refused(hpo: Hpo) -> None:
    """With those there are."""
    answer = hpo("trials", "--study", "s", "--format", "xml", code=2)
    assert "--format must be table or csv, but got 'xml'." in only_line(answer)


def test_an_unknown_stored_study_is_refused(hpo: Hpo, launched: Place) -> None:
    """With the nearest that is there."""
    line = only_line(hpo("status", "--study", "shet", code=2, HPO_HOME=str(launched.home)))
    assert "no study called 'shet'" in line
    assert "Did you mean sheet?" in line


def test_a_storage_that_is_not_there_yet_is_named(hpo: Hpo, run_dir: RunDir) -> None:
    """Looking does not make one."""
    line = only_line(hpo("status", "--study", "s", code=2))
    assert str(run_dir.database) in line
    assert "`hpo launch` makes it" in line
    assert not run_dir.home.exists()


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
