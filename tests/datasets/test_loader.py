import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tiny_idx import Tiny

from hpo.datasets import load, load_test
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))


def python(code: str, run_dir: RunDir) -> "subprocess.Popen[str]":
    """A process that imports hpo from this checkout, its stdin and stdout piped."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "HPO_HOME": str(run_dir.home)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_digits_are_split_with_each_class_in_proportion(run_dir: RunDir) -> None:
    dataset = load("digits", run_dir=run_dir, validation_fraction=0.2)
    assert (len(dataset.train.labels), len(dataset.validation.labels)) == (1149, 288)
    train, validation = np.bincount(dataset.train.labels), np.bincount(dataset.validation.labels)
    np.testing.assert_allclose(validation / (train + validation), 0.2, atol=0.01)
    assert dataset.input_shape == (28, 28, 1)
    assert (dataset.name, dataset.seed, dataset.validation_fraction, dataset.subset) == ("digits", 0, 0.2, None)


def test_images_are_mapped_uint8_and_read_only(run_dir: RunDir) -> None:
    for split in (load("digits", run_dir=run_dir).train, load_test("digits", run_dir=run_dir, reader="test")):
        assert isinstance(split.images, np.memmap)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert not split.images.flags.writeable


def test_train_validation_and_test_share_no_image_and_hold_all(tiny: Tiny, tmp_path: Path, run_dir: RunDir) -> None:
    tiny.write(tmp_path / "named" / "tiny")
    dataset = load(tiny.source, run_dir=run_dir, validation_fraction=0.2)
    test = load_test(tiny.source, run_dir=run_dir, reader="test")
    splits = dataset.train, dataset.validation, test
    assert [len(split.labels) for split in splits] == [48, 12, 12]
    assert {image.tobytes() for split in splits for image in split.images} == {
        image.tobytes() for images in (tiny.arrays[0], tiny.arrays[2]) for image in images
    }


def test_every_image_keeps_its_label(tiny: Tiny, tmp_path: Path, run_dir: RunDir) -> None:
    tiny.write(tmp_path / "named" / "tiny")
    label_of = {image.tobytes(): label for image, label in zip(*tiny.arrays[:2], strict=True)}
    joined = load(tiny.source, run_dir=run_dir, subset=30).train_and_validation()
    assert [label_of[image.tobytes()] for image in joined.images] == joined.labels.tolist()


def test_a_split_is_the_same_on_any_machine_and_another_with_another_seed(run_dir: RunDir, tmp_path: Path) -> None:
    here, there = (load("digits", run_dir=home, seed=1) for home in (run_dir, RunDir(tmp_path / "other")))
    other = load("digits", run_dir=run_dir, seed=2)
    np.testing.assert_array_equal(here.validation.images, there.validation.images)
    assert here.sha256 == there.sha256 == other.sha256
    assert not np.array_equal(here.validation.images, other.validation.images)


def test_a_subset_counts_train_and_validation_together(run_dir: RunDir) -> None:
    dataset = load("digits", run_dir=run_dir, subset=200)
    assert (len(dataset.train.labels), len(dataset.validation.labels), dataset.subset) == (180, 20, 200)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        pytest.param(1438, "at most the 1437 training images that there are, but got 1438", id="too-large"),
        pytest.param(50, "in both parts .* 50 examples of 10 classes, .* Use a larger subset", id="too-small"),
    ],
)
def test_a_subset_must_fit(run_dir: RunDir, subset: int, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load("digits", run_dir=run_dir, subset=subset)


def test_merged_classes_change_labels_and_names_but_not_the_images(run_dir: RunDir) -> None:
    plain, merged = load("digits", run_dir=run_dir), load("digits", run_dir=run_dir, merge=PAIRS)
    assert merged.classes == ("0 + 1", "2 + 3", "4 + 5", "6 + 7", "8 + 9")
    np.testing.assert_array_equal(merged.train.labels, plain.train.labels // 2)
    np.testing.assert_array_equal(merged.train.images, plain.train.images)
    np.testing.assert_array_equal(
        load_test("digits", run_dir=run_dir, reader="test", merge=PAIRS).labels,
        load_test("digits", run_dir=run_dir, reader="test").labels // 2,
    )


def test_a_wrong_merge_reads_no_test_split(run_dir: RunDir) -> None:
    with pytest.raises(DatasetError, match="exactly once"):
        load_test("digits", run_dir=run_dir, reader="test", merge=PAIRS[1:])
    assert not run_dir.test_reads.exists()


def test_each_read_of_the_test_split_is_recorded_and_load_reads_none(run_dir: RunDir) -> None:
    sha256 = load("digits", run_dir=run_dir).sha256
    assert not run_dir.test_reads.exists()
    for reader in ("export digits-cnn trial 3", "evaluate"):
        assert len(load_test("digits", run_dir=run_dir, reader=reader).labels) == 360
    first, second = map(json.loads, run_dir.test_reads.read_text().splitlines())
    assert first | {"time": ""} == {
        "time": "",
        "dataset": "digits",
        "sha256": sha256,
        "reader": "export digits-cnn trial 3",
    }
    assert second["reader"] == "evaluate"
    assert datetime.now(UTC) - datetime.fromisoformat(first["time"]) < timedelta(hours=1)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_path_is_a_name(tmp_path: Path, run_dir: RunDir, suffix: str) -> None:
    path = tmp_path / f"own.{suffix}"
    arrays = {"features": np.zeros((40, 6, 6)), "target": np.arange(40) % 2 + 1}
    if suffix == "npz":
        np.savez(path, **arrays)
    else:
        np.save(path, arrays)  # type: ignore[arg-type]
    dataset = load(str(path), run_dir=run_dir)
    assert (dataset.name, dataset.classes) == (str(path), ("1", "2"))
    assert len(load_test(str(path), run_dir=run_dir, reader="test").labels) == 4


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path, run_dir: RunDir) -> None:
    path = tmp_path / "own.npz"
    for value in (1, 2):
        np.savez(path, features=np.full((40, 6, 6), value, np.uint8), target=np.arange(40) % 2)
        os.utime(path, ns=(value, value))
        assert load(str(path), run_dir=run_dir).train.images.max() == value


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("fashion_mnist", "got 'fashion_mnist'. Did you mean fashion-mnist", id="near"),
        pytest.param("imagenet.csv", "one of fashion-mnist, mnist, digits or a path ending in .npz or .npy", id="far"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(run_dir: RunDir, name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load(name, run_dir=run_dir)


@pytest.mark.parametrize("part", ["digits", "seed-0"])
def test_a_truncated_cache_file_is_replaced(run_dir: RunDir, part: str) -> None:
    before = load("digits", run_dir=run_dir)
    expected = before.train.images.copy()
    (path,) = (path for path in run_dir.data_cache.rglob("train-images.npy") if part in path.parent.name)
    with path.open("r+b") as file:
        file.truncate(5000)
    np.testing.assert_array_equal(load("digits", run_dir=run_dir).train.images, expected)


def test_processes_that_load_at_once_map_the_same_files(run_dir: RunDir) -> None:
    """Four start together on an empty cache; one builds it, and all see the same bytes of the same inode."""
    code = """
import hashlib, os, sys
from hpo.datasets import load
from hpo.files.run_dir import RunDir
print("ready", flush=True)
sys.stdin.readline()
dataset = load("digits", run_dir=RunDir.from_environment())
for split in (dataset.train, dataset.validation):
    print(hashlib.sha256(split.images).hexdigest(), os.stat(split.images.filename).st_ino)
    print(hashlib.sha256(split.labels).hexdigest(), os.stat(split.labels.filename).st_ino)
"""
    processes = [python(code, run_dir) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    outputs = {process.communicate("go\n")[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 8


def test_a_warm_load_imports_nothing_slow(run_dir: RunDir) -> None:
    load("digits", run_dir=run_dir)
    code = """
import sys
from hpo.datasets import load
from hpo.files.run_dir import RunDir
load("digits", run_dir=RunDir.from_environment())
slow = {"tensorflow", "keras", "sklearn", "scipy", "PIL", "rich", "urllib.request", "filelock"}
print(sorted(slow & set(sys.modules)))
"""
    process = python(code, run_dir)
    assert process.communicate()[0] == "[]\n"


def test_a_cold_load_imports_no_keras(run_dir: RunDir) -> None:
    code = """
import sys
from hpo.datasets import load
from hpo.files.run_dir import RunDir
load("digits", run_dir=RunDir.from_environment())
print(sorted({"tensorflow", "keras"} & set(sys.modules)))
"""
    process = python(code, run_dir)
    assert process.communicate()[0] == "[]\n"


def test_fashion_mnist_is_loaded_by_name(real_data: Path, run_dir: RunDir) -> None:
    dataset = load("fashion-mnist", run_dir=run_dir)
    assert np.bincount(dataset.train.labels).tolist() == [5400] * 10
    assert np.bincount(dataset.validation.labels).tolist() == [600] * 10
    assert dataset.classes[0] == "T-shirt/top"
    assert np.bincount(load_test("fashion-mnist", run_dir=run_dir, reader="test").labels).tolist() == [1000] * 10
