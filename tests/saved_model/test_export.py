"""From a finished trial to files that load anywhere."""

import dataclasses
import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
import pytest

from hpo import datasets
from hpo.errors import FileError, HpoError, StudyError, UsageError
from hpo.files.run_dir import RunDir
from hpo.files.writing import write_json
from hpo.results.trials import TrialRecord, trial_of
from hpo.saved_model import model_card, model_file
from hpo.saved_model.export import Exported, export
from hpo.saved_model.proof import Proof
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url
from hpo.trial import training

# Half precision, so that the test sees that what is exported is not; and a trial that fails.
STUDY = """
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, Search, Train
from hpo.models import build_cnn

study = Search(
    name="small", sampler=RandomSampler(), task=Train(data="digits", model=build_cnn, precision="mixed_bfloat16"),
    budget=Budget(trials=2, max_epochs=3),
    space={"filters": IntDistribution(4, 6), "pooling": CategoricalDistribution(["max", "median"]),
           "batch_norm": CategoricalDistribution([True])},
    warm_starts=[{"filters": 4, "pooling": "max"}, {"filters": 4, "pooling": "median"}],
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study above has run, by a real launch."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "studies").mkdir()
    (folder / "studies" / "small.py").write_text(STUDY)
    environment = {name: value for name, value in os.environ.items() if name not in ("HPO_HOME", "HPO_STORAGE")}
    launch = [sys.executable, "-m", "hpo", "launch", "--study", "small", "--workers", "1", "--gpus", "none"]
    subprocess.run(launch, cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture
def runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.chdir(home)
    return RunDir(home / "runs")


@pytest.fixture
def study(runs: RunDir) -> Iterator[optuna.Study]:
    storage = open_storage(resolve_url(f"sqlite:///{runs.database}", runs), write=False)
    yield stored_study.load(storage, "small")
    backend_of(storage).engine.dispose()


@pytest.mark.parametrize("retrain", [True, False], ids=["retrained", "own-weights"])
def test_an_export_measures_once_and_describes_itself(
    retrain: bool, study: optuna.Study, runs: RunDir, tmp_path: Path
) -> None:
    """Model files and card agree, the model is float32, and the one read of the test split is recorded."""
    reads_before = len(runs.test_reads.read_text().splitlines()) if runs.test_reads.exists() else 0
    done = export(study, runs, tmp_path / "best.h5", number=None, retrain=retrain)
    assert len(runs.test_reads.read_text().splitlines()) == reads_before + 1
    card = json.loads((tmp_path / "best.card.json").read_text())
    assert card == done.card
    assert (card["study"], card["trial"], card["classes"]) == ("small", 0, [str(digit) for digit in range(10)])
    assert card["params"] == {"filters": 4, "pooling": "max", "batch_norm": True}
    assert card["epochs"] == study.trials[0].user_attrs["best_epoch"]
    assert card["trained_in"] == "mixed_bfloat16"
    assert card["input"] == {"shape": [28, 28, 1], "type": "uint8", "range": [0, 255]}
    assert (card["outputs"], card["code"]) == ("probabilities", {})
    assert (done.left_out, done.needs_hpo) == (None, False)
    assert card["versions"]["keras"] == keras.__version__

    model = keras.models.load_model(tmp_path / "best.h5", compile=False)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    test = datasets.load_test("digits", run_dir=runs, reader="test")
    predicted = model.predict(test.images, verbose=0).argmax(axis=1)
    assert (predicted == test.labels).mean() == pytest.approx(card["metrics"]["test_accuracy"])
    native = keras.models.load_model(tmp_path / "best.keras", compile=False)
    np.testing.assert_allclose(native.predict(test.images[:9], verbose=0), model.predict(test.images[:9], verbose=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.card.json", "best.h5", "best.keras"]


def test_own_weights_are_those_that_were_validated(study: optuna.Study, runs: RunDir, tmp_path: Path) -> None:
    """Without retraining, the exported model has the accuracy that the search saw."""
    export(study, runs, tmp_path / "own.h5", number=0, retrain=False)
    dataset = datasets.load("digits", run_dir=runs)
    model = keras.models.load_model(tmp_path / "own.h5", compile=False)
    predicted = model.predict(dataset.validation.images, verbose=0).argmax(axis=1)
    # The search measured in half precision: an image or two may fall to the other side.
    assert (predicted == dataset.validation.labels).mean() == pytest.approx(study.trials[0].value, abs=0.02)


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def _array(path: Path, array: Any) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _archive(path: Path, *arrays: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, *arrays)


def _bombs(path: Path) -> Any:
    return np.array([_Bomb(path)], dtype=object)


@pytest.mark.parametrize(
    "replace",
    [
        pytest.param(lambda path, mark: path.write_bytes(pickle.dumps(_Bomb(mark))), id="pickle"),
        pytest.param(lambda path, mark: _archive(path, _bombs(mark)), id="archive-of-objects"),
        pytest.param(lambda path, mark: _array(path, _bombs(mark)), id="array-of-objects"),
        pytest.param(lambda path, mark: _array(path, np.zeros(3)), id="one-array"),
        pytest.param(lambda path, mark: _archive(path, np.zeros(3)), id="another-model-s"),
        pytest.param(lambda path, mark: path.write_bytes(path.read_bytes()[:-200]), id="cut"),
        pytest.param(lambda path, mark: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path, mark: path.write_text("weights"), id="text"),
    ],
)
def test_weights_that_were_replaced_are_refused(
    replace: Callable[[Path, Path], object], study: optuna.Study, runs: RunDir, tmp_path: Path
) -> None:
    """In one line that names the artifact and the way out; whatever is in it, nothing of it is run."""
    artifact = runs.artifacts / study.trials[0].user_attrs["weights"]
    kept = artifact.read_bytes()
    replace(artifact, tmp_path / "ran")
    message = rf"^The weights of trial 0 must be a whole \.npz .* but {artifact} is not \(.*\)\. Leave --no-retrain out"
    try:
        with pytest.raises(FileError, match=message):
            export(study, runs, tmp_path / "best.h5", number=0, retrain=False)
    finally:
        artifact.write_bytes(kept)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "number", "error", "message"),
    [
        pytest.param("best.onnx", None, UsageError, r"must end in \.h5 or \.keras, but got", id="other-format"),
        pytest.param(".", None, UsageError, r"must be a file, but .* is a folder", id="folder"),
        pytest.param("best.h5", 7, StudyError, r"has no trial 7\. Its trials go from 0 to 1", id="no-such-trial"),
        pytest.param("best.h5", 1, StudyError, r"Trial 1 .* no result to export \(FAIL, invalid_model\)", id="failed"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_leaves_no_file(
    output: str, number: int | None, error: type[Exception], message: str,
    study: optuna.Study, runs: RunDir, tmp_path: Path,
) -> None:  # fmt: skip
    """The error names the value, and the test split is not read."""
    reads = runs.test_reads.read_text() if runs.test_reads.exists() else ""
    with pytest.raises(error, match=message):
        export(study, runs, tmp_path / output, number=number, retrain=True)
    assert list(tmp_path.iterdir()) == []
    assert (runs.test_reads.read_text() if runs.test_reads.exists() else "") == reads


def _with_model(trial: TrialRecord, **fields: Any) -> TrialRecord:
    """The trial with other things recorded of its model."""
    model = dataclasses.replace(trial.result.model, **fields)
    return dataclasses.replace(trial, result=dataclasses.replace(trial.result, model=model))


def test_a_model_that_is_not_the_trial_s_is_refused_before_it_is_trained(
    study: optuna.Study, runs: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody edited the study's code: nothing is trained, read or written."""
    row = _with_model(trial_of(study, 0), parameters=7)
    monkeypatch.setattr("hpo.saved_model.export.trial_of", lambda study, number: row)
    monkeypatch.setattr(training, "refit", lambda *arguments, **others: pytest.fail("trained"))
    with pytest.raises(StudyError, match=r"trial 0 of 'small' had 7 parameters and the study's code now builds \d+"):
        export(study, runs, tmp_path / "best.h5", number=0, retrain=True)
    assert list(tmp_path.iterdir()) == []


def test_the_test_images_are_read_when_all_is_proven(
    study: optuna.Study, runs: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that does not hold the model costs no read of them, and no file is written."""
    reads = runs.test_reads.read_text() if runs.test_reads.exists() else ""
    monkeypatch.setattr(
        "hpo.saved_model.export.prove", lambda models, *others, **named: Proof(dict.fromkeys(models, "it is torn"))
    )
    with pytest.raises(HpoError, match=r"best\.keras does not hold the model: it is torn\. Nothing was written"):
        export(study, runs, tmp_path / "best.h5", number=0, retrain=False)
    assert (runs.test_reads.read_text() if runs.test_reads.exists() else "") == reads
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_gives_nan_costs_no_read_of_the_test_images(
    study: optuna.Study, runs: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose retraining went astray in its last batch."""
    reads = runs.test_reads.read_text() if runs.test_reads.exists() else ""
    monkeypatch.setattr(
        "hpo.saved_model.export.own_weights", lambda model, *_: [w * np.nan for w in model.get_weights()]
    )
    with pytest.raises(UsageError, match=r"must give probabilities .* it gives \[nan, .* where there is nan, train it"):
        _quick(study, runs, tmp_path / "best.h5")
    assert (runs.test_reads.read_text() if runs.test_reads.exists() else "") == reads
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".h5", ".json"])
def test_a_full_disk_leaves_the_export_before_it(
    suffix: str, study: optuna.Study, runs: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model files and card are replaced together, when all of them are written."""
    _quick(study, runs, tmp_path / "best.h5")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def failing(write: Callable[[Any, Path], None], path_first: bool) -> Callable[..., None]:
        def write_or_fail(*given: Any) -> None:
            if given[0 if path_first else 1].suffix == suffix:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(*given)

        return write_or_fail

    monkeypatch.setattr(model_file, "save", failing(model_file.save, path_first=False))
    monkeypatch.setattr("hpo.saved_model.export.write_json", failing(write_json, path_first=True))
    with pytest.raises(OSError, match="No space left on device"):
        _quick(study, runs, tmp_path / "best.h5")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _quick(study: optuna.Study, runs: RunDir, output: Path, *, force: bool = False, torn: str = "") -> Exported:
    """An export whose files are believed without a process, but for those of the suffix ``torn``."""
    with pytest.MonkeyPatch.context() as patch:
        errors = lambda models: {path: "it is torn" for path in models if path.suffix == torn}  # noqa: E731
        patch.setattr("hpo.saved_model.export.prove", lambda models, *others, **named: Proof(errors(models)))
        return export(study, runs, output, number=0, retrain=False, force=force)


def test_an_export_replaces_only_what_an_export_wrote(study: optuna.Study, runs: RunDir, tmp_path: Path) -> None:
    """A model as its card describes it, and that card; anything else only if it is asked to."""
    output = tmp_path / "best.h5"
    for name in ("best.h5", "best.keras", "best.card.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(UsageError, match=rf"{name} exists and is another file\. Name another, or .* --force"):
            _quick(study, runs, output)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    (tmp_path / "best.json").write_text("what `hpo evaluate --json` printed")
    _quick(study, runs, output)
    _quick(study, runs, output)
    output.write_bytes(b"another person's")
    with pytest.raises(UsageError, match=r"best\.h5 exists and is another file"):
        _quick(study, runs, output)
    _quick(study, runs, output, force=True)
    assert model_card.verify(output) is not None
    assert (tmp_path / "best.json").read_text() == "what `hpo evaluate --json` printed"


def test_a_model_that_h5_cannot_hold_is_written_as_keras(study: optuna.Study, runs: RunDir, tmp_path: Path) -> None:
    """It is said why; no .h5 of an earlier export is left beside a card that does not describe it."""
    _quick(study, runs, tmp_path / "best.h5")
    done = _quick(study, runs, tmp_path / "best.h5", torn=".h5")
    assert (done.models, done.left_out) == ((tmp_path / "best.keras",), "it is torn")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.card.json", "best.keras"]
    assert list(done.card["files"]) == ["best.keras"]


def test_an_export_as_keras_alone(study: optuna.Study, runs: RunDir, tmp_path: Path) -> None:
    """By the suffix of ``output``."""
    done = _quick(study, runs, tmp_path / "own.keras")
    assert (done.models, done.left_out) == ((tmp_path / "own.keras",), None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.card.json", "own.keras"]


@pytest.mark.parametrize(("batch_size", "half"), [(128, 64), (3, 1)])
def test_a_trial_of_halved_batches_is_retrained_in_halves(
    batch_size: int, half: int, study: optuna.Study, runs: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole ones had no room when it ran; of three images, a half is one, and there are two of them."""
    seen: list[tuple[int, int]] = []

    def spied(model: Any, split: Any, *, batch_size: int, **others: Any) -> None:
        seen.append((batch_size, model.optimizer.gradient_accumulation_steps))

    monkeypatch.setattr(training, "refit", spied)
    row = trial_of(study, 0)
    row = dataclasses.replace(row, params={**row.params, "batch_size": batch_size})
    row = _with_model(row, physical_batch_size=half)
    monkeypatch.setattr("hpo.saved_model.export.trial_of", lambda study, number: row)
    export(study, runs, tmp_path / "best.h5", number=0, retrain=True)
    assert seen == [(half, 2)]
