"""Measures of a model on images: loss, accuracy, per-class figures, confusions and mistakes."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import UsageError
from hpo.trial.outputs import as_probabilities, outputs_of

if TYPE_CHECKING:
    import keras

    from hpo.datasets import Split

# Keras's own floor under a probability, so that one hopeless image does not make the mean loss infinite.
_EPSILON = 1e-7
_BATCH_SIZE = 256


@dataclass(frozen=True)
class ClassMeasures:
    """Precision, recall and F1 (fractions of 1) of one class or of an average; ``support`` images are of it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Mistake:
    """One misclassified image: its index in the split, both class indices, the probability of ``predicted``."""

    index: int
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """What a model does on a split; fractions, not percent.

    Attributes:
        loss: mean sparse categorical cross-entropy, in nats.
        accuracy: fraction of the images whose most probable class is the true one.
        classes: measures of each class, in label order.
        macro: mean of ``classes``, each class counting the same.
        weighted: mean of ``classes``, each image counting the same.
        confusion: (k, k) counts; rows are true classes, columns predicted ones.
        misclassified: every mistake, the most confident first.
        images: how many images were classified.
        seconds: how long that took, in wall time, with building the prediction function.
    """

    loss: float
    accuracy: float
    classes: tuple[ClassMeasures, ...]
    macro: ClassMeasures
    weighted: ClassMeasures
    confusion: tuple[tuple[int, ...], ...]
    misclassified: tuple[Mistake, ...]
    images: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values that ``json.dumps`` takes; the keys are the attributes."""
        return asdict(self)


def image_shape(model: "keras.Model") -> tuple[int | None, int | None, int | None]:
    """Height, width and channels of the images a model takes; None if any size will do.

    Raises:
        UsageError: it does not take one batch of images (n, height, width, channels).
    """
    return _input_shape(model)[1:]


def _input_shape(model: "keras.Model") -> tuple[int | None, int | None, int | None, int | None]:
    """It, after the number of images that the model takes at a time; None for any."""
    shape = getattr(model, "input_shape", None)
    if shape is None:  # a subclassed model remembers what it was built with
        shape = (model.get_build_config() or {}).get("input_shape")
        shape = None if shape is None else (None, *shape[1:])
    if not isinstance(shape, tuple) or len(shape) != 4 or not all(isinstance(n, int | None) for n in shape):
        raise UsageError(
            f"A model must take images (n, height, width, channels), but {model.name!r} takes {shape}. "
            "Give it one keras.Input of shape (height, width, channels)."
        )
    return shape


def in_batches(model: "keras.Model", images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """``images`` as the model takes them, and how many at a time.

    A model of a fixed batch size takes no smaller last batch: to fill it, the last image is repeated at the end.
    """
    size = _input_shape(model)[0]
    if size is None or not len(images):
        return images, _BATCH_SIZE
    missing = -len(images) % size
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images, size


def check_fit(model: "keras.Model", images: NDArray[np.uint8], classes: int) -> None:
    """Check that a model takes ``images`` and tells ``classes`` apart.

    Raises:
        UsageError: it does not; the message has both values.
    """
    wanted = image_shape(model)
    if images.ndim != 4 or any(w not in (None, n) for w, n in zip(wanted, images.shape[1:], strict=True)):
        raise UsageError(
            f"The images must have the shape the model takes, {_shown(wanted)}, but they have "
            f"{_shown(images.shape[1:])}. Choose the data set that the model was trained on."
        )
    outputs = output_shape(model)
    units = outputs[1] if isinstance(outputs, tuple) and len(outputs) == 2 else outputs
    if units != classes and (units, classes) != (1, 2):
        raise UsageError(
            f"A model must have one output for each class, or one for two classes, but it has {units} for {classes} "
            "classes. Choose the data set that the model was trained on."
        )


def output_shape(model: "keras.Model") -> Any:
    """The shape of a batch of the model's outputs, with None for the number of images."""
    shape = getattr(model, "output_shape", None)
    if shape is None:  # a subclassed model does not say
        import keras

        shape = getattr(model(keras.Input(image_shape(model), dtype="uint8")), "shape", None)
    return shape


def probabilities(
    model: "keras.Model", images: NDArray[np.uint8], classes: Sequence[str], outputs: str | None = None
) -> NDArray[np.float64]:
    """The probability of each class for each image, (n, k), from raw pixels.

    Args:
        model: takes pixels 0..255 (any rescaling is a layer of the model).
        images: (n, height, width, channels) uint8.
        classes: the k class names, in label order.
        outputs: what the model gives, one of ``hpo.trial.outputs.KINDS``; None to find out.

    Raises:
        UsageError: the model takes other images, has other outputs than one per class (or one for two classes), or
            gives neither probabilities nor logits.
    """
    check_fit(model, images, len(classes))
    batches, size = in_batches(model, images)
    given = np.asarray(model.predict(batches, batch_size=size, verbose=0))[: len(images)]
    return as_probabilities(given, outputs or outputs_of(model, given))


def evaluate(model: "keras.Model", split: "Split", classes: Sequence[str], outputs: str | None = None) -> Evaluation:
    """Measure ``model`` on ``split``.

    The loss is computed from the probabilities, none below 1e-7. `keras.Model.evaluate` of a compiled model may
    report a larger one: TensorFlow's backend then works from the logits, which have no such floor.

    Args:
        model: takes raw pixels 0..255.
        split: images (n, height, width, channels) uint8 and labels (n,) below k.
        classes: the k class names, in label order.
        outputs: what the model gives, one of ``hpo.trial.outputs.KINDS``; None to find out.

    Raises:
        UsageError: model, images and classes do not fit together, or the split is empty.
    """
    labels = np.asarray(split.labels).astype(np.int64)
    if not labels.size or labels.min() < 0 or labels.max() >= len(classes):
        found = f"{labels.min()} to {labels.max()}" if labels.size else "no labels"
        raise UsageError(
            f"The labels of {len(classes)} classes must be 0 to {len(classes) - 1}, but the split has {found}. "
            "Choose the data set that the model was trained on."
        )
    start = time.perf_counter()
    given = probabilities(model, split.images, classes, outputs)
    seconds = time.perf_counter() - start

    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = given.argmax(axis=1)
    indices = np.arange(len(classes))
    # classification_report would mix class names with its own keys; this is what it is made of.
    each = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=0)

    def averaged(average: str) -> ClassMeasures:
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predicted, labels=indices, average=average, zero_division=0
        )
        return ClassMeasures(f"{average} average", float(precision), float(recall), float(f1), labels.size)

    true_probability = given[np.arange(labels.size), labels].clip(_EPSILON, 1 - _EPSILON)
    confidence = given.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return Evaluation(
        loss=float(-np.log(true_probability).mean()),
        accuracy=float((predicted == labels).mean()),
        classes=tuple(
            ClassMeasures(name, float(p), float(r), float(f), int(n))
            for name, p, r, f, n in zip(classes, *each, strict=True)
        ),
        macro=averaged("macro"),
        weighted=averaged("weighted"),
        confusion=tuple(map(tuple, confusion_matrix(labels, predicted, labels=indices).tolist())),
        misclassified=tuple(Mistake(int(i), int(labels[i]), int(predicted[i]), float(confidence[i])) for i in wrong),
        images=labels.size,
        seconds=seconds,
    )


def _shown(shape: Sequence[int | None]) -> str:
    return "x".join("any" if size is None else str(size) for size in shape)
