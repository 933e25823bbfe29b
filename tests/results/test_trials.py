"""What the storage answers, asked of studies that were recorded and run as a worker does."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from recorded import foreign_study
from searched import Searched, flat

from hpo import Budget, Setting
from hpo.errors import StudyError
from hpo.files.run_dir import RunDir
from hpo.results.disk import disk_bytes
from hpo.results.status import overview, status_of
from hpo.results.trials import TrialRecord, best_of, ranking, trial_of, trials_of
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time nine hours before UTC."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_trial_is_one_row(search: Searched) -> None:
    """All that its worker recorded, under the names a table has."""
    claim = search.start(0.5, 0.75, 0.625)
    recorded: dict[str, Any] = {
        "stop_reason": "early_stopping", "epochs": 3, "best_epoch": 2, "seconds": 12.5, "seconds_to_best": 8.25,
        "images_per_second": 4000.0, "parameters": 7406, "precision": "float32", "backend": "tensorflow",
        "history": {"val_accuracy": [0.5, 0.75, 0.625]},
    }  # fmt: skip
    search.end(claim, "COMPLETE", 0.75, **recorded)
    (row,) = flat(search.study)
    assert {name: getattr(row, name) for name in recorded} == recorded
    assert (row.number, row.state, row.value, row.failure) == (0, "COMPLETE", 0.75, None)
    assert row.params == claim.trial.params
    assert list(row.params) == ["x"]
    assert (row.seed, row.attempt, row.warm_start) == (claim.seed, 1, None)
    assert (row.worker, row.host, row.device) == ("gpu-box-3-4242", "gpu-box-3", "gpu:1")
    assert json.loads(json.dumps(vars(row)))["params"] == row.params


def test_a_trial_of_a_comparison_names_its_setting(storage: BaseStorage, run_dir: RunDir) -> None:
    """And which repeat of it, both counted from 0; beside what it does on the test images."""
    settings = [Setting({"x": 0.25}), Setting({"x": 0.5})]
    comparison = Searched(storage, run_dir, settings=settings, repeats=2, budget=Budget())
    measured: dict[str, Any] = {
        "test_accuracy": 0.9, "test_loss": 0.3, "test_precision": 0.91, "test_recall": 0.89, "test_f1": 0.895,
        "test_seconds": 0.5, "test_images": 360, "validation_images": 180,
    }  # fmt: skip
    for _ in range(3):
        comparison.run("COMPLETE", 0.5, **measured)
    rows = flat(comparison.study)
    assert [(row.setting, row.repeat, row.params["x"]) for row in rows] == [(0, 0, 0.25), (1, 0, 0.5), (0, 1, 0.25)]
    assert {name: getattr(rows[0], name) for name in measured} == measured
    assert {row.warm_start for row in rows} == {None}


def test_a_trial_of_a_search_has_no_setting(search: Searched) -> None:
    """Nor anything that was measured on test images."""
    search.run("COMPLETE", 0.5)
    (row,) = flat(search.study)
    assert (row.setting, row.repeat, row.test_accuracy, row.test_images) == (None, None, None, None)


@pytest.mark.usefixtures("tokyo")
def test_times_are_in_utc(search: Searched) -> None:
    """Optuna keeps local ones without a zone, which two machines would read as two moments."""
    before = datetime.now(UTC).replace(microsecond=0)
    search.run("COMPLETE", 1.0)
    after = datetime.now(UTC)
    (row,) = flat(search.study)
    assert row.started is not None
    assert row.ended is not None
    started, ended = datetime.fromisoformat(row.started), datetime.fromisoformat(row.ended)
    assert started.utcoffset() == ended.utcoffset() == timedelta(0)
    assert before <= started <= ended <= after


@pytest.mark.parametrize(("direction", "value"), [("maximize", 0.75), ("minimize", 0.25)])
def test_a_running_trial_shows_its_best_so_far(
    direction: str, value: float, storage: BaseStorage, run_dir: RunDir
) -> None:
    """Which is not its last, and is the smallest where less is better."""
    search = Searched(storage, run_dir, direction=direction)
    search.start(0.5, 0.75, 0.25, 0.5)
    (row,) = flat(search.study)
    assert (row.state, row.value, row.epochs, row.ended) == ("RUNNING", value, 4, None)


def test_a_trial_without_anything_has_nothing(search: Searched) -> None:
    """Neither zeros nor guesses."""
    search.start()
    (row,) = flat(search.study)
    assert (row.value, row.epochs, row.best_epoch, row.seconds, row.history) == (None, None, None, None, {})


def test_a_trial_that_failed_says_why(search: Searched) -> None:
    """It has no value, though it reported some."""
    search.run("FAIL", None, 0.5, 0.25, stop_reason="nan", failure="the loss is nan at epoch 3")
    (row,) = flat(search.study)
    assert (row.state, row.value, row.epochs) == ("FAIL", None, 2)
    assert (row.stop_reason, row.failure) == ("nan", "the loss is nan at epoch 3")


@pytest.mark.parametrize(
    ("direction", "numbers"),
    [pytest.param("maximize", [3, 1, 6, 0], id="maximize"), pytest.param("minimize", [0, 1, 6, 3], id="minimize")],
)
def test_ranking_puts_the_best_first(direction: str, numbers: list[int], storage: BaseStorage, run_dir: RunDir) -> None:
    """Complete trials only; of two equal ones the earlier counts."""
    search = Searched(storage, run_dir, direction=direction)
    search.run("COMPLETE", -0.5)  # 0
    search.run("COMPLETE", 0.0)  # 1
    search.run("PRUNED", 9.0 if direction == "maximize" else -9.0)  # 2
    search.run("COMPLETE", 0.5)  # 3
    search.run("FAIL", None, 9.0, -9.0, stop_reason="nan")  # 4
    search.start(9.0, -9.0)  # 5
    search.run("COMPLETE", 0.0)  # 6
    assert [row.number for row in ranking(search.study)] == numbers
    assert best_of(search.study).number == numbers[0]
    best = status_of(search.study).best
    assert best is not None
    assert best.number == numbers[0]


def test_the_best_is_one_that_meets_the_constraints(search: Searched) -> None:
    """As in Optuna: a constraint above 0 is violated, however good the value; without a feasible one there is none."""
    for value, violation in ((0.9, 0.1), (0.7, 0.0), (0.8, -1.0), (0.95, 2.0)):
        search.study.add_trial(optuna.create_trial(value=value, system_attrs={"constraints": [violation]}))
        if violation == 0.1:
            with pytest.raises(StudyError, match="No trial of study 's' meets the constraints"):
                best_of(search.study)
    assert best_of(search.study).number == search.study.best_trial.number == 2
    assert [row.number for row in ranking(search.study)] == [2, 1]
    assert [row.feasible for row in flat(search.study)] == [False, True, True, False]
    status = status_of(search.study)
    assert status.best is not None
    assert status.best.number == 2


def test_before_any_is_complete_pruned_trials_are_ranked(search: Searched) -> None:
    """By their best value; one that was pruned before it had any is left out."""
    search.run("PRUNED", 0.25)
    search.run("PRUNED", None)
    search.run("PRUNED", 0.5)
    assert [row.number for row in ranking(search.study)] == [2, 0]
    search.run("COMPLETE", 0.0)
    assert [row.number for row in ranking(search.study)] == [3]


def test_there_is_no_best_before_a_trial_has_finished(search: Searched) -> None:
    """The error says how to get one."""
    search.run("FAIL", None, stop_reason="error")
    search.start(0.5)
    assert status_of(search.study).best is None
    with pytest.raises(StudyError, match=r"'s' has no finished trial yet\. Continue it with: hpo launch --study s"):
        best_of(search.study)


def test_a_trial_is_found_by_its_number(search: Searched) -> None:
    """Or the error says which there are."""
    search.run("COMPLETE", 0.25)
    search.run("COMPLETE", 0.5)
    assert trial_of(search.study, 1).value == 0.5
    for number in (2, -1):
        with pytest.raises(StudyError, match=f"'s' has no trial {number}. Its trials go from 0 to 1"):
            trial_of(search.study, number)


def test_what_another_program_calls_by_our_names_is_left_out(storage: BaseStorage, run_dir: RunDir) -> None:
    """Of its trials there is what Optuna itself records; of the storage's other studies all there is."""
    foreign = foreign_study(storage)
    Searched(storage, run_dir, name="ours")
    assert [(status.name, status.finished, status.budget) for status in overview(storage)] == [
        ("foreign", 2, 3),
        ("ours", 0, 20),
    ]
    rows = trials_of(foreign)
    assert rows[0] == best_of(foreign)
    assert rows[0] == TrialRecord(
        number=0, state="COMPLETE", value=0.5, params={}, started=rows[0].started, ended=rows[0].ended
    )
    assert status_of(foreign).workers == [{"worker": None, "device": None, "trial": 2, "epoch": 0, "value": None}]
    assert disk_bytes(foreign, run_dir) == 0


@pytest.mark.parametrize("question", [trials_of, ranking, best_of, status_of])
def test_a_study_with_two_objectives_is_refused(question: Callable[[optuna.Study], Any], storage: BaseStorage) -> None:
    """It has no best trial; the error says where to look at it."""
    study = optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    study.add_trial(optuna.trial.create_trial(values=[0.5, 0.5]))
    with pytest.raises(StudyError, match=r"must have one objective, but 'two' has 2\. `hpo dashboard` shows it"):
        question(study)


def test_reading_needs_no_permission_to_write(search: Searched, storage: BaseStorage) -> None:
    """A storage opened to read, and beside a worker that runs."""
    search.run("COMPLETE", 0.5)
    search.start(0.25)
    reader = open_storage(backend_of(storage).engine.url, write=False)
    study = stored_study.load(reader, "s")
    assert overview(reader)[0].finished == 1
    assert [row.state for row in trials_of(study)] == ["COMPLETE", "RUNNING"]
    search.run("COMPLETE", 0.75)
    assert best_of(study).value == 0.75
    backend_of(reader).engine.dispose()


def test_the_best_does_not_get_worse_while_it_is_continued(search: Searched) -> None:
    """A paused trial counts until its continuation has ended; then that one does."""
    search.run("COMPLETE", 0.7)
    search.run("PRUNED", 0.9, 0.5, 0.9, stop_reason="paused")
    again = search.start(0.5, 0.9)
    assert [(row.number, row.value) for row in ranking(search.study)] == [(1, 0.9), (0, 0.7)]
    assert best_of(search.study).number == 1
    search.end(again, "COMPLETE", 0.95)
    assert [(row.number, row.value) for row in ranking(search.study)] == [(2, 0.95), (0, 0.7)]
