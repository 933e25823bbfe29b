"""What the storage answers, asked of studies that were recorded and run as a worker does."""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from definitions import found
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from recorded import foreign_study

from hpo import Budget, Setting
from hpo.errors import StudyError
from hpo.files.run_dir import RunDir
from hpo.results.disk import disk_bytes
from hpo.results.status import overview, status_of
from hpo.results.trials import TrialRecord, best_of, ranking, trial_of, trials_of
from hpo.search.claims import Claim, Claims
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.leases import give_back
from hpo.storage.trial_rows import finish_trial


@pytest.fixture
def storage(sqlite: BaseStorage) -> BaseStorage:
    """An empty one in a SQLite file; the same questions are asked of PostgreSQL elsewhere."""
    return sqlite


SEARCHED = {"space": {"x": FloatDistribution(0, 1)}, "sampler": RandomSampler()}


class _Search:
    """A study in the storage, and a worker of it that says how each of its trials ends."""

    def __init__(self, storage: BaseStorage, run_dir: RunDir, **fields: Any) -> None:
        searched = {} if "settings" in fields else SEARCHED
        definition = found(
            **{
                "name": "s",
                "task": lambda params, trial: 0.0,
                "direction": "maximize",
                "budget": Budget(trials=20),
                **searched,
                **fields,
            }
        )
        self.study, _ = stored_study.create_or_resume(storage, definition, run_dir)
        self._definition = definition

    def start(self, *reported: float) -> Claim:
        """A trial that runs and has reported these values, the first at epoch 1."""
        # Each as from a process of its own: one runs one trial at a time.
        claim = Claims(self.study, self._definition, "gpu-box-3-4242", "gpu:1").next()
        assert isinstance(claim, Claim)
        claim.trial.suggest_float("x", 0, 1)
        for epoch, value in enumerate(reported, 1):
            claim.trial.report(value, epoch)
        return claim

    def end(self, claim: Claim, state: str, value: float | None = None, **records: Any) -> None:
        finish_trial(self.study._storage, claim.trial._trial_id, TrialState[state], value, records)

    def run(self, state: str, value: float | None = None, *reported: float, **records: Any) -> None:
        self.end(self.start(*reported), state, value, **records)


@pytest.fixture
def search(storage: BaseStorage, run_dir: RunDir) -> _Search:
    return _Search(storage, run_dir)


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time nine hours before UTC."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _flat(study: optuna.Study) -> list[SimpleNamespace]:
    """The trials with what tables, JSON and CSV show of them."""
    return [SimpleNamespace(**trial.as_json()) for trial in trials_of(study)]


def test_a_trial_is_one_row(search: _Search) -> None:
    """All that its worker recorded, under the names a table has."""
    claim = search.start(0.5, 0.75, 0.625)
    recorded: dict[str, Any] = {
        "stop_reason": "early_stopping", "epochs": 3, "best_epoch": 2, "seconds": 12.5, "seconds_to_best": 8.25,
        "images_per_second": 4000.0, "parameters": 7406, "precision": "float32", "backend": "tensorflow",
        "history": {"val_accuracy": [0.5, 0.75, 0.625]},
    }  # fmt: skip
    search.end(claim, "COMPLETE", 0.75, **recorded)
    (row,) = _flat(search.study)
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
    comparison = _Search(storage, run_dir, settings=settings, repeats=2, budget=Budget())
    measured: dict[str, Any] = {
        "test_accuracy": 0.9, "test_loss": 0.3, "test_precision": 0.91, "test_recall": 0.89, "test_f1": 0.895,
        "test_seconds": 0.5, "test_images": 360, "validation_images": 180,
    }  # fmt: skip
    for _ in range(3):
        comparison.run("COMPLETE", 0.5, **measured)
    rows = _flat(comparison.study)
    assert [(row.setting, row.repeat, row.params["x"]) for row in rows] == [(0, 0, 0.25), (1, 0, 0.5), (0, 1, 0.25)]
    assert {name: getattr(rows[0], name) for name in measured} == measured
    assert {row.warm_start for row in rows} == {None}


def test_a_trial_of_a_search_has_no_setting(search: _Search) -> None:
    """Nor anything that was measured on test images."""
    search.run("COMPLETE", 0.5)
    (row,) = _flat(search.study)
    assert (row.setting, row.repeat, row.test_accuracy, row.test_images) == (None, None, None, None)


@pytest.mark.usefixtures("tokyo")
def test_times_are_in_utc(search: _Search) -> None:
    """Optuna keeps local ones without a zone, which two machines would read as two moments."""
    before = datetime.now(UTC).replace(microsecond=0)
    search.run("COMPLETE", 1.0)
    after = datetime.now(UTC)
    (row,) = _flat(search.study)
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
    search = _Search(storage, run_dir, direction=direction)
    search.start(0.5, 0.75, 0.25, 0.5)
    (row,) = _flat(search.study)
    assert (row.state, row.value, row.epochs, row.ended) == ("RUNNING", value, 4, None)


def test_a_trial_without_anything_has_nothing(search: _Search) -> None:
    """Neither zeros nor guesses."""
    search.start()
    (row,) = _flat(search.study)
    assert (row.value, row.epochs, row.best_epoch, row.seconds, row.history) == (None, None, None, None, {})


def test_a_trial_that_failed_says_why(search: _Search) -> None:
    """It has no value, though it reported some."""
    search.run("FAIL", None, 0.5, 0.25, stop_reason="nan", failure="the loss is nan at epoch 3")
    (row,) = _flat(search.study)
    assert (row.state, row.value, row.epochs) == ("FAIL", None, 2)
    assert (row.stop_reason, row.failure) == ("nan", "the loss is nan at epoch 3")


@pytest.mark.parametrize(
    ("direction", "numbers"),
    [pytest.param("maximize", [3, 1, 6, 0], id="maximize"), pytest.param("minimize", [0, 1, 6, 3], id="minimize")],
)
def test_ranking_puts_the_best_first(direction: str, numbers: list[int], storage: BaseStorage, run_dir: RunDir) -> None:
    """Complete trials only; of two equal ones the earlier counts."""
    search = _Search(storage, run_dir, direction=direction)
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


def test_the_best_is_one_that_meets_the_constraints(search: _Search) -> None:
    """As in Optuna: a constraint above 0 is violated, however good the value; without a feasible one there is none."""
    for value, violation in ((0.9, 0.1), (0.7, 0.0), (0.8, -1.0), (0.95, 2.0)):
        search.study.add_trial(optuna.create_trial(value=value, system_attrs={"constraints": [violation]}))
        if violation == 0.1:
            with pytest.raises(StudyError, match="No trial of study 's' meets the constraints"):
                best_of(search.study)
    assert best_of(search.study).number == search.study.best_trial.number == 2
    assert [row.number for row in ranking(search.study)] == [2, 1]
    assert [row.feasible for row in _flat(search.study)] == [False, True, True, False]
    status = status_of(search.study)
    assert status.best is not None
    assert status.best.number == 2


def test_before_any_is_complete_pruned_trials_are_ranked(search: _Search) -> None:
    """By their best value; one that was pruned before it had any is left out."""
    search.run("PRUNED", 0.25)
    search.run("PRUNED", None)
    search.run("PRUNED", 0.5)
    assert [row.number for row in ranking(search.study)] == [2, 0]
    search.run("COMPLETE", 0.0)
    assert [row.number for row in ranking(search.study)] == [3]


def test_there_is_no_best_before_a_trial_has_finished(search: _Search) -> None:
    """The error says how to get one."""
    search.run("FAIL", None, stop_reason="error")
    search.start(0.5)
    assert status_of(search.study).best is None
    with pytest.raises(StudyError, match=r"'s' has no finished trial yet\. Continue it with: hpo launch --study s"):
        best_of(search.study)


def test_a_trial_is_found_by_its_number(search: _Search) -> None:
    """Or the error says which there are."""
    search.run("COMPLETE", 0.25)
    search.run("COMPLETE", 0.5)
    assert trial_of(search.study, 1).value == 0.5
    for number in (2, -1):
        with pytest.raises(StudyError, match=f"'s' has no trial {number}. Its trials go from 0 to 1"):
            trial_of(search.study, number)


def test_trials_given_back_do_not_count(search: _Search) -> None:
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


def test_status_names_who_works(search: _Search) -> None:
    """By the trials that run: their worker, its device, the last epoch and its value."""
    search.run("COMPLETE", 1.0, 0.5)
    search.start()
    search.start(0.75, 0.25)
    worker = {"worker": "gpu-box-3-4242", "device": "gpu:1"}
    assert status_of(search.study).workers == [
        {**worker, "trial": 1, "epoch": 0, "value": None},
        {**worker, "trial": 2, "epoch": 2, "value": 0.25},
    ]


def test_disk_bytes_are_of_the_study_s_folder_and_weights(storage: BaseStorage, run_dir: RunDir) -> None:
    """Not of other studies' weights, nor of what another machine kept; but of those that a killed trial left."""
    study = optuna.create_study(storage=storage, study_name="s")
    kept, elsewhere, left, other = (str(uuid.uuid4()) for _ in range(4))
    for artifact, state in ((kept, TrialState.COMPLETE), (elsewhere, TrialState.COMPLETE), (left, TrialState.FAIL)):
        value = 1.0 if state == TrialState.COMPLETE else None
        attrs = {f"artifacts:{artifact}": "{}"}
        study.add_trial(optuna.create_trial(state=state, value=value, system_attrs=attrs))
    for path in (run_dir.logs("s") / "worker.log", *(run_dir.artifacts / name for name in (kept, left, other))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    assert disk_bytes(study, run_dir) == 15


@pytest.mark.parametrize("name", ["../x", "/etc", "artifacts", "a name"], ids=["above", "absolute", "ours", "words"])
def test_a_name_that_is_no_folder_takes_no_disk(name: str, storage: BaseStorage, run_dir: RunDir) -> None:
    """Another program may call a study as it likes, and its weights: what lies outside is not looked at."""
    study = optuna.create_study(storage=storage, study_name=name)
    for weights in ("../x/file", str(run_dir.home.parent / "x" / "file")):
        study.add_trial(optuna.create_trial(value=1.0, system_attrs={f"artifacts:{weights}": "{}"}))
    for folder in (run_dir.home.parent / "x", run_dir.artifacts):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_bytes(b"12345")
    assert disk_bytes(study, run_dir) == 0


def test_status_counts_the_seconds_of_the_search(storage: BaseStorage, run_dir: RunDir) -> None:
    """In which any trial ran: side by side they count once, and a pause between launches not at all."""
    search = _Search(storage, run_dir)
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
def test_seconds_are_the_same_in_every_zone(at_start: str, at_end: str, at_reading: str, search: _Search) -> None:
    """Optuna keeps local times without a zone: a search of minutes would have taken hours, or none at all."""
    before = datetime.now(UTC).replace(microsecond=0)
    with _clock_of(at_start):
        claim = search.start()
    with _clock_of(at_end):
        search.end(claim, "COMPLETE", 0.5)
        give_back(search.study, search.start().trial._trial_id, "interrupted")
    with _clock_of(at_reading):
        search.start()
        status, rows = status_of(search.study), _flat(search.study)
    after = datetime.now(UTC)
    assert 0 < status.seconds <= (after - before).total_seconds()
    for row in rows:
        assert before <= datetime.fromisoformat(row.started or "") <= after
    assert [row.ended is None for row in rows] == [False, False, True]
    assert all(before <= datetime.fromisoformat(row.ended) <= after for row in rows if row.ended)


def test_two_machines_count_once_what_they_do_at_once(search: _Search) -> None:
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
    _Search(storage, run_dir, name="b", budget=Budget(trials=7)).run("COMPLETE", 0.5)
    _Search(storage, run_dir, name="c")
    foreign = optuna.create_study(storage=storage, study_name="a", sampler=RandomSampler())
    foreign.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=2)
    found = overview(storage)
    assert [(status.name, status.finished, status.budget) for status in found] == [
        ("a", 2, 2),
        ("b", 1, 7),
        ("c", 0, 20),
    ]


def test_what_another_program_calls_by_our_names_is_left_out(storage: BaseStorage, run_dir: RunDir) -> None:
    """Of its trials there is what Optuna itself records; of the storage's other studies all there is."""
    foreign = foreign_study(storage)
    _Search(storage, run_dir, name="ours")
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


def test_overview_leaves_out_a_study_with_two_objectives(storage: BaseStorage, run_dir: RunDir) -> None:
    """hpo never makes one, but a storage may be shared with those who do."""
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    _Search(storage, run_dir, name="one")
    assert [status.name for status in overview(storage)] == ["one"]


@pytest.mark.parametrize("question", [trials_of, ranking, best_of, status_of])
def test_a_study_with_two_objectives_is_refused(question: Callable[[optuna.Study], Any], storage: BaseStorage) -> None:
    """It has no best trial; the error says where to look at it."""
    study = optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    study.add_trial(optuna.trial.create_trial(values=[0.5, 0.5]))
    with pytest.raises(StudyError, match=r"must have one objective, but 'two' has 2\. `hpo dashboard` shows it"):
        question(study)


def test_reading_needs_no_permission_to_write(search: _Search, storage: BaseStorage) -> None:
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
