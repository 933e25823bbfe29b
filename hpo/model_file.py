"""A saved Keras model: loaded safely, and checked against the JSON card beside it."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import FileError
from hpo.input_file import open_file, reading
from hpo.model_inspection import inspect_model

if TYPE_CHECKING:
    import keras

CARD_KEYS = (
    *("study", "trial", "params", "metrics", "dataset", "classes"),
    *("input_shape", "fingerprint", "versions", "files"),
)


def load(path: Path) -> "keras.Model":
    """Load the model in ``path``, uncompiled; Keras's safe mode is always on.

    A layer from outside Keras is accepted only if the running program has registered it under the name in the
    file (``keras.saving.register_keras_serializable``); no module is imported because a file names it.

    Args:
        path: ``.h5`` or ``.hdf5`` (Keras's legacy HDF5 format) or ``.keras`` (a zip archive).

    Raises:
        FileError: the file is missing, damaged, holds no whole model, or would run code or read other files.
    """
    outside = inspect_model(path)
    import keras

    for name in sorted(outside):
        if keras.saving.get_registered_object(name) is None:
            raise FileError(
                f"A model must be made of Keras layers or of registered ones, but {path} holds {name!r}, which is "
                "neither. Import the code that registers it first, or build the model from Keras layers."
            )
    rule = f"A model must be one that Keras {keras.__version__} can rebuild"
    remedy = "Export it again, or load it with the version and after importing the layers that it was saved with."
    with reading(path, remedy, rule=rule):
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise TypeError(f"it holds a {type(model).__name__}, not a model")
        # Left alone, Keras compiles an uncompiled model's predictions with XLA, on a CPU too. One pass over
        # some images never earns that back, and XLA rounds otherwise: bfloat16 probabilities moved by 8e-4.
        model.jit_compile = False
    return model


def sha256(path: Path) -> str:
    """The SHA-256 of a file in lower-case hexadecimal, read in blocks.

    Raises:
        FileError: the file is missing or cannot be read.
    """
    with open_file(path) as stream, reading(path):
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_card(path: Path) -> dict[str, Any] | None:
    """The JSON card beside a model (``best.json`` beside ``best.h5``), or None where there is none.

    Raises:
        FileError: the card is not JSON, or lacks a key of ``CARD_KEYS``.
    """
    card_path = path.with_suffix(".json")
    if not card_path.exists():
        return None
    remedy = "Export the model again, or move the card away."
    with open_file(card_path) as stream, reading(card_path, remedy):
        card = json.load(stream)
    if not isinstance(card, dict):
        raise FileError(f"A model card must be a JSON object, but {card_path} is not. {remedy}")
    if missing := [key for key in CARD_KEYS if key not in card]:
        raise FileError(f"A model card must have {', '.join(missing)}, but {card_path} has not. {remedy}")
    dataset = card["dataset"]
    usable = {
        "dataset": isinstance(dataset, dict)
        and isinstance(dataset.get("name"), str)
        and (dataset.get("merge") is None or _is_list_of(list, dataset["merge"])),
        "classes": _is_list_of(str, card["classes"]),
        "files": isinstance(card["files"], dict),
    }
    for key, is_usable in usable.items():
        if not is_usable:
            found = " ".join(repr(card[key]).split())[:80]
            raise FileError(f"A model card must describe its {key}, but {card_path} says {found}. {remedy}")
    return card


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def verify(path: Path) -> dict[str, Any] | None:
    """Check a model against the card beside it; return the card, or None where there is none.

    HDF5 has no checksums: without a card, a flipped bit in an ``.h5`` loads as a slightly different model.
    A pair may be renamed: a file whose name the card does not list passes if its SHA-256 is listed.

    Raises:
        FileError: the file is missing or not the one that the card describes, or the card cannot be used.
    """
    digest = sha256(path)
    card = read_card(path)
    if card is None:
        return None
    listed = card["files"]
    expected = [listed[path.name]] if path.name in listed else list(listed.values())
    if digest not in expected:
        wanted = f"SHA-256 {expected[0]}" if path.name in listed else f"only {', '.join(sorted(listed)) or 'no file'}"
        raise FileError(
            f"A model file must be the one its card describes, but {path} has SHA-256 {digest} and "
            f"{path.with_suffix('.json').name} lists {wanted}. Copy or export both again, or move the card away."
        )
    return card
