"""Real Keras models: saved, inspected and loaded."""

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


@pytest.mark.parametrize("name", ["best.h5", "best.keras"])
def test_loads_the_same_model(saved, images, name):
    """Both formats give back the model bit for bit, bfloat16 layers and averages included."""
    loaded = model_file.load(saved[0] / name)
    assert not loaded.compiled
    assert not loaded.jit_compile
    assert [layer.dtype_policy.name for layer in loaded.layers][1:3] == ["mixed_bfloat16"] * 2
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), saved[1])


def test_loads_the_same_model_in_a_fresh_process(saved, images, tmp_path):
    """A process that never saw the model being built gets its probabilities bit for bit from the ``.h5``."""
    np.save(tmp_path / "images.npy", images)
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
