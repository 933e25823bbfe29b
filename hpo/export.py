"""The winner of a study as files: retrained, measured once on the test split, saved, and proven to load."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.artifacts import FileSystemArtifactStore, download_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from hpo import datasets, model_file, results, stored_study
from hpo.datasets import Dataset, Split
from hpo.errors import HpoError, StudyError, TrialFailure, UsageError
from hpo.evaluate import evaluate
from hpo.input_file import reading
from hpo.objective import DEFAULT_BATCH_SIZE, WEIGHTS_FILE, build
from hpo.results import TrialRecord
from hpo.run_dir import RunDir, write_json
from hpo.study import StudyDefinition

if TYPE_CHECKING:
    import keras

_PROOF_IMAGES = 256

# Run by a bare interpreter: it shows that a file needs Keras and nothing of ours.
_RELOAD = """
import sys
sys.modules["hpo"] = None
import keras, numpy
model = keras.models.load_model(sys.argv[1], compile=False)
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


@dataclass(frozen=True)
class Exported:
    """The files of one export and what they hold."""

    h5: Path
    keras: Path
    card_path: Path
    card: dict[str, Any]


def export(
    study: optuna.Study,
    run_dir: RunDir,
    output: Path,
    *,
    number: int | None,
    retrain: bool,
    file: str | None = None,
    announce: Callable[[str], None] = lambda message: None,
) -> Exported:
    """Save a trial of ``study`` as ``output`` (.h5), with a .keras file and a JSON card beside it.

    Reads the test split once. Nothing is written unless both files reload and predict the same.

    Args:
        number: of the trial; None for the best.
        retrain: train fresh weights on train and validation images together, for as many epochs as the trial's
            best had and at the learning rates it had; else take the trial's own best weights.
        file: where the study's code is on this machine; None looks for it.
        announce: told what takes long before it begins.

    Raises:
        UsageError: the study has no such finished trial, no model, or ``output`` is not an .h5 path.
        FileError: the weights that the trial kept are not those of its model.
        HpoError: a saved file does not predict what the model predicts.
    """
    definition = stored_study.stored_definition(study, file)
    if definition.model is None:
        raise UsageError(f"Study {definition.name!r} has an objective of its own, so there is no model to export.")
    if output.suffix != ".h5":
        raise UsageError(f"--output must end in .h5, but got {output}. A .keras file is written beside it.")
    _check_writable(output.parent)
    row = results.best(study) if number is None else results.trial(study, number)
    if row.best_epoch is None or row.value is None:
        raise StudyError(
            f"Trial {row.number} of {definition.name!r} has no result to export ({row.state}, {row.stop_reason}). "
            f"`hpo trials --study {definition.name}` lists those that have."
        )
    dataset = definition.load_dataset(run_dir)
    assert dataset is not None
    stored_study.check_data(study, dataset.sha256)
    row = dataclasses.replace(row, params=definition.whole_params(row.params))
    if retrain:
        images = len(dataset.train.labels) + len(dataset.validation.labels)
        announce(f"Training trial {row.number} afresh: {row.best_epoch} epochs on {images} images.")
        weights = _retrained(definition, row, dataset)
        model = _portable(definition, row, dataset)
        model.set_weights(weights)
    else:
        model = _portable(definition, row, dataset)
        _take_own_weights(model, study, row, run_dir)
    reader = f"export {definition.name} trial {row.number}"
    test = datasets.load_test(definition.dataset or "", run_dir=run_dir, reader=reader, merge=definition.merge)
    measured = evaluate(model, test, dataset.classes)
    card = {
        "study": definition.name,
        "trial": row.number,
        "params": row.params,
        "epochs": row.best_epoch,
        "weights": "retrained on train and validation images" if retrain else "the trial's own best",
        "metrics": {
            "search_value": row.value,
            "test_accuracy": measured.accuracy,
            "test_loss": measured.loss,
            # means over the classes, each class counting the same
            "test_precision": measured.macro.precision,
            "test_recall": measured.macro.recall,
            "test_f1": measured.macro.f1,
        },
        "dataset": {
            "name": definition.dataset,
            "sha256": dataset.sha256,
            "merge": definition.merge,
            "seed": dataset.seed,
            "validation_fraction": dataset.validation_fraction,
            "subset": dataset.subset,
        },
        "classes": list(dataset.classes),
        "input_shape": list(dataset.input_shape),
        "parameters": int(model.count_params()),
        "trained_in": row.precision,
        "fingerprint": definition.fingerprint,
        "versions": stored_study.versions(),
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return _save(model, test, output, card)


def _check_writable(folder: Path) -> None:
    """Before minutes of training: make ``folder`` where it is missing, and try to write there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryDirectory(dir=folder, prefix=".export-").cleanup()
    except OSError as error:
        raise UsageError(
            f"--output must be where a file can be written, but {folder} is not: {error.strerror}."
        ) from None


def _retrained(definition: StudyDefinition, row: TrialRecord, dataset: Dataset) -> list[Any]:
    """Fresh weights, trained on train and validation images as the trial trained until its best epoch."""
    from hpo import training

    try:
        model = build(definition, row.params, dataset, seed=row.seed or 0, precision=row.precision or "float32")
        split = dataset.train_and_validation()
        if definition.prepare is not None:
            split = definition.prepare(row.params, split, row.seed or 0)
        batch_size = row.params.get("batch_size", DEFAULT_BATCH_SIZE)
        if row.physical_batch_size:
            training.split_batches(model, batch_size // row.physical_batch_size)
        training.refit(
            model,
            split,
            learning_rates=row.history["learning_rate"][: row.best_epoch],
            batch_size=row.physical_batch_size or batch_size,
        )
    except TrialFailure as failure:
        raise HpoError(f"Trial {row.number} cannot be trained again ({failure.reason}): {failure}.") from failure
    return list(model.get_weights())


def _take_own_weights(model: "keras.Model", study: optuna.Study, row: TrialRecord, run_dir: RunDir) -> None:
    """Give ``model`` the best weights that the trial kept."""
    attrs = study.get_trials(deepcopy=False)[row.number].user_attrs
    artifact = stored_study.typed(attrs, {"weights": str}).get("weights", "")
    with TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS_FILE
        try:
            download_artifact(
                artifact_store=FileSystemArtifactStore(run_dir.artifacts),
                artifact_id=artifact,
                file_path=str(path),
            )
        except (ArtifactNotFound, OSError, ValueError):  # ValueError: a name that leaves the store
            raise StudyError(
                f"The weights of trial {row.number} are not in {run_dir.artifacts}: it was pruned, or it ran under "
                "another HPO_HOME. Leave --no-retrain out."
            ) from None
        rule = f"The weights of trial {row.number} must be a whole .npz file of its model's arrays"
        with (
            reading(run_dir.artifacts / artifact, "Leave --no-retrain out.", rule=rule),
            path.open("rb") as file,  # NumPy leaves a damaged one open that it opened itself
            np.load(file, allow_pickle=False) as arrays,
        ):
            model.set_weights([arrays[name] for name in arrays.files])


def _portable(definition: StudyDefinition, row: TrialRecord, dataset: Dataset) -> "keras.Model":
    """The model, untrained and in float32, whatever it was trained in: half precision is slow on other hardware."""
    return build(definition, row.params, dataset, seed=row.seed or 0, precision="float32")


def _save(model: "keras.Model", test: Split, output: Path, card: dict[str, Any]) -> Exported:
    """Write both files beside their places, prove them, then move them there, the card last."""
    places = (output, output.with_suffix(".keras"))
    card_path = output.with_suffix(".json")
    images = np.ascontiguousarray(test.images[:_PROOF_IMAGES])
    expected = model.predict(images, verbose=0)
    with TemporaryDirectory(dir=output.parent, prefix=".export-") as folder:
        saved = [Path(folder) / place.name for place in places]
        for path in saved:
            model.save(path, include_optimizer=False)
            _prove(path, images, expected)
        card["files"] = {path.name: model_file.sha256(path) for path in saved}
        card = json.loads(json.dumps(card))
        for path, place in zip(saved, places, strict=True):
            path.replace(place)
    write_json(card_path, card)
    return Exported(h5=places[0], keras=places[1], card_path=card_path, card=card)


def _prove(path: Path, images: Any, expected: Any) -> None:
    """Reload ``path`` in a new process that cannot import hpo, and compare its predictions with ours."""
    inputs, outputs = path.with_suffix(".in.npy"), path.with_suffix(".out.npy")
    np.save(inputs, images)
    answer = subprocess.run(
        [sys.executable, "-c", _RELOAD, str(path), str(inputs), str(outputs)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise HpoError(
            f"The saved {path.suffix} file does not load in a process without hpo: {last}. Nothing was written."
        )
    difference = float(np.abs(np.load(outputs) - expected).max())
    # The same weights in the same precision; only the order of additions may differ.
    if not difference < 1e-5:
        raise HpoError(
            f"The saved {path.suffix} file predicts otherwise than the model, by up to {difference:.3g}. "
            "Nothing was written."
        )
