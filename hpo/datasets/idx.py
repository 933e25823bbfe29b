"""Fashion-MNIST and MNIST: four gzip-compressed IDX files, found or downloaded, and checked before use.

The IDX format is LeCun's (http://yann.lecun.com/exdb/mnist): two zero bytes, a type (8 is uint8), the number of
dimensions, each dimension as a big-endian 32-bit integer, then the values.
"""

import gzip
import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo.datasets.dataset import Content, Images, Split
from hpo.datasets.download import download
from hpo.datasets.npz import read_npz
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir, expanded

# The order of everything below: train images, train labels, test images, test labels.
_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_KERAS_KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class IdxSource:
    """A data set of four IDX files.

    Attributes:
        name: of the data set and of its folder.
        classes: the name of each label.
        sha256: the hashes of the four uncompressed files, in the order of `_FILES`.
        urls: folders from which the files can be downloaded, tried in order.
    """

    name: str
    classes: tuple[str, ...]
    sha256: tuple[str, str, str, str]
    urls: tuple[str, ...]

    @property
    def identity(self) -> str:
        """The SHA-256 of what ``sha256sum`` prints for the four uncompressed files, in the order of `_FILES`."""
        lines = (f"{pin}  {file.removesuffix('.gz')}\n" for file, pin in zip(_FILES, self.sha256, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def cache_key(self) -> str:
        return f"{self.name}-{self.identity[:16]}"

    def read(self, run_dir: RunDir) -> Content:
        """Find the four files, each in the first place that has it, or download them.

        Raises:
            DatasetError: a file is damaged or altered, or is nowhere and cannot be downloaded.
        """
        train_images, train_labels, test_images, test_labels = (
            decode(self._file(index, run_dir)) for index in range(len(_FILES))
        )
        return Content(
            Split(train_images[..., np.newaxis], train_labels.astype(np.int64)),
            Split(test_images[..., np.newaxis], test_labels.astype(np.int64)),
            self.classes,
            self.identity,
        )

    def _file(self, index: int, run_dir: RunDir) -> bytes:
        """The uncompressed content of one file."""
        file, pin = _FILES[index], self.sha256[index]
        keras = expanded(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"
        named = os.environ.get("HPO_DATA_DIR")
        folders = [expanded(named)] if named else []
        folders += [Path("data"), Path("../shared/data"), run_dir.data_cache, keras]
        for folder in folders:
            path = folder / self.name / file
            try:
                return unpack(path.read_bytes(), pin)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                raise _altered(path, error) from error
        # Keras keeps MNIST in this form, but not Fashion-MNIST.
        path = keras / f"{self.name}.npz"
        if path.is_file() and (arrays := read_npz(path, _KERAS_KEYS[index : index + 1])):
            try:
                return check(encode(arrays[_KERAS_KEYS[index]]), pin)
            except ValueError as error:
                raise _altered(path, error) from error
        return self._download(file, pin, run_dir)

    def _download(self, file: str, pin: str, run_dir: RunDir) -> bytes:
        failures = []
        for url in self.urls:
            try:
                return download(f"{url}/{file}", run_dir.data_cache / self.name / file, lambda data: unpack(data, pin))
            except (OSError, ValueError) as error:
                failures.append(f"{url}/{file}: {error}")
        raise DatasetError(
            f"{self.name} must be on this machine or downloadable, but {file} is in none of HPO_DATA_DIR, ./data, "
            f"../shared/data, {run_dir.data_cache} and Keras's cache, and could not be downloaded "
            f"({'; '.join(failures)}). Set HPO_DATA_DIR to a folder that holds {self.name}/{file}, "
            "or run the study digits-cnn, which needs no download."
        )


def unpack(data: bytes, sha256: str) -> bytes:
    """Decompress gzip data and check it.

    Raises:
        ValueError: it is damaged, or its content does not have this ``sha256``.
    """
    try:
        content = gzip.decompress(data)
    except EOFError as error:
        raise ValueError("it ends too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"it is not a whole gzip file ({error})") from error
    return check(content, sha256)


def check(content: bytes, sha256: str) -> bytes:
    """Return ``content`` if it has this SHA-256.

    Raises:
        ValueError: it has another one.
    """
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise ValueError(f"its uncompressed content has SHA-256 {actual}, not {sha256}")
    return content


def decode(content: bytes) -> Images:
    """The array in an IDX file of uint8 values, whose hash has been checked."""
    dimensions = content[3]
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def encode(array: Images) -> bytes:
    """The IDX file of a uint8 array; the inverse of `decode`."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _altered(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path} must be the official file, but {error}. "
        "Delete it: the next run then finds it elsewhere or downloads it again."
    )


FASHION_MNIST = IdxSource(
    name="fashion-mnist",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    sha256=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    # Zalando's own server has no HTTPS; the hashes above protect instead.
    urls=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
)

MNIST = IdxSource(
    name="mnist",
    classes=tuple("0123456789"),
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    # LeCun's own server no longer serves them.
    urls=("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"),
)
