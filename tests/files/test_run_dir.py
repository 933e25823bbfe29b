"""Names that stay inside their folder, paths that stay inside the home, and files that are never seen half written."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import StudyError
from hpo.files.run_dir import RunDir, check_study_name
from hpo.files.writing import replacing, write_json


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


def test_replacing_shows_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """A reader that comes while it is written sees all of the old one."""
    path = tmp_path / "report.html"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_makes_folders_and_keeps_the_suffix(tmp_path: Path) -> None:
    """Keras chooses a model's format by the suffix of the path it is given."""
    path = tmp_path / "a" / "b" / "best.keras"
    with replacing(path) as temporary:
        assert temporary.suffix == ".keras"
        assert temporary.parent == path.parent  # on one file system, where a move is atomic
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", ["old", None], ids=["over-a-file", "new-file"])
def test_replacing_cleans_up_on_error(error: type[BaseException], old: str | None, tmp_path: Path) -> None:
    """What was there stays, and nothing else is left behind, Ctrl-C included."""
    path = tmp_path / "best.h5"
    if old is not None:
        path.write_text(old)

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [file.read_text() for file in tmp_path.iterdir()] == ([old] if old else [])


def test_replacing_cleans_up_where_the_move_fails(tmp_path: Path) -> None:
    """Such as onto a folder."""
    folder = tmp_path / "best.h5"
    folder.mkdir()
    with pytest.raises(OSError, match=r"best\.h5"), replacing(folder) as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    """SIGKILL lets nobody clean up, and still nobody sees half a file."""
    path = tmp_path / "definition.json"
    path.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from hpo.files.writing import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_a_result_is_readable_by_whom_umask_admits(tmp_path: Path) -> None:
    """A temporary file is its owner's alone; a dashboard under another account has to read the result."""
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "best.json", {})
        assert os.umask(0o027) == 0o027  # what the process had
    finally:
        os.umask(before)
    assert (tmp_path / "best.json").stat().st_mode & 0o777 == 0o640


def test_json_is_sorted_and_replaces_the_old_file(tmp_path: Path) -> None:
    """The same value gives the same bytes, whatever the order it was made in."""
    path = tmp_path / "best.json"
    write_json(path, {"b": "é", "a": [1, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1, None], "b": "é"}
    first = path.read_bytes()
    write_json(path, {"a": [1, None], "b": "é"})
    assert path.read_bytes() == first
    assert first.endswith(b"}\n")


def test_what_is_not_json_leaves_the_old_file(tmp_path: Path) -> None:
    """An error in what is written costs nothing that was there."""
    path = tmp_path / "best.json"
    write_json(path, {"accuracy": 0.9})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"accuracy": object()})
    assert json.loads(path.read_text()) == {"accuracy": 0.9}
    assert list(tmp_path.iterdir()) == [path]
