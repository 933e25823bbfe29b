from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpo.datasets import Dataset, Split, grid, is_grid


def dataset(*shape: int, classes: tuple[str, ...] = ("Coat", "Bag")) -> Dataset:
    """Images of white, labelled 0, 1, 0, 1 and so on."""
    split = Split(np.full(shape, 255, np.uint8), np.arange(shape[0]) % len(classes))
    return Dataset("own", split, split, classes, "0" * 64, 0, 0.1, None)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_channels_are_drawn(tmp_path: Path, channels: int) -> None:
    grid(dataset(9, 28, 28, channels), tmp_path / "new" / "grid.png")
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert picture.width > 3 * 140


def test_rows_and_columns_set_the_size_and_a_short_data_set_leaves_cells_white(tmp_path: Path) -> None:
    sizes = {}
    for rows, columns in ((1, 1), (2, 4)):
        grid(dataset(3, 28, 28, 1), tmp_path / "grid.png", rows=rows, columns=columns)
        with Image.open(tmp_path / "grid.png") as picture:
            sizes[rows, columns] = picture.size
    assert sizes[2, 4][0] - 24 == 4 * (sizes[1, 1][0] - 24)
    assert sizes[2, 4][1] - 24 == 2 * (sizes[1, 1][1] - 24)


def test_images_are_enlarged_pixel_by_pixel(tmp_path: Path) -> None:
    own = dataset(1, 2, 2, 1)
    own.train.images[0, :, :, 0] = [[0, 255], [0, 0]]
    grid(own, tmp_path / "grid.png", rows=1, columns=1)
    with Image.open(tmp_path / "grid.png") as picture:
        box = np.asarray(picture.convert("L"))[24 : 24 + 140, 24 : 24 + 140]
    np.testing.assert_array_equal(box, np.kron([[0, 255], [0, 0]], np.ones((70, 70))))


def test_a_long_class_name_is_not_cut(tmp_path: Path) -> None:
    for name in ("Bag", "T-shirt/top + Trouser + Pullover"):
        grid(dataset(1, 28, 28, 1, classes=(name,)), tmp_path / f"{len(name)}.png", rows=1, columns=1)
    with Image.open(tmp_path / "3.png") as short, Image.open(tmp_path / "32.png") as long:
        assert long.width > short.width
        right = np.asarray(long)[:, -24:]
    assert (right == 255).all()


def test_only_such_a_picture_is_known_as_one(tmp_path: Path) -> None:
    grid(dataset(1, 2, 2, 1), tmp_path / "grid.png", rows=1, columns=1)
    Image.new("L", (2, 2)).save(tmp_path / "photo.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "grid.png").read_bytes()[:30])
    (tmp_path / "text.png").write_text("no picture")
    assert [is_grid(tmp_path / f"{name}.png") for name in ("grid", "photo", "cut", "text")] == [True] + [False] * 3
