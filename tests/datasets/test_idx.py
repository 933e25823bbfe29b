import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_idx import Tiny

from hpo.datasets.idx import _FILES, _KERAS_KEYS, FASHION_MNIST, MNIST, IdxSource, decode, encode
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir


def check(tiny: Tiny, run_dir: RunDir) -> None:
    content = tiny.source.read(run_dir)
    for found, made in zip(
        (content.train.images[..., 0], content.train.labels, content.test.images[..., 0], content.test.labels),
        tiny.arrays,
        strict=True,
    ):
        np.testing.assert_array_equal(found, made)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("named/tiny", id="HPO_DATA_DIR"),
        pytest.param("checkouts/main/data/tiny", id="data"),
        pytest.param("checkouts/shared/data/tiny", id="shared-data"),
        pytest.param("runs/data/tiny", id="cache"),
        pytest.param("keras/datasets/tiny", id="keras"),
    ],
)
def test_the_files_are_found_in_each_place(tiny: Tiny, tmp_path: Path, run_dir: RunDir, place: str) -> None:
    tiny.write(tmp_path / place)
    check(tiny, run_dir)


def test_the_archive_of_keras_is_found_and_has_the_same_hashes(tiny: Tiny, tmp_path: Path, run_dir: RunDir) -> None:
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    np.savez(tmp_path / "keras/datasets/tiny.npz", **dict(zip(_KERAS_KEYS, tiny.arrays, strict=True)))
    check(tiny, run_dir)


def test_an_altered_archive_of_keras_is_refused(tiny: Tiny, tmp_path: Path, run_dir: RunDir) -> None:
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    tiny.arrays[0][0, 0, 0] ^= 1
    np.savez(tmp_path / "keras/datasets/tiny.npz", **dict(zip(_KERAS_KEYS, tiny.arrays, strict=True)))
    with pytest.raises(DatasetError, match=r"keras/datasets/tiny.npz must be the official .* has SHA-256"):
        tiny.source.read(run_dir)


def test_a_file_missing_in_one_place_is_taken_from_the_next(tiny: Tiny, tmp_path: Path, run_dir: RunDir) -> None:
    tiny.write(tmp_path / "named" / "tiny").unlink()
    tiny.write(run_dir.data_cache / "tiny")
    check(tiny, run_dir)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(lambda good: good[: len(good) // 2], "it ends too early", id="truncated"),
        pytest.param(lambda good: good[:-6] + b"\0" * 6, "not a whole gzip file .*CRC", id="wrong-checksum"),
        pytest.param(lambda good: b"<html>", "not a whole gzip file .*Not a gzipped", id="not-gzip"),
        pytest.param(lambda good: b"", "has SHA-256 e3b0c44298fc1c14.*, not ", id="empty"),
        pytest.param(
            lambda good: gzip.compress(gzip.decompress(good)[:-1] + b"?"), "has SHA-256 .*, not ", id="altered"
        ),
    ],
)
def test_a_damaged_or_altered_file_is_named_with_the_way_out(
    tiny: Tiny, tmp_path: Path, run_dir: RunDir, data: Callable[[bytes], bytes], message: str
) -> None:
    """Even where the next place has a good one: someone meant this file to be used."""
    path = tiny.write(tmp_path / "named" / "tiny", **{_FILES[0]: data(tiny.files[_FILES[0]])})
    tiny.write(run_dir.data_cache / "tiny")
    with pytest.raises(DatasetError, match=f"^{path} must be the official file, but .*{message}.*Delete it: the"):
        tiny.source.read(run_dir)


def test_another_pin_is_another_data_set(tiny: Tiny, tmp_path: Path, run_dir: RunDir) -> None:
    tiny.write(tmp_path / "named" / "tiny")
    other = IdxSource("tiny", tiny.source.classes, ("0" * 64, *tiny.source.sha256[1:]), ())
    assert other.cache_key() != tiny.source.cache_key()
    with pytest.raises(DatasetError, match=f"has SHA-256 {tiny.source.sha256[0]}, not {'0' * 64}"):
        other.read(run_dir)


def test_without_data_or_network_the_error_names_the_ways_out(tiny: Tiny, run_dir: RunDir) -> None:
    with pytest.raises(DatasetError, match=r"Set HPO_DATA_DIR to a folder that holds tiny/.* digits-cnn"):
        tiny.source.read(run_dir)


def test_idx_files_hold_arrays_of_any_rank() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert encode(array)[:8] == bytes([0, 0, 8, 3, 0, 0, 0, 2])
    np.testing.assert_array_equal(decode(encode(array)), array)


@pytest.mark.parametrize("source", [FASHION_MNIST, MNIST], ids=lambda source: source.name)
def test_the_real_files_have_the_pinned_hashes(source: IdxSource, real_data: Path, run_dir: RunDir) -> None:
    content = source.read(run_dir)
    assert content.train.images.shape == (60_000, 28, 28, 1)
    assert content.test.images.shape == (10_000, 28, 28, 1)
    assert content.train.images.dtype == np.uint8
    assert set(content.train.labels) == set(range(10))


def test_the_identity_is_the_hash_of_what_sha256sum_prints() -> None:
    names = [name.removesuffix(".gz") for name in _FILES]
    printed = "".join(f"{pin}  {name}\n" for pin, name in zip(MNIST.sha256, names, strict=True))
    assert MNIST.identity == hashlib.sha256(printed.encode()).hexdigest()
    assert MNIST.identity != FASHION_MNIST.identity
