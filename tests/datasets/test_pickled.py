import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.datasets.pickled import read_pickled
from hpo.errors import DatasetError

KEYS = ("features", "target")


class Call:
    """Pickles as a call, and what is set on its result."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def save(path: Path, held: Any, protocol: int = 4) -> None:
    """As ``np.save`` writes an object, in any protocol."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        array = np.empty((), object)
        array[()] = held
        pickle.dump(array, file, protocol=protocol)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own.npy"


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), id="uint8"),
        pytest.param(np.linspace(0, 1, 24).reshape(2, 3, 4), id="float64"),
        pytest.param(np.linspace(0, 1, 24, dtype=">f4").reshape(2, 3, 4), id="big-endian"),
        pytest.param(np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)), id="fortran-order"),
        pytest.param(np.arange(24.0).reshape(2, 3, 4)[:, ::2], id="not-contiguous"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_back_as_they_were_saved(path: Path, features: np.ndarray, protocol: int) -> None:
    save(path, {"features": features, "target": [1, np.int64(2)], "extra": "text"}, protocol)
    read = read_pickled(path, KEYS)
    assert list(read) == ["features", "target"]
    assert read["features"].dtype == features.dtype
    np.testing.assert_array_equal(read["features"], features)
    assert read["target"].tolist() == [1, 2]


def test_a_file_of_numpy_itself_is_read(path: Path) -> None:
    np.save(path, {"features": np.ones((2, 3)), "target": np.arange(2)})  # type: ignore[arg-type]
    assert read_pickled(path, KEYS)["features"].tolist() == [[1, 1, 1], [1, 1, 1]]


def test_files_of_numpy_1_are_read(path: Path) -> None:
    save(path, {"features": np.ones(3)}, protocol=3)
    path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))
    assert read_pickled(path, KEYS)["features"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        pytest.param((exec, ("open('touched', 'w')",)), "builtins.exec", id="exec"),
        pytest.param((Path.touch, (Path("touched"),)), r"pathlib\.Path\.touch", id="path"),
        pytest.param((np.save, ("touched.npy", 1)), "numpy.save", id="numpy"),
        pytest.param((getattr, ("", "join")), "builtins.getattr", id="getattr"),
    ],
)
def test_a_pickle_that_would_run_code_is_refused_by_the_name_of_what_it_calls(
    path: Path, call: tuple[Any, ...], name: str
) -> None:
    save(path, {"features": Call(*call), "target": [0]})
    with pytest.raises(DatasetError, match=rf"own.npy: .* got the global {name}, .* Do not trust this file"):
        read_pickled(path, KEYS)
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    "features",
    [
        # Each of these ends a process that unpickles with NumPy's own classes.
        pytest.param(Call(np.ndarray, ((1,), np.dtype("O"), b"A" * 8)), id="array-of-addresses"),
        pytest.param(
            (*np.ones(2).__reduce__()[:2], (1, (2,), np.dtype("O"), False, b"A" * 16)), id="state-of-addresses"
        ),
        pytest.param((*np.ones(2).__reduce__()[:2], (1, (2**40,), np.dtype("f8"), False, b"A")), id="too-short"),
        pytest.param(np.array([{}, {}]), id="objects"),
        pytest.param([[1, 2], [3]], id="ragged"),
    ],
)
def test_arrays_that_are_none_are_refused(path: Path, features: Any) -> None:
    save(path, {"features": Call(*features) if isinstance(features, tuple) else features, "target": [0]})
    with pytest.raises(DatasetError, match=r"own.npy must be a dict of arrays .* Write it again with np.save"):
        read_pickled(path, KEYS)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"features,target\n", id="text"),
        pytest.param(pickle.dumps({"features": 1}), id="plain-pickle"),
    ],
)
def test_other_files_are_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"own\.npy must be a dict of arrays"):
        read_pickled(path, KEYS)


@pytest.mark.parametrize("array", [np.arange(3), np.array([None, {}]), np.array(None)])
def test_npy_files_without_a_dict_are_refused(path: Path, array: np.ndarray) -> None:
    np.save(path, array)
    with pytest.raises(DatasetError, match=r"own\.npy must be a dict of arrays"):
        read_pickled(path, KEYS)


def test_a_truncated_file_is_refused(path: Path) -> None:
    save(path, {"features": np.ones(100), "target": [0]})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DatasetError, match=r"own\.npy must be a dict of arrays"):
        read_pickled(path, KEYS)
