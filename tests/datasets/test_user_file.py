from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.datasets.user_file import UserFile
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir

PLAIN = {
    "features": np.random.default_rng(0).integers(0, 256, (60, 5, 4), np.uint8),
    "target": np.arange(60) % 3,
}
KERAS = {
    "x_train": PLAIN["features"],
    "y_train": PLAIN["target"],
    "x_test": PLAIN["features"][:12],
    "y_test": PLAIN["target"][:12],
}


def own(path: Path, **arrays: Any) -> UserFile:
    np.savez(path, **arrays)
    return UserFile(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own.npz"


def test_a_tenth_is_set_aside_where_there_is_no_test_part(path: Path, run_dir: RunDir) -> None:
    content = own(path, **PLAIN).read(run_dir)
    assert content.train.images.shape == (54, 5, 4, 1)
    assert np.bincount(content.train.labels).tolist() == [18, 18, 18]
    assert np.bincount(content.test.labels).tolist() == [2, 2, 2]
    assert content.classes == ("0", "1", "2")


def test_the_parts_of_a_keras_archive_are_kept(path: Path, run_dir: RunDir) -> None:
    content = own(path, **KERAS).read(run_dir)
    np.testing.assert_array_equal(content.train.images[..., 0], KERAS["x_train"])
    np.testing.assert_array_equal(content.test.labels, KERAS["y_test"])


def test_npz_npy_and_float_files_of_the_same_images_have_one_identity(tmp_path: Path, run_dir: RunDir) -> None:
    archive = own(tmp_path / "own.npz", **PLAIN)
    floats = own(tmp_path / "float.npz", features=PLAIN["features"] / 255, target=PLAIN["target"][:, np.newaxis])
    np.save(tmp_path / "own.npy", PLAIN)  # type: ignore[arg-type]
    pickled = UserFile(tmp_path / "own.npy")
    assert len({file.read(run_dir).sha256 for file in (archive, floats, pickled)}) == 1
    assert len({file.cache_key() for file in (archive, floats, pickled)}) == 3


def test_labels_from_1_are_shifted_and_keep_their_names(path: Path, run_dir: RunDir) -> None:
    content = own(path, features=PLAIN["features"], target=(PLAIN["target"] + 1).astype(np.uint8)).read(run_dir)
    assert content.classes == ("1", "2", "3")
    assert sorted(set(content.train.labels)) == [0, 1, 2]
    assert content.train.labels.dtype == np.int64


def test_colour_images_keep_their_channels(path: Path, run_dir: RunDir) -> None:
    features = np.zeros((60, 5, 4, 3), np.float32)
    assert own(path, features=features, target=PLAIN["target"]).read(run_dir).train.images.shape == (54, 5, 4, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"features": np.zeros((60, 20))}, r"shape \(n, height.* got \(60, 20\)\. Reshape", id="rank"),
        pytest.param({"features": np.zeros((0, 5, 4))}, r"none of them 0, but got \(0, 5, 4\)", id="empty"),
        pytest.param({"features": np.zeros((59, 5, 4))}, "got 59 and 60. Give each image one label", id="lengths"),
        pytest.param({"features": np.full((60, 5, 4), np.nan)}, "without NaN .* but got nan to nan", id="nan"),
        pytest.param({"features": np.full((60, 5, 4), 255.0)}, "from 0 to 1 .* got 255.0 to 255.0. Div", id="range"),
        pytest.param({"features": np.full((60, 5, 4), -0.1)}, "from 0 to 1 .* got -0.1", id="negative"),
        pytest.param({"features": np.zeros((60, 5, 4), int)}, "of uint8, .* but got int64. Convert", id="int"),
        pytest.param({"target": np.array(["a", "b"] * 30)}, "target of integers .* got <U1", id="strings"),
        pytest.param({"target": np.arange(60) % 3 * 1.0}, "target of integers .* got float64", id="float-labels"),
        pytest.param(
            {"target": np.eye(60, 3, dtype=int)}, r"one dimension, but got int64 of shape \(60, 3\)", id="hot"
        ),
        pytest.param({"target": np.arange(60) % 3 * 2}, "without a gap, but got 0, 2, 4. Renumber", id="gap"),
        pytest.param({"target": np.arange(60) % 3 + 2}, "from 0 or 1 .* got 2, 3, 4", id="from-2"),
        pytest.param({"target": np.arange(60) % 3 - 1}, "from 0 or 1 .* got -1, 0, 1", id="from-minus-1"),
        pytest.param({"target": np.zeros(60, int)}, "two labels or more, .* got 0", id="one-class"),
        pytest.param({"target": np.array([0] * 59 + [1])}, "in both parts .* 1 of the rarest", id="rare"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(
    path: Path, run_dir: RunDir, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        own(path, **(PLAIN | change)).read(run_dir)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"x_test": np.zeros((12, 4, 4))}, r"in x_train, \(5, 4, 1\), but got \(4, 4, 1\)", id="shape"),
        pytest.param({"y_test": np.full(12, 3)}, r"y_test that y_train lacks, but got \[3\]", id="label"),
        pytest.param({"x_test": np.zeros((11, 5, 4))}, "as many x_test as y_test, but got 11 and 12", id="length"),
    ],
)
def test_a_test_part_that_does_not_fit_is_refused(
    path: Path, run_dir: RunDir, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        own(path, **(KERAS | change)).read(run_dir)


def test_a_file_without_the_names_is_refused_with_those_it_needs(path: Path, run_dir: RunDir) -> None:
    with pytest.raises(
        DatasetError, match=r"hold features and target, or x_train, .*, but got features. Save it again"
    ):
        own(path, features=PLAIN["features"], labels=PLAIN["target"]).read(run_dir)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.npz \(No such file or directory\)\. Check the path"):
        UserFile(tmp_path / "nowhere.npz").cache_key()
