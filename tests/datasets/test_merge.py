import numpy as np
import pytest

from hpo.datasets.merge import Merge, merge_classes, merge_labels
from hpo.errors import DatasetError

CLASSES = ("Coat", "Sandal", "Shirt", "Sneaker")


def test_group_i_becomes_label_i_and_the_names_are_joined() -> None:
    merge = ((3, 1), (0,), (2,))
    assert merge_classes(CLASSES, merge) == ("Sneaker + Sandal", "Coat", "Shirt")
    assert merge_labels(np.array([0, 1, 2, 3]), merge).tolist() == [1, 0, 2, 0]


def test_without_a_merge_everything_stays() -> None:
    labels = np.array([0, 1])
    assert merge_classes(CLASSES, None) == CLASSES
    assert merge_labels(labels, None) is labels


@pytest.mark.parametrize(
    "merge",
    [
        pytest.param(((0, 1), (2,)), id="a-class-is-missing"),
        pytest.param(((0, 1), (1, 2, 3)), id="a-class-is-in-two-groups"),
        pytest.param(((0, 1), (2, 3, 4)), id="no-such-class"),
        pytest.param(((0, 1), (2, 3), ()), id="an-empty-group"),
        pytest.param((), id="no-group"),
    ],
)
def test_every_class_must_be_in_exactly_one_group(merge: Merge) -> None:
    with pytest.raises(DatasetError, match=r"each label from 0 to 3 exactly once .* but got \(.*Put every label"):
        merge_classes(CLASSES, merge)
