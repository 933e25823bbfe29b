"""The content of a model file, read without Keras and without running or following anything in it.

Keras's safe mode alone is not enough. It is one global setting that a study's code can switch off: after
``keras.config.enable_unsafe_deserialization()`` a ``.keras`` file with a lambda loads in spite of ``safe_mode=True``
(tested with 3.15.1). And the legacy HDF5 format finds a class by its name alone among everything that ``keras.layers``
imports, also functions (``legacy/saving/saving_utils.py``). This module does not limit the memory of the layers that a
hostile configuration describes.
"""

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from hpo.errors import FileError
from hpo.files.reading import open_file, reading

HDF5_SUFFIXES = (".h5", ".hdf5")
KERAS_SUFFIX = ".keras"

_LARGEST_CONFIG = 16 * 2**20  # bytes; a ResNet152 needs half a megabyte
# Keras stores weights uncompressed: a file that would grow to many times its size was not made by Keras.
_LARGEST_EXPANSION = 100
_EXPANSION_FLOOR = 64 * 2**20  # bytes up to which growth does no harm

_SIGNATURES = {b"\x89HDF\r\n\x1a\n": "HDF5", b"PK\x03\x04": "a zip archive"}
_KERAS_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")

_RUNS_CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_READS_FILES = frozenset({"IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization"})
_VALUES = frozenset(
    {"TensorShape", "__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
    | {"__tuple__"}
)
# Keras looks these up among TensorFlow's types; Keras's own layers store none.
_LOOKS_UP_TYPES = frozenset({"CompositeTensor", "TypeSpec", "__typespec__"})
# Functions in other modules of ``keras`` download, write and load.
_FUNCTION_MODULES = frozenset(
    {"builtins", "keras.activations", "keras.constraints", "keras.initializers", "keras.ops"}
    | {"keras.losses", "keras.metrics", "keras.regularizers"}
)
# In the legacy format a lower-case name would be a function that keras.layers imports.
_CLASS_NAME = re.compile(r"[A-Z]\w*")


def inspect_model(path: Path) -> frozenset[str]:
    """Refuse a file that Keras should not read; return the registered names of its parts that may not be Keras's.

    Among them are all functions that have only a name, such as "relu", because only Keras knows which are its own.

    It reads a whole ``.keras`` file in order to check its checksums. HDF5 has none, so only the structure and the
    configuration of an HDF5 file are read.

    Raises:
        FileError: the file is missing or damaged, is no whole Keras model, would run code or read other files, or
            declares much more data than it stores.
    """
    suffix = path.suffix
    if suffix not in (*HDF5_SUFFIXES, KERAS_SUFFIX):
        raise FileError(f"A model file must end in .h5, .hdf5 or .keras, but got {path}. Name an exported model.")
    with open_file(path) as stream, reading(path):
        stored = path.stat().st_size
        _check_signature(path, stream, "a zip archive" if suffix == KERAS_SUFFIX else "HDF5")
        if suffix == KERAS_SUFFIX:
            config = _read_archive(path, stream, stored)
            # Keras ignores this if it loads without compiling, so any loss or metric is allowed here.
            config.pop("compile_config", None)
        else:
            config = _read_hdf5(path, stream, stored)
        return _outside_names(path, config)


def _refuse(path: Path, found: str, remedy: str) -> NoReturn:
    raise FileError(f"A model file must be safe to load, but {path} holds {found}. {remedy}")


def _check_signature(path: Path, stream: BinaryIO, wanted: str) -> None:
    first = stream.read(8)
    stream.seek(0)
    found = next((kind for mark, kind in _SIGNATURES.items() if first.startswith(mark)), None)
    if found == wanted:
        return
    if found is not None:
        suffix = KERAS_SUFFIX if found == "a zip archive" else HDF5_SUFFIXES[0]
        remedy = f"If Keras saved it, let its name end in {suffix}."
    else:
        found, remedy = ("neither", "Name a file that Keras saved.") if first else ("empty", "Export it again.")
    raise FileError(f"A {path.suffix} model must be {wanted}, but {path} is {found}. {remedy}")


def _check_expansion(path: Path, what: str, declared: int, stored: int) -> None:
    if declared > max(_EXPANSION_FLOOR, _LARGEST_EXPANSION * stored):
        found = f"{what} that would grow from {stored:,} to {declared:,} bytes"
        _refuse(path, found, "Keras stores weights uncompressed; use the file that it saved.")


def _read_archive(path: Path, stream: BinaryIO, stored: int) -> dict[str, Any]:
    """The configuration in a ``.keras`` archive; checks the checksum of every member and the links of the weights."""
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        if unknown := sorted(set(names) - set(_KERAS_MEMBERS)):
            _refuse(path, f"{unknown[0]!r} besides {', '.join(_KERAS_MEMBERS)}", "Use the file that Keras saved.")
        missing = [name for name in _KERAS_MEMBERS if names.count(name) != 1]
        if missing:
            raise FileError(f"A .keras model must hold one {missing[0]}, but {path} does not. Export it again.")
        _check_expansion(path, "an archive", sum(info.file_size for info in archive.infolist()), stored)
        archive.read("metadata.json")
        weights = io.BytesIO(archive.read("model.weights.h5"))
        import h5py

        with h5py.File(weights, "r") as file:
            _check_links(path, file, stored)
        return _parse(path, archive.read("config.json"))


def _read_hdf5(path: Path, stream: BinaryIO, stored: int) -> dict[str, Any]:
    """The configuration in a legacy HDF5 model; checks its links and data sets."""
    import h5py

    with h5py.File(stream, "r") as file:
        _check_links(path, file, stored)
        if "model_config" in file.attrs and "model_weights" in file:
            config = file.attrs["model_config"]
            return _parse(path, config if isinstance(config, str) else bytes(config))
        weights_only = "layer_names" in file.attrs or {"layers", "_layer_checkpoint_dependencies"} & set(file)
        found = "weights without a model" if weights_only else f"other data ({', '.join(sorted(file)[:3]) or 'none'})"
    raise FileError(f"A model file must hold a whole model, but {path} holds {found}. Save it with model.save().")


def _check_links(path: Path, file: Any, stored: int) -> None:
    """Check every link of an open HDF5 file without following any that leaves the file.

    Raises:
        FileError: there is an external or soft link, data in other files, data that are not numbers, or far too much.
    """
    import h5py

    declared, seen, waiting = 0, set(), [file["/"]]
    while waiting:
        group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                target = f"{getattr(link, 'filename', '')}:{getattr(link, 'path', '')}".lstrip(":")
                _refuse(path, f"a link at {where} to {target!r}", "Save the model again as one file.")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:  # hard links can form a loop
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
                continue
            if not isinstance(item, h5py.Dataset) or item.dtype.hasobject:
                _refuse(path, f"something other than numbers at {where}", "Use the file that Keras saved.")
            if item.external or item.is_virtual:
                _refuse(path, f"{where}, whose data lie in other files", "Save the model again as one file.")
            declared += math.prod(item.shape or ()) * item.dtype.itemsize
    _check_expansion(path, "weights", declared, stored)


def _parse(path: Path, config: str | bytes) -> dict[str, Any]:
    if len(config) > _LARGEST_CONFIG:
        _refuse(path, f"a configuration of {len(config):,} bytes", f"At most {_LARGEST_CONFIG:,} are read.")
    parsed = json.loads(config, object_pairs_hook=_without_duplicates)
    if not isinstance(parsed, dict):
        raise ValueError("its model configuration is not a JSON object")
    return parsed


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # If a key is there twice, json keeps the last one, but Keras's legacy decoder also uses the first.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("its model configuration names a key twice")
    return result


def _outside_names(path: Path, config: dict[str, Any]) -> frozenset[str]:
    """Check every object in a configuration at any depth; return the registered names that it needs."""
    outside: set[str] = set()
    waiting: list[Any] = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        if not isinstance(node, dict):
            continue
        waiting.extend(node.values())
        if "class_name" not in node:
            continue
        name, module, registered = node["class_name"], node.get("module", "keras"), node.get("registered_name")
        if name in _RUNS_CODE:
            _refuse(path, f"a {name!r}, which runs code from the file", "Use Keras layers, or a registered class.")
        if name in _READS_FILES:
            _refuse(path, f"a {name!r}, which can read other files", "Preprocess outside the model.")
        if name in _LOOKS_UP_TYPES:
            _refuse(path, f"a {name!r}, which no Keras layer needs", "Use the file that Keras saved.")
        if name in _VALUES:
            continue
        if name == "function":
            if module not in _FUNCTION_MODULES:
                outside.add(str(registered or node.get("config")))
            elif module == "builtins":  # Keras puts functions of the user there, registered or not
                outside.add(str(node.get("config")))
        elif not isinstance(name, str) or not isinstance(module, str | None):
            raise ValueError("its model configuration names a class by something other than text")
        elif ">" in name or str(module).partition(".")[0] != "keras":
            outside.add(str(registered or name))
        elif not _CLASS_NAME.fullmatch(name):
            _refuse(path, f"{name!r} in the place of a layer", "Use the file that Keras saved.")
    return frozenset(outside)
