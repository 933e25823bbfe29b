"""Comparisons on the command line: launched, reported, compared; and every refusal in one line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import INSTANT, Hpo
from optuna.distributions import IntDistribution
from recorded import Recorded

from hpo import Budget, vary
from hpo.files.run_dir import RunDir
from hpo.models import build_cnn
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url
from hpo.study import catalog

# Its values can be told from its parameters; one of its settings cannot be computed.
KINDS = """
from hpo import Budget, Comparison, Setting

def score(params, trial):
    return params["offset"] + {"low": 1.0, "high": 2.0}[params["kind"]]

study = Comparison(
    name="kinds", description="Three kinds, twice each", task=score, direction="maximize", budget=Budget(),
    repeats=2, base={"offset": 0.25}, remarks="Theirs had no third kind.",
    settings=[
        Setting({"kind": "low"}, {"seconds": 7}),
        Setting({"kind": "none"}, {"seconds": 5}, name="the third"),
        Setting({"kind": "high"}),
    ],
)
"""

HEAD = """
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from hpo import Budget, Comparison, Search, Setting, grid, vary

def score(params, trial):
    return 0.5

def define(**fields):
    kind = Comparison if "settings" in fields else Search
    return kind(**{"name": "bad", "task": score, "direction": "maximize", "budget": Budget(), **fields})
"""


@dataclass(frozen=True)
class Place:
    """A folder in which both studies were launched once; and what the launches of ``kinds`` printed."""

    folder: Path
    first: str
    second: str

    @property
    def home(self) -> Path:
        return self.folder / "runs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("comparisons")
    (folder / "studies").mkdir()
    (folder / "studies" / "kinds.py").write_text(KINDS)
    (folder / "studies" / "instant.py").write_text(INSTANT)
    kept = {name: value for name, value in os.environ.items() if name != "HPO_STORAGE"}

    def launch(study: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-m", "hpo", "launch", "--study", study, "--workers", "1", "--gpus", "none"],
            cwd=folder, env={**kept, "HPO_HOME": str(folder / "runs"), "COLUMNS": "160"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert (answer.returncode, "Traceback" in answer.stderr) == (0, False), answer.stderr
        return answer.stdout

    launch("instant")
    return Place(folder, launch("kinds"), launch("kinds"))


@pytest.fixture
def launched(place: Place, run_dir: RunDir) -> None:
    """The home of the test is a copy of that folder's."""
    shutil.copytree(place.home, run_dir.home)


def _line(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal: nothing on stdout, no traceback, no second line."""
    assert answer.stdout == ""
    [line] = answer.stderr.splitlines()
    assert line.startswith("hpo: ")
    return line.removeprefix("hpo: ")


def _record(source: Path, run_dir: RunDir) -> None:
    """What a launch does before it starts workers."""
    storage = open_storage(resolve_url(None, run_dir), write=True)
    stored_study.create_or_resume(storage, catalog.load(str(source)), run_dir)
    backend_of(storage).engine.dispose()


# Launched


def test_a_comparison_is_launched_like_a_search(place: Place) -> None:
    """A setting that fails is a result; what comes next is its report."""
    lines = place.first.splitlines()
    assert "6 trials in this launch; 6 of 6 done." in lines
    assert "Best trial of kinds: 2, value 2.2500" in lines
    assert "  kind = high" in lines
    assert lines[lines.index("Next:") :] == [
        "Next:",
        "  hpo report --study kinds",
        "  hpo trials --study kinds",
        "  hpo dashboard",
    ]


def test_launched_again_it_runs_nothing(place: Place) -> None:
    """It has no more trials, and none are offered."""
    assert "Nothing to run: all 6 trials of kinds are done.\n" in place.second
    assert "--trials" not in place.second


def test_more_trials_than_it_has_are_refused(hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir) -> None:
    """With how many it has; nothing is stored."""
    write_study(KINDS, "kinds.py")
    assert _line(hpo("launch", "--study", "kinds", "--trials", "7", code=2)) == (
        "Study 'kinds': the comparison has 3 settings with 2 repeats, so at most 6 trials, but its budget is 7."
    )
    assert not run_dir.database.exists()


@pytest.mark.usefixtures("launched")
def test_a_corrected_figure_needs_no_new_trial(hpo: Hpo, write_study: Callable[..., Path]) -> None:
    """The next launch writes it down; the report then has it."""
    write_study(KINDS.replace('{"seconds": 7}', '{"seconds": 8}'), "kinds.py")
    assert "Nothing to run: all 6 trials of kinds are done." in hpo("launch", "--study", "kinds").stdout
    rows = json.loads(hpo("report", "--study", "kinds", "--json").stdout)["kinds"]
    assert rows[0]["reported"] == {"seconds": 8}


@pytest.mark.usefixtures("launched")
def test_a_changed_setting_is_refused_with_the_difference(hpo: Hpo, write_study: Callable[..., Path]) -> None:
    """Its trials would be averaged with those of another."""
    write_study(KINDS.replace('"kind": "none"', '"kind": "other"'), "kinds.py")
    assert _line(hpo("launch", "--study", "kinds", "--amend", code=2)) == (
        "Study 'kinds' has changed since its first launch, so that its trials cannot be compared: "
        'settings.1.kind: "none" -> "other". '
        "Launch it under another name with --name."
    )


def test_the_list_of_studies_counts_the_trials_of_a_comparison(hpo: Hpo, write_study: Callable[..., Path]) -> None:
    """Before it was ever launched."""
    write_study(KINDS, "kinds.py")
    rows = {row["name"]: row for row in json.loads(hpo("studies", "--json").stdout)}
    assert (rows["kinds"]["budget"], rows["kinds"]["description"]) == (6, "Three kinds, twice each")


# Refused study files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "a = define(settings=grid({'units': IntDistribution(1, 2), 'rate': FloatDistribution(0.0, 0.5)}))",
            "A grid needs a finite number of values, but 'rate' is continuous: "
            "FloatDistribution(high=0.5, log=False, low=0.0, step=None). "
            "Give it a step, or list its values in a CategoricalDistribution.",
            id="continuous-grid",
        ),
        pytest.param(
            "a = define(settings=grid({'units': IntDistribution(1, 2)}, [({'units': 3}, {'test_accuracy': 0.9})]))",
            "Figures must be reported for settings of the grid, but {'units': 3} is none of its 2. "
            "The first is {'units': 1}.",
            id="figure-outside-of-the-grid",
        ),
        pytest.param(
            "a = define(settings=vary('units', {1: {'test_accuracy': 90.1}}))",
            "A reported test_accuracy must lie between 0 and 1, but got 90.1. Divide by 100.",
            id="percent",
        ),
        pytest.param(
            "a = define(settings=[Setting({'units': 1}, 'first')])",
            "The reported figures of a setting must be a dictionary, but got 'first'.",
            id="name-in-the-place-of-figures",
        ),
        pytest.param(
            "a = define(space={'units': IntDistribution(1, 2)})",
            "Study 'bad': a search must have an end. Write budget=Budget(trials=40), or Budget(seconds=1800).",
            id="a-search-without-trials",
        ),
        pytest.param(
            "a = define(settings=vary('units', {1: {}}), base={'activation': score})",
            "Study 'bad': `base` must be a dictionary of parameters that JSON can hold. It is {'activation': <function",
            id="function-in-the-base",
        ),
    ],
)
def test_a_bad_comparison_is_refused(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir, text: str, message: str
) -> None:
    """Its file is named, with what is wrong in it, and nothing is stored."""
    write_study(HEAD + text, "bad.py")
    line = _line(hpo("launch", "--study", "studies/bad.py", code=2))
    assert line.startswith(f"studies/bad.py: {message}")
    assert not run_dir.database.exists()


# Reports


@pytest.mark.usefixtures("launched")
def test_a_report_is_printed_as_markdown(hpo: Hpo) -> None:
    """Means over what ran, the setting that failed and why, the remarks, and the command; nothing else."""
    answer = hpo("report", "--study", "kinds", "--format", "md")
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert lines[:3] == ["## kinds", "", "Three kinds, twice each"]
    assert lines[4] == "| setting | kind | runs | seconds | reported | difference | value |"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[6:9]]
    assert [(row[0], row[1], row[2], row[4], row[6]) for row in cells] == [
        ("", "low", "2", "7.0", "1.2500 ± 0.0000"),
        ("the third", "none", "0", "5.0", "failed"),
        ("", "high", "2", "–", "2.2500 ± 0.0000"),
    ]
    assert lines[10:12] == ["Failed:", "- the third: error: KeyError: 'none'"]
    assert lines[13] == "Theirs had no third kind."
    assert lines[15] == "Base: offset=0.25.  "
    assert lines[16].startswith("Run: `hpo launch --study kinds`, 20")
    assert "; 6 trials; " in lines[16]
    assert len(lines) == 17


@pytest.mark.usefixtures("launched")
def test_several_studies_are_reported_together(hpo: Hpo) -> None:
    """A search among them by its best trials; as they are named."""
    text = hpo("report", "--study", "instant", "--study", "kinds").stdout
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## instant", "## kinds"]
    assert "\n| x | runs | seconds | value |\n" in text


@pytest.mark.usefixtures("launched")
def test_a_report_is_json(hpo: Hpo) -> None:
    """By study, a row for each setting, with numbers that nobody has rounded."""
    rows = json.loads(hpo("report", "--study", "kinds", "--study", "instant", "--json").stdout)
    assert rows.keys() == {"kinds", "instant"}
    low, third, high = rows["kinds"]
    assert (low["params"], low["reported"], low["figures"]["value"]) == (
        {"kind": "low"},
        {"seconds": 7},
        {"mean": 1.25, "sd": 0.0, "repeats": 2},
    )
    assert (third["name"], third["figures"], third["failures"]) == ("the third", {}, ["error: KeyError: 'none'"])
    assert high["figures"]["value"]["mean"] == 2.25
    assert len(rows["instant"]) == 5


@pytest.mark.usefixtures("launched")
def test_a_report_is_written_to_a_file(hpo: Hpo, tmp_path: Path) -> None:
    """Study by study: each replaces its own section and leaves the others. Written again it is the same."""
    path = tmp_path / "results" / "RESULTS.md"
    assert hpo("report", "--study", "kinds", "--output", str(path)).stdout == f"Wrote {path}.\n"
    hpo("report", "--study", "instant", "--output", str(path))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Results\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## instant", "## kinds"]
    assert hpo("report", "--study", "kinds").stdout in text
    hpo("report", "--study", "kinds", "--output", str(path))
    assert path.read_text(encoding="utf-8") == text
    assert [file.name for file in path.parent.iterdir()] == ["RESULTS.md"]


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"# My notes\n", id="another-text"),
        pytest.param(bytes(range(256)), id="no-text"),
    ],
)
def test_another_file_is_not_written_over(hpo: Hpo, tmp_path: Path, content: bytes) -> None:
    """Such as a model, whose name is mistyped as easily."""
    path = tmp_path / "best.h5"
    path.write_bytes(content)
    assert _line(hpo("report", "--study", "kinds", "--output", str(path), code=2)) == (
        "A report is added only to a report, but the file holds something else. Choose another --output."
    )
    assert path.read_bytes() == content


@pytest.mark.usefixtures("launched")
def test_a_folder_is_no_file_to_write(hpo: Hpo, tmp_path: Path) -> None:
    """The error says what it is."""
    line = _line(hpo("report", "--study", "kinds", "--output", str(tmp_path), code=2))
    assert line == f"--output must be a file that can be written, but {tmp_path} is not: Is a directory."


def test_another_format_is_refused(hpo: Hpo) -> None:
    """With the one there is."""
    assert _line(hpo("report", "--study", "kinds", "--format", "html", code=2)) == (
        "--format must be md, but got 'html'. --json prints the same as JSON."
    )


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    "arguments", [("report", "--study", "kinds", "--study", "kind"), ("compare", "kinds", "kind")], ids=lambda a: a[0]
)
def test_an_unknown_study_is_refused(hpo: Hpo, run_dir: RunDir, arguments: tuple[str, ...]) -> None:
    """With the nearest that is there; nothing of the others is printed."""
    assert _line(hpo(*arguments, code=2)) == (
        f"The storage sqlite:///{run_dir.database} holds no study called 'kind'. Did you mean kinds? "
        "`hpo launch --study kind` starts one."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ("report", "--study", "kinds"),
            "A report needs a finished trial, but 'kinds' has none. Run it with: hpo launch --study kinds",
            id="report",
        ),
        pytest.param(
            ("report", "--study", "kinds", "--output", "RESULTS.md"),
            "A report needs a finished trial, but 'kinds' has none. Run it with: hpo launch --study kinds",
            id="report-to-a-file",
        ),
        pytest.param(
            ("compare", "kinds"),
            "Study 'kinds' has no finished trial yet. Continue it with: hpo launch --study kinds",
            id="compare",
        ),
    ],
)
def test_a_study_without_trials_is_refused(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir, tmp_path: Path,
    arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    """With the command that runs it; no file is written."""
    _record(write_study(KINDS, "kinds.py"), run_dir)
    assert _line(hpo(*arguments, code=2)) == message
    assert not (tmp_path / "RESULTS.md").exists()


def test_a_report_in_json_of_a_study_without_trials_has_its_settings(
    hpo: Hpo, write_study: Callable[..., Path], run_dir: RunDir
) -> None:
    """Whoever reads it with a program asks how far it is."""
    _record(write_study(KINDS, "kinds.py"), run_dir)
    rows = json.loads(hpo("report", "--study", "kinds", "--json").stdout)["kinds"]
    assert [(row["params"]["kind"], row["figures"]) for row in rows] == [("low", {}), ("none", {}), ("high", {})]


# Comparisons


@pytest.mark.usefixtures("launched")
def test_studies_are_compared_in_a_table(hpo: Hpo) -> None:
    """A row each, as they are named; what a study with an objective has not is a dash."""
    answer = hpo("compare", "kinds", "instant")
    assert answer.stderr == ""
    head, kinds, instant = answer.stdout.splitlines()
    titles = ["study", "accuracy", "loss", "precision", "recall", "f1", "parameters", "seconds", "setting"]
    assert head.split() == titles
    assert kinds.split()[:7] == ["kinds", *["–"] * 6]
    assert kinds.split()[-1] == "kind=high"
    assert instant.split()[0] == "instant"
    assert instant.split()[-1].startswith("x=0.")


def test_a_comparison_says_which_figures_are_of_validation_images(hpo: Hpo, run_dir: RunDir) -> None:
    """Those of a search before its export; the others are of the test images."""
    network: dict[str, Any] = {"data": "digits", "model": build_cnn}
    storage = open_storage(resolve_url(None, run_dir), write=True)
    search = Recorded(
        storage, run_dir, **network, name="search", space={"x": IntDistribution(3, 3)}, budget=Budget(trials=1)
    )
    search.run(0.9, best_epoch=1, history={"val_accuracy": [0.9], "val_loss": [0.25]}, parameters=1000)
    comparison = Recorded(storage, run_dir, **network, name="comparison", settings=vary("x", {4: {}}))
    comparison.run(0.9, best_epoch=1, history={"val_accuracy": [0.9]}, test_accuracy=0.875, test_loss=0.5)
    backend_of(storage).engine.dispose()
    _head, first, second, note = hpo("compare", "search", "comparison").stdout.splitlines()
    assert first.split() == ["search", "0.9", "0.25", "–", "–", "–", "1000", "–", "x=3"]
    assert second.split() == ["comparison", "0.875", "0.5", "–", "–", "–", "–", "–", "x=4"]
    assert note == "On validation images: search. `hpo export` measures a search's best on the test images."


@pytest.mark.usefixtures("launched")
def test_a_comparison_is_json(hpo: Hpo) -> None:
    """A list of rows with the same keys."""
    kinds, instant = json.loads(hpo("compare", "kinds", "instant", "--json").stdout)
    assert list(kinds) == list(instant)
    assert (kinds["study"], kinds["setting"], kinds["accuracy"], kinds["measured_on"]) == (
        "kinds",
        "kind=high",
        None,
        None,
    )
    assert kinds["seconds"] >= 0


def test_a_comparison_of_nothing_is_refused(hpo: Hpo) -> None:
    """As an argument that is missing."""
    assert _line(hpo("compare", code=2)) == "Missing argument 'studies'."
