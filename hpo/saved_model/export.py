"""The winner of a study as files: retrained, measured once on the test split, saved, and proven to load."""

import dataclasses
import json
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

from hpo import datasets
from hpo.datasets import Dataset
from hpo.errors import FileError, HpoError, StudyError, TrialFailure, UsageError
from hpo.files.output import check_output
from hpo.files.reading import reading, sha256
from hpo.files.run_dir import RunDir
from hpo.files.writing import write_json
from hpo.results.trials import TrialRecord, best_of, trial_of
from hpo.saved_model import code_file, export_check, model_file
from hpo.saved_model.inspection import inspect_model
from hpo.saved_model.proof import prove, reason
from hpo.storage import stored_study, study_code
from hpo.storage.environment import versions
from hpo.study.found import FoundStudy
from hpo.study.task import Train
from hpo.trial.exhausted import is_disk_full
from hpo.trial.measures import evaluate, in_batches
from hpo.trial.model import build
from hpo.trial.outputs import as_probabilities, outputs_of
from hpo.trial.train_task import DEFAULT_BATCH_SIZE, WEIGHTS_FILE

if TYPE_CHECKING:
    import keras

_PROOF_IMAGES = 256


@dataclass(frozen=True)
class Exported:
    """The files of one export and what they hold.

    Args:
        models: the model files that were written.
        card_path: of the card beside them.
        card: its content.
        left_out: why no .h5 file was written though one was asked for; None if it was.
        needs_hpo: whether the code that the models need imports hpo.
    """

    models: tuple[Path, ...]
    card_path: Path
    card: dict[str, Any]
    left_out: str | None
    needs_hpo: bool


def export(
    study: optuna.Study,
    run_dir: RunDir,
    output: Path,
    *,
    number: int | None,
    retrain: bool,
    file: str | None = None,
    known: FoundStudy | None = None,
    force: bool = False,
    announce: Callable[[str], None] = lambda message: None,
) -> Exported:
    """Save a trial of ``study`` as ``output``, if that is .h5 with a .keras file, and with a JSON card beside it.

    The test split is read once and last: when the files load in a new process and predict the same. Nothing is written
    otherwise. If a model cannot be held by .h5, only the .keras file is written.

    Args:
        number: of the trial; None for the best.
        retrain: train fresh weights on train and validation images together, for as many epochs as the trial's
            best had and at the learning rates it had; else take the trial's own best weights.
        file: where the study's code is on this machine; None looks for it.
        known: the study with its code, if this process has it.
        force: replace files that no export wrote.
        announce: told what takes long before it begins.

    Raises:
        UsageError: the study has no such finished trial, no model, or ``output`` cannot be written; or what the trained
            model gives are no probabilities, such as after a loss of nan.
        StudyError: the model of the study is another one than the trial's, or cannot be exported.
        FileError: the weights that the trial kept are not those of its model.
        HpoError: the saved file does not predict what the model predicts.
        OSError: the disk is full; an earlier export is left as it was.
    """
    definition = study_code.found_again(study, file, known).definition
    task = definition.task
    if not isinstance(task, Train):
        raise UsageError(f"The task of study {definition.name!r} is a function, so there is no model to export.")
    if output.suffix not in (".h5", ".keras") and not output.is_dir():
        raise UsageError(f"--output must end in .h5 or .keras, but got {output}. Beside .h5, .keras is written, too.")
    for place in {output, output.with_suffix(".keras"), model_file.card_path(output)}:
        check_output(place, _is_exported, force=force)
    row = best_of(study) if number is None else trial_of(study, number)
    best_epoch = row.result.fit.best_epoch
    if best_epoch is None or row.value is None:
        raise StudyError(
            f"Trial {row.number} of {definition.name!r} has no result to export "
            f"({row.state}, {row.result.stop_reason}). `hpo trials --study {definition.name}` lists those that have."
        )
    dataset = task.load_dataset(run_dir, seed=definition.seed)
    stored_study.check_data(study, dataset.sha256)
    row = dataclasses.replace(row, params=definition.whole_params(row.params))
    model = _portable(task, row, dataset)
    _check_same(model, row, definition.name)
    export_check.check(model, dataset)
    if retrain:
        images = len(dataset.train.labels) + len(dataset.validation.labels)
        announce(f"Training trial {row.number} afresh: {best_epoch} epochs on {images} images.")
        weights = _retrained(task, row, dataset)
        model = _portable(task, row, dataset)
    else:
        weights = _own_weights(model, row, run_dir)
    _set_weights(model, weights)
    with TemporaryDirectory(dir=output.parent, prefix=".export-") as folder:
        saved = _saved(model, Path(folder), output, dataset)
        reader = f"export {definition.name} trial {row.number}"
        test = datasets.load_test(task.data, run_dir=run_dir, reader=reader, merge=task.merge)
        measured = evaluate(model, test, dataset.classes, saved.outputs)
        card = {
            "study": definition.name,
            "trial": row.number,
            "params": row.params,
            "epochs": best_epoch,
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
                "name": task.data,
                "sha256": dataset.sha256,
                "merge": task.merge,
                "seed": dataset.seed,
                "validation_fraction": dataset.validation_fraction,
                "subset": dataset.subset,
            },
            "classes": list(dataset.classes),
            # of one image, as it is in its file: the model scales it
            "input": {"shape": list(dataset.input_shape), "type": "uint8", "range": [0, 255]},
            "outputs": saved.outputs,
            "code": saved.code,
            "parameters": int(model.count_params()),
            "trained_in": row.result.model.precision,
            "fingerprint": definition.fingerprint,
            "versions": versions(),
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {path.name: sha256(path) for path in saved.models},
        }
        card = json.loads(json.dumps(card))
        place = model_file.card_path(output)
        write_json(Path(folder) / place.name, card)  # before an earlier export is replaced: the disk may be full
        for path in (*saved.models, Path(folder) / place.name):
            path.replace(place.with_name(path.name))
    models = tuple(output.parent / path.name for path in saved.models)
    if output not in models:
        output.unlink(missing_ok=True)  # of an earlier export, which the new card does not describe
    return Exported(models, place, card, saved.left_out, saved.needs_hpo)


def _is_exported(place: Path) -> bool:
    """Whether a file is a model as the card beside it describes it, or a card."""
    is_card = place.name.endswith(".card.json")
    try:
        card = model_file.read_card(
            place.with_name(place.name.removesuffix(".card.json") + ".h5") if is_card else place
        )
        return card is not None and (is_card or sha256(place) in card["files"].values())
    except FileError:
        return False


def _check_same(model: "keras.Model", row: TrialRecord, name: str) -> None:
    """Check that the study still builds the model that the trial trained."""
    count = int(model.count_params())
    parameters = row.result.model.parameters
    if parameters not in (None, count):
        raise StudyError(
            f"An export must be of the model that was searched, but trial {row.number} of {name!r} had "
            f"{parameters:,} parameters and the study's code now builds {count:,}. Bring back the code that the "
            "trial ran with."
        )


def _retrained(task: Train, row: TrialRecord, dataset: Dataset) -> list[Any]:
    """Fresh weights, trained on train and validation images as the trial trained until its best epoch."""
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


def _own_weights(model: "keras.Model", row: TrialRecord, run_dir: RunDir) -> list[Any]:
    """The best weights that the trial kept, which are those of ``model``."""
    artifact = row.result.weights or ""
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
            weights = [arrays[name] for name in arrays.files]
            model.set_weights(weights)
        return weights


def _set_weights(model: "keras.Model", weights: list[Any]) -> None:
    model.set_weights(weights)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):  # a Normalization computes with a copy of its weights
            layer.finalize_state()


def _portable(task: Train, row: TrialRecord, dataset: Dataset) -> "keras.Model":
    """The model, untrained and in float32, whatever it was trained in: half precision is slow on other hardware."""
    return build(task, row.params, dataset, seed=row.seed, precision="float32")


@dataclass(frozen=True)
class _Saved:
    """Models that were saved and proven, what they give, and the files of code that they need."""

    models: list[Path]
    outputs: str
    code: dict[str, str]
    left_out: str | None
    needs_hpo: bool


def _saved(model: "keras.Model", folder: Path, output: Path, dataset: Dataset) -> _Saved:
    """Write the model into ``folder`` in each format that is asked for, and prove that it loads.

    Raises:
        HpoError: the .keras file does not load, or predicts otherwise.
    """
    images, batch_size = in_batches(model, np.ascontiguousarray(dataset.validation.images[:_PROOF_IMAGES]))
    expected = model.predict(images, batch_size=batch_size, verbose=0)
    outputs = outputs_of(model, expected)
    as_probabilities(expected, outputs)  # raises now what would else be seen when the test split is read
    native, h5 = folder / f"{output.stem}.keras", folder / f"{output.stem}.h5"
    model_file.save(model, native)
    code = code_file.files_of(inspect_model(native))
    models, errors = [native], {}
    if output.suffix == ".h5":
        try:
            model_file.save(model, h5)
            models.insert(0, h5)
        except Exception as error:  # the older format holds less, and Keras says so by many errors
            if is_disk_full(error):
                raise
            errors[h5] = f"Keras does not save it: {reason(str(error))}"
    proof = prove(models, images, expected, batch_size=batch_size, code=[Path(file) for file in code])
    errors |= proof.errors
    if native in errors:
        raise HpoError(f"The saved {output.stem}.keras does not hold the model: {errors[native]}. Nothing was written.")
    return _Saved(
        models=[path for path in models if path not in errors],
        outputs=outputs,
        code=code,
        left_out=errors.get(h5),
        needs_hpo=proof.needs_hpo,
    )
