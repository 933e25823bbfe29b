import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpo.datasets.npz import read_npz
from hpo.errors import DatasetError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "own.npz"
    np.savez_compressed(path, features=np.arange(10_000) % 1001, target=np.arange(3))
    return path


def test_only_the_named_arrays_are_read(path: Path) -> None:
    assert read_npz(path, ("target", "other"))["target"].tolist() == [0, 1, 2]
    assert list(read_npz(path, ("target", "other"))) == ["target"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def text(path: Path) -> None:
    path.write_text("features,target\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(3))


def objects(path: Path) -> None:
    np.savez(path, features=np.array([{}], dtype=object))


def huge(path: Path) -> None:
    """Its header declares an exbibyte of numbers."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**57,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", header.getvalue())


@pytest.mark.parametrize("change", [cut, flip, text, empty, one_array, objects, huge])
def test_anything_but_a_whole_archive_of_plain_arrays_is_refused(path: Path, change: Callable[[Path], None]) -> None:
    change(path)
    with pytest.raises(DatasetError, match=r"own.npz must be a whole .npz file of plain arrays, .*Write or download"):
        read_npz(path, ("features",))
