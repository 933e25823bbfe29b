"""A Keras model as a file: saved, and loaded safely."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import FileError
from hpo.files.reading import reading
from hpo.saved_model import code_file
from hpo.saved_model.inspection import inspect_model

if TYPE_CHECKING:
    import keras


def save(model: "keras.Model", path: Path) -> None:
    """Save ``model`` without optimizer, loss and metrics, so that nobody who loads it needs them."""
    compiled, model.compiled = model.compiled, False
    try:
        model.save(path, include_optimizer=False)
    finally:
        model.compiled = compiled


def load(path: Path, card: dict[str, Any] | None = None, code: Path | None = None) -> "keras.Model":
    """Load the model in ``path``, uncompiled; Keras's safe mode is always on.

    A part that is not Keras's is accepted only if it is registered under its name
    (``keras.saving.register_keras_serializable``): by this process, by the file that the card names with its SHA-256,
    or by ``code``. No module is imported because the model names it.

    Args:
        path: ``.h5`` or ``.hdf5`` (Keras's legacy HDF5 format) or ``.keras`` (a zip archive).
        card: the model's card, if there is one.
        code: the file that registers the model's parts, if it is not where the card says.

    Raises:
        FileError: the file is missing or damaged, holds no whole model, would run code or read other files, or its code
            is missing.
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
    remedy = "Export it again, or load it with the version of Keras that saved it and after importing its layers."
    with reading(path, remedy, rule=rule):
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise TypeError(f"it holds a {type(model).__name__}, not a model")
        # Otherwise Keras compiles the predictions of an uncompiled model with XLA, also on a CPU. For some images this
        # takes more time than it saves, and XLA rounds differently: bfloat16 probabilities changed by 8e-4.
        model.jit_compile = False
    return model
