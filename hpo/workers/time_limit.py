"""The time that a trial may take in a worker that no launcher supervises."""

import contextlib
import faulthandler
import threading
from collections.abc import Iterator

import optuna

from hpo.search.claims import Claim
from hpo.storage.database import retry_of
from hpo.storage.leases import LEASE, fail_hung
from hpo.workers.own_process import end_children, restart


@contextlib.contextmanager
def time_limit(study: optuna.Study, claim: Claim, seconds: float | None) -> Iterator[None]:
    """Fail the trial that the block runs, and start this process afresh, if it takes longer than ``seconds``.

    Args:
        seconds: an outage of the database is not counted; None for no limit.
    """
    if seconds is None:
        yield
        return
    retry, ended = retry_of(study._storage), threading.Event()

    def watch() -> None:
        left, waited = seconds, retry.waited()
        while left > 0:
            # If no thread of Python runs, nothing else ends the process; then others give the trial back.
            faulthandler.dump_traceback_later(left + LEASE, exit=True)
            if ended.wait(left):
                return
            left = retry.waited() - waited  # an outage is no fault of the trial's
            waited += left
        fail_hung(study, claim.trial._trial_id, seconds)
        end_children()
        restart(f"trial {claim.number} ran longer than {seconds:g} seconds")

    thread = threading.Thread(target=watch, name="limit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()
