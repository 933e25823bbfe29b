"""A data set as a study trains on it, and as its origin reads it."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.files.run_dir import RunDir

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Images (n, height, width, channels) uint8, 0 to 255, and labels (n,) int64; read-only when loaded."""

    images: Images
    labels: Labels

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """A copy of the examples at ``indices`` (m,), in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a search may see: training and validation images. The test images are not here; see `load_test`.

    Images are uint8, from 0 to 255: a model scales them itself, for example with ``keras.layers.Rescaling(1 / 255)``.
    Labels are integers from 0 to ``num_classes - 1``: the model's loss is a sparse one, such as
    "sparse_categorical_crossentropy". An epoch is all images of ``train``, in batches of 128 unless the study has a
    parameter ``batch_size``.

    Attributes:
        name: the name that it was loaded by.
        train: the images to train on.
        validation: the images on which the metric is measured after each epoch.
        classes: the name of label 0, of label 1, and so on.
        sha256: the hash of the whole content, also if a part of it is used; the same wherever it was found.
        seed: the seed of the split.
        validation_fraction: the share of the used examples that validates, between 0 and 1.
        subset: the number of examples used, train and validation together; None for all.
    """

    name: str
    train: Split
    validation: Split
    classes: tuple[str, ...]
    sha256: str
    seed: int
    validation_fraction: float
    subset: int | None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def train_and_validation(self) -> Split:
        """Both parts as one, copied to memory; the winner is retrained on it."""
        parts = self.train, self.validation
        return Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


@dataclass(frozen=True, eq=False)
class Content:
    """A whole data set, before any validation split."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    sha256: str


class Origin(Protocol):
    """Where a data set comes from. `load` takes one instead of a name."""

    @property
    def name(self) -> str:
        """The name that people use."""

    def cache_key(self) -> str:
        """A file name that changes if `read` would give something else; must be quick."""

    def read(self, run_dir: RunDir) -> Content:
        """Find and check the content, which may take seconds and a download."""


def content_sha256(train: Split, test: Split) -> str:
    """The hash of the arrays themselves: the same images have the same hash in any file format."""
    digest = hashlib.sha256()
    for array in (train.images, train.labels, test.images, test.labels):
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
