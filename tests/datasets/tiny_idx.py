"""A tiny data set in real IDX files."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo.datasets.idx import _FILES, IdxSource, encode


@dataclass(frozen=True)
class Tiny:
    """Three classes, 60 training and 12 test images of 5x4; `files` are gzip-compressed, by name."""

    arrays: tuple[np.ndarray, ...]
    files: dict[str, bytes]
    source: IdxSource

    def write(self, folder: Path, **changed: bytes) -> Path:
        """Put the four files into ``folder``, some of them changed; return the path of the first, train images."""
        folder.mkdir(parents=True)
        for name, data in (self.files | changed).items():
            (folder / name).write_bytes(data)
        return folder / _FILES[0]


def make_tiny(*urls: str) -> Tiny:
    random = np.random.default_rng(0)
    arrays = (
        random.integers(0, 256, (60, 5, 4), np.uint8),
        np.arange(60, dtype=np.uint8) % 3,
        random.integers(0, 256, (12, 5, 4), np.uint8),
        np.arange(12, dtype=np.uint8) % 3,
    )
    contents = [encode(array) for array in arrays]
    pins = tuple(hashlib.sha256(content).hexdigest() for content in contents)
    return Tiny(
        arrays,
        {name: gzip.compress(content) for name, content in zip(_FILES, contents, strict=True)},
        IdxSource("tiny", ("cat", "dog", "bird"), pins, urls),
    )
