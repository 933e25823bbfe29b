"""Retry: what a database could not do is done later, and given up in the end."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from postgres import Postgres

from hpo.errors import Outage
from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage, retry_of
from hpo.storage.retry import Retry, is_outage
from hpo.storage.trial_rows import finish_trial
from hpo.storage.url import resolve_url


def _away(text: str = "the database system is shutting down") -> Exception:
    return sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception(text))


def _sqlite(*statements: str) -> Exception:
    """What SQLite itself raises at the last of the statements."""
    engine = sqlalchemy.create_engine("sqlite://")
    with contextlib.closing(engine.connect()) as connection:
        for statement in statements[:-1]:
            connection.exec_driver_sql(statement)
        with pytest.raises(sqlalchemy.exc.OperationalError) as raised:
            connection.exec_driver_sql(statements[-1])
    engine.dispose()
    return raised.value


def _full() -> Exception:
    """The file may have two pages, and a third is written."""
    return _sqlite("CREATE TABLE t (x)", "PRAGMA max_page_count = 2", "INSERT INTO t VALUES (zeroblob(9999))")


def _patience(stopped: Callable[[], bool] = lambda: False) -> Retry:
    return Retry(lambda error: str(error).splitlines()[0], stopped)


def _internal(cause: Exception) -> Exception:
    error = StorageInternalError("An exception is raised during a commit.")
    error.__cause__ = cause
    return error


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of a patience that does not take them; its clock shows as if it had."""
    taken: list[float] = []
    monkeypatch.setattr("hpo.storage.retry.time.sleep", taken.append)
    monkeypatch.setattr("hpo.storage.retry.time.monotonic", lambda: sum(taken))
    return taken


def test_an_action_is_repeated_until_it_is_done(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """With longer and longer pauses, one line at the beginning and one at the end."""
    outcomes = [_away()] * 8

    def action() -> str:
        if outcomes:
            raise outcomes.pop()
        return "done"

    with caplog.at_level("INFO", "hpo"):
        assert _patience()(action) == "done"
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "The storage answers again after 16.3 s" in caplog.text


@pytest.mark.parametrize(
    ("error", "text", "least"),
    [
        pytest.param(_away("server closed the connection"), "closed the connection", 600, id="away"),
        pytest.param(_full(), "database or disk is full", 60, id="full"),
        pytest.param(_internal(_full()), "a commit", 60, id="full-at-a-commit"),
        pytest.param(
            sqlalchemy.exc.OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file")),
            "could not extend file", 60, id="full-server",
        ),
        pytest.param(
            sqlalchemy.exc.OperationalError("INSERT", {"x": "full"}, Exception("the full queue was closed")),
            "queue", 600, id="full-in-other-texts",
        ),
    ],
)  # fmt: skip
def test_it_gives_up_in_the_end_and_then_at_once(error: Exception, text: str, least: int, pauses: list[float]) -> None:
    """What is still to be done when a process ends does not wait as long again; a full disk is waited for briefly."""
    patience = _patience()

    def action() -> None:
        raise error

    with pytest.raises(Outage, match=rf"has not answered for \d+ s: .*{text}.*launch again"):
        patience(action)
    assert least < sum(pauses) <= least + 6
    waited = len(pauses)
    with pytest.raises(Outage):
        patience(action)
    assert len(pauses) == waited
    assert patience(lambda: "done") == "done"


def test_a_process_that_is_to_stop_does_not_wait(pauses: list[float]) -> None:
    """Ctrl-C while the database is away ends the command."""

    def action() -> None:
        raise _away()

    with pytest.raises(Outage):
        _patience(stopped=lambda: True)(action)
    assert pauses == []


def test_what_is_no_outage_is_raised_at_once(pauses: list[float]) -> None:
    """Waiting would not mend it."""
    for error in (
        _sqlite("SELECT * FROM studies"),
        _sqlite("CREATE TABLE t (x)", "PRAGMA query_only = ON", "INSERT INTO t VALUES (1)"),
        sqlalchemy.exc.ProgrammingError("SELECT", {}, Exception("syntax error")),
        StorageInternalError("the value is too long"),
    ):

        def action(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)):
            _patience()(action)
    assert pauses == []


def test_optuna_s_error_around_the_database_s_is_an_outage() -> None:
    """As its sessions raise it from a commit."""
    assert is_outage(_internal(_away()))
    assert is_outage(_sqlite("ATTACH '/nowhere/hpo.db' AS other"))
    assert is_outage(sqlalchemy.exc.PendingRollbackError("Can't reconnect until invalid transaction is rolled back."))
    assert not is_outage(StorageInternalError("an integrity error"))


def test_a_locked_file_is_waited_for(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own wait is over, ours begins."""
    monkeypatch.setattr("hpo.storage.database._SQLITE_TIMEOUT", 0.1)
    storage = open_storage(resolve_url(None, run_dir), write=True)
    study = optuna.create_study(storage=storage, study_name="s")
    other = sqlalchemy.create_engine(f"sqlite:///{run_dir.database}")
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        released = threading.Event()

        def release() -> None:
            released.set()
            connection.connection.rollback()

        timer = threading.Timer(1, release)
        timer.start()
        study.set_user_attr("budget", 5)
        assert released.is_set()
        timer.join()
    assert study.user_attrs["budget"] == 5
    for engine in (other, backend_of(storage).engine):
        engine.dispose()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_trial_goes_through_restarts_of_the_database(
    mode: str, postgres_server: Postgres, empty_postgres: str, run_dir: RunDir
) -> None:
    """Before each thing that a worker asks or writes; each is there, once."""
    storage = open_storage(resolve_url(empty_postgres, run_dir), write=True)
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    trial_id = storage.create_new_trial(study._study_id)
    trial = optuna.Trial(study, trial_id)

    def steps() -> list[Callable[[], object]]:
        return [
            lambda: trial.suggest_float("x", 0, 1),
            lambda: trial.report(0.5, 1),
            lambda: trial.set_user_attr("weights", "abc"),
            lambda: study.get_trials(deepcopy=False),
            lambda: finish_trial(storage, trial_id, TrialState.COMPLETE, 0.5, {"epochs": 1}),
        ]

    for step in steps():
        _away_for_a_moment(postgres_server, mode, step)
    [stored] = study.trials
    assert (stored.state, stored.value, stored.intermediate_values) == (TrialState.COMPLETE, 0.5, {1: 0.5})
    assert stored.distributions == {"x": FloatDistribution(0, 1)}
    assert stored.user_attrs == {"weights": "abc", "epochs": 1, "ended": stored.user_attrs["ended"]}
    with pytest.raises(UpdateFinishedTrialError):
        finish_trial(storage, trial_id, TrialState.COMPLETE, 0.5, {"epochs": 1})
    backend_of(storage).engine.dispose()


def _away_for_a_moment(server: Postgres, mode: str, step: Callable[[], object]) -> None:
    """Do ``step`` while the server is stopped, and start it."""
    server.stop(mode)
    worker = threading.Thread(target=step)
    worker.start()
    try:
        time.sleep(0.3)
        assert worker.is_alive()
    finally:
        server.start()
    worker.join(timeout=300)
    assert not worker.is_alive()


def test_a_worker_that_starts_while_the_database_restarts_waits(
    postgres_server: Postgres, empty_postgres: str, run_dir: RunDir
) -> None:
    """Its launcher had opened it: that it is away is no wrong URL."""
    opened: list[BaseStorage] = []
    url = resolve_url(empty_postgres, run_dir)
    _away_for_a_moment(postgres_server, "fast", lambda: opened.append(open_storage(url, write=True, wait=True)))
    assert opened[0].get_all_studies() == []
    backend_of(opened[0]).engine.dispose()


def test_nobody_waits_for_a_database_that_was_never_there(run_dir: RunDir, tmp_path: Path) -> None:
    """What is wrong at the beginning is said at once."""
    begun = time.monotonic()
    with pytest.raises(Exception, match=r"does not answer: .*Connection refused"):
        open_storage(resolve_url("postgresql://nobody@127.0.0.1:1/x", run_dir), write=True)
    assert time.monotonic() - begun < 20


def test_a_storage_to_write_has_patience(storage: BaseStorage) -> None:
    """On each kind; whoever runs it says when to give up."""
    assert retry_of(storage).stopped() is False
