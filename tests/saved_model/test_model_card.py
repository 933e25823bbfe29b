"""The card beside a model: checked, and refused if it is broken."""

import hashlib
import json

import h5py
import pytest

from hpo.errors import FileError
from hpo.saved_model import model_card, model_file

# Keras 3.15 turns a variable into an array by a protocol that NumPy 2 wants extended; saving does it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

CARD = {
    "study": "s",
    "trial": 3,
    "params": {},
    "metrics": {},
    "dataset": {"name": "digits", "sha256": "0", "merge": None},
    "classes": [str(n) for n in range(10)],
    "input": {"shape": [8, 8, 1], "type": "uint8", "range": [0, 255]},
    "outputs": "probabilities",
    "code": {},
    "fingerprint": "f",
    "versions": {},
    "files": {},
}


def write_card(model_path, **changes):
    files = {model_path.name: hashlib.sha256(model_path.read_bytes()).hexdigest()}
    model_path.with_suffix(".card.json").write_text(json.dumps(CARD | {"files": files} | changes))


def test_verify_finds_a_flipped_bit(model):
    """One flipped bit in the weights, which HDF5 itself does not notice, is found by the card."""
    write_card(model)
    assert model_card.verify(model) == model_card.read_card(model)
    content = bytearray(model.read_bytes())
    matrices = []
    with h5py.File(model) as file:
        file["model_weights"].visititems(
            lambda _, item: matrices.append(item) if getattr(item, "ndim", 0) == 2 else None
        )
        content[matrices[0].id.get_offset() + 10] ^= 4
    model.write_bytes(content)
    model_file.load(model)
    with pytest.raises(
        FileError, match=r"best.h5 has SHA-256 [0-9a-f]{64} and best.card.json lists SHA-256 [0-9a-f]{64}"
    ):
        model_card.verify(model)


def test_verify_without_a_card(model):
    """A model without a card cannot be checked, which is no error."""
    assert model_card.verify(model) is None


def test_verify_knows_a_renamed_pair(model):
    """A model and its card may be renamed together; a card of other files is refused."""
    write_card(model)
    renamed = model.rename(model.with_name("shirts.h5"))
    model.with_suffix(".card.json").rename(renamed.with_suffix(".card.json"))
    assert model_card.verify(renamed) is not None
    renamed.write_bytes(b"another")
    with pytest.raises(FileError, match=r"shirts\.card\.json lists only best\.h5"):
        model_card.verify(renamed)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        pytest.param("{", "JSONDecodeError", id="not-json"),
        pytest.param("\xff", "UnicodeDecodeError", id="not-text"),
        pytest.param("[1]", "must be a JSON object", id="not-an-object"),
        pytest.param("{}", "must have study, trial, .*files", id="empty"),
        pytest.param(json.dumps(CARD | {"files": []}), r"describe its files, but .* says \[\]", id="files"),
        pytest.param(json.dumps(CARD | {"outputs": "x"}), r"describe its outputs, but .* says 'x'", id="outputs"),
        pytest.param(json.dumps(CARD | {"code": {"a": 1}}), r"describe its code, but .* says", id="code"),
        pytest.param(json.dumps(CARD | {"classes": [1]}), r"describe its classes, but .* says \[1\]", id="classes"),
        pytest.param(json.dumps(CARD | {"dataset": "digits"}), "describe its dataset", id="dataset"),
        pytest.param(json.dumps(CARD | {"dataset": {"name": "x", "merge": 1}}), "describe its dataset", id="merge"),
    ],
)
def test_refuses_a_broken_card(tmp_path, card, message):
    """A card that is damaged or incomplete is refused, and named."""
    (tmp_path / "best.card.json").write_text(card, encoding="latin-1")
    with pytest.raises(FileError, match=message) as caught:
        model_card.read_card(tmp_path / "best.h5")
    assert "best.card.json" in str(caught.value)
    assert str(caught.value).endswith("Export the model again, or move the card away.")
