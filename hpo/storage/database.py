"""A storage URL to an Optuna storage that many processes may write at once."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from sqlalchemy import orm
from sqlalchemy.engine import URL

from hpo.errors import Outage, StorageError
from hpo.storage.bulk import BulkStorage
from hpo.storage.retry import Retry, RetryingStorage, is_away, sqlite_code
from hpo.storage.url import first_line, shown

_LOCK_SPACE = 0x68706F  # "hpo": the first half of the number of each of our advisory locks
_SQLITE_TIMEOUT = 60  # seconds a writer waits for the others
_POSTGRES_CONNECT = {
    "connect_timeout": 10,
    "application_name": "hpo",
    # A connection that a firewall dropped is noticed within a minute instead of two hours, one on whose answer
    # somebody waits within half of one: a cut that ends is not waited out in ever longer pauses.
    "tcp_user_timeout": 30_000,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
# One time zone for all leases, whatever each machine is set to; and the server, too, notices who has gone:
# a vanished machine that held a lock would keep it for two hours, and nobody may wait for longer than a lease.
_POSTGRES_OPTIONS = "-c timezone=UTC -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"


def open_storage(url: URL, *, write: bool, wait: bool = False) -> BaseStorage:
    """Open the storage at ``url``, as ``hpo.storage.url.resolve_url`` gives it.

    To write, its tables are made if they are missing, and each transaction takes the write lock at once; to read,
    nothing is made and nobody waits.

    Args:
        wait: if nothing answers; a worker does, because its launcher has just opened it.

    Raises:
        Outage: nothing answers; if it was to ``wait``, for long.
        StorageError: it does not exist, refuses, or is not an Optuna storage of this version.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # its notices would stand among the lines of a launch
    try:
        retry = Retry(lambda error: first_line(error, url))
        connect = _open_sqlite if url.get_backend_name() == "sqlite" else _open_postgresql

        def opened() -> BaseStorage:
            return _cached(connect(url, write=write))

        storage = retry(opened) if wait else opened()
        backend = backend_of(storage)
        if isinstance(backend, RetryingStorage):
            # Not before: what is wrong at the beginning is said at once.
            backend.retry = retry
        return storage
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, OSError) as error:
        cause = first_line(error, url)
        if is_away(error):
            raise Outage(
                f"The storage {shown(url)} does not answer: {cause}. Nothing was written; "
                "the same command may succeed later."
            ) from None
        # Of the first table that Optuna looks for.
        if not write and "version_info" in cause and ("no such table" in cause or "does not exist" in cause):
            raise StorageError(f"The storage {shown(url)} is empty. `hpo launch` fills it.") from None
        remedy = ""
        if not write and sqlite_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            # https://sqlite.org/wal.html#read_only_databases
            remedy = (
                " SQLite in WAL mode needs a folder that it can write, also to read: copy the file into one, "
                "together with its -wal file, or mount this one writable."
            )
        raise StorageError(f"The storage {shown(url)} cannot be opened: {cause}.{remedy}") from None
    except RuntimeError as error:  # Optuna's schema check
        raise StorageError(f"The storage {shown(url)} is of another Optuna version: {first_line(error, url)}") from None


def backend_of(storage: BaseStorage) -> RDBStorage:
    """The database behind ``storage``, one that ``open_storage`` gave."""
    assert isinstance(storage, _CachedStorage)
    return storage._backend


def retry_of(storage: BaseStorage) -> Retry:
    """How a storage that was opened to write waits for its database."""
    backend = backend_of(storage)
    assert isinstance(backend, RetryingStorage)
    assert backend.retry is not None
    return backend.retry


@contextlib.contextmanager
def study_lock(storage: BaseStorage, study_id: int, *, wait: bool = True) -> Iterator[bool]:
    """Hold the one lock of a study, across all processes and machines; the system frees a dead process's.

    SQLite: a lock file beside the database, which lives on one machine. PostgreSQL: an advisory lock.

    Args:
        wait: for whoever holds it; else the block runs all the same, and is told whether it has the lock.
    """
    engine = backend_of(storage).engine
    if engine.dialect.name == "sqlite":
        # Polls: 5 ms keeps eight workers of an instant objective busy, and costs nothing measurable.
        lock = FileLock(f"{engine.url.database}.{study_id}.lock", timeout=-1 if wait else 0, poll_interval=0.005)
        with contextlib.suppress(Timeout):
            lock.acquire()
        try:
            yield lock.is_locked
        finally:
            lock.release()
    else:
        lock_of = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        with engine.begin() as connection:
            answer = connection.execute(
                sqlalchemy.text(f"SELECT {lock_of}(:space, :study)"), {"space": _LOCK_SPACE, "study": study_id}
            )
            yield wait or bool(answer.scalar())


def _open_sqlite(url: URL, *, write: bool) -> RDBStorage:
    path = Path(url.database or "")
    if not write and not path.is_file():
        raise StorageError(
            f"There is no storage {path} yet. `hpo launch` makes it; --storage and HPO_HOME name another."
        )
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Two first launches at once would both create the tables.
    with FileLock(f"{path}.lock") if write else contextlib.nullcontext():
        backend = _rdb_storage(url, write=write, connect_args={"timeout": _SQLITE_TIMEOUT})
    sqlalchemy.event.listen(backend.engine, "connect", _configure_writer if write else _configure_reader)
    sqlalchemy.event.listen(backend.engine, "begin", _begin_immediate if write else _begin)
    backend.engine.dispose()  # what was opened until now lacks the settings
    return backend


def _open_postgresql(url: URL, *, write: bool) -> RDBStorage:
    # What the URL says itself counts; its options come before ours, which would else replace them.
    connect = {name: value for name, value in _POSTGRES_CONNECT.items() if name not in url.query}
    connect["options"] = " ".join([*url.normalized_query.get("options", ()), _POSTGRES_OPTIONS])
    if not write:
        # A connection for each question: a storage that cannot be opened then leaves none behind.
        return _rdb_storage(url, write=False, connect_args=connect, poolclass=sqlalchemy.NullPool)
    settings = {"connect_args": connect, "pool_pre_ping": True, "pool_size": 3, "max_overflow": 2}
    # Two first launches at once would both create the tables.
    lock = sqlalchemy.create_engine(url, connect_args=connect, poolclass=sqlalchemy.NullPool)
    with lock.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:space, 0)"), {"space": _LOCK_SPACE})
        return _rdb_storage(url, write=True, **settings)


class _Reader(BulkStorage):
    """Optuna's storage without what only a writer needs.

    It makes no tables and leaves the schema's version alone: for that, Optuna imports Alembic, and with it all that
    SQLAlchemy knows of PostgreSQL, a third of the time that `hpo status` may take.
    """

    def __init__(self, url: URL, engine_kwargs: dict[str, Any]) -> None:
        self.url = url.render_as_string(hide_password=False)
        self.engine_kwargs = engine_kwargs
        self.skip_compatibility_check = True
        self.heartbeat_interval = self.grace_period = None
        self.heartbeat_stale_trial_callback = self.failed_trial_callback = None
        self.engine = sqlalchemy.create_engine(url, **engine_kwargs)
        self.scoped_session = orm.scoped_session(orm.sessionmaker(bind=self.engine))


def _rdb_storage(url: URL, *, write: bool, **engine_kwargs: Any) -> RDBStorage:
    if not write:
        return _Reader(url, engine_kwargs)
    return RetryingStorage(url.render_as_string(hide_password=False), engine_kwargs=engine_kwargs)


def _cached(backend: RDBStorage) -> BaseStorage:
    with backend.engine.begin() as connection:  # what is wrong with it shows now
        connection.execute(sqlalchemy.select(models.VersionInfoModel.schema_version))
    return optuna.storages.get_storage(backend)


def _configure_reader(connection: sqlite3.Connection, _record: object) -> None:
    # pysqlite opens transactions by itself, too late for a read that a write depends on:
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#pysqlite-serializable
    connection.isolation_level = None


def _configure_writer(connection: sqlite3.Connection, record: object) -> None:
    _configure_reader(connection, record)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a told result survives a power cut


def _begin(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
