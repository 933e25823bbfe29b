"""Splits that keep the share of each class."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Labels
from hpo.errors import DatasetError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class SplitRule:
    """Which examples train and which validate; the same rule always gives the same two sets.

    Attributes:
        seed: from 0 to 2**32 - 1, as scikit-learn takes it.
        validation_fraction: the share of the used examples that validates, above 0 and below 1.
        subset: the number of examples used; None for all.

    Raises:
        DatasetError: a value is outside its range.
    """

    seed: int
    validation_fraction: float
    subset: int | None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise DatasetError(f"The seed must be between 0 and 4294967295, but got {self.seed}. Choose another.")
        if not 0 < self.validation_fraction < 1:
            raise DatasetError(
                "The validation fraction must be above 0 and below 1, "
                f"but got {self.validation_fraction}. 0.1 is usual."
            )
        if self.subset is not None and self.subset < 1:
            raise DatasetError(
                f"A subset must hold at least 1 example, but got {self.subset}. Leave it out to use them all."
            )

    @property
    def key(self) -> str:
        """The rule as a part of a file name."""
        return f"seed-{self.seed}-validation-{self.validation_fraction}-subset-{self.subset or 'all'}"

    def split(self, labels: Labels) -> tuple[Indices, Indices]:
        """Indices of the training and of the validation examples among ``labels`` (n,), shuffled.

        Raises:
            DatasetError: there are fewer examples than ``subset``, or a part would lack a class.
        """
        chosen = np.arange(len(labels))
        if self.subset is not None:
            if self.subset > len(labels):
                raise DatasetError(
                    f"A subset must hold at most the {len(labels)} training images that there are, "
                    f"but got {self.subset}. Leave it out to use them all."
                )
            chosen = stratified_subset(labels, self.subset, self.seed)
        train, validation = stratified_split(labels[chosen], self.validation_fraction, self.seed)
        return chosen[train], chosen[validation]


def stratified_split(labels: Labels, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Indices of the kept examples and of the ``fraction`` held out (rounded up), with every class in both.

    Raises:
        DatasetError: there are too few examples for that.
    """
    # It takes a second to import, and a cached split does not need it.
    from sklearn.model_selection import train_test_split

    counts = np.unique(labels, return_counts=True)[1]
    held_out = math.ceil(fraction * len(labels))
    if counts.min() >= 2 and len(counts) <= held_out <= len(labels) - len(counts):
        parts: Any = train_test_split(np.arange(len(labels)), test_size=held_out, stratify=labels, random_state=seed)
        # Scikit-learn keeps proportions: the smaller part may then lack a rare class.
        if all(len(np.unique(labels[part])) == len(counts) for part in parts):
            return parts[0], parts[1]
    raise DatasetError(
        f"Each class must have an example in both parts of a split, but {len(labels)} examples of {len(counts)} "
        f"classes, {counts.min()} of the rarest, cannot be split with a fraction of {fraction}. "
        "Use a larger subset, more examples of the rare classes or a larger fraction."
    )


def stratified_subset(labels: Labels, count: int, seed: int) -> Indices:
    """Indices of ``count`` examples, each class within one example of its share.

    Scikit-learn's `train_test_split` cannot leave out fewer examples than there are classes.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    # Each class is spread evenly over 0 to 1, so the first examples of this order have each class in proportion.
    position = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    return by_class[np.argsort(position, kind="stable")[:count]]
