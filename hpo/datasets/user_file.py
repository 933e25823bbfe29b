"""A user's own images: one ``.npz`` or ``.npy`` file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Content, Images, Labels, Split, content_sha256
from hpo.datasets.npz import read_npz
from hpo.datasets.pickled import read_pickled
from hpo.datasets.stratification import stratified_split
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir

_KERAS = ("x_train", "y_train", "x_test", "y_test")
_PLAIN = ("features", "target")
_TEST_FRACTION = 0.1


@dataclass(frozen=True)
class UserFile:
    """A file with the arrays ``x_train, y_train, x_test, y_test``, as Keras names them, or ``features, target``.

    Features are (n, height, width) or (n, height, width, channels), uint8 or float from 0 to 1. Labels are integers
    from 0 or from 1. If there is no test part, a stratified tenth is set aside as one.
    """

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def cache_key(self) -> str:
        """A key of the file's path, size and time, because hashing the file takes too long.

        Raises:
            DatasetError: there is no such file.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise DatasetError(
                f"A data file must exist and be readable, but got {self.path} ({error.strerror}). Check the path."
            ) from error
        identity = f"{self.path.absolute()} {stat.st_size} {stat.st_mtime_ns}"
        return f"file-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def read(self, run_dir: RunDir) -> Content:
        """Read and check the file.

        Raises:
            DatasetError: it is damaged, or its arrays cannot be used as images and labels.
        """
        read = read_npz if self.path.suffix == ".npz" else read_pickled
        arrays = read(self.path, _KERAS + _PLAIN)
        if all(key in arrays for key in _KERAS):
            train = self._examples(arrays, "x_train", "y_train")
            test = self._examples(arrays, "x_test", "y_test")
            values = self._values(train.labels)
            if train.images.shape[1:] != test.images.shape[1:]:
                raise self._error(
                    f"have images in x_test of the shape of those in x_train, {train.images.shape[1:]}",
                    test.images.shape[1:],
                    "Resize one.",
                )
            if strange := np.setdiff1d(test.labels, values).tolist()[:10]:
                raise self._error("have no label in y_test that y_train lacks", strange, "Remove those examples.")
        elif all(key in arrays for key in _PLAIN):
            whole = self._examples(arrays, "features", "target")
            values = self._values(whole.labels)
            train, test = map(whole.take, stratified_split(whole.labels, _TEST_FRACTION, seed=0))
        else:
            raise self._error(
                f"hold {' and '.join(_PLAIN)}, or {', '.join(_KERAS)}",
                ", ".join(arrays) or "none of them",
                "Save it again with all of them.",
            )
        train, test = (Split(split.images, split.labels - values[0]) for split in (train, test))
        return Content(train, test, tuple(map(str, values)), content_sha256(train, test))

    def _values(self, labels: Labels) -> list[int]:
        """Each label once, in order."""
        values: list[int] = np.unique(labels).tolist()
        if values[0] not in (0, 1) or len(values) < 2 or values[-1] - values[0] != len(values) - 1:
            shown = ", ".join(map(str, values[:10])) + (", …" if len(values) > 10 else "")
            raise self._error(
                "have two labels or more, numbered from 0 or 1 without a gap",
                shown,
                "Renumber them, as with np.unique(labels, return_inverse=True)[1].",
            )
        return values

    def _examples(self, arrays: dict[str, NDArray[Any]], features: str, target: str) -> Split:
        images = self._images(features, arrays[features])
        labels = self._labels(target, arrays[target])
        if len(images) != len(labels):
            raise self._error(
                f"have as many {features} as {target}", f"{len(images)} and {len(labels)}", "Give each image one label."
            )
        return Split(images, labels)

    def _images(self, key: str, array: NDArray[Any]) -> Images:
        if array.ndim not in (3, 4) or not array.size:
            raise self._error(
                f"have {key} of shape (n, height, width) or (n, height, width, channels), none of them 0",
                array.shape,
                "Reshape it, as with array.reshape(-1, 28, 28).",
            )
        if array.ndim == 3:
            array = array[..., np.newaxis]
        if array.dtype == np.uint8:
            return np.ascontiguousarray(array)
        if array.dtype.kind != "f":
            raise self._error(f"have {key} of uint8, or of float from 0 to 1", array.dtype, "Convert it.")
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # NaN fails, too
            raise self._error(
                f"have {key} from 0 to 1 without NaN if it is float",
                f"{low} to {high}",
                "Divide by 255, or save uint8.",
            )
        scaled: Images = np.rint(array * 255).astype(np.uint8)
        return scaled

    def _labels(self, key: str, array: NDArray[Any]) -> Labels:
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]  # the shape of CIFAR's labels in Keras
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise self._error(
                f"have {key} of integers in one dimension",
                f"{array.dtype} of shape {array.shape}",
                "Number the classes from 0 and save one number per image.",
            )
        return array.astype(np.int64)

    def _error(self, rule: str, value: object, remedy: str) -> DatasetError:
        return DatasetError(f"{self.path} must {rule}, but got {value}. {remedy}")
