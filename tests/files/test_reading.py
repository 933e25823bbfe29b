"""Files that a person named are opened, or refused in one line."""

import hashlib
import os

import pytest

from hpo.errors import FileError
from hpo.files.reading import open_file, reading, sha256


def test_opens_a_file(tmp_path):
    """An ordinary file is opened for reading bytes, and closed after the block."""
    (tmp_path / "a").write_bytes(b"abc")
    with open_file(tmp_path / "a") as stream:
        assert stream.read() == b"abc"
    assert stream.closed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("missing.h5", "missing.h5 does not. Check the path", id="missing"),
        pytest.param("folder", "folder is a folder. Name a file", id="folder"),
        pytest.param("pipe", "pipe is neither file nor folder", id="pipe-that-nobody-writes-to"),
        pytest.param("file/below", "is not .Not a directory", id="below-a-file"),
        pytest.param("n" * 300, "is not .File name too long", id="name-too-long"),
        pytest.param("null\0", "null", id="null-character"),
    ],
)
def test_refuses(tmp_path, name, message):
    """What cannot be read as a file is refused, without waiting."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match=message), open_file(tmp_path / name):
        pass


def test_refuses_a_file_without_permission(tmp_path):
    """A file that may not be read is refused, with the system's reason."""
    path = tmp_path / "secret"
    path.touch(mode=0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(FileError, match="Permission denied"), open_file(path):
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(ValueError("one\n  two"), "ValueError: one two", id="lines-joined"),
        pytest.param(MemoryError(), r"is not \(MemoryError\)", id="no-message"),
        pytest.param(OSError("x" * 5000), "OSError: x{300}\\)", id="long-message-cut"),
    ],
)
def test_reading_makes_one_line_of_any_error(tmp_path, error, message):
    """Whatever damaged contents raise becomes one line that names the path and the way out."""
    with pytest.raises(FileError, match=message) as caught, reading(tmp_path / "a", "Do this."):
        raise error
    text = str(caught.value)
    assert str(tmp_path / "a") in text
    assert text.endswith("Do this.")
    assert "\n" not in text


def test_reading_leaves_a_file_error_as_it_is(tmp_path):
    """A FileError that says more is not wrapped again."""
    with pytest.raises(FileError, match=r"^exactly this$"), reading(tmp_path):
        raise FileError("exactly this")


def test_sha256(tmp_path):
    """The digest is the file's SHA-256; a missing file is refused."""
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(FileError, match="missing"):
        sha256(tmp_path / "missing")
