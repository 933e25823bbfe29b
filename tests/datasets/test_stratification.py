import math

import numpy as np
import pytest

from hpo.datasets.stratification import SplitRule, stratified_split, stratified_subset
from hpo.errors import DatasetError

LABELS = np.repeat([0, 1, 2], [600, 300, 100])


def test_each_class_keeps_its_share_in_both_parts() -> None:
    train, validation = SplitRule(seed=0, validation_fraction=0.1, subset=None).split(LABELS)
    assert np.bincount(LABELS[train]).tolist() == [540, 270, 90]
    assert np.bincount(LABELS[validation]).tolist() == [60, 30, 10]


def test_the_parts_are_disjoint_and_hold_every_example() -> None:
    parts = SplitRule(seed=0, validation_fraction=0.25, subset=None).split(LABELS)
    assert sorted(np.concatenate(parts)) == list(range(1000))


def test_the_same_seed_gives_the_same_split_and_another_another() -> None:
    first, again, other = (SplitRule(seed, 0.1, 500).split(LABELS)[1].tolist() for seed in (7, 7, 8))
    assert first == again
    assert set(first) != set(other)


def test_a_subset_is_split_in_proportion_and_drawn_from_everywhere() -> None:
    train, validation = SplitRule(seed=0, validation_fraction=0.2, subset=50).split(LABELS)
    assert (len(train), len(validation)) == (40, 10)
    assert np.bincount(LABELS[np.concatenate([train, validation])]).tolist() == [30, 15, 5]
    assert len(set(train) | set(validation)) == 50
    assert max(train) > 900


@pytest.mark.parametrize("count", [1, 2, 3, 10, 501, 998, 999, 1000])
def test_a_subset_of_any_size_is_within_one_example_of_the_share_of_each_class(count: int) -> None:
    chosen = stratified_subset(LABELS, count, seed=3)
    assert len(set(chosen)) == count
    for label, share in enumerate((0.6, 0.3, 0.1)):
        assert math.floor(share * count) <= sum(LABELS[chosen] == label) <= math.ceil(share * count)


def test_a_subset_larger_than_the_data_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"at most the 1000 .* that there are, but got 1001\. Leave it out"):
        SplitRule(0, 0.1, 1001).split(LABELS)


@pytest.mark.parametrize(
    ("labels", "fraction"),
    [
        pytest.param([0, 0, 0, 1], 0.5, id="a-class-with-one-example"),
        pytest.param([0, 1, 2] * 4, 0.1, id="validation-smaller-than-the-classes"),
        pytest.param([0, 1, 2] * 4, 0.9, id="train-smaller-than-the-classes"),
        pytest.param([0] * 98 + [1] * 2, 0.02, id="a-rare-class-would-miss-from-validation"),
    ],
)
def test_a_split_that_leaves_a_class_out_of_a_part_is_refused(labels: list[int], fraction: float) -> None:
    with pytest.raises(DatasetError, match=r"in both parts .* fraction of 0\.\d+\. Use a larger subset"):
        stratified_split(np.array(labels), fraction, seed=0)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        pytest.param((-1, 0.1, None), "seed must be between 0 .* got -1", id="seed"),
        pytest.param((0, 0.0, None), "above 0 and below 1, but got 0.0", id="fraction-of-nothing"),
        pytest.param((0, 1.0, None), "above 0 and below 1, but got 1.0", id="fraction-of-all"),
        pytest.param((0, math.nan, None), "above 0 and below 1, but got nan", id="fraction-nan"),
        pytest.param((0, 0.1, 0), "at least 1 example, but got 0", id="subset-of-nothing"),
    ],
)
def test_a_rule_out_of_range_is_refused(rule: tuple[int, float, int | None], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        SplitRule(*rule)
