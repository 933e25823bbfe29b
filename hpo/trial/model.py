"""The model of a trial: built by its study in a fresh state of Keras, and checked before it is trained."""

import logging
from functools import cache
from typing import Any

from hpo.datasets import Dataset
from hpo.errors import TrialError
from hpo.study.space import Params
from hpo.study.task import Train

_logger = logging.getLogger("hpo")


def build(task: Train, params: Params, dataset: Dataset, *, seed: int, precision: str) -> Any:
    """The model of a task for ``params``: compiled and built, in a fresh state of Keras.

    Args:
        seed: of its weights.
        precision: a Keras dtype policy. A model whose outputs cannot be kept in float32 in half precision is built in
            float32 instead; its ``dtype_policy`` says which it has.

    Raises:
        InvalidModel, OutOfMemory: these parameters give no model, one for other data, or one that is too large.
        TrialError: the study's builder returned something else.
    """
    from hpo.trial.half_precision import keep_outputs_in_float32
    from hpo.trial.training import start_fresh

    start_fresh(seed, precision)
    model = _built(task, params, dataset)
    if precision != "float32" and not keep_outputs_in_float32(model, dataset.input_shape):
        _warn_once(
            f"A model is trained in float32 and not in {precision}, because its outputs cannot be set to float32 from "
            'outside: it has a `call` of its own. Give its last layer dtype="float32" to train it in half precision.'
        )
        start_fresh(seed, "float32")
        model = _built(task, params, dataset)
    return model


def _built(task: Train, params: Params, dataset: Dataset) -> Any:
    from hpo.trial.training import as_failure, build_layers, check_shapes

    try:
        model = task.model(params, dataset)
        if not getattr(model, "compiled", False):
            raise TrialError(f"the study's `model` must return a compiled keras.Model, but returned {model!r}")
        build_layers(model, dataset.input_shape)
        check_shapes(model, dataset)
        return model
    except Exception as error:
        failure = as_failure(error, trained=False)
        if failure is None:
            raise
        raise failure from error


@cache
def _warn_once(message: str) -> None:
    """Log what would else be said of each trial once per process."""
    _logger.warning(message)
