"""The best trial of a study as files: retrained, measured once on the test split, saved, and proven to load."""

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

from hpo import datasets
from hpo.datasets import Dataset
from hpo.errors import HpoError, StudyError, UsageError
from hpo.files.output import check_output
from hpo.files.reading import sha256
from hpo.files.run_dir import RunDir
from hpo.files.writing import write_json
from hpo.results.trials import TrialRecord, best_of, trial_of
from hpo.saved_model import code_file, export_check, model_file
from hpo.saved_model.inspection import inspect_model
from hpo.saved_model.model_card import card_path, is_exported
from hpo.saved_model.proof import prove, reason
from hpo.saved_model.weights import own_weights, retrained_weights, set_weights
from hpo.storage import stored_study, study_code
from hpo.storage.environment import versions
from hpo.study.found import FoundStudy
from hpo.study.task import Train
from hpo.trial.exhausted import is_disk_full
from hpo.trial.measures import evaluate, in_batches
from hpo.trial.model import build
from hpo.trial.outputs import as_probabilities, outputs_of

if TYPE_CHECKING:
    import keras

_PROOF_IMAGES = 256


@dataclass(frozen=True)
class Exported:
    """The files of one export.

    Args:
        models: the model files that were written.
        card_path: the path of the card beside them.
        card: the content of the card.
        left_out: why the .h5 file that was asked for was not written; None if it was.
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
    """Save a trial of ``study`` as ``output`` with a JSON card beside it and, beside an .h5 file, a .keras file.

    The test split is read once and last, after the files have loaded in a new process and have predicted the same.
    Otherwise nothing is written. If an .h5 file cannot hold the model, only the .keras file is written.

    Args:
        number: the number of the trial; None for the best.
        retrain: train new weights on training and validation images together, for the epochs of the trial until its
            best and with its learning rates; otherwise take the trial's own best weights.
        file: where the study's code is on this machine; None looks for it.
        known: the study with its code, if this process has it.
        force: replace files that no export wrote.
        announce: is called with a line before something that takes long.

    Raises:
        UsageError: the study has no model or no such finished trial, ``output`` cannot be written, or the trained model
            gives no probabilities, for example after a loss of nan.
        StudyError: the model of the study is not the one that the trial had, or cannot be exported.
        FileError: the weights that the trial kept are not those of its model.
        HpoError: the saved file does not predict what the model predicts.
        OSError: the disk is full; an earlier export is left unchanged.
    """
    definition = study_code.found_again(study, file, known).definition
    task = definition.task
    if not isinstance(task, Train):
        raise UsageError(f"The task of study {definition.name!r} is a function, so there is no model to export.")
    if output.suffix not in (".h5", ".keras") and not output.is_dir():
        raise UsageError(
            f"--output must end in .h5 or .keras, but got {output}. A .keras file is written beside an .h5 file, too."
        )
    for place in {output, output.with_suffix(".keras"), card_path(output)}:
        check_output(place, is_exported, force=force)
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
        weights = retrained_weights(task, row, dataset)
        model = _portable(task, row, dataset)
    else:
        weights = own_weights(model, row, run_dir)
    set_weights(model, weights)
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
                # means over the classes, with equal weight
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
            # one image before the model scales it
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
        place = card_path(output)
        write_json(Path(folder) / place.name, card)  # the last file to be written: the disk may be full
        for path in (*saved.models, Path(folder) / place.name):
            path.replace(place.with_name(path.name))
    models = tuple(output.parent / path.name for path in saved.models)
    if output not in models:
        output.unlink(missing_ok=True)  # an earlier export's, which the new card does not describe
    return Exported(models, place, card, saved.left_out, saved.needs_hpo)


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


def _portable(task: Train, row: TrialRecord, dataset: Dataset) -> "keras.Model":
    """The untrained model in float32, because half precision is slow on other hardware."""
    return build(task, row.params, dataset, seed=row.seed, precision="float32")


@dataclass(frozen=True)
class _Saved:
    """Models that were saved and proven to load, their kind of outputs, and the code files that they need."""

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
    as_probabilities(expected, outputs)  # otherwise it would raise after the test split has been read
    native, h5 = folder / f"{output.stem}.keras", folder / f"{output.stem}.h5"
    model_file.save(model, native)
    code = code_file.files_of(inspect_model(native))
    models, errors = [native], {}
    if output.suffix == ".h5":
        try:
            model_file.save(model, h5)
            models.insert(0, h5)
        except Exception as error:  # the older format cannot hold every model, and Keras then raises many errors
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
