"""Whether the models of a study can be exported; tested with an untrained one, before a search takes hours."""

from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets import Dataset
from hpo.errors import FileError, StudyError, UsageError
from hpo.saved_model import code_file, model_file
from hpo.saved_model.inspection import inspect_model
from hpo.saved_model.proof import reason
from hpo.trial.exhausted import is_disk_full, is_out_of_memory
from hpo.trial.measures import check_fit, in_batches
from hpo.trial.outputs import as_probabilities, outputs_of

if TYPE_CHECKING:
    import keras

_IMAGES = 8
_REMEDY = (
    "Decorate your own parts with @keras.saving.register_keras_serializable() (a class also needs get_config, and "
    "**kwargs in its __init__)."
)


def check(model: "keras.Model", dataset: Dataset) -> None:
    """Save ``model``, load it like a process without the study, and check that its outputs can be measured.

    Args:
        model: in float32, trained or not.
        dataset: a few of its validation images are used.

    Raises:
        StudyError: it cannot be exported; the message says why and what to do.
    """
    try:
        check_fit(model, dataset.validation.images, dataset.num_classes)
        images, _ = in_batches(model, dataset.validation.images[:_IMAGES])
        given = _outputs(model, images)
        if np.isfinite(given).all():  # outputs of an untrained model may be infinite
            as_probabilities(given, outputs_of(model, given))
    except UsageError as error:
        raise StudyError(f"The study's model could not be measured after the search: {error}") from error
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            again = _outputs(_reloaded(model, path), images)
        except Exception as error:  # Keras and the study's own code may raise any
            if is_out_of_memory(error) or is_disk_full(error):
                raise  # the model is not the cause
            why = str(error).replace(str(path), "it") if isinstance(error, FileError) else reason(f"{error}") + "."
            raise StudyError(
                f"The study's model could not be saved and loaded again after the search: {why} {_REMEDY}"
            ) from error
    if not np.allclose(again, given, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise StudyError(
            "The study's model, saved and loaded again, gives other outputs than before: one of its own layers has a "
            "state that is neither a weight nor in its get_config, or is random when it predicts. Correct that layer."
        )


def _reloaded(model: "keras.Model", path: Path) -> "keras.Model":
    import keras

    for layer in model._flatten_layers():
        # Keras would save the default arguments: this model would load, but not one with other arguments.
        if isinstance(layer, keras.Model) and _has_arguments(type(layer)) and not _has_config(type(layer)):
            raise FileError(
                f"A model class with arguments must have a get_config, but {type(layer).__name__} has none."
            )
    model_file.save(model, path)
    code_file.files_of(inspect_model(path))
    return keras.models.load_model(path, compile=False, safe_mode=True)


def _has_arguments(kind: type) -> bool:
    """Whether a model class has arguments besides those that Keras saves for every model."""
    arguments = signature(kind.__init__).parameters.values()  # type: ignore[misc]
    named = {one.name for one in arguments if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    return bool(named - {"self", "name", "trainable", "dtype"})


def _has_config(kind: type) -> bool:
    """Whether a model class, or Keras for it, saves its arguments; for a functional model Keras saves the graph."""
    import keras
    from keras.src.models.functional import Functional, functional_like_constructor

    get_config = kind.get_config  # type: ignore[attr-defined]
    return get_config is not keras.Model.get_config and (
        get_config is not Functional.get_config or functional_like_constructor(kind)
    )


def _outputs(model: "keras.Model", images: NDArray[np.uint8]) -> NDArray[Any]:
    """The outputs of ``model`` for ``images``; without ``predict``, which takes a second to trace the model."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))
