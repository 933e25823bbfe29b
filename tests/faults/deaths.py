"""SIGKILLs at chosen instants: a study file calls ``arm`` and its workers kill themselves where it says.

The real signal, between the very lines it could come between: nothing is caught, flushed or closed after it.
"""

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# When a trial is made, before its worker has it; around the report of an epoch; between writing a checkpoint and
# giving it its name; before and after the transaction of a result.
INSTANTS = frozenset({"claimed", "before-report", "after-report", "checkpoint", "before-tell", "after-tell"})
_EACH_EPOCH = frozenset({"before-report", "after-report", "checkpoint"})


def arm(folder: str, probability: float, most: int, seed: int = 0) -> None:
    """Die at each instant with this probability, until ``most`` processes have; each death leaves a line in a file.

    At those that come with each epoch with a fifth of it, so that attempts reach the others.
    """
    if "worker" not in sys.argv:
        return  # the launcher reads the study, too
    import optuna

    from hpo import checkpoint, claims, worker

    rng = random.Random(f"{seed} {os.getpid()}")
    log = Path(folder) / "deaths"

    def die(instant: str) -> None:
        likely = probability / 5 if instant in _EACH_EPOCH else probability
        if rng.random() >= likely or (log.exists() and len(log.read_text().splitlines()) >= most):
            return
        with log.open("a") as stream:
            stream.write(instant + "\n")
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
