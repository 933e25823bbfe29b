"""One trial, whatever it ends as."""

import dataclasses
import errno
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import optuna
import pytest
import sqlalchemy
from definitions import define
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.pruners import ThresholdPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from running import claimed, runner

from hpo import Budget, Setting, Stopping
from hpo.datasets import Dataset, Split
from hpo.errors import Outage, OutOfMemory, StudyError, TrialInterrupted
from hpo.files.run_dir import RunDir
from hpo.saved_model import export_check
from hpo.search.claims import Claim
from hpo.storage import stored_study
from hpo.storage.records import FitRecord
from hpo.study.found import Study
from hpo.trial import training
from hpo.trial.model import _warn_once
from hpo.trial.outcome import Outcome
from hpo.trial.reported import ReportedTrial

Score = Callable[[dict[str, Any], ReportedTrial], Any]


def _run(
    objective: Score,
    tmp_path: Path,
    *,
    warm: bool = False,
    interrupted: bool = False,
    storage: BaseStorage | None = None,
    **fields: Any,
) -> Outcome:
    definition = define(
        name="s",
        task=objective,
        space={"x": FloatDistribution(0, 1)},
        budget=Budget(trials=1),
        **{"direction": "maximize", **fields},
    )
    study = optuna.create_study(
        direction=definition.search_direction,
        sampler=RandomSampler(seed=0),
        pruner=ThresholdPruner(lower=0.5),
        storage=storage,
    )
    claim = claimed(study.ask(), origin={"warm_start": 0} if warm else {})
    run = runner(definition, RunDir(tmp_path), interrupted=lambda: interrupted)
    return run(claim)


def test_an_objective_sees_its_trial(tmp_path: Path) -> None:
    """Parameters, seed and number are at hand; its return is the value."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        assert trial.params == params
        assert (trial.seed, trial.number) == (11, 0)
        return float(params["x"])

    outcome = _run(score, tmp_path)
    assert (outcome.state, outcome.result.stop_reason) == (TrialState.COMPLETE, "completed")
    assert outcome.value is not None
    assert 0 <= outcome.value <= 1


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_an_objective_keeps_values_and_constraints_with_its_trial(tmp_path: Path, sqlite: BaseStorage) -> None:
    """For a sampler to read."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        trial.set_user_attr("size", 7)
        trial.set_constraint("size", 7 - 10)
        return 1.0

    _run(score, tmp_path, storage=sqlite)
    (trial,) = sqlite.get_all_trials(sqlite.get_all_studies()[0]._study_id)
    assert (trial.user_attrs, trial.constraints) == ({"size": 7}, {"size": -3.0})


def test_a_pruned_trial_keeps_its_best_value_and_its_curve(tmp_path: Path) -> None:
    """Not its last, which is what it was pruned for."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        for epoch, value in enumerate((0.7, 0.9, 0.1, 1.0), start=1):
            trial.report(value, epoch)
        raise AssertionError("not reached")

    outcome = _run(score, tmp_path)
    assert (outcome.state, outcome.value, outcome.result.stop_reason) == (TrialState.PRUNED, 0.9, "pruned")
    assert outcome.result.fit == FitRecord(epochs=3, best_epoch=2)


@pytest.mark.filterwarnings("ignore:The reported value is ignored:UserWarning")
def test_the_first_report_of_an_epoch_counts(tmp_path: Path) -> None:
    """As in Optuna, so that the best value is one of the curve."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        trial.report(0.6, 1)
        trial.report(0.9, 1)
        trial.report(0.1, 2)
        raise AssertionError("not reached")

    assert _run(score, tmp_path).value == 0.6


def test_the_best_of_a_minimized_trial_is_its_smallest(tmp_path: Path) -> None:
    """Direction decides what best means."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        for epoch, value in enumerate((0.9, 0.6, 0.8, 0.1), start=1):
            trial.report(value, epoch)
        return 0.0

    assert _run(score, tmp_path, direction="minimize").value == 0.1


def test_a_warm_start_is_not_pruned(tmp_path: Path) -> None:
    """It is what the search has to beat."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        trial.report(0.1, 1)
        return 0.2

    assert _run(score, tmp_path, warm=True).state == TrialState.COMPLETE
    assert _run(score, tmp_path).state == TrialState.PRUNED


def test_a_stop_of_the_worker_comes_at_the_next_report(tmp_path: Path) -> None:
    """The trial gives no result."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        trial.report(0.8, 1)
        raise AssertionError("not reached")

    with pytest.raises(TrialInterrupted):
        _run(score, tmp_path, interrupted=True)


def _raises(params: dict[str, Any], trial: ReportedTrial) -> float:
    raise KeyError("filters")


def _reports_nan(params: dict[str, Any], trial: ReportedTrial) -> float:
    trial.report(float("nan"), 4)
    return 0.0


@pytest.mark.parametrize(
    ("objective", "reason", "failure"),
    [
        pytest.param(_raises, "error", "KeyError: 'filters'", id="bug"),
        pytest.param(lambda p, t: None, "error", "the objective must return a number, but returned None", id="none"),
        pytest.param(lambda p, t: "0.5", "error", "must return a number, but returned '0.5'", id="text"),
        pytest.param(lambda p, t: float("nan"), "nan", "the objective returned nan", id="nan"),
        pytest.param(_reports_nan, "nan", "the objective reported nan at epoch 4", id="reported-nan"),
    ],
)
def test_failures_have_a_type_and_one_line(objective: Score, reason: str, failure: str, tmp_path: Path) -> None:
    """The study goes on."""
    outcome = _run(objective, tmp_path)
    assert (outcome.state, outcome.value, outcome.result.stop_reason) == (TrialState.FAIL, None, reason)
    assert failure in outcome.result.as_attributes()["failure"]
    assert "\n" not in outcome.result.as_attributes()["failure"]


def test_the_traceback_of_a_failure_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All of it; the record has one line without the colours that it may have for a terminal."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        raise ValueError("\x1b[1mno such layer\x1b[0m\nat all")

    assert _run(score, tmp_path).result.as_attributes()["failure"] == "ValueError: no such layer at all"
    assert "Traceback" in caplog.text
    assert 'raise ValueError("' in caplog.text


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # `ask` does not beat, but a claim does
def test_an_objective_without_memory_has_that_type(tmp_path: Path, sqlite: BaseStorage) -> None:
    """As a model has."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        raise MemoryError

    assert _run(score, tmp_path, storage=sqlite).result.stop_reason == "out_of_memory"


# Comparisons


def _claim(definition: Study, setting: int | None = None, storage: BaseStorage | None = None) -> Claim:
    """A claim of a trial of this setting; without one, of a trial that is sampled."""
    study = optuna.create_study(
        direction=definition.search_direction,
        sampler=RandomSampler(seed=0),
        pruner=definition.explicit_pruner(),
        storage=storage,
    )
    if setting is None:
        return claimed(study.ask(), 100)
    study.enqueue_trial(dict(definition.settings[setting].params))
    origin = {"setting": setting, "repeat": 0}
    return claimed(study.ask(), setting, origin=origin)


def _attempt(claim: Claim, **fields: Any) -> Claim:
    """The claim with other fields of its configuration."""
    return dataclasses.replace(claim, configuration=dataclasses.replace(claim.configuration, **fields))


def test_the_base_lies_under_what_is_suggested(tmp_path: Path) -> None:
    """Every trial has it, unless its own parameters say otherwise."""
    seen: list[dict[str, Any]] = []

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        assert trial.params == params
        seen.append(params)
        return 0.5

    _run(score, tmp_path, base={"x": 5.0, "epochs": 3})
    assert list(seen[0]) == ["x", "epochs"]
    assert 0 <= seen[0]["x"] <= 1
    assert seen[0]["epochs"] == 3


def test_a_trial_of_a_comparison_has_the_parameters_of_its_setting(tmp_path: Path) -> None:
    """On top of the base; those of other settings it has not, and only its own are recorded."""
    seen: list[dict[str, Any]] = []

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        seen.append(params)
        return 0.5

    definition = define(
        name="s",
        task=score,
        direction="maximize",
        settings=[Setting({"x": 1}), Setting({"x": 2, "momentum": 0.9}), Setting({"kind": "b"})],
        base={"x": 0, "units": 16},
        budget=Budget(),
    )
    run = runner(definition, RunDir(tmp_path))
    claims = [_claim(definition, setting) for setting in range(3)]
    assert [run(claim).state for claim in claims] == [TrialState.COMPLETE] * 3
    assert seen == [
        {"x": 1, "units": 16},
        {"x": 2, "units": 16, "momentum": 0.9},
        {"x": 0, "units": 16, "kind": "b"},
    ]
    assert [claim.trial.params for claim in claims] == [dict(setting.params) for setting in definition.settings]


def test_no_pruner_ends_a_trial_of_a_comparison(tmp_path: Path) -> None:
    """Whatever it reports."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        for epoch, value in enumerate((0.1, 0.4, 0.2), start=1):
            trial.report(value, epoch)
        return 0.2

    definition = define(
        name="s",
        task=score,
        direction="maximize",
        settings=[Setting({"x": 1})],
        budget=Budget(),
    )
    run = runner(definition, RunDir(tmp_path))
    outcome = run(_claim(definition, 0))
    assert (outcome.state, outcome.value) == (TrialState.COMPLETE, 0.2)
    assert outcome.result.fit == FitRecord(epochs=3, best_epoch=2)


def _one_layer(params: dict[str, Any], dataset: Dataset) -> Any:
    import keras

    images = keras.Input(dataset.input_shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(dataset.num_classes, activation="softmax")(x))
    rate = params.get("learning_rate", 0.1)
    model.compile(keras.optimizers.SGD(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _trained(**fields: Any) -> Study:
    """A study that trains a model of one layer on 200 digits."""
    given = {"name": "s", "data": "digits", "model": _one_layer, "subset": 200, "precision": "float32", **fields}
    return define(**given)


def test_a_comparison_measures_its_trials_on_the_test_images(tmp_path: Path) -> None:
    """As prepared and for as long as a setting says; each by its best weights. The images are read once a worker."""
    prepared: list[tuple[dict[str, Any], int, int]] = []

    def half(params: dict[str, Any], split: Split, seed: int) -> Split:
        prepared.append((params, len(split.labels), seed))
        return Split(split.images[::2], split.labels[::2])

    definition = _trained(
        settings=[
            Setting({"learning_rate": 0.0, "patience": 2}),
            Setting({"learning_rate": 0.0}),
            Setting({"learning_rate": 0.5, "epochs": 4, "batch_size": 90}),
        ],
        base={"batch_size": 45, "epochs": 6},
        budget=Budget(max_epochs=6),
        stopping=Stopping(patience=3, reduce_lr_patience=None),
        prepare=half,
    )
    run_dir = RunDir(tmp_path)
    run = runner(definition, run_dir)
    patient, usual, learning = (run(_claim(definition, setting)) for setting in range(3))
    assert (patient.result.stop_reason, patient.result.as_attributes()["epochs"]) == ("early_stopping", 3)
    assert (usual.result.stop_reason, usual.result.as_attributes()["epochs"]) == ("early_stopping", 4)
    assert (learning.result.stop_reason, learning.result.as_attributes()["epochs"]) == ("completed", 4)
    assert prepared[0] == ({"batch_size": 45, "epochs": 6, "learning_rate": 0.0, "patience": 2}, 180, 11)
    images = [
        outcome.result.as_attributes()["images_per_second"] * outcome.result.as_attributes()["seconds"]
        for outcome in (patient, usual)
    ]
    assert images == pytest.approx([3 * 90, 4 * 90], rel=0.05)

    for outcome in (patient, usual, learning):
        recorded = outcome.result.as_attributes()
        names = ("test_accuracy", "test_precision", "test_recall", "test_f1")
        assert all(0 <= recorded[name] <= 1 for name in names)
        assert (recorded["test_images"], recorded["validation_images"]) == (360, 20)
        assert recorded["test_loss"] > 0
        assert recorded["test_seconds"] > 0
    # Weights that never moved are the same weights.
    assert patient.result.as_attributes()["test_accuracy"] == usual.result.as_attributes()["test_accuracy"]
    assert learning.result.as_attributes()["test_accuracy"] > patient.result.as_attributes()["test_accuracy"]
    [read] = [json.loads(line) for line in run_dir.test_reads.read_text().splitlines()]
    assert (read["reader"], read["dataset"]) == ("comparison s", "digits")


def test_a_search_does_not_read_the_test_images(tmp_path: Path) -> None:
    """What is chosen by a measure has to be measured on other images: its trials have no test figures."""
    definition = _trained(
        space={"learning_rate": FloatDistribution(0.1, 0.5)},
        warm_starts=[{"learning_rate": 0.2}],
        budget=Budget(trials=2, max_epochs=1),
    )
    run_dir = RunDir(tmp_path)
    run = runner(definition, run_dir)
    sampled = _claim(definition)
    warm = claimed(_claim(definition).trial, origin={"warm_start": 0})
    for outcome in (run(sampled), run(warm)):
        assert outcome.state == TrialState.COMPLETE
        assert outcome.result.as_attributes()["epochs"] == 1
        assert [name for name in outcome.result.as_attributes() if name.startswith("test")] == []
    assert not run_dir.test_reads.exists()


# Precision


class Own(keras.Model):
    """A subclass: nobody but its author knows its last layer."""

    def __init__(self, dtype: str | None) -> None:
        super().__init__()
        self.head = keras.layers.Dense(10, activation="softmax", dtype=dtype)

    def call(self, images: Any) -> Any:
        return self.head(keras.ops.reshape(images, (-1, 784)))


@pytest.mark.parametrize(
    ("asked", "model", "used"),
    [
        pytest.param("mixed_bfloat16", _one_layer, "mixed_bfloat16", id="functional"),
        pytest.param("mixed_bfloat16", lambda params, dataset: _compiled(Own("float32")), "mixed_bfloat16", id="own"),
        pytest.param("mixed_bfloat16", lambda params, dataset: _compiled(Own(None)), "float32", id="own-half"),
        pytest.param("float32", _one_layer, "float32", id="float32"),
    ],
)
def test_what_is_recorded_is_the_precision_that_was_used(
    asked: str, model: Any, used: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A model whose outputs cannot be kept in float32 is trained in float32, which is said once per process."""
    _warn_once.cache_clear()
    settings = [Setting({"batch_size": 90})]
    definition = _trained(model=model, settings=settings, budget=Budget(max_epochs=1), precision=asked)
    run = runner(definition, RunDir(tmp_path))
    claims = [_claim(definition, 0) for _ in range(2)]
    for claim in claims:  # an unregistered class cannot be exported
        claim.trial.study.set_user_attr("export_check", stored_study.UNCHECKED)
    assert [run(claim).result.as_attributes()["precision"] for claim in claims] == [used] * 2
    warned = [record.message for record in caplog.records if "trained in float32" in record.message]
    assert len(warned) == (asked != used)
    assert all('Give its last layer dtype="float32"' in message for message in warned)


def _compiled(model: keras.Model) -> keras.Model:
    model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# Faults


def _events(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]


def test_a_trial_goes_on_from_the_last_epoch_of_the_attempt_before(tmp_path: Path) -> None:
    """And says so in the log, before the reports that it repeats."""
    definition = _trained(space={"learning_rate": FloatDistribution(0.1, 0.5)}, budget=Budget(trials=1, max_epochs=3))
    run_dir = RunDir(tmp_path)
    run = runner(
        definition, run_dir, interrupted=lambda: (tmp_path / "events").exists() and len(_events(tmp_path)) == 1
    )
    claim = _claim(definition)
    with pytest.raises(TrialInterrupted):
        run(claim)
    again = _attempt(_claim(definition), attempt=2)
    assert run(again).result.as_attributes()["epochs"] == 3
    assert [(event["event"], event["epoch"]) for event in _events(tmp_path)] == [
        ("report", 1), ("resume", 1), ("report", 1), ("report", 2), ("report", 3)
    ]  # fmt: skip
    run.forget(again)
    assert not run_dir.trial("s", claim.configuration.number, claim.configuration.uuid).exists()


def test_a_trial_with_a_wrong_metric_keeps_its_history(tmp_path: Path) -> None:
    """It is given back and gives no result, but what Keras measured until then can be read."""
    definition = _trained(settings=[Setting({"batch_size": 50})], budget=Budget(max_epochs=3), metric="val_auc")
    claim = _claim(definition, 0)
    with pytest.raises(StudyError, match=r"'val_auc' is not among .* accuracy, loss, val_accuracy, val_loss"):
        runner(definition, RunDir(tmp_path))(claim)
    history = claim.trial.user_attrs["history"]
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        ("accuracy", "loss", "val_accuracy", "val_loss", "learning_rate", "seconds"), 1
    )


def test_what_another_study_of_that_name_kept_is_not_gone_on_from(tmp_path: Path) -> None:
    """Deleted and launched again, a study has the same numbers of trials, and others' checkpoints may be left."""
    definition = _trained(space={"learning_rate": FloatDistribution(0.1, 0.5)}, budget=Budget(trials=1, max_epochs=2))
    run = runner(definition, RunDir(tmp_path))
    run(_claim(definition))
    run(_attempt(_claim(definition), uuid="another"))
    assert [event["event"] for event in _events(tmp_path)] == ["report"] * 4


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # `ask` does not beat, but a claim does
def test_too_little_memory_is_tried_once_more_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite: BaseStorage
) -> None:
    """Half of each batch at a time; an attempt after it goes on in halves from where that was."""
    from hpo.trial import training

    fit = training.fit
    sizes: list[int] = []
    models: list[weakref.ref[Any]] = []

    def fit_what_fits(model: Any, dataset: Any, settings: Any, **others: Any) -> Any:
        assert all(model() is None for model in models), "the memory of the model before is not free"
        sizes.append(settings.batch_size)
        if settings.batch_size > 32:
            models.append(weakref.ref(model))
            for epoch in (1, 2, 3):
                others["record"](0.75, epoch)
            raise OutOfMemory("the device has too little memory for this model and batch size")
        return fit(model, dataset, settings, **others)

    monkeypatch.setattr("hpo.trial.training.fit", fit_what_fits)
    definition = _trained(
        settings=[Setting({"batch_size": 64}), Setting({"batch_size": 128})], budget=Budget(max_epochs=2)
    )
    run_dir = RunDir(tmp_path)
    run = runner(definition, run_dir)
    claim = _claim(definition, 0, sqlite)
    halved = run(claim)
    assert (halved.state, halved.result.as_attributes()["physical_batch_size"]) == (TrialState.COMPLETE, 32)
    # What the first try reported is gone: the pruner sees the curve that the value comes from.
    curve = dict(enumerate(halved.result.as_attributes()["history"]["val_accuracy"], start=1))
    assert claim.trial.storage.get_trial(claim.trial._trial_id).intermediate_values == curve
    assert halved.value == max(curve.values())
    again = run(_attempt(_claim(definition, 0, sqlite), attempt=2))
    assert again.result.as_attributes()["history"] == halved.result.as_attributes()["history"]
    too_large = run(_claim(definition, 1, sqlite))
    assert (too_large.state, too_large.result.stop_reason) == (TrialState.FAIL, "out_of_memory")
    assert sizes == [64, 32, 64, 32, 128, 64]


def test_a_full_disk_is_not_the_trial_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given back, with a line that says what to do."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Outage, match=r"is full\. Free some space and launch again"):
        _run(score, tmp_path)


def test_an_error_of_the_objective_s_own_database_fails_its_trial(tmp_path: Path) -> None:
    """It is no error of the study's storage, which would give the trial back."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        with sqlalchemy.create_engine("sqlite://").connect() as connection:
            connection.exec_driver_sql("SELECT * FROM missing")
        return 1.0

    failed = _run(score, tmp_path)
    assert (failed.state, failed.result.stop_reason) == (TrialState.FAIL, "error")
    assert "no such table: missing" in failed.result.as_attributes()["failure"]


def test_an_error_of_the_storage_within_a_report_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is given back."""

    def broken(self: optuna.Trial, value: float, step: int) -> None:
        raise StorageInternalError("the disk is broken")

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        trial.report(0.5, 1)
        return 1.0

    monkeypatch.setattr(optuna.Trial, "report", broken)
    with pytest.raises(StorageInternalError, match="the disk is broken"):
        _run(score, tmp_path)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # `ask` does not beat, but a claim does
@pytest.mark.parametrize(("lacks", "state"), [(1, TrialState.COMPLETE), (2, TrialState.FAIL)])
def test_an_objective_that_runs_out_of_memory_has_a_second_try(
    lacks: int, state: TrialState, tmp_path: Path, sqlite: BaseStorage
) -> None:
    """And no third. Only what the second one reports is kept."""
    calls: list[int] = []

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        calls.append(trial.number)
        trial.report(0.5 + 0.1 * len(calls), 1)
        if len(calls) == 1:
            trial.report(0.9, 2)
        if len(calls) <= lacks:
            raise MemoryError
        return 1.0

    outcome = _run(score, tmp_path, storage=sqlite)
    assert (outcome.state, len(calls)) == (state, 2)
    assert outcome.result.stop_reason == ("completed" if state == TrialState.COMPLETE else "out_of_memory")
    assert (outcome.result.as_attributes()["epochs"], outcome.result.as_attributes()["best_epoch"]) == (1, 1)
    [trial] = sqlite.get_all_trials(sqlite.get_all_studies()[0]._study_id)
    assert trial.intermediate_values == {1: 0.7}


def test_a_model_without_an_input_is_built_for_the_images(tmp_path: Path) -> None:
    """Its parameters are counted, and its checkpoints fit."""

    def deferred(params: dict[str, Any], dataset: Dataset) -> Any:
        import keras

        model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
        model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    definition = _trained(model=deferred, settings=[Setting({"batch_size": 50})], budget=Budget(max_epochs=1))
    outcome = runner(definition, RunDir(tmp_path))(_claim(definition, 0))
    assert (outcome.state, outcome.result.as_attributes()["parameters"]) == (TrialState.COMPLETE, 7850)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param("categorical_crossentropy", id="by-name"),
        pytest.param(keras.losses.CategoricalCrossentropy(), id="object"),
        pytest.param(keras.losses.kl_divergence, id="function"),
        pytest.param("mse", id="mse"),
    ],
)
def test_a_loss_that_does_not_fit_the_labels_is_invalid(loss: Any, tmp_path: Path) -> None:
    """Before the first epoch, with both shapes and a way out; mse would compare ten images with ten classes."""

    def misfit(params: dict[str, Any], dataset: Dataset) -> Any:
        model = _one_layer(params, dataset)
        model.compile("sgd", loss=loss, metrics=["accuracy"])
        return model

    definition = _trained(model=misfit, settings=[Setting({"batch_size": 10})], budget=Budget(max_epochs=1))
    outcome = runner(definition, RunDir(tmp_path))(_claim(definition, 0))
    assert (outcome.state, outcome.result.stop_reason) == (TrialState.FAIL, "invalid_model")
    assert (
        "outputs of shape (n, 10) with labels of the same shape, but the labels have shape (n,): labels are "
        in (outcome.result.as_attributes()["failure"])
    )
    assert "integers: use a sparse loss, or" in outcome.result.as_attributes()["failure"]


@pytest.mark.parametrize(
    ("takes", "gives", "message"),
    [
        pytest.param((64, 64, 1), 10, "takes images of 64x64x1, but those of the data set have 28x28x1", id="larger"),
        pytest.param((28, 28, 3), 10, "takes images of 28x28x3, but those of the data set have 28x28x1", id="colours"),
        pytest.param((784,), 10, "takes images of 784, but those of the data set have 28x28x1", id="flat"),
        pytest.param((None, None, 1), 3, "the model has 3 outputs, but the data set has 10 classes", id="few-classes"),
        pytest.param((28, 28, 1), 20, "the model has 20 outputs, but the data set has 10 classes", id="many-classes"),
    ],
)
def test_a_model_of_other_data_is_invalid(
    takes: tuple[int | None, ...], gives: int, message: str, tmp_path: Path
) -> None:
    """Before it is trained, and with both shapes; one that pools would else train on images of any size."""

    def other(params: dict[str, Any], dataset: Dataset) -> Any:
        import keras

        images = keras.Input(takes)
        pooled = images if len(takes) == 1 else keras.layers.GlobalAveragePooling2D()(images)
        model = keras.Model(images, keras.layers.Dense(gives, activation="softmax")(pooled))
        model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    definition = _trained(model=other, settings=[Setting({"batch_size": 50})], budget=Budget(max_epochs=1))
    outcome = runner(definition, RunDir(tmp_path))(_claim(definition, 0))
    assert (outcome.state, outcome.result.stop_reason) == (TrialState.FAIL, "invalid_model")
    assert message in outcome.result.as_attributes()["failure"]


# Whether models can be exported


def _with_lambda(params: dict[str, Any], dataset: Dataset) -> Any:
    import keras

    images = keras.Input(dataset.input_shape)
    x = keras.layers.Flatten()(keras.layers.Lambda(lambda pixels: pixels / 255)(images))
    units = 3 if params["learning_rate"] == 0.1 else dataset.num_classes
    model = keras.Model(images, keras.layers.Dense(units, activation="softmax")(x))
    model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_first_trial_finds_that_no_model_can_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the study's fault and not the trial's; nothing is trained before that is known, and no test image read."""
    monkeypatch.setattr("hpo.trial.training.fit", lambda *arguments, **others: pytest.fail("trained"))
    definition = _trained(
        model=_with_lambda, settings=[Setting({"learning_rate": 0.1}), Setting({"learning_rate": 0.2})], budget=Budget()
    )
    run = runner(definition, RunDir(tmp_path))
    invalid = run(_claim(definition, 0))  # it tells nothing of the others
    assert (invalid.state, invalid.result.stop_reason) == (TrialState.FAIL, "invalid_model")
    with pytest.raises(StudyError, match=r"a 'Lambda', which runs code from the file.* --no-export-check"):
        run(_claim(definition, 1))
    assert not RunDir(tmp_path).test_reads.exists()


def test_a_check_without_enough_memory_is_left_to_the_next_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial itself has a remedy: half of each batch."""

    def check(*given: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(export_check, "check", check)
    definition = _trained(space={"learning_rate": FloatDistribution(0.1, 0.5)}, budget=Budget(trials=1, max_epochs=1))
    claim = _claim(definition)
    assert runner(definition, RunDir(tmp_path))(claim).state == TrialState.COMPLETE
    assert "export_check" not in claim.trial.study.user_attrs


def test_the_model_of_the_check_is_gone_when_the_trial_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU that is nearly full, the first trial would else be the only one that has too little memory."""
    models: list[weakref.ref[Any]] = []
    check, fit = export_check.check, training.fit
    monkeypatch.setattr(
        export_check, "check", lambda model, data: (models.append(weakref.ref(model)), check(model, data))
    )
    alive: list[Any] = []

    def spied(*given: Any, **named: Any) -> Any:
        alive.extend(model() for model in models)
        return fit(*given, **named)

    monkeypatch.setattr(training, "fit", spied)
    definition = _trained(space={"learning_rate": FloatDistribution(0.1, 0.5)}, budget=Budget(trials=1, max_epochs=1))
    runner(definition, RunDir(tmp_path))(_claim(definition))
    assert alive == [None]


def test_other_code_is_checked_again(tmp_path: Path) -> None:
    """What failed was mended between two launches, and what had passed is no longer what will be exported."""
    definition = _trained(
        model=_with_lambda, space={"learning_rate": FloatDistribution(0.2, 0.5)}, budget=Budget(trials=1, max_epochs=1)
    )
    claim = _claim(definition)
    claim.trial.study.set_user_attr("export_check", {"_with_lambda": "0123456789abcdef"})
    with pytest.raises(StudyError, match="a 'Lambda', which runs code from the file"):
        runner(definition, RunDir(tmp_path))(claim)


def test_a_study_that_is_not_to_be_exported_is_searched_all_the_same(tmp_path: Path) -> None:
    """As its launch has recorded."""
    definition = _trained(
        model=_with_lambda, space={"learning_rate": FloatDistribution(0.2, 0.5)}, budget=Budget(trials=1, max_epochs=1)
    )
    claim = _claim(definition)
    claim.trial.study.set_user_attr("export_check", "off")
    assert runner(definition, RunDir(tmp_path))(claim).state == TrialState.COMPLETE


def test_a_trial_with_the_check_is_the_trial_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is made once a study, and what it draws from random numbers changes nothing."""
    checked: list[Any] = []
    check = export_check.check
    monkeypatch.setattr(export_check, "check", lambda *given: checked.append(given) or check(*given))
    definition = _trained(space={"learning_rate": FloatDistribution(0.1, 0.5)}, budget=Budget(trials=1, max_epochs=2))
    claim = _claim(definition)
    first = runner(definition, RunDir(tmp_path / "first"))(claim)
    again = _claim(definition)
    again.trial.study.set_user_attr("export_check", claim.trial.study.user_attrs["export_check"])
    second = runner(definition, RunDir(tmp_path / "second"))(again)
    assert len(checked) == 1
    for name in ("loss", "val_loss", "val_accuracy"):
        assert first.result.as_attributes()["history"][name] == second.result.as_attributes()["history"][name]
