"""A saved Keras model: loaded safely, and checked against the JSON card beside it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import FileError
from hpo.files.reading import open_file, reading, sha256
from hpo.saved_model import code_file
from hpo.saved_model.inspection import inspect_model
from hpo.trial.outputs import KINDS

if TYPE_CHECKING:
    import keras

CARD_KEYS = (
    *("study", "trial", "params", "metrics", "dataset", "classes"),
    *("input", "outputs", "code", "fingerprint", "versions", "files"),
)


def card_path(path: Path) -> Path:
    """Where the card of a model is: ``best.card.json`` beside ``best.h5`` and ``best.keras``."""
    return path.with_suffix(".card.json")


def save(model: "keras.Model", path: Path) -> None:
    """Save ``model`` without optimizer, loss and metrics, so that whoever loads it needs none of them."""
    compiled, model.compiled = model.compiled, False
    try:
        model.save(path, include_optimizer=False)
    finally:
        model.compiled = compiled


def load(path: Path, card: dict[str, Any] | None = None, code: Path | None = None) -> "keras.Model":
    """Load the model in ``path``, uncompiled; Keras's safe mode is always on.

    A part from outside Keras is accepted only if it is registered under the name in the file
    (``keras.saving.register_keras_serializable``): by the running program, by the file that the card names with its
    SHA-256, or by ``code``. No module is imported because the model names it.

    Args:
        path: ``.h5`` or ``.hdf5`` (Keras's legacy HDF5 format) or ``.keras`` (a zip archive).
        card: of the model, if there is one.
        code: the file that registers the model's parts, if it is not where the card says.

    Raises:
        FileError: the file is missing, damaged, holds no whole model, or would run code or read other files; or its
            code is not there.
    """
    outside = inspect_model(path)
    import keras

    if code_file.unregistered(outside):
        code_file.run_for(path, card["code"] if card else {}, code)
    if missing := code_file.unregistered(outside):
        raise FileError(
            f"A model must be made of Keras layers or of registered ones, but {path} holds {missing[0]!r}, which is "
            "neither. Name the file that registers it with --code, or build the model from Keras layers."
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


def read_card(path: Path) -> dict[str, Any] | None:
    """The JSON card beside a model, or None if there is none.

    Raises:
        FileError: the card is not JSON, or lacks a key of ``CARD_KEYS``.
    """
    place = card_path(path)
    if not place.exists():
        return None
    remedy = "Export the model again, or move the card away."
    with open_file(place) as stream, reading(place, remedy):
        card = json.load(stream)
    if not isinstance(card, dict):
        raise FileError(f"A model card must be a JSON object, but {place} is not. {remedy}")
    if missing := [key for key in CARD_KEYS if key not in card]:
        raise FileError(f"A model card must have {', '.join(missing)}, but {place} has not. {remedy}")
    dataset = card["dataset"]
    usable = {
        "dataset": isinstance(dataset, dict)
        and isinstance(dataset.get("name"), str)
        and (dataset.get("merge") is None or _is_list_of(list, dataset["merge"])),
        "classes": _is_list_of(str, card["classes"]),
        "outputs": card["outputs"] in KINDS,
        "code": _is_dict_of_texts(card["code"]),
        "files": _is_dict_of_texts(card["files"]),
    }
    for key, is_usable in usable.items():
        if not is_usable:
            found = " ".join(repr(card[key]).split())[:80]
            raise FileError(f"A model card must describe its {key}, but {place} says {found}. {remedy}")
    return card


def _is_dict_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def verify(path: Path) -> dict[str, Any] | None:
    """Check a model against the card beside it; return the card, or None if there is none.

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
            f"{card_path(path).name} lists {wanted}. Copy or export both again, or move the card away."
        )
    return card
