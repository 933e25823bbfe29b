"""What one trial does: it fits a Keras model, or calls a function."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo import datasets
from hpo.errors import StudyError
from hpo.files.run_dir import RunDir
from hpo.study.budget import Stopping, is_number, is_whole

Function = Callable[..., float]
DEFAULT_BATCH_SIZE = 128  # images, unless a parameter ``batch_size`` says otherwise
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Fit a Keras model on images, and measure it on validation images after each epoch.

    Args:
        data: a data set's name or the path of a ``.npz`` or ``.npy`` file.
        model: ``(params, dataset) -> compiled keras.Model`` that takes images (n, h, w, c) uint8, 0 to 255, so that it
            scales them itself, and is compiled with a loss for integer labels (n,), such as
            "sparse_categorical_crossentropy".
        prepare: ``(params, split, seed) -> split``: the images that a trial trains on, for example with altered copies.
        metric: what is searched for, by its name in Keras's epoch logs.
        stopping: early stopping and learning-rate reduction within a trial, both on by default; None for neither.
        validation: the part of the training images held out, stratified. An epoch is the rest of them, in batches of
            128, or of ``batch_size`` if it is a parameter: of 60,000 images 54,000, in 422 batches.
        subset: how many of the training images to use, validation included; None for all.
        merge: which old classes make up each class; None leaves them as they are.
        precision: a Keras dtype policy, or "auto" for the fastest the device has.

    Raises:
        StudyError: a field breaks its rule.
    """

    data: str
    model: Callable[..., Any]
    prepare: Callable[..., datasets.Split] | None = None
    metric: str = "val_accuracy"
    stopping: Stopping | None = field(default_factory=Stopping)
    validation: float = 0.1
    subset: int | None = None
    merge: datasets.Merge | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        check(
            self,
            ("data", isinstance(self.data, str), "a data set's name or a file's path."),
            ("model", callable(self.model), "a function (params, dataset) -> compiled model."),
            ("prepare", self.prepare is None or callable(self.prepare), "a function (params, split, seed) -> split."),
            (
                "metric",
                isinstance(self.metric, str) and bool(self.metric),
                "the name of one metric. A study has one: a pruner cannot rank trials by two. Combine them into one.",
            ),
            (
                "stopping",
                isinstance(self.stopping, Stopping | None),
                "a Stopping, such as Stopping(patience=6), or None.",
            ),
            ("validation", is_number(self.validation, above=0, below=1), "between 0 and 1."),
            (
                "subset",
                self.subset is None or is_whole(self.subset, at_least=1),
                "a whole number of at least 1, or None for all.",
            ),
            ("merge", self.merge is None or _is_merge(self.merge), "groups of old labels, such as ((0, 1), (2, 3))."),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}."),
        )

    @property
    def trial_stopping(self) -> Stopping:
        """The early stopping and learning-rate reduction of a trial."""
        return self.stopping or Stopping(patience=None, reduce_lr_patience=None)

    def load_dataset(self, run_dir: RunDir, *, seed: int) -> datasets.Dataset:
        """The training and validation images.

        Raises:
            DatasetError: they cannot be had.
        """
        return datasets.load(
            self.data,
            run_dir=run_dir,
            seed=seed,
            validation_fraction=self.validation,
            subset=self.subset,
            merge=self.merge,
        )

    def as_json(self) -> dict[str, Any]:
        """The task as plain JSON values: what it means, without its code."""
        return {
            "data": self.data,
            "model": name_of(self.model),
            "prepare": None if self.prepare is None else name_of(self.prepare),
            "metric": self.metric,
            "stopping": dataclasses.asdict(self.trial_stopping),
            "validation": self.validation,
            "subset": self.subset,
            "merge": None if self.merge is None else [list(group) for group in self.merge],
            "precision": self.precision,
        }


def check(record: object, *rules: tuple[str, bool, str]) -> None:
    """Check the fields of a record.

    Args:
        rules: of each a field's name, whether it keeps its rule, and the rule, which follows "must be".

    Raises:
        StudyError: one does not; the message has the rule and the value.
    """
    for name, holds, rule in rules:
        if not holds:
            raise StudyError(f"`{name}` must be {rule} It is {getattr(record, name)!r}.")


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, by which the storage knows it."""
    return getattr(function, "__qualname__", type(function).__name__)


def _is_merge(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(group, Sequence) and all(isinstance(label, int) for label in group) for group in value
    )
