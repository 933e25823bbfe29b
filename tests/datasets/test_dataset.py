import numpy as np

from hpo.datasets.dataset import Dataset, Split, content_sha256


def split(count: int, offset: int = 0) -> Split:
    return Split(np.full((count, 5, 4, 3), offset, np.uint8), np.arange(count) + offset)


def test_a_dataset_knows_the_shape_of_an_image_and_its_classes() -> None:
    dataset = Dataset("own", split(6), split(2), ("a", "b"), "0" * 64, 0, 0.25, None)
    assert dataset.input_shape == (5, 4, 3)
    assert dataset.num_classes == 2


def test_a_dataset_has_no_test_split() -> None:
    assert not [name for name in Dataset.__dataclass_fields__ if "test" in name]


def test_train_and_validation_are_joined_in_that_order() -> None:
    joined = Dataset("own", split(6), split(2, 100), ("a",), "0" * 64, 0, 0.25, None).train_and_validation()
    assert joined.images.shape == (8, 5, 4, 3)
    assert joined.labels.tolist() == [0, 1, 2, 3, 4, 5, 100, 101]
    assert joined.images[6:].min() == 100


def test_the_hash_of_the_content_changes_with_a_pixel_a_label_and_the_shape() -> None:
    pixel = Split(split(6).images.copy(), split(6).labels)
    pixel.images[0, 0, 0, 0] = 1
    label = Split(split(6).images, split(6).labels[::-1])
    shape = Split(split(6).images.reshape(6, 4, 5, 3), split(6).labels)
    hashes = {content_sha256(train, split(2)) for train in (split(6), pixel, label, shape)}
    assert len(hashes) == 4
    assert content_sha256(split(6), split(2)) in hashes
