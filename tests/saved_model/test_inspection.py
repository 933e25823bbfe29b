"""Model files are judged before Keras reads them; every file here is made byte by byte, without Keras."""

import io
import json
import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from hpo.errors import FileError
from hpo.saved_model.inspection import inspect_model

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2}, "registered_name": None}
BOTH = pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".keras"])


def model_of(*layers):
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


def hdf5_bytes(fill=None, **attributes):
    """An HDF5 file with one data set of weights, whatever ``fill(file)`` adds, and ``attributes``."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("model_weights")["kernel"] = np.arange(64, dtype=np.float32)
        file.attrs.update(attributes)
        if fill is not None:
            fill(file)
    return buffer.getvalue()


def write_model(path, config, fill=None):
    """Write ``config`` (JSON text, or what becomes it) as a model; ``fill`` adds to the HDF5 with the weights."""
    text = config if isinstance(config, str) else json.dumps(config)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", text)
            archive.writestr("model.weights.h5", hdf5_bytes(fill))
    else:
        path.write_bytes(hdf5_bytes(fill, model_config=text))
    return path


def refused(path, message):
    """``path`` is refused in one line that matches ``message`` and names it."""
    with pytest.raises(FileError, match=message) as caught:
        inspect_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@BOTH
def test_accepts_a_plain_model(tmp_path, suffix):
    """A model of Keras layers needs nothing from outside Keras, and inspecting it does not import Keras."""
    path = write_model(tmp_path / f"m{suffix}", model_of(DENSE))
    assert inspect_model(path) == frozenset()
    code = f"import sys, pathlib, hpo.saved_model.inspection as m; m.inspect_model(pathlib.Path({str(path)!r}))"
    code += "; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


LAMBDA = {"class_name": "Lambda", "config": {"function": ["4wEAAA==", None, None]}}


@BOTH
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        pytest.param(LAMBDA, "a 'Lambda', which runs code", id="lambda-layer"),
        pytest.param(model_of(DENSE, model_of(LAMBDA)), "a 'Lambda'", id="lambda-in-a-nested-model"),
        pytest.param(
            {"class_name": "TimeDistributed", "config": {"layer": LAMBDA}}, "a 'Lambda'", id="lambda-in-a-wrapper"
        ),
        pytest.param(
            {"class_name": "Dense", "config": {"activation": {"class_name": "__lambda__", "config": {}}}},
            "a '__lambda__'",
            id="lambda-as-activation",
        ),
        pytest.param({"class_name": "TFSMLayer", "config": {"filepath": "/"}}, "a 'TFSMLayer'", id="saved-model"),
        pytest.param({"class_name": "TypeSpec", "type_spec": "x"}, "'TypeSpec', which no", id="type-registry"),
        pytest.param({"class_name": "__typespec__", "module": "os"}, "a '__typespec__'", id="type-spec"),
        pytest.param(
            {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
            "which can read other files",
            id="vocabulary-file",
        ),
        pytest.param({"class_name": "deserialize", "config": {}}, "'deserialize' in the place", id="function-as-layer"),
        pytest.param({"class_name": ["Dense"], "config": {}}, "is not", id="class-name-not-text"),
    ],
)
def test_refuses_what_runs_code_or_reads_files(tmp_path, suffix, layer, message):
    """A layer that brings code or names files is refused, however deep it lies."""
    refused(write_model(tmp_path / f"m{suffix}", model_of(DENSE, layer)), message)


@BOTH
@pytest.mark.parametrize(
    ("layer", "needs"),
    [
        pytest.param({"class_name": "system", "module": "os", "config": {}}, "system", id="class-of-another-module"),
        pytest.param({"class_name": "Own", "module": None, "config": {}}, "Own", id="class-of-no-module"),
        pytest.param({"class_name": "my>Own", "config": {}}, "my>Own", id="registered-in-the-legacy-format"),
        pytest.param(
            {"class_name": "Own", "module": "my", "registered_name": "my>Own", "config": {}}, "my>Own", id="registered"
        ),
        pytest.param(
            {"class_name": "function", "module": "keras.utils", "config": "get_file"},
            "get_file",
            id="keras-function-that-is-no-layer",
        ),
        pytest.param({"class_name": "X", "module": "kerasevil.x", "config": {}}, "X", id="module-like-keras"),
        pytest.param(
            {"class_name": "function", "module": "builtins", "config": "my>act", "registered_name": "function"},
            "my>act",
            id="registered-function",
        ),
        pytest.param(
            {"class_name": "function", "module": "builtins", "config": "act", "registered_name": "function"},
            "act",
            id="function-that-only-keras-can-judge",
        ),
    ],
)
def test_names_what_is_outside_keras(tmp_path, suffix, layer, needs):
    """What is no part of Keras is reported by the name under which a program may have registered it."""
    assert inspect_model(write_model(tmp_path / f"m{suffix}", model_of(layer))) == {needs}


@BOTH
@pytest.mark.parametrize(
    "layer",
    [
        pytest.param({"class_name": "__keras_tensor__", "config": {"shape": [1]}}, id="tensor-between-layers"),
        pytest.param({"class_name": "__tuple__", "items": [1]}, id="tuple"),
        pytest.param({"class_name": "Add", "module": "keras.src.ops.numpy", "config": {}}, id="operator"),
        pytest.param({"class_name": "function", "module": "keras.activations", "config": "relu"}, id="activation"),
        pytest.param({"class_name": "DTypePolicy", "module": "keras", "config": {}}, id="dtype-policy"),
    ],
)
def test_accepts_what_keras_writes(tmp_path, suffix, layer):
    """Values and objects that Keras itself writes into a configuration pass."""
    assert inspect_model(write_model(tmp_path / f"m{suffix}", model_of(layer))) == frozenset()


def test_ignores_how_a_model_was_compiled(tmp_path):
    """A loss of the user's own does not matter, since models are loaded without compiling; a nested one does."""
    own = {"loss": {"class_name": "function", "module": "my", "config": "my_loss"}}
    path = write_model(tmp_path / "m.keras", model_of(DENSE) | {"compile_config": own})
    assert inspect_model(path) == frozenset()
    nested = model_of(DENSE) | {"compile_config": own}
    assert inspect_model(write_model(tmp_path / "n.keras", model_of(nested))) == {"my_loss"}


@BOTH
@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param("{", "JSONDecodeError", id="not-json"),
        pytest.param("[]", "not a JSON object", id="not-an-object"),
        pytest.param('{"a": {"class_name": "TypeSpec"}, "a": 1}', "names a key twice", id="key-twice"),
        pytest.param("[" * 100_000, "RecursionError", id="nested-without-end"),
    ],
)
def test_refuses_a_broken_configuration(tmp_path, suffix, config, message):
    """A configuration that cannot be read, or reads in two ways, is refused."""
    refused(write_model(tmp_path / f"m{suffix}", config), message)


@BOTH
def test_refuses_an_enormous_configuration(tmp_path, suffix):
    """A configuration of more than 16 MiB is no model's."""
    path = write_model(tmp_path / f"m{suffix}", '{"a": "' + "x" * 2**24 + '"}')
    refused(path, "a configuration of 16,777,225 bytes")


def external_link(file):
    file["model_weights"]["far"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(file):
    file["model_weights"]["near"] = h5py.SoftLink("/model_weights/kernel")


def external_storage(file):
    file.create_dataset("far", (8,), "u1", external=[("/etc/passwd", 0, 8)])


def virtual_dataset(file):
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (8,))
    file.create_virtual_dataset("model_weights/far", layout)


def shape_bomb(file):
    file.create_dataset("model_weights/bomb", (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")


def texts(file):
    file["model_weights"]["texts"] = ["a", "b"]


def named_type(file):
    file["model_weights"]["type"] = np.dtype("f4")


@BOTH
@pytest.mark.parametrize(
    ("fill", "message"),
    [
        pytest.param(external_link, "a link at /model_weights/far to '/etc/passwd:/x'", id="external-link"),
        pytest.param(soft_link, "a link at /model_weights/near to '/model_weights/kernel'", id="soft-link"),
        pytest.param(external_storage, "/far, whose data lie in other files", id="external-storage"),
        pytest.param(virtual_dataset, "/model_weights/far, whose data lie in other files", id="virtual-dataset"),
        pytest.param(shape_bomb, "would grow from [0-9,]+ to 4,398,046,511,[0-9]+ bytes", id="shape-bomb"),
        pytest.param(texts, "something other than numbers at /model_weights/texts", id="objects"),
        pytest.param(named_type, "something other than numbers at /model_weights/type", id="named-type"),
    ],
)
def test_refuses_hdf5_that_reaches_out(tmp_path, suffix, fill, message):
    """Links, data kept elsewhere and data that grow without bound are refused, also inside a .keras archive."""
    refused(write_model(tmp_path / f"m{suffix}", model_of(DENSE), fill), message)


@BOTH
def test_a_loop_of_groups_ends(tmp_path, suffix):
    """A group that holds itself is walked once."""

    def loop(file):
        file["model_weights"]["again"] = file["/"]

    assert inspect_model(write_model(tmp_path / f"m{suffix}", model_of(DENSE), loop)) == frozenset()


def test_refuses_a_zip_bomb(tmp_path):
    """An archive that would grow a hundredfold is refused before it is unpacked."""
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", bytes(80 * 2**20))
    refused(tmp_path / "m.keras", "an archive that would grow from [0-9,]+ to 83,886,084 bytes")


def test_refuses_other_members(tmp_path):
    """An archive holds what Keras puts there, each member once."""
    path = write_model(tmp_path / "m.keras", model_of(DENSE))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../etc/cron.d/x", "")
    refused(path, "'../../etc/cron.d/x' besides config.json")

    path = write_model(tmp_path / "n.keras", model_of(DENSE))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")
    refused(path, "must hold one config.json")

    with zipfile.ZipFile(tmp_path / "o.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    refused(tmp_path / "o.keras", "must hold one metadata.json")


@BOTH
def test_refuses_a_truncated_file(tmp_path, suffix):
    """A file cut anywhere is refused, never read as a smaller model."""
    whole = write_model(tmp_path / f"whole{suffix}", model_of(DENSE)).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in (*range(1, len(whole), len(whole) // 60), len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "must be")


def test_a_changed_byte_in_an_archive_is_found(tmp_path):
    """Each member of a .keras file has a checksum; a byte of the weights that changed is refused."""
    path = write_model(tmp_path / "m.keras", model_of(DENSE))
    changed = bytearray(path.read_bytes())
    changed[changed.index(np.arange(64, dtype=np.float32).tobytes()) + 100] ^= 1
    path.write_bytes(changed)
    refused(path, "Bad CRC-32 for file 'model.weights.h5'")


@pytest.mark.parametrize(
    ("attributes", "layout", "message"),
    [
        pytest.param({"layer_names": [b"dense"]}, "", "holds weights without a model", id="legacy-weights"),
        pytest.param({}, "layers/dense/vars", "holds weights without a model", id="keras-3-weights"),
        pytest.param({}, "temperature", r"holds other data \(model_weights, temperature\)", id="other-data"),
    ],
)
def test_refuses_hdf5_without_a_model(tmp_path, attributes, layout, message):
    """HDF5 that holds no whole model is named for what it is."""
    path = tmp_path / "m.h5"
    path.write_bytes(hdf5_bytes((lambda file: file.create_group(layout)) if layout else None, **attributes))
    refused(path, message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("m.txt", b"", "must end in .h5, .hdf5 or .keras", id="other-suffix"),
        pytest.param("m.h5", b"", "must be HDF5, but .* is empty. Export", id="empty"),
        pytest.param("m.h5", b"a text", "must be HDF5, but .* is neither", id="text-as-h5"),
        pytest.param("m.keras", b"a text", "must be a zip archive, but .* is neither", id="text-as-keras"),
        pytest.param("m.h5", b"PK\3\4....", "is a zip archive. If .* end in .keras", id="archive-as-h5"),
        pytest.param("m.keras", hdf5_bytes(), "is HDF5. If .* end in .h5", id="h5-as-keras"),
    ],
)
def test_refuses_another_kind_of_file(tmp_path, name, content, message):
    """A file that is not what its name says is refused with what it is."""
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


def test_refuses_what_is_no_file(tmp_path):
    """A folder, a missing file and a pipe are refused at once; Keras would load a folder."""
    (tmp_path / "m.keras").mkdir()
    refused(tmp_path / "m.keras", "is a folder")
    refused(tmp_path / "missing.h5", "does not")
    os.mkfifo(tmp_path / "pipe.h5")
    refused(tmp_path / "pipe.h5", "neither file nor folder")
