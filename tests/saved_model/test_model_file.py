"""Real Keras models: saved, inspected, loaded, and checked against their card."""

import hashlib
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from hpo.errors import FileError
from hpo.saved_model import model_file

# Keras 3.15 turns a variable into an array by a protocol that NumPy 2 wants extended; saving does it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8)
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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with one trained model as ``best.h5`` and ``best.keras``, and its probabilities for IMAGES."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, dtype="mixed_bfloat16"),
            layers.BatchNormalization(dtype="mixed_bfloat16"),
            layers.LeakyReLU(negative_slope=0.1, dtype="mixed_bfloat16"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", dtype="float32"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(IMAGES, np.arange(32) % 10, epochs=1, verbose=0)  # moves the batch normalization's averages
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "best.h5")
    model.save(folder / "best.keras")
    return folder, model.predict(IMAGES, verbose=0)


def write_card(model_path, **changes):
    files = {model_path.name: hashlib.sha256(model_path.read_bytes()).hexdigest()}
    model_path.with_suffix(".card.json").write_text(json.dumps(CARD | {"files": files} | changes))


@pytest.fixture
def model(saved, tmp_path):
    """A copy of ``best.h5`` that a test may change."""
    path = tmp_path / "best.h5"
    path.write_bytes((saved[0] / "best.h5").read_bytes())
    return path


@pytest.mark.parametrize("name", ["best.h5", "best.keras"])
def test_loads_the_same_model(saved, name):
    """Both formats give back the model bit for bit, bfloat16 layers and averages included."""
    loaded = model_file.load(saved[0] / name)
    assert not loaded.compiled
    assert not loaded.jit_compile
    assert [layer.dtype_policy.name for layer in loaded.layers][1:3] == ["mixed_bfloat16"] * 2
    np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0), saved[1])


def test_loads_the_same_model_in_a_fresh_process(saved, tmp_path):
    """A process that never saw the model being built gets its probabilities bit for bit from the ``.h5``."""
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        "import sys, numpy as np; from pathlib import Path; from hpo.saved_model import model_file;"
        "folder = Path(sys.argv[2]); model = model_file.load(Path(sys.argv[1]));"
        "np.save(folder / 'given.npy', model.predict(np.load(folder / 'images.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, saved[0] / "best.h5", tmp_path], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "given.npy"), saved[1])


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("nested", [pytest.param(False, id="top"), pytest.param(True, id="nested")])
def test_refuses_a_lambda(tmp_path, suffix, nested):
    """A Lambda layer as Keras saves it is refused in both formats, also inside a model inside the model."""
    import keras

    layer = keras.layers.Lambda(lambda x: x * 2)
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([keras.Input((4,)), layer]) if nested else layer])
    model.save(tmp_path / f"m{suffix}")
    with pytest.raises(FileError, match=r"holds a '(Lambda|__lambda__)', which runs code from the file"):
        model_file.load(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_layer_of_ones_own_must_be_registered(tmp_path, suffix):
    """A layer from outside Keras loads only while the program has it registered; its module is never imported."""
    import keras

    class Halve(keras.layers.Layer):
        def call(self, inputs):
            return inputs / 2

    path = tmp_path / f"m{suffix}"
    with keras.saving.custom_object_scope({"Halve": Halve}):
        keras.Sequential([keras.Input((4,)), Halve()]).save(path)
        assert model_file.load(path).layers[0].name.startswith("halve")
    with pytest.raises(FileError, match=r"'Halve'.*(--code|importing)"):
        model_file.load(path)


def test_refuses_weights_that_do_not_fit(model):
    """What only Keras can notice is still one line: here the configuration has more units than the weights."""
    with h5py.File(model, "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"units": 10', '"units": 11')
    with pytest.raises(
        FileError, match=r"can rebuild, but .*best\.h5 is not \(ValueError: .*Export it again"
    ) as caught:
        model_file.load(model)
    assert "\n" not in str(caught.value)


def test_refuses_weights_alone(saved, tmp_path):
    """What ``save_weights`` writes is named for what it is."""
    model_file.load(saved[0] / "best.h5").save_weights(tmp_path / "best.weights.h5")
    with pytest.raises(FileError, match="holds weights without a model"):
        model_file.load(tmp_path / "best.weights.h5")


def test_refuses_something_other_than_a_model(saved, tmp_path):
    """A file that describes a lone layer is no model."""
    path = tmp_path / "layer.h5"
    path.write_bytes((saved[0] / "best.h5").read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = '{"class_name": "ReLU", "config": {"name": "r"}}'
    with pytest.raises(FileError, match=r"layer\.h5 is not"):
        model_file.load(path)


@pytest.mark.parametrize("name", ["best.h5", "best.keras"])
def test_refuses_a_truncated_file(saved, tmp_path, name):
    """A model cut anywhere is refused before Keras sees it."""
    whole = (saved[0] / name).read_bytes()
    for length in range(0, len(whole), len(whole) // 50):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(FileError, match=name):
            model_file.load(tmp_path / name)


def test_verify_finds_a_flipped_bit(model):
    """One flipped bit in the weights, which HDF5 itself does not notice, is found by the card."""
    write_card(model)
    assert model_file.verify(model) == model_file.read_card(model)
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
        model_file.verify(model)


def test_verify_without_a_card(model):
    """A model without a card cannot be checked, which is no error."""
    assert model_file.verify(model) is None


def test_verify_knows_a_renamed_pair(model):
    """A model and its card may be renamed together; a card of other files is refused."""
    write_card(model)
    renamed = model.rename(model.with_name("shirts.h5"))
    model.with_suffix(".card.json").rename(renamed.with_suffix(".card.json"))
    assert model_file.verify(renamed) is not None
    renamed.write_bytes(b"another")
    with pytest.raises(FileError, match=r"shirts\.card\.json lists only best\.h5"):
        model_file.verify(renamed)


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
        model_file.read_card(tmp_path / "best.h5")
    assert "best.card.json" in str(caught.value)
    assert str(caught.value).endswith("Export the model again, or move the card away.")
