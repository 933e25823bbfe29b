"""Checkpoints: whole or refused, two kept, and nobody in the way of a later attempt."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.trial.checkpoint import Checkpoint, Checkpoints


def _checkpoint(epoch: int) -> Checkpoint:
    weights = [np.full((3, 2), epoch, np.float32), np.arange(5)]
    return Checkpoint(epoch, {"history": {"loss": [0.5] * epoch}, "best": None}, {"weights": weights, "optimizer": []})


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    """State and arrays, in their lists and with their types."""
    Checkpoints(tmp_path / "0", attempt=1).save(_checkpoint(3))
    found = Checkpoints(tmp_path / "0", attempt=2).latest()
    assert found is not None
    assert (found.epoch, found.state) == (3, _checkpoint(3).state)
    for array, expected in zip(found.arrays["weights"], _checkpoint(3).arrays["weights"], strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def test_there_may_be_none(tmp_path: Path) -> None:
    """Before the first epoch has ended."""
    assert Checkpoints(tmp_path / "0", attempt=1).latest() is None


def test_two_are_kept(tmp_path: Path) -> None:
    """So that disk use does not grow with the epochs."""
    checkpoints = Checkpoints(tmp_path, attempt=1)
    for epoch in (1, 2, 3, 9, 10):
        checkpoints.save(_checkpoint(epoch))
    assert _files(tmp_path) == ["attempt-1-epoch-10.checkpoint", "attempt-1-epoch-9.checkpoint"]


def test_an_attempt_that_comes_back_is_in_nobody_s_way(tmp_path: Path) -> None:
    """What it saves is older than anything of the attempt after it, and it removes none of that one's."""
    first, second = Checkpoints(tmp_path, attempt=1), Checkpoints(tmp_path, attempt=2)
    for epoch in (1, 2):
        first.save(_checkpoint(epoch))
    second.save(_checkpoint(3))
    for epoch in (3, 4, 5):
        first.save(_checkpoint(epoch))
    assert "attempt-2-epoch-3.checkpoint" in _files(tmp_path)
    found = Checkpoints(tmp_path, attempt=3).latest()
    assert found is not None
    assert found.epoch == 3


def _flip(content: bytearray, rng: random.Random) -> bytearray:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def _truncate(content: bytearray, rng: random.Random) -> bytearray:
    return content[: rng.randrange(len(content))]


@pytest.mark.parametrize("damage", [_flip, _truncate])
def test_a_damaged_one_is_found_out_and_the_one_before_is_used(damage: Any, tmp_path: Path) -> None:
    """Fifty of each: a flipped bit anywhere, an end anywhere."""
    rng = random.Random(0)
    checkpoints = Checkpoints(tmp_path, attempt=1)
    for epoch in (1, 2):
        checkpoints.save(_checkpoint(epoch))
    path = tmp_path / "attempt-1-epoch-2.checkpoint"
    whole = path.read_bytes()
    for _ in range(50):
        path.write_bytes(damage(bytearray(whole), rng))
        found = checkpoints.latest()
        assert found is not None
        assert found.epoch == 1
    (tmp_path / "attempt-1-epoch-1.checkpoint").write_bytes(b"")
    assert checkpoints.latest() is None


def test_half_a_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed while it writes leaves the checkpoint before as the newest."""
    checkpoints = Checkpoints(tmp_path, attempt=1)
    checkpoints.save(_checkpoint(1))

    def killed(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(_checkpoint(2))
    assert _files(tmp_path) == ["attempt-1-epoch-1.checkpoint"]
