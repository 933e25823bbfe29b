"""Waiting while a database restarts, is out of reach, or is busy; and giving up in the end, with one line."""

import functools
import logging
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import orm

from hpo.errors import Outage
from hpo.storage.bulk import BulkStorage

OUTAGE_SECONDS = 600  # that a restart, or a cut of five minutes, does not exceed
_FULL_SECONDS = 60  # a full disk is not emptied by waiting
_LONGEST_PAUSE = 5.0
_SLOW_SECONDS = 1  # which nothing takes that is asked of a database that is there

_AWAY = re.compile(
    "Connection refused|timeout expired|timed out|No route to host|Network is unreachable|Host is down|"
    "Connection reset|closed the connection|Temporary failure in name resolution|starting up|shutting down|"
    "accepting connections|recovery|too many clients|too many connections|connection slots|"
    "socket .* failed: No such file"
)

T = TypeVar("T")
_logger = logging.getLogger("hpo")


class Retry:
    """Repeats what a database could not do, with longer and longer pauses.

    Args:
        say: the cause of an error in one line, without a password.
        stopped: whether to give up at once, as after Ctrl-C.
    """

    def __init__(self, say: Callable[[BaseException], str], stopped: Callable[[], bool] = lambda: False) -> None:
        self._say = say
        self.stopped = stopped
        self._given_up = False
        self._waited = 0.0
        self._since: float | None = None

    def waited(self) -> float:
        """Seconds that actions have taken which took longer than one second, the one that is being done included."""
        since = self._since
        current = 0.0 if since is None else time.monotonic() - since
        return self._waited + (current if current > _SLOW_SECONDS else 0.0)

    def __call__(self, action: Callable[[], T]) -> T:
        """Do ``action``, which must not mind being done twice, until the database does it.

        Raises:
            Outage: it has not answered for ten minutes, or its disk has been full for one; at once on later calls.
        """
        if self._since is not None:  # a part of another
            return self._done(action)
        self._since = time.monotonic()
        try:
            return self._done(action)
        finally:
            self._waited, self._since = self.waited(), None

    def _done(self, action: Callable[[], T]) -> T:
        begun, pause = time.monotonic(), 0.1
        while True:
            try:
                answer = action()
            except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
                if not is_outage(error):
                    raise
                cause, waited = self._say(error), time.monotonic() - begun
                longest = _FULL_SECONDS if _is_full(error) else OUTAGE_SECONDS
                if self._given_up or self.stopped() or waited > longest:
                    self._given_up = True  # what is still to be given back would wait as long again
                    raise Outage(
                        f"The storage has not answered for {waited:.0f} s: {cause}. What was recorded is whole; "
                        "mend it and launch again."
                    ) from None
                if pause == 0.1:
                    _logger.warning("The storage does not answer (%s): waiting", cause)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if pause > 0.1:
                    _logger.info("The storage answers again after %.1f s", time.monotonic() - begun)
                return answer


class RetryingStorage(BulkStorage):
    """Optuna's storage that waits while the database is away, once it has a ``retry``; new trials have a heartbeat.

    What may be done twice is repeated: a read, or a write that sets a value. Making a trial may not; whoever does
    that looks first whether it was made.
    """

    retry: Retry | None = None

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: orm.Session
    ) -> models.TrialModel:
        """A trial in a transaction; if it is made to run, with its first heartbeat."""
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        if template_trial is not None and template_trial.state == TrialState.RUNNING:
            session.add(models.TrialHeartbeatModel(trial_id=trial.trial_id))
        return trial


def _retrying(name: str) -> Callable[..., Any]:
    method = getattr(BulkStorage, name)

    @functools.wraps(method)
    def call(self: RetryingStorage, *arguments: Any, **settings: Any) -> Any:
        if self.retry is None:
            return method(self, *arguments, **settings)
        return self.retry(lambda: method(self, *arguments, **settings))

    return call


for _name in (
    "get_all_studies", "get_study_directions", "get_study_id_from_name", "get_study_name_from_id",
    "get_study_system_attrs", "get_study_user_attrs", "get_trial", "_get_trials",
    "get_trial_id_from_study_id_trial_number", "_get_best_trial_id", "set_study_system_attr", "set_study_user_attr",
    "set_trial_intermediate_value", "_set_trial_param", "set_trial_state_values", "set_trial_system_attr",
    "set_trial_user_attr",
):  # fmt: skip
    setattr(RetryingStorage, _name, _retrying(_name))


def is_outage(error: BaseException) -> bool:
    """Whether the database was away, busy or full, so that the same may succeed later."""
    cause = _cause(error)
    if isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated:
        return True
    # All connections of the pool are waiting; or Optuna has caught an outage itself and gone on with what it broke.
    if isinstance(cause, sqlalchemy.exc.TimeoutError | sqlalchemy.exc.PendingRollbackError):
        return True
    # A missing table is an OperationalError of SQLite's, too, as is a file that may not be written. One that cannot be
    # opened was open before: a full disk has no room for the log beside it.
    return isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError) and not (
        "no such" in str(cause.orig) or sqlite_code(error) == sqlite3.SQLITE_READONLY
    )


def is_away(error: BaseException) -> bool:
    """Whether a database that is about to be opened does not answer or has no time, rather than refuses."""
    cause = _cause(error)
    if not isinstance(cause, sqlalchemy.exc.OperationalError):
        return False
    # psycopg gives no SQLSTATE of a connection that failed; these texts are libpq's and the system's, in English.
    return sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL) or bool(_AWAY.search(str(cause.orig)))


def sqlite_code(error: BaseException) -> int | None:
    """SQLite's primary result code (https://sqlite.org/rescode.html); None of an error that is not SQLite's."""
    code = getattr(getattr(_cause(error), "orig", None), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _is_full(error: BaseException) -> bool:
    # 53100: PostgreSQL's disk_full. The texts say "full" of other things, and quote what was to be written.
    sqlstate = getattr(getattr(_cause(error), "orig", None), "sqlstate", None)
    return sqlite_code(error) == sqlite3.SQLITE_FULL or sqlstate == "53100"


def _cause(error: BaseException) -> BaseException:
    """The error that Optuna has put into its own."""
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
