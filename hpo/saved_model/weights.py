"""The weights of an export: trained again, or those that the trial kept."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.artifacts import FileSystemArtifactStore, download_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from hpo.datasets import Dataset
from hpo.errors import HpoError, StudyError, TrialFailure
from hpo.files.reading import reading
from hpo.files.run_dir import RunDir
from hpo.results.trials import TrialRecord
from hpo.study.task import DEFAULT_BATCH_SIZE, Train
from hpo.trial.model import build
from hpo.trial.train_task import WEIGHTS_FILE

if TYPE_CHECKING:
    import keras


def retrained_weights(task: Train, row: TrialRecord, dataset: Dataset) -> list[Any]:
    """New weights, trained on training and validation images as the trial trained until its best epoch.

    Raises:
        HpoError: the training failed.
    """
    from hpo.trial import training

    trained = row.result.model
    try:
        model = build(task, row.params, dataset, seed=row.seed, precision=trained.precision or "float32")
        split = dataset.train_and_validation()
        if task.prepare is not None:
            split = task.prepare(row.params, split, row.seed)
        batch_size = row.params.get("batch_size", DEFAULT_BATCH_SIZE)
        if trained.physical_batch_size:
            training.split_batches(model, training.HALVES)
        training.refit(
            model,
            split,
            learning_rates=row.result.history["learning_rate"][: row.result.fit.best_epoch],
            batch_size=trained.physical_batch_size or batch_size,
        )
    except TrialFailure as failure:
        raise HpoError(f"Trial {row.number} cannot be trained again ({failure.reason}): {failure}.") from failure
    return list(model.get_weights())


def own_weights(model: "keras.Model", row: TrialRecord, run_dir: RunDir) -> list[Any]:
    """The best weights that the trial kept; sets them in ``model``.

    Raises:
        StudyError: they are not on this machine.
        FileError: they are damaged, or not those of ``model``.
    """
    artifact = row.result.weights or ""
    with TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS_FILE
        try:
            store = FileSystemArtifactStore(run_dir.artifacts)
            download_artifact(artifact_store=store, artifact_id=artifact, file_path=str(path))
        except (ArtifactNotFound, OSError, ValueError):  # ValueError: the name leads out of the store
            raise StudyError(
                f"The weights of trial {row.number} are not in {run_dir.artifacts}: it did not end, or it ran with "
                "another HPO_HOME. Leave --no-retrain out."
            ) from None
        rule = f"The weights of trial {row.number} must be a whole .npz file of its model's arrays"
        with (
            reading(run_dir.artifacts / artifact, "Leave --no-retrain out.", rule=rule),
            path.open("rb") as file,  # NumPy leaves a damaged file open if it opened that itself
            np.load(file, allow_pickle=False) as arrays,
        ):
            weights = [arrays[name] for name in arrays.files]
            model.set_weights(weights)
        return weights


def set_weights(model: "keras.Model", weights: list[Any]) -> None:
    """Set the weights of ``model`` and of what its layers derive from them."""
    model.set_weights(weights)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):  # a Normalization computes with a copy of its weights
            layer.finalize_state()
