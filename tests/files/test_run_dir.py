"""Names that stay inside their folder, and paths that stay inside the home."""

import re
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import StudyError
from hpo.files.run_dir import RunDir, check_study_name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("..", id="parent"),
        pytest.param("../elsewhere", id="out-of-the-folder"),
        pytest.param("a/../../b", id="out-through-a-folder"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("a/b", id="folder"),
        pytest.param("a\\b", id="folder-on-windows"),
        pytest.param("c:b", id="drive"),
        pytest.param("a\0b", id="nul"),
        pytest.param("a\n", id="newline-at-the-end"),
        pytest.param("a b", id="space"),
        pytest.param(".hidden", id="hidden"),
        pytest.param("-rf", id="option"),
        pytest.param("é", id="accent"),
        pytest.param("学习", id="chinese"),
        pytest.param("исследование", id="cyrillic"),
        pytest.param("٣", id="arabic-digit"),
        pytest.param("🦊", id="emoji"),
        pytest.param("a" * 101, id="101-characters"),
        pytest.param("a" * 300, id="300-characters"),
        pytest.param(None, id="none"),
        pytest.param(7, id="number"),
    ],
)
def test_names_that_are_no_folder_of_their_own_are_refused(name: Any, tmp_path: Path) -> None:
    """On one line that shows the name, cut where it is long, and the remedy; wherever a name becomes a path."""
    shown = re.escape(repr(name if len(str(name)) <= 60 else name[:60]))
    message = rf"\AA study name must start with .*, but got {shown}…?\. Choose another with --name\.\Z"
    with pytest.raises(StudyError, match=message):
        check_study_name(name)
    run_dir = RunDir(tmp_path)
    for path in (run_dir.study, run_dir.definition, run_dir.environment, run_dir.logs):
        with pytest.raises(StudyError, match=message):
            path(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "7", "fmnist-cnn", "Run_2.1-b", "a" * 100])
def test_plain_names_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    """Letters, digits, '.', '_' and '-', at most 100 of them."""
    assert check_study_name(name) == name
    assert RunDir(tmp_path).study(name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["hpo.db", "hpo.db-wal", "artifacts", "data", "locks", "test-reads.jsonl", "Data", "HPO.DB-journal"],
)
def test_the_names_of_our_own_files_are_refused(name: str) -> None:
    """A study called hpo.db would need a folder where the database is; some file systems ignore the case."""
    with pytest.raises(StudyError, match=f"cannot be called '{name}', like a file of hpo's own. .* --name"):
        check_study_name(name)


def test_every_file_that_stands_beside_the_studies_is_reserved(tmp_path: Path) -> None:
    """One that is new here has to be refused as a name as well."""
    run_dir = RunDir(tmp_path)
    properties = [name for name, value in vars(RunDir).items() if isinstance(value, property)]
    assert len(properties) >= 5
    for name in properties:
        with pytest.raises(StudyError, match="like a file of hpo's own"):
            run_dir.study(getattr(run_dir, name).name)


def test_every_path_lies_in_the_home(tmp_path: Path) -> None:
    """So that a test, or a user, moves the whole world by one folder; and no two of them are one."""
    run_dir = RunDir(tmp_path)
    shared = [run_dir.database, run_dir.artifacts, run_dir.data_cache, run_dir.locks, run_dir.test_reads]
    of_study = [run_dir.definition("s"), run_dir.environment("s"), run_dir.logs("s")]
    assert all(path.is_relative_to(tmp_path) for path in shared)
    assert all(path.is_relative_to(run_dir.study("s")) for path in of_study)
    assert len({*shared, *of_study}) == len(shared) + len(of_study)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "home"),
    [
        pytest.param(None, "work/runs", id="default"),
        pytest.param("", "work/runs", id="empty"),
        pytest.param("elsewhere", "work/elsewhere", id="relative"),
        pytest.param("~/runs", "user/runs", id="tilde"),
    ],
)
def test_home_comes_from_the_environment(
    value: str | None, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absolute, so that it stays the same for a worker that was started elsewhere."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("HPO_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("HPO_HOME", value)
    assert RunDir.from_environment().home == tmp_path / home
