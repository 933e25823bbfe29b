"""The JSON card beside a saved model: what the model is, and the SHA-256 of its files."""

import json
from pathlib import Path
from typing import Any

from hpo.errors import FileError
from hpo.files.reading import open_file, reading, sha256
from hpo.trial.outputs import KINDS

_KEYS = (
    *("study", "trial", "params", "metrics", "dataset", "classes"),
    *("input", "outputs", "code", "fingerprint", "versions", "files"),
)


def card_path(path: Path) -> Path:
    """The path of a model's card: ``best.card.json`` beside ``best.h5`` and ``best.keras``."""
    return path.with_suffix(".card.json")


def read_card(path: Path) -> dict[str, Any] | None:
    """The JSON card beside a model, or None if there is none.

    Raises:
        FileError: the card is not JSON, or lacks or misuses a key.
    """
    place = card_path(path)
    if not place.exists():
        return None
    remedy = "Export the model again, or move the card away."
    with open_file(place) as stream, reading(place, remedy):
        card = json.load(stream)
    if not isinstance(card, dict):
        raise FileError(f"A model card must be a JSON object, but {place} is not. {remedy}")
    if missing := [key for key in _KEYS if key not in card]:
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

    HDF5 has no checksums: without a card, an ``.h5`` file with a changed bit loads as a slightly different model. Model
    and card may be renamed together: a file with another name passes if its SHA-256 is listed.

    Raises:
        FileError: the file is missing or is not the one on the card, or the card cannot be used.
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


def is_exported(place: Path) -> bool:
    """Whether a file is a model that the card beside it lists, or a card."""
    is_card = place.name.endswith(".card.json")
    model = place.with_name(place.name.removesuffix(".card.json") + ".h5") if is_card else place
    try:
        card = read_card(model)
        return card is not None and (is_card or sha256(place) in card["files"].values())
    except FileError:
        return False
