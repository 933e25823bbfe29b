"""The last epochs of a trial that runs, on disk: what its next attempt goes on from when its process has died."""

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.files.run_dir import RunDir
from hpo.files.writing import replacing
from hpo.search.claims import Claim

_KEPT = 2  # the newest may be damaged
_NAME = re.compile(r"attempt-(\d+)-epoch-(\d+)\.checkpoint")

Arrays = Sequence[NDArray[Any]]

_logger = logging.getLogger("hpo")


@dataclass(frozen=True)
class Checkpoint:
    """The end of one epoch.

    Args:
        epoch: finished epochs.
        state: plain JSON values.
        arrays: lists of arrays by name.
    """

    epoch: int
    state: Mapping[str, Any]
    arrays: Mapping[str, Arrays]


def kept_folder(run_dir: RunDir, study: str, claim: Claim) -> Path:
    """The folder of what is kept of a configuration while it runs, for all its attempts."""
    return run_dir.trial(study, claim.configuration.number, claim.configuration.uuid)


class Checkpoints:
    """The checkpoints of one configuration, of all its attempts.

    An attempt that was presumed lost and comes back writes files of its own name: it cannot stand in the way of the
    one that has gone on.

    Args:
        folder: of this configuration; made when the first is saved.
        attempt: the one that saves.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, all of it or nothing, and remove all but the newest two of this attempt and before.

        Raises:
            OSError: the disk is full.
        """
        packed = io.BytesIO()
        names = [(name, index) for name, arrays in checkpoint.arrays.items() for index in range(len(arrays))]
        np.savez(packed, *(checkpoint.arrays[name][index] for name, index in names), allow_pickle=False)
        header = json.dumps({"epoch": checkpoint.epoch, "state": checkpoint.state, "names": names}).encode()
        content = b"%d\n%b%b" % (len(header), header, packed.getvalue())
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"attempt-{self._attempt}-epoch-{checkpoint.epoch}.checkpoint"
        with replacing(path) as temporary, temporary.open("wb") as stream:
            stream.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
            stream.flush()
            os.fsync(stream.fileno())  # a power cut must not leave the name without the bytes
        mine = [found for found in self._found() if found[0] <= self._attempt]
        for _attempt, _epoch, old in mine[_KEPT:]:
            old.unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None if there is none. A damaged one is left out, and logged."""
        for _attempt, _epoch, path in self._found():
            try:
                return _read(path)
            except (OSError, ValueError) as error:
                _logger.warning("The checkpoint %s is damaged (%s): the one before is used", path.name, error)
        return None

    def _found(self) -> list[tuple[int, int, Path]]:
        """Attempt, epoch and path of each, the newest first."""
        if not self._folder.is_dir():
            return []
        named = [(match, path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        return sorted(((int(match[1]), int(match[2]), path) for match, path in named), reverse=True)


def _read(path: Path) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        ValueError: it is not what was written.
        OSError: it cannot be read.
    """
    digest, _, content = path.read_bytes().partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("its SHA-256 is another")
    length, _, rest = content.partition(b"\n")
    header = json.loads(rest[: int(length)])
    arrays: dict[str, list[NDArray[Any]]] = {}
    with np.load(io.BytesIO(rest[int(length) :]), allow_pickle=False) as packed:
        for position, (name, _index) in enumerate(header["names"]):
            arrays.setdefault(name, []).append(packed[f"arr_{position}"])
    return Checkpoint(header["epoch"], header["state"], arrays)
