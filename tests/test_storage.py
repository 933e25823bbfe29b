"""URLs, and what many processes may do to one storage at once."""

import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
import sqlalchemy
import sqlalchemy.orm
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from postgres import Postgres
from sqlalchemy.engine import make_url

from hpo.errors import Outage, StorageError
from hpo.run_dir import RunDir
from hpo.storage import (
    LEASE,
    backend_of,
    finish_trial,
    first_line,
    mark_finished,
    open_storage,
    pulses,
    resolve_url,
    shown,
    study_lock,
)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("not a url", "must be a URL like sqlite:///", id="not-a-url"),
        pytest.param("sqlite://", "must be a file", id="in-memory"),
        pytest.param("sqlite:///:memory:", "must be a file", id="in-memory-by-name"),
        pytest.param("mysql://root@localhost/x", "must be SQLite or PostgreSQL, but got 'mysql'", id="mysql"),
        pytest.param("redis://localhost", "must be SQLite or PostgreSQL, but got 'redis'", id="redis"),
    ],
)
def test_other_storages_are_refused(url: str, message: str, run_dir: RunDir) -> None:
    """Only what is known to be safe for many processes is taken."""
    with pytest.raises(StorageError, match=message):
        resolve_url(url, run_dir)


def test_default_is_the_file_under_home_and_the_environment_comes_before(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option, then HPO_STORAGE, then the file in HPO_HOME."""
    assert resolve_url(None, run_dir).database == str(run_dir.database)
    monkeypatch.setenv("HPO_STORAGE", "postgresql://me@host/x")
    assert resolve_url(None, run_dir).drivername == "postgresql+psycopg"
    assert resolve_url("sqlite:///other.db", run_dir).database == str(Path("other.db").absolute())


@pytest.mark.parametrize("write", [True, False], ids=["to-write", "to-read"])
def test_an_unreachable_database_is_an_outage_and_named_without_its_password(write: bool, run_dir: RunDir) -> None:
    """The same command may succeed later; nobody learns a password from an error."""
    url = resolve_url("postgresql://me:canary-7g@127.0.0.1:1/x", run_dir)
    with pytest.raises(Outage, match=r"does not answer: .*Connection refused.*may succeed later") as refused:
        open_storage(url, write=write)
    assert "canary-7g" not in str(refused.value)
    assert "me:***@127.0.0.1:1/x" in str(refused.value)


def test_a_server_that_is_stopped_is_an_outage(postgres_server: Postgres, run_dir: RunDir) -> None:
    """Also one that is reached through a file, which is gone then."""
    url = resolve_url(postgres_server.url, run_dir)
    postgres_server.stop()
    try:
        with pytest.raises(Outage, match="does not answer"):
            open_storage(url, write=False)
    finally:
        postgres_server.start()


def test_a_database_that_does_not_exist_is_no_outage(postgres: str, run_dir: RunDir) -> None:
    """Waiting does not make it; and its name is shown, though the password is the same word."""
    url = resolve_url(postgres, run_dir).set(database="nowhere", password="nowhere")
    with pytest.raises(StorageError, match=r'cannot be opened: .*database "nowhere" does not exist'):
        open_storage(url, write=False)


@pytest.mark.parametrize(
    ("password", "message", "shown"),
    [
        pytest.param("a", "a file at a@b", "a file at a@b", id="one-letter"),
        pytest.param("hpo", 'role "hpo" of hpo', 'role "hpo" of hpo', id="a-name"),
        pytest.param("hpo", "no postgresql://me:hpo@db/hpo", "no postgresql://me:***@db/hpo", id="in-a-url"),
        pytest.param("s.3", "bad password=s.3 host=db", "bad password=*** host=db", id="in-a-connection-string"),
        pytest.param("s.3", "bad value 's.3' for it, not s.3", "bad value '***' for it, not s.3", id="quoted"),
    ],
)
def test_a_password_is_masked_where_it_is_quoted(password: str, message: str, shown: str) -> None:
    """And nowhere else, however short it is, or if it is also a name."""
    url = make_url("postgresql://hpo@db/hpo").set(password=password)
    assert first_line(RuntimeError(message), url) == shown
    assert first_line(RuntimeError(message), make_url("postgresql://hpo@db/hpo")) == message.rstrip(".")


def test_reading_makes_nothing(run_dir: RunDir) -> None:
    """A typing error in a path leaves no empty database behind."""
    with pytest.raises(StorageError, match="There is no storage"):
        open_storage(resolve_url(None, run_dir), write=False)
    assert not run_dir.database.exists()


def test_reading_an_empty_database_says_what_fills_it(postgres: str, run_dir: RunDir) -> None:
    """A database server without any study is no error of the database."""
    url = resolve_url(postgres, run_dir)
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE nothing_yet")
    with pytest.raises(StorageError, match=r"is empty\. `hpo launch` fills it\."):
        open_storage(url.set(database="nothing_yet"), write=False)


@pytest.mark.parametrize("write", [True, False], ids=["to-write", "to-read"])
def test_what_the_url_says_of_the_connection_counts(write: bool, empty_postgres: str, run_dir: RunDir) -> None:
    """Its options beside ours, among them the time zone that all leases are in."""
    url = resolve_url(empty_postgres, run_dir).update_query_dict(
        {"options": "-c statement_timeout=54321 -c timezone=Asia/Tokyo", "application_name": "mine"}
    )
    engine = backend_of(open_storage(url, write=write)).engine
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("statement_timeout", "timezone", "application_name")
        }
    engine.dispose()
    assert settings == {"statement_timeout": "54321ms", "timezone": "UTC", "application_name": "mine"}


def test_a_folder_that_cannot_be_written_is_said_with_a_remedy(run_dir: RunDir) -> None:
    """Of a database in WAL mode, which SQLite opens only with files beside it; here a folder is in their place."""
    backend_of(open_storage(resolve_url(None, run_dir), write=True)).engine.dispose()
    Path(f"{run_dir.database}-wal").mkdir()
    with pytest.raises(StorageError, match=r"unable to open database file\. SQLite in WAL mode .* copy the file"):
        open_storage(resolve_url(None, run_dir), write=False)


@pytest.mark.parametrize("write", [True, False], ids=["to-write", "to-read"])
def test_a_file_that_is_no_database_is_refused(write: bool, run_dir: RunDir) -> None:
    """A user's own file is neither used nor overwritten."""
    run_dir.home.mkdir()
    run_dir.database.write_text("these are my notes, not a database\n" * 100)
    with pytest.raises(StorageError, match="file is not a database"):
        open_storage(resolve_url(None, run_dir), write=write)
    assert run_dir.database.read_text().startswith("these are my notes")


def test_sqlite_is_in_wal_mode_and_durable(run_dir: RunDir) -> None:
    """A reader never waits for a writer, and a told result survives a power cut."""
    engine = backend_of(open_storage(resolve_url(None, run_dir), write=True)).engine
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


def test_study_lock_admits_one(storage: BaseStorage) -> None:
    """Whoever comes second waits until the first has left, on each kind of storage."""
    order: list[str] = []

    def second() -> None:
        with study_lock(storage, 1):
            order.append("second")

    with study_lock(storage, 1):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_a_killed_holder_frees_the_lock(storage_url: str, run_dir: RunDir, storage: BaseStorage) -> None:
    """SIGKILL inside the lock blocks nobody."""
    script = (
        "import sys, time; from pathlib import Path; from hpo.run_dir import RunDir; from hpo.storage import *\n"
        "storage = open_storage(resolve_url(sys.argv[1], RunDir(Path('.'))), write=True)\n"
        "with study_lock(storage, 1):\n    print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, storage_url], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with study_lock(storage, 1):
        pass


def test_finish_trial_writes_all_or_nothing(storage: BaseStorage) -> None:
    """Value, state and records are one transaction; a trial that has ended keeps its first result."""
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    trial = _running(study)
    before = time.time()
    finish_trial(storage, trial, TrialState.PRUNED, 0.75, {"epochs": 3, "history": {"loss": [1.0]}})
    stored = study.trials[0]
    assert (stored.state, stored.value) == (TrialState.PRUNED, 0.75)
    assert before <= stored.user_attrs["ended"] <= time.time()
    assert stored.user_attrs == {"epochs": 3, "history": {"loss": [1.0]}, "ended": stored.user_attrs["ended"]}
    assert stored.datetime_complete is not None
    with pytest.raises(UpdateFinishedTrialError):
        finish_trial(storage, trial, TrialState.COMPLETE, 0.9, {"epochs": 9})
    assert study.trials[0].user_attrs["epochs"] == 3


def test_a_commit_whose_answer_was_lost_is_not_repeated(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has the result and the connection is gone: it is read back; another's result is not taken for it."""
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    trial, others = _running(study), _running(study)
    records = {"history": {"loss": [float("nan")]}, "epochs": 1}
    commit = sqlalchemy.orm.Session.commit
    lost = []

    def commit_and_lose(session: sqlalchemy.orm.Session) -> None:
        commit(session)
        if not lost:
            lost.append(session)
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("server closed the connection"))

    monkeypatch.setattr("sqlalchemy.orm.Session.commit", commit_and_lose)
    finish_trial(storage, trial, TrialState.COMPLETE, 0.5, records)
    assert len(lost) == 1
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.COMPLETE, 0.5)

    def lose(session: sqlalchemy.orm.Session) -> None:
        """Before the server has it; meanwhile somebody else ends the trial."""
        if lost:
            commit(session)
            return
        lost.append(session)
        session.rollback()
        finish_trial(storage, others, TrialState.FAIL, None, {"given_back": True})
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("server closed the connection"))

    lost.clear()
    monkeypatch.setattr("sqlalchemy.orm.Session.commit", lose)
    with pytest.raises(UpdateFinishedTrialError):
        finish_trial(storage, others, TrialState.COMPLETE, 0.5, records)
    assert study.trials[1].user_attrs.keys() == {"given_back", "ended"}


def test_a_mark_may_be_made_twice(storage: BaseStorage) -> None:
    """As after a commit whose answer was lost; both trials have it, and are read anew."""
    study = optuna.create_study(storage=storage, study_name="s")
    ended = [_running(study) for _ in range(2)]
    for trial in ended:
        finish_trial(storage, trial, TrialState.FAIL, None, {})
    assert not any(trial.user_attrs.get("given_back") for trial in study.trials)
    mark_finished(storage, study._study_id, ended[:1], "given_back")
    mark_finished(storage, study._study_id, ended, "given_back")
    assert [trial.user_attrs["given_back"] for trial in study.trials] == [True, True]


def test_pulses_are_of_running_trials(storage: BaseStorage) -> None:
    """When each last beat, by the database's clock; none where a worker was killed before its first."""
    study = optuna.create_study(storage=storage, study_name="s")
    never, beating, ended = _running(study), _running(study), _running(study)
    for trial in (beating, ended):
        backend_of(storage).record_heartbeat(trial)
    finish_trial(storage, ended, TrialState.COMPLETE, 1.0, {})
    found = pulses(storage, study._study_id)
    assert set(found) == {never, beating}
    assert (found[never].beat, found[never].age) == (None, math.inf)
    assert found[beating].beat is not None
    assert -1 <= found[beating].age < LEASE


def _running(study: optuna.Study) -> int:
    """The id of a new running trial, made as a claim makes one: Study.ask would warn that it does not beat."""
    return study._storage.create_new_trial(study._study_id)


@pytest.mark.parametrize("name", ["password", "sslpassword", "passwd", "Password", "oauth_client_secret"])
def test_a_url_for_people_has_no_secret(name: str) -> None:
    """Wherever it stands, and however it is spelt; where the database is, it says."""
    url = make_url(f"postgresql+psycopg://me:canary@db/hpo?{name}=canary&host=/run/postgresql")
    assert shown(url) == "postgresql+psycopg://me:***@db/hpo?host=%2Frun%2Fpostgresql"
