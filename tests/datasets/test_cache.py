import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpo.datasets.cache import Arrays, Entry, Facts, cached
from hpo.files.run_dir import RunDir


class Builder:
    """Builds one entry, and counts how often."""

    calls = 0

    def __call__(self) -> tuple[Arrays, Facts]:
        self.calls += 1
        return {"images": np.arange(5000), "labels": np.arange(3)}, {"classes": ["a", "b"]}


def check(entry: Entry) -> None:
    assert entry.array("images").tolist() == list(range(5000))
    assert entry.array("labels").tolist() == [0, 1, 2]
    assert entry.facts == {"classes": ["a", "b"]}


def test_an_entry_is_built_once_and_mapped_read_only(run_dir: RunDir) -> None:
    build = Builder()
    for _ in range(3):
        entry = cached(run_dir, "key", build)
        check(entry)
    assert build.calls == 1
    assert isinstance(entry.array("images"), np.memmap)
    assert not entry.array("images").flags.writeable


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, empty, Path.unlink])
@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "manifest.json"])
def test_a_damaged_entry_is_built_again(run_dir: RunDir, file: str, damage: Callable[[Path], object]) -> None:
    build = Builder()
    damage(cached(run_dir, "key", build).folder / file)
    check(cached(run_dir, "key", build))
    assert build.calls == 2


@pytest.mark.parametrize("text", ["[]", "{}", '{"files": {"images.npy": 1}, "facts": {}}', '{"files": [1]}'])
def test_a_manifest_of_another_form_is_built_again(run_dir: RunDir, text: str) -> None:
    build = Builder()
    (cached(run_dir, "key", build).folder / "manifest.json").write_text(text)
    check(cached(run_dir, "key", build))
    assert build.calls == 2


def test_a_copy_of_the_cache_is_as_good(run_dir: RunDir, tmp_path: Path) -> None:
    """Copied files have new times; their content still shows that they are whole."""
    build = Builder()
    cached(run_dir, "key", build)
    shutil.copytree(run_dir.home, tmp_path / "copy", copy_function=shutil.copyfile)
    check(cached(RunDir(tmp_path / "copy"), "key", build))
    assert build.calls == 1


def test_a_build_that_fails_leaves_no_entry(run_dir: RunDir) -> None:
    def fail() -> tuple[Arrays, Facts]:
        raise KeyError("no data")

    with pytest.raises(KeyError):
        cached(run_dir, "key", fail)
    check(cached(run_dir, "key", Builder()))
