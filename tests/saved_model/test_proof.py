"""A saved model is proven by a new process, and the proof can fail."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpo.saved_model import model_file
from hpo.saved_model.proof import prove, reason

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), np.uint8)

OWN = """
import {module}
import keras

@keras.saving.register_keras_serializable("mine")
class Halve(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2
"""


def _model(*layers: object, batch_size: int | None = None) -> "object":
    import keras

    keras.utils.set_random_seed(0)
    head = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((4, 4, 1), batch_size=batch_size), *layers, *head])


def test_a_file_that_predicts_otherwise_is_not_proven(tmp_path: Path) -> None:
    """One changed weight is seen, and so is a file that does not load; another file is proven all the same."""
    import keras

    model = _model(keras.layers.Rescaling(1 / 255), batch_size=4)
    whole, changed, cut = (tmp_path / name for name in ("whole.keras", "changed.h5", "cut.h5"))
    for path in (whole, changed, cut):
        model_file.save(model, path)
    with h5py.File(changed, "r+") as file:
        names: list[str] = []
        file["model_weights"].visit(names.append)
        bias = next(name for name in reversed(names) if name.endswith("bias"))
        file["model_weights"][bias][0] += 0.5
    cut.write_bytes(cut.read_bytes()[:2000])
    expected = model.predict(IMAGES, batch_size=4, verbose=0)
    proof = prove([whole, changed, cut], IMAGES, expected, batch_size=4, code=[])
    assert set(proof.errors) == {changed, cut}
    assert "predicts otherwise than the model, by up to 0." in proof.errors[changed]
    assert "does not load in a new process: OSError" in proof.errors[cut]
    assert not proof.needs_hpo


@pytest.mark.parametrize("module", ["math", "hpo"])
def test_a_model_is_proven_with_the_code_that_it_needs(tmp_path: Path, module: str) -> None:
    """That code may import hpo, which is said; without it nothing of hpo is there."""
    import runpy

    code = tmp_path / "own.py"
    code.write_text(OWN.format(module=module))
    model = _model(runpy.run_path(str(code))["Halve"]())
    model_file.save(model, tmp_path / "best.keras")
    expected = model.predict(IMAGES, verbose=0)
    proof = prove([tmp_path / "best.keras"], IMAGES, expected, batch_size=32, code=[code])
    assert (proof.errors, proof.needs_hpo) == ({}, module == "hpo")
    if module == "math":
        [error] = prove([tmp_path / "best.keras"], IMAGES, expected, batch_size=32, code=[]).errors.values()
        assert "does not load in a new process: Could not locate class 'Halve'" in error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        pytest.param("It broke. Mend it.\nSoon", "It broke", id="first-sentence"),
        pytest.param("X failed.\n\nconfig={}.\n\nException encountered: No Y\nhere.\n\nMore", "No Y here", id="keras"),
        pytest.param("", "", id="empty"),
    ],
)  # fmt: skip
def test_the_sentence_that_says_why(error: str, why: str) -> None:
    """Keras begins with what it was doing."""
    assert reason(error) == why
