"""Files that are never seen half written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.files.writing import replacing, write_json


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
