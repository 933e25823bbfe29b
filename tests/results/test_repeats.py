"""Means over the repeats of each setting, how far they are from what others reported, and the best setting."""

import json
import math
import re
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from recorded import Recorded, foreign_study

from hpo import Budget, Setting, vary
from hpo.errors import StudyError
from hpo.files.run_dir import RunDir
from hpo.models import build_cnn
from hpo.results import repeats
from hpo.results.repeats import Average, SettingAverage, best_setting
from hpo.storage.database import backend_of

NETWORK: dict[str, Any] = {"data": "digits", "model": build_cnn}


def _average(**fields: Any) -> SettingAverage:
    given = {"name": "", "params": {}, "figures": {}, "reported": {}, "failures": (), "images": {}, **fields}
    return SettingAverage(**given)


@pytest.fixture
def comparison(sqlite: BaseStorage, run_dir: RunDir) -> Recorded:
    """Two settings, each three times; others measured one of them."""
    settings = vary("filters", {8: {"test_accuracy": 0.9}, 16: {}})
    return Recorded(sqlite, run_dir, settings=settings, repeats=3)


# One average


@pytest.mark.parametrize(
    ("values", "average"),
    [
        pytest.param([1.0, 2.0, 3.0, 4.0], Average(2.5, math.sqrt(5 / 3), 4), id="sample-deviation"),
        pytest.param([2.0, 2.0], Average(2.0, 0.0, 2), id="equal"),
        pytest.param([7], Average(7.0, None, 1), id="one-has-no-deviation"),
        pytest.param([math.inf, 1.0], Average(math.inf, None, 2), id="an-infinite-one"),
        pytest.param([math.inf], Average(math.inf, None, 1), id="only-an-infinite-one"),
    ],
)
def test_an_average_is_a_mean_and_the_deviation_of_one_run(values: list[float], average: Average) -> None:
    """The sample's, with n - 1; infinite losses have none, and break nothing."""
    assert Average.of(values) == average


@pytest.mark.parametrize("values", [[math.nan, 1.0], [math.inf, -math.inf]], ids=["nan", "both-infinities"])
def test_an_average_of_what_has_none_is_no_number(values: list[float]) -> None:
    """A report shows it so, instead of ending with an error."""
    average = Average.of(values)
    assert math.isnan(average.mean)
    assert (average.sd, average.repeats) == (None, 2)


# Deviations


@pytest.mark.parametrize(
    ("ours", "theirs", "images", "deviations"),
    [
        pytest.param(Average(0.92, 0.005, 5), 0.90, 10_000, 4.0, id="of-the-runs"),
        pytest.param(Average(0.88, 0.005, 5), 0.90, 10_000, -4.0, id="below"),
        pytest.param(Average(0.906, 0.001, 5), 0.90, 10_000, 2.0, id="at-least-that-of-counting"),
        pytest.param(Average(0.906, None, 1), 0.90, 10_000, 2.0, id="one-run"),
        pytest.param(Average(0.93, None, 1), 0.90, 100, 1.0, id="fewer-images"),
        pytest.param(Average(0.92, 0.005, 5), 0.90, None, 4.0, id="unknown-images"),
        pytest.param(Average(0.92, None, 1), 0.90, None, None, id="one-run-and-unknown-images"),
        pytest.param(Average(1.0, 0.0, 5), 1.0, 10_000, None, id="certain"),
        pytest.param(Average(0.9, None, 1), 1.0, 10_000, None, id="certain-theirs"),
    ],
)
def test_a_difference_is_counted_in_deviations(
    ours: Average, theirs: float, images: int | None, deviations: float | None
) -> None:
    """Of one run; those of an accuracy at least sqrt(p (1 - p) / n): 0.003 for 90 % of 10,000 images."""
    for figure in ("test_accuracy", "val_accuracy"):
        counted = {} if images is None else {figure: images}
        row = _average(figures={figure: ours}, reported={figure: theirs}, images=counted)
        assert row.deviation(figure) == (None if deviations is None else pytest.approx(deviations))


def test_other_figures_deviate_as_their_runs_do() -> None:
    """A loss is no share of the images, and an accuracy is not of another one's images."""
    ours = {"val_loss": Average(0.5, 0.1, 3), "val_accuracy": Average(0.95, None, 1), "seconds": Average(9.0, 0.0, 2)}
    row = _average(
        figures=ours, reported={"val_loss": 0.3, "val_accuracy": 0.9, "seconds": 3.0}, images={"test_accuracy": 9}
    )
    assert row.deviation("val_loss") == pytest.approx(2.0)
    assert (row.deviation("val_accuracy"), row.deviation("seconds")) == (None, None)


def test_what_one_side_lacks_cannot_be_compared() -> None:
    """Neither ours without theirs nor theirs without ours."""
    row = _average(figures={"test_loss": Average(0.3, 0.1, 2)}, reported={"val_loss": 0.3})
    assert (row.deviation("test_loss"), row.deviation("val_loss")) == (None, None)


# Comparisons


def test_each_setting_has_its_means(comparison: Recorded) -> None:
    """Over its own repeats, in the order of the settings; beside what was reported of it."""
    for value in (0.8, 0.1, 0.9, 0.2, 1.0, 0.6):
        comparison.run(
            value, test_accuracy=value / 2, test_images=360, validation_images=180, parameters=1000, seconds=10 * value
        )
    first, second = repeats.settings(comparison.study)
    assert (first.params, first.reported) == ({"filters": 8}, {"test_accuracy": 0.9})
    assert (second.params, second.reported) == ({"filters": 16}, {})
    assert first.figures["value"] == Average(pytest.approx(0.9), pytest.approx(0.1), 3)
    assert first.figures["test_accuracy"] == Average(pytest.approx(0.45), pytest.approx(0.05), 3)
    assert first.figures["seconds"] == Average(pytest.approx(9.0), pytest.approx(1.0), 3)
    assert first.figures["parameters"] == Average(1000, 0, 3)
    assert second.figures["value"].mean == pytest.approx(0.3)
    assert (first.images, first.failures, first.name) == ({"test_accuracy": 360, "val_accuracy": 180}, (), "")
    assert "test_loss" not in first.figures


def test_the_logs_are_those_of_the_best_epoch(comparison: Recorded) -> None:
    """Counted from 1: by its weights the trial is measured, and not by those of its last epoch."""
    history = {"val_accuracy": [0.5, 0.75, 0.7], "val_loss": [0.9, 0.6, 0.8], "loss": [0.9, 0.5, 0.1]}
    comparison.run(0.75, best_epoch=2, epochs=3, history=history)
    first, _second = repeats.settings(comparison.study)
    logs = {name: first.figures[name].mean for name in ("val_accuracy", "val_loss", "loss", "best_epoch", "epochs")}
    assert logs == {"val_accuracy": 0.75, "val_loss": 0.6, "loss": 0.5, "best_epoch": 2, "epochs": 3}
    assert "accuracy" not in first.figures


def test_a_repeat_that_failed_has_no_part_in_the_means(comparison: Recorded) -> None:
    """Each reason is told once, with its kind, in the order in which they came."""
    comparison.run(0.5)
    for reason, failure in (("nan", "the loss is nan"), ("error", "KeyError: 'x'"), ("nan", "the loss is nan")):
        comparison.fail(failure, reason)  # setting 1, 0, 1
    comparison.run(0.7)
    comparison.fail("too large", "out_of_memory")
    first, second = repeats.settings(comparison.study)
    assert first.figures["value"] == Average(pytest.approx(0.6), pytest.approx(math.sqrt(0.02)), 2)
    assert first.failures == ("error: KeyError: 'x'",)
    assert second.figures == {}
    assert second.failures == ("nan: the loss is nan", "out_of_memory: too large")


def test_a_trial_that_ended_itself_early_counts(comparison: Recorded) -> None:
    """No pruner ends one, but an objective may: by the best it had; one that had nothing has no part."""
    comparison.run(0.5, state=TrialState.PRUNED, stop_reason="pruned")
    comparison.run(None, state=TrialState.PRUNED, stop_reason="pruned")
    first, second = repeats.settings(comparison.study)
    assert first.figures["value"] == Average(0.5, None, 1)
    assert (second.figures, second.failures) == ({}, ())


def test_what_runs_or_was_given_back_has_no_part(comparison: Recorded) -> None:
    """It has not ended, or runs again; a setting of which nothing has ended is there without figures."""
    comparison.give_back()
    comparison.run(0.5)
    running = comparison.start()
    running.trial.report(0.9, 1)
    first, second = repeats.settings(comparison.study)
    assert first.figures["value"] == Average(0.5, None, 1)
    assert (first.failures, second.failures) == ((), ())
    assert (second.params, second.figures, second.images) == ({"filters": 16}, {}, {})


def test_a_setting_has_its_name(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """And parameters of its own: the trial's are read from the definition, not from what was suggested."""
    settings = [Setting({"layers": "a b", "patience": None}, name="small"), Setting({"layers": "c"})]
    comparison = Recorded(sqlite, run_dir, settings=settings)
    comparison.run(0.5)
    rows = repeats.settings(comparison.study)
    assert [(row.name, row.params) for row in rows] == [
        ("small", {"layers": "a b", "patience": None}),
        ("", {"layers": "c"}),
    ]


def test_infinite_values_are_averaged(comparison: Recorded) -> None:
    """An objective may return them."""
    for value in (math.inf, 0.5, 0.5, 0.7):
        comparison.run(value)
    first, second = repeats.settings(comparison.study)
    assert first.figures["value"] == Average(math.inf, None, 2)
    assert second.figures["value"].mean == pytest.approx(0.6)


def test_averages_are_json(comparison: Recorded) -> None:
    """As `hpo report --json` prints them."""
    for _ in range(4):
        comparison.run(0.5)
    form = json.loads(json.dumps([row.as_json() for row in repeats.settings(comparison.study)]))
    assert form[0] == {
        "name": "",
        "params": {"filters": 8},
        "figures": {"value": {"mean": 0.5, "sd": 0.0, "repeats": 2}},
        "reported": {"test_accuracy": 0.9},
        "failures": [],
        "images": {},
    }


# Searches


@pytest.mark.parametrize(
    ("direction", "values"), [("maximize", [0.75, 0.5, 0.25]), ("minimize", [0.25, 0.5, 0.75])], ids=["max", "min"]
)
def test_each_trial_of_a_search_is_a_setting(
    direction: str, values: list[float], sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """Best first, without deviations; those that gave no value are left out."""
    space = {"x": FloatDistribution(0, 1)}
    search = Recorded(sqlite, run_dir, space=space, budget=Budget(trials=9), direction=direction)
    search.run(0.5, parameters=10)
    search.fail("KeyError: 'x'")
    search.run(0.25)
    search.run(0.75)
    rows = repeats.settings(search.study)
    assert [row.figures["value"] for row in rows] == [Average(value, None, 1) for value in values]
    assert rows[1].params == search.study.trials[0].params
    assert rows[1].figures["parameters"] == Average(10, None, 1)
    assert {(row.name, row.failures, len(row.reported)) for row in rows} == {("", (), 0)}


def test_a_study_of_another_program_is_a_search(sqlite: BaseStorage) -> None:
    """It has no definition, but trials with values."""
    foreign = optuna.create_study(storage=sqlite, study_name="foreign", sampler=RandomSampler())
    foreign.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=2)
    assert [row.params["y"] for row in repeats.settings(foreign)] == sorted(
        trial.params["y"] for trial in foreign.trials
    )


def test_what_another_program_calls_by_our_names_is_left_out(sqlite: BaseStorage) -> None:
    """Its trials with a value are a search, whatever it calls a definition or a history."""
    [row] = repeats.settings(foreign_study(sqlite))
    assert (row.name, row.params, row.figures) == ("", {}, {"value": Average(0.5, None, 1)})


# The best of a study


@pytest.mark.parametrize(
    ("direction", "setting"), [("maximize", "x=2"), ("minimize", "x=1")], ids=["maximize", "minimize"]
)
def test_the_best_of_a_comparison_is_its_best_mean(
    direction: str, setting: str, sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """Not its best run, which of noisy settings is the luckiest; a setting that failed is none."""
    settings = vary("x", {1: {}, 2: {}, 3: {}})
    comparison = Recorded(sqlite, run_dir, settings=settings, repeats=2, direction=direction)
    values = {1: (0.2, 0.4), 2: (0.1, 0.9)}
    for repeat in range(2):
        for x in (1, 2):
            measured = {"test_accuracy": 0.9 + x / 100, "test_loss": 0.3, "test_precision": 0.8, "test_f1": 0.7}
            comparison.run(values[x][repeat], **measured, test_recall=0.6, parameters=1000, seconds=2.0 + 4 * repeat)
        comparison.fail("too large", "out_of_memory")
    row = best_setting(comparison.study)
    assert row.pop("accuracy") == pytest.approx(0.92 if direction == "maximize" else 0.91)
    assert row == {
        "study": "s",
        "measured_on": "test",
        "loss": pytest.approx(0.3),
        "precision": pytest.approx(0.8),
        "recall": pytest.approx(0.6),
        "f1": pytest.approx(0.7),
        "parameters": 1000,
        "seconds": pytest.approx(4.0),
        "setting": setting,
    }


def test_the_best_setting_is_called_by_its_name(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Else by its parameters, as they are: the row is no Markdown."""
    settings = [Setting({"layers": "a | b", "rate": 0.001}), Setting({"layers": "c"}, name="2: larger")]
    comparison = Recorded(sqlite, run_dir, settings=settings)
    comparison.run(0.5)
    assert best_setting(comparison.study)["setting"] == "layers=a | b, rate=0.001"
    comparison.run(0.75)
    assert best_setting(comparison.study)["setting"] == "2: larger"


def test_an_export_does_not_change_what_a_comparison_measured(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Its means are of all repeats; the exported model is one, trained again."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}}))
    comparison.run(0.5, test_accuracy=0.9, test_loss=0.3)
    comparison.study.set_user_attr("exported", {"trial": 0, "metrics": {"test_accuracy": 0.95, "test_loss": 0.1}})
    row = best_setting(comparison.study)
    assert (row["accuracy"], row["loss"]) == (0.9, 0.3)


EXPORTED = {"search_value": 0.9, "test_accuracy": 0.88, "test_loss": 0.4, "test_precision": 0.87, "test_recall": 0.86}


@pytest.mark.parametrize(
    ("exported", "expected"),
    [
        pytest.param(None, ("validation", 0.9, 0.25, None, None, None), id="not-exported"),
        pytest.param(
            {"trial": 1, "metrics": {**EXPORTED, "test_f1": 0.85}}, ("test", 0.88, 0.4, 0.87, 0.86, 0.85), id="exported"
        ),
        pytest.param(
            {"trial": 0, "metrics": {**EXPORTED, "test_f1": 0.85}},
            ("validation", 0.9, 0.25, None, None, None),
            id="another-trial-exported",
        ),
    ],
)
def test_a_search_is_measured_by_its_export(
    exported: dict[str, Any] | None, expected: tuple[Any, ...], sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """Of its best trial; before that there are only the validation images that it was chosen by."""
    search = Recorded(sqlite, run_dir, **NETWORK, space={"x": IntDistribution(3, 3)}, budget=Budget(trials=2))
    for value in (0.5, 0.9):
        history = {"val_accuracy": [0.1, value], "val_loss": [0.9, 0.25]}
        search.run(value, best_epoch=2, history=history, seconds=12.5, parameters=10)
    if exported is not None:
        search.study.set_user_attr("exported", exported)
    row = best_setting(search.study)
    names = ("measured_on", "accuracy", "loss", "precision", "recall", "f1")
    assert tuple(row[name] for name in names) == expected
    assert (row["study"], row["parameters"], row["seconds"], row["setting"]) == ("s", 10, 12.5, "x=3")


def test_the_best_of_a_study_with_an_objective_has_only_what_it_has(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Its value is on a scale of its own, so that it stands in no column."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}}))
    comparison.run(42.0, seconds=0.5)
    assert best_setting(comparison.study) == {
        "study": "s",
        **dict.fromkeys(("measured_on", "accuracy", "loss", "precision", "recall", "f1", "parameters")),
        "seconds": 0.5,
        "setting": "x=1",
    }


def test_there_is_no_best_before_a_trial_has_a_value(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """The error says how to get one."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}, 2: {}}))
    comparison.fail("KeyError: 'x'")
    url = backend_of(sqlite).engine.url
    message = f"Study 's' has no finished trial yet. Continue it with: hpo launch --study s --storage {url}"
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        best_setting(comparison.study)
