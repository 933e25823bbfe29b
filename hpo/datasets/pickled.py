"""Reading a pickled dict of arrays from a file that is not trusted.

A pickle can call everything that its reader lets it name. To admit only NumPy's names is not enough: ``ndarray`` and
``dtype``, called with made-up arguments, end the process with a segmentation fault (NumPy 2.4), so a pickle could write
to any memory. Therefore the names lead to the classes below, which only keep their arguments; functions that check
them make the arrays afterwards.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import DatasetError


class _Dtype:
    """Replaces ``numpy.dtype``; keeps the code, such as "f8", and the byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def values(self, data: bytes) -> NDArray[Any]:
        # NumPy refuses Python objects here; their bytes would be addresses.
        return np.frombuffer(data, np.dtype(self.order + self.code))


class _Array:
    """Replaces ``numpy.ndarray``; keeps the parts of one until NumPy asks for the array."""

    def __init__(self, *_: object) -> None:
        """Ignore the arguments of ``_reconstruct``, which are those of an empty array."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[Any]:
        values: NDArray[Any] = self.dtype.values(self.data)
        return values.reshape(self.shape, order="F" if self.fortran else "C")


def _frombuffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return dtype.values(data)[0]


def _latin1(text: str, _: str) -> bytes:
    return text.encode("latin1")


# What NumPy 1 calls `core`, NumPy 2 calls `_core`.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise DatasetError(
                f"A data file must hold plain arrays and nothing else, but got the global {module}.{name}, "
                "which could run any code. Do not trust this file; save the arrays with np.savez instead."
            ) from None


def read_pickled(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays that ``keys`` names, from a dict written by ``np.save``; nothing in the file is executed.

    Raises:
        DatasetError: the file is damaged, or holds anything except a dict of arrays, lists and numbers.
    """
    try:
        file = io.BytesIO(path.read_bytes())
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        # NumPy writes the dict as an array without dimensions that has one object in it.
        (held,) = _Unpickler(file).load().data
        return {key: np.asarray(held[key]) for key in keys if key in held}
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    # With damaged data the pickle module may raise any error.
    except Exception as error:
        raise DatasetError(
            f"{path} must be a dict of arrays as np.save writes it, but reading it failed: {error!r}. "
            'Write it again with np.save(path, {"features": features, "target": target}).'
        ) from error
