"""How far a study is, and how long it ran."""

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from searched import Searched, flat

from hpo import Budget
from hpo.files.run_dir import RunDir
from hpo.results.status import overview, status_of
from hpo.storage.leases import give_back


def test_trials_given_back_do_not_count(search: Searched) -> None:
    """Their configuration runs again; a trial that failed by itself has used its part of the budget."""
    search.run("COMPLETE", 1.0)
    search.run("PRUNED", 0.5)
    search.run("FAIL", None, stop_reason="nan")
    for reason in ("lost_worker", "interrupted"):
        give_back(search.study, search.start().trial._trial_id, reason)
    search.start(0.25, 0.5)
    status = status_of(search.study)
    assert (status.name, status.budget, status.finished) == ("s", 20, 3)
    assert status.states == {"COMPLETE": 1, "FAIL": 1, "GIVEN_BACK": 2, "PRUNED": 1, "RUNNING": 1}
    assert json.loads(json.dumps(status.as_json()))["states"] == status.states


def test_status_names_who_works(search: Searched) -> None:
    """By the trials that run: their worker, its device, the last epoch and its value."""
    search.run("COMPLETE", 1.0, 0.5)
    search.start()
    search.start(0.75, 0.25)
    worker = {"worker": "gpu-box-3-4242", "device": "gpu:1"}
    assert status_of(search.study).workers == [
        {**worker, "trial": 1, "epoch": 0, "value": None},
        {**worker, "trial": 2, "epoch": 2, "value": 0.25},
    ]


def test_status_counts_the_seconds_of_the_search(storage: BaseStorage, run_dir: RunDir) -> None:
    """In which any trial ran: side by side they count once, and a pause between launches not at all."""
    search = Searched(storage, run_dir)
    assert status_of(search.study).seconds == 0
    start = datetime.now() - timedelta(hours=2)
    search.study.add_trial(_past_trial(start + timedelta(minutes=20), minutes=10))
    search.study.add_trial(_past_trial(start, minutes=45))
    assert status_of(search.study).seconds == pytest.approx(45 * 60)
    search.study.add_trial(_past_trial(start + timedelta(minutes=60), minutes=5))
    assert status_of(search.study).seconds == pytest.approx(50 * 60)
    search.start()
    assert status_of(search.study).seconds == pytest.approx(50 * 60, abs=60)


@contextlib.contextmanager
def _clock_of(zone: str) -> Iterator[None]:
    """The local time of another machine, or of this one after a change to summer time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("at_start", "at_end", "at_reading"),
    [
        pytest.param("UTC0", "UTC0", "UTC-9", id="read-elsewhere"),
        pytest.param("UTC+5", "UTC+5", "UTC0", id="read-east-of-it"),
        pytest.param("UTC-1", "UTC-2", "UTC-2", id="summer-time-began"),
        pytest.param("UTC-2", "UTC-1", "UTC-1", id="summer-time-ended"),
    ],
)
def test_seconds_are_the_same_in_every_zone(at_start: str, at_end: str, at_reading: str, search: Searched) -> None:
    """Optuna keeps local times without a zone: a search of minutes would have taken hours, or none at all."""
    before = datetime.now(UTC).replace(microsecond=0)
    with _clock_of(at_start):
        claim = search.start()
    with _clock_of(at_end):
        search.end(claim, "COMPLETE", 0.5)
        give_back(search.study, search.start().trial._trial_id, "interrupted")
    with _clock_of(at_reading):
        search.start()
        status, rows = status_of(search.study), flat(search.study)
    after = datetime.now(UTC)
    assert 0 < status.seconds <= (after - before).total_seconds()
    for row in rows:
        assert before <= datetime.fromisoformat(row.started or "") <= after
    assert [row.ended is None for row in rows] == [False, False, True]
    assert all(before <= datetime.fromisoformat(row.ended) <= after for row in rows if row.ended)


def test_two_machines_count_once_what_they_do_at_once(search: Searched) -> None:
    """Their trials run side by side, whatever their clocks show."""
    before = time.time()
    with _clock_of("UTC-9"):
        one = search.start()
    with _clock_of("UTC+5"):
        other = search.start()
        search.end(other, "COMPLETE", 0.5)
    with _clock_of("UTC-9"):
        search.end(one, "COMPLETE", 0.5)
        assert 0 < status_of(search.study).seconds <= time.time() - before


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), 1e300, -1, "yesterday", None], ids=str)
def test_what_is_no_time_is_none(moment: object, storage: BaseStorage) -> None:
    """Another program may use our names for something else; Optuna's own times are there."""
    study = optuna.create_study(storage=storage, study_name="s")
    trial = optuna.trial.create_trial(value=1.0, user_attrs={"claim": {"started": moment}, "ended": moment})
    trial.datetime_start, trial.datetime_complete = datetime.now() - timedelta(seconds=90), datetime.now()
    study.add_trial(trial)
    assert status_of(study).seconds == pytest.approx(90, abs=1)


def _past_trial(start: datetime, *, minutes: int) -> optuna.trial.FrozenTrial:
    trial = optuna.trial.create_trial(value=1.0)
    trial.datetime_start, trial.datetime_complete = start, start + timedelta(minutes=minutes)
    return trial


def test_overview_lists_every_study_by_name(storage: BaseStorage, run_dir: RunDir) -> None:
    """Also those that another Optuna program made: their budget is what they have run."""
    Searched(storage, run_dir, name="b", budget=Budget(trials=7)).run("COMPLETE", 0.5)
    Searched(storage, run_dir, name="c")
    foreign = optuna.create_study(storage=storage, study_name="a", sampler=RandomSampler())
    foreign.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=2)
    found = overview(storage)
    assert [(status.name, status.finished, status.budget) for status in found] == [
        ("a", 2, 2),
        ("b", 1, 7),
        ("c", 0, 20),
    ]


def test_overview_leaves_out_a_study_with_two_objectives(storage: BaseStorage, run_dir: RunDir) -> None:
    """hpo never makes one, but a storage may be shared with those who do."""
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    Searched(storage, run_dir, name="one")
    assert [status.name for status in overview(storage)] == ["one"]
