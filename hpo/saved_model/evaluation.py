"""A model file, measured on a test split."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import UsageError
from hpo.files.run_dir import RunDir
from hpo.saved_model import model_file
from hpo.saved_model.model_card import card_path, verify
from hpo.trial.measures import Evaluation, evaluate, output_shape

if TYPE_CHECKING:
    import keras


def evaluate_file(path: Path, *, run_dir: RunDir, dataset: str | None, code: Path | None = None) -> Evaluation:
    """Check, load and measure a saved model on a test split, and record that the split was read.

    Args:
        path: ``.h5``, ``.hdf5`` or ``.keras``.
        run_dir: holds the cached data and the record of reads.
        dataset: the name of a data set; None for the one on the model's card.
        code: the file that registers the model's own layers, if it is not where the card says.

    Raises:
        FileError: the model, its card or its code cannot be used.
        UsageError: no data set is known, or it does not fit the model.
    """
    card = verify(path)
    described = card["dataset"] if card else {}
    name = dataset or described.get("name")
    if name is None:
        raise UsageError(
            f"The data set to measure on must be known, but {path} has no card ({card_path(path).name}) "
            "that names one. Name it with --dataset, for example --dataset fashion-mnist."
        )
    model = model_file.load(path, card, code)
    outputs = card["outputs"] if card else None
    if name != described.get("name"):
        card = None  # its class names and merged classes belong to another data set
    merge = card["dataset"].get("merge") if card else None

    from hpo import datasets

    groups = tuple(map(tuple, merge)) if merge is not None else None
    classes = class_names(model, card)
    split = datasets.load_test(name, run_dir=run_dir, reader=f"evaluate {path}", merge=groups)
    return evaluate(model, split, classes, outputs)


def class_names(model: "keras.Model", card: dict[str, Any] | None) -> tuple[str, ...]:
    """The class names on a model's card, else "0" to "k-1" for its k outputs; one output means two classes."""
    if card is not None:
        return tuple(card["classes"])
    outputs = output_shape(model)
    units = outputs[-1] if isinstance(outputs, tuple) and isinstance(outputs[-1], int) else 0
    return tuple(str(index) for index in range(2 if units == 1 else units))
