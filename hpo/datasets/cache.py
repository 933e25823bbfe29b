"""Arrays kept on disk as ``.npy`` files that every process of the machine maps into its memory.

    $HPO_HOME/data/arrays-v1/<key>/
      manifest.json     facts about the arrays; size, time and SHA-256 of each file when it was written
      <name>.npy

Eight workers that map one file share its memory; eight copies of Fashion-MNIST would take 400 MB.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import FileError
from hpo.files.reading import sha256
from hpo.files.run_dir import RunDir
from hpo.files.writing import replacing, write_json

# Change it if an entry with the same key gets other content.
_LAYOUT = "arrays-v1"

Arrays = Mapping[str, NDArray[Any]]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """Arrays in one folder, and facts about them (anything JSON holds)."""

    folder: Path
    facts: Facts

    def array(self, name: str) -> NDArray[Any]:
        """The array called ``name``, mapped read-only."""
        mapped: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return mapped


def cached(run_dir: RunDir, key: str, build: Callable[[], tuple[Arrays, Facts]]) -> Entry:
    """The entry ``key``. If it is missing or damaged, one process builds it, and others wait."""
    folder = run_dir.data_cache / _LAYOUT / key
    if entry := _intact(folder):
        return entry
    # Only a first load needs it, and importing it takes as long as importing NumPy.
    from filelock import FileLock

    run_dir.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(run_dir.locks / f"data-{key}.lock"):
        return _intact(folder) or _write(folder, *build())


def _write(folder: Path, arrays: Arrays, facts: Facts) -> Entry:
    files = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        with replacing(path) as temporary:
            np.save(temporary, array, allow_pickle=False)
        stat = path.stat()
        files[path.name] = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "sha256": sha256(path)}
    write_json(folder / "manifest.json", {"facts": facts, "files": files})
    return Entry(folder, facts)


def _intact(folder: Path) -> Entry | None:
    """The entry, unless it is missing, half written or changed."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if all(_unchanged(folder / name, then) for name, then in manifest["files"].items()):
            return Entry(folder, manifest["facts"])
    except (FileError, OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # Whatever is wrong with an entry, it is built again.
    return None


def _unchanged(path: Path, then: Mapping[str, Any]) -> bool:
    stat = path.stat()
    if stat.st_size != then["bytes"]:
        return False
    # Hashing 50 MB at each start would take 0.1 s or more. A copy of HPO_HOME has new times and is hashed.
    return bool(stat.st_mtime_ns == then["modified_ns"] or sha256(path) == then["sha256"])
