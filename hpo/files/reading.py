"""A file that a person named: opened, or refused in one line that says why."""

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from hpo.errors import FileError


@contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading bytes.

    Raises:
        FileError: it is missing, is a folder or a device, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        # Opening a pipe would wait for its writer, and reading a device may never end.
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "neither file nor folder"
            raise FileError(f"A path must lead to a file, but {path} is {kind}. Name a file.")
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise FileError(f"A file must exist to be read, but {path} does not. Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        why = getattr(error, "strerror", None) or error
        raise FileError(f"A file must be readable, but {str(path)!r} is not ({why}). Check it.") from error
    with stream:
        yield stream


@contextmanager
def reading(
    path: Path, remedy: str = "Copy or export it again.", *, rule: str = "A file must be whole to be used"
) -> Iterator[None]:
    """Turn every error that the block raises into a FileError: "rule, but path is not (…). remedy".

    It catches all of them because zipfile, zlib, HDF5, json, Pillow and Keras raise nearly every exception if bytes
    are damaged, and to the person who named the file all mean the same.
    """
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        found = " ".join(str(error).split())
        found = f"{type(error).__name__}: {found[:300]}" if found else type(error).__name__
        raise FileError(f"{rule}, but {path} is not ({found}). {remedy}") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file in lower-case hexadecimal, read in blocks.

    Raises:
        FileError: the file is missing or cannot be read.
    """
    with open_file(path) as stream, reading(path):
        return hashlib.file_digest(stream, "sha256").hexdigest()
