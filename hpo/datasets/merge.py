"""Merging classes: several labels become one."""

from itertools import chain

import numpy as np

from hpo.datasets.dataset import Labels
from hpo.errors import DatasetError

Merge = tuple[tuple[int, ...], ...]
"""Group i holds the old labels that become label i, such as ((0, 1), (2, 3))."""


def merge_classes(classes: tuple[str, ...], merge: Merge | None) -> tuple[str, ...]:
    """The names of the merged classes, such as "Sandal + Shirt"; ``classes`` if there is nothing to merge.

    Raises:
        DatasetError: a class is in no group or in several, a group is empty, or a label does not exist.
    """
    if merge is None:
        return classes
    if sorted(chain(*merge)) != list(range(len(classes))) or not all(merge):
        raise DatasetError(
            f"A merge must name each label from 0 to {len(classes) - 1} exactly once and have no empty group, "
            f"but got {merge!r}. Put every label into one group, alone if it is not merged."
        )
    return tuple(" + ".join(classes[old] for old in group) for group in merge)


def merge_labels(labels: Labels, merge: Merge | None) -> Labels:
    """New labels (n,) for old ones; ``merge`` has passed `merge_classes`."""
    if merge is None:
        return labels
    new = np.empty(sum(map(len, merge)), np.int64)
    for label, group in enumerate(merge):
        new[list(group)] = label
    return new[labels]
