"""The images of a data set by its name: `load` for a search, `load_test` for the one measurement at the end."""

import json
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from hpo.datasets.cache import Arrays, Entry, Facts, cached
from hpo.datasets.dataset import Dataset, Origin, Split
from hpo.datasets.digits import Digits
from hpo.datasets.idx import FASHION_MNIST, MNIST
from hpo.datasets.merge import Merge, merge_classes, merge_labels
from hpo.datasets.stratification import SplitRule
from hpo.datasets.user_file import UserFile
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir, expanded

_ORIGINS: dict[str, Origin] = {origin.name: origin for origin in (FASHION_MNIST, MNIST, Digits())}


def load(
    name: str | Origin,
    *,
    run_dir: RunDir,
    seed: int = 0,
    validation_fraction: float = 0.1,
    subset: int | None = None,
    merge: Merge | None = None,
) -> Dataset:
    """Training and validation images of a data set, mapped from a cache that all processes share.

    The first load writes the cache and may download; later ones take milliseconds.

    Args:
        name: ``fashion-mnist``, ``mnist``, ``digits``, a path ending in ``.npz`` or ``.npy``, or an `Origin`.
        run_dir: holds the cache.
        seed: the seed of the stratified split into training and validation.
        validation_fraction: the share of the used examples that validates, above 0 and below 1.
        subset: how many of the official training images to use, each class in proportion; None for all.
        merge: groups of labels that become one label; group i becomes label i.

    Raises:
        DatasetError: the name is unknown, the data is not available or altered, or a setting does not fit it.
    """
    origin, rule = _find(name), SplitRule(seed, validation_fraction, subset)
    content = _content(origin, run_dir)
    classes = merge_classes(tuple(content.facts["classes"]), merge)

    def build() -> tuple[Arrays, Facts]:
        whole = _split(content, "train")
        # Split by the original labels: with every merge the split is the same and in proportion.
        train, validation = map(whole.take, rule.split(whole.labels))
        return _arrays(train=train, validation=validation), {}

    entry = cached(run_dir, f"{content.facts['sha256'][:16]}-{rule.key}", build)
    return Dataset(
        name=origin.name,
        train=_split(entry, "train", merge),
        validation=_split(entry, "validation", merge),
        classes=classes,
        sha256=content.facts["sha256"],
        seed=seed,
        validation_fraction=validation_fraction,
        subset=subset,
    )


def load_test(name: str | Origin, *, run_dir: RunDir, reader: str, merge: Merge | None = None) -> Split:
    """The test images of a data set; adds a line to ``run_dir.test_reads``.

    Args:
        name: as for `load`.
        run_dir: holds the cache and the record of reads.
        reader: who reads the images and why, such as "export fmnist-cnn trial 3".
        merge: as for `load`.

    Raises:
        DatasetError: as for `load`.
    """
    origin = _find(name)
    content = _content(origin, run_dir)
    merge_classes(tuple(content.facts["classes"]), merge)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"time": time, "dataset": origin.name, "sha256": content.facts["sha256"], "reader": reader}
    # Recorded before the images are returned. Short writes in append mode by several processes do not mix.
    with run_dir.test_reads.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    return _split(content, "test", merge)


def _find(name: str | Origin) -> Origin:
    if not isinstance(name, str):
        return name
    if name in _ORIGINS:
        return _ORIGINS[name]
    if Path(name).suffix in (".npz", ".npy"):
        return UserFile(expanded(name))
    near = get_close_matches(name, _ORIGINS)
    raise DatasetError(
        f"A data set must be one of {', '.join(_ORIGINS)} or a path ending in .npz or .npy, but got {name!r}."
        + (f" Did you mean {' or '.join(near)}?" if near else " Choose one of these.")
    )


def _content(origin: Origin, run_dir: RunDir) -> Entry:
    def build() -> tuple[Arrays, Facts]:
        content = origin.read(run_dir)
        facts = {"classes": content.classes, "sha256": content.sha256}
        return _arrays(train=content.train, test=content.test), facts

    return cached(run_dir, origin.cache_key(), build)


def _arrays(**parts: Split) -> Arrays:
    """The arrays of several splits by the names under which `_split` finds them."""
    return {f"{part}-images": split.images for part, split in parts.items()} | {
        f"{part}-labels": split.labels for part, split in parts.items()
    }


def _split(entry: Entry, part: str, merge: Merge | None = None) -> Split:
    return Split(entry.array(f"{part}-images"), merge_labels(entry.array(f"{part}-labels"), merge))
