"""Signals at chosen instants: a study file calls ``arm`` and its workers kill themselves where it says.

The real signal, between the very lines it could come between: nothing is caught, flushed or closed after it.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# When a trial is made, before its worker has it; around the report of an epoch; between writing a checkpoint and
# giving it its name; before and after the transaction of a result.
INSTANTS = frozenset({"claimed", "before-report", "after-report", "checkpoint", "before-tell", "after-tell"})
_EACH_EPOCH = frozenset({"before-report", "after-report", "checkpoint"})


def arm(folder: str, each: int) -> None:
    """Die so many times at each instant: whoever comes third, sixth, … there; each death leaves a line in a file.

    At those that come with each epoch tenth, twentieth, …, so that attempts reach the others. So the number of deaths
    is known beforehand, where a study has trials enough: three for each death.
    """
    if "worker" not in sys.argv:
        return  # the launcher reads the study, too
    import optuna

    from hpo.search import claims
    from hpo.trial import checkpoint
    from hpo.workers import worker

    def die(instant: str) -> None:
        number = _count(Path(folder) / f"passed-{instant}")
        every = 10 if instant in _EACH_EPOCH else 3
        if number % every or number > each * every:
            return
        with (Path(folder) / "deaths").open("a") as log:
            log.write(instant + "\n")
        os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, name: str, before: str | None, after: str | None) -> None:
        whole: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **settings: Any) -> Any:
            if before:
                die(before)
            answer = whole(*arguments, **settings)
            if after:
                die(after)
            return answer

        setattr(owner, name, call)

    around(claims.Claims, "_take", None, "claimed")
    around(optuna.Trial, "report", "before-report", "after-report")
    around(worker, "finish_trial", "before-tell", "after-tell")
    around(checkpoint.os, "fsync", None, "checkpoint")


class Stop:
    """Stops the first worker that calls it amid a trial, as an objective does between its reports.

    Only while no thread of the worker is in the database: one that was stopped with its lock would stop all others.
    """

    def __init__(self, folder: str) -> None:
        from optuna.storages import RDBStorage

        self._stopped = Path(folder) / "stopped"
        self._beating = threading.Lock()
        beat = RDBStorage.record_heartbeat

        def record_heartbeat(storage: RDBStorage, trial_id: int) -> None:
            with self._beating:
                beat(storage, trial_id)

        RDBStorage.record_heartbeat = record_heartbeat  # type: ignore[method-assign]

    def __call__(self, epoch: int) -> None:
        with self._beating, contextlib.suppress(FileExistsError):
            if epoch == 4:
                self._stopped.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGSTOP)


def _count(passed: Path) -> int:
    """Add a byte to a file that all workers add to, and give its number: no two have the same."""
    file = os.open(passed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, b".")
        return os.lseek(file, 0, os.SEEK_CUR)
    finally:
        os.close(file)
