"""How a storage is opened, and what many processes may do to it at once."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy
import sqlalchemy.orm
from optuna.storages import BaseStorage
from postgres import Postgres

from hpo.errors import Outage, StorageError
from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage, study_lock
from hpo.storage.url import resolve_url


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
        "import sys, time; from pathlib import Path; from hpo.files.run_dir import RunDir\n"
        "from hpo.storage.database import *\n"
        "from hpo.storage.url import resolve_url\n"
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
