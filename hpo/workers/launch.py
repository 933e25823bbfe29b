"""Launching a study on one machine: record it, start one worker per slot, supervise them, and end with all of them."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from hpo.devices.slots import Slot
from hpo.errors import Interrupted, Outage, StorageError, StudyAmended, UsageError
from hpo.files.run_dir import RunDir
from hpo.results.status import StudyStatus, status_of
from hpo.search import sampling
from hpo.search.freeze_thaw import FINISHED
from hpo.storage import stored_study, study_code
from hpo.storage.command import command, unsaid
from hpo.storage.database import backend_of, open_storage, retry_of, study_lock
from hpo.storage.leases import run_failed_again
from hpo.study.budget import MAX_FAILURES
from hpo.study.found import FoundStudy
from hpo.workers import cleanup
from hpo.workers.failure_limit import ended, stop_at_failures
from hpo.workers.processes import WorkerProcesses

_POLL_SECONDS = 0.5

Show = Callable[[StudyStatus], None]


@dataclass(frozen=True, kw_only=True)
class Launched:
    """What a launch did.

    Args:
        ran: trials that its own workers brought to an end.
        budget: trials in all, when it began; others may have changed that since.
        status: of the study after it.
    """

    ran: int
    budget: int
    status: StudyStatus


def launch(
    found: FoundStudy,
    url: URL,
    run_dir: RunDir,
    slots: list[Slot],
    *,
    show: Show,
    amend: bool = False,
    max_failures: int = MAX_FAILURES,
    check_export: bool = True,
) -> Launched:
    """Run a study until its budget has ended; if it was launched before, continue it.

    Args:
        url: of the storage, as ``resolve_url`` gives it.
        slots: a worker each.
        show: called with the study's status, about twice a second.
        amend: whether a changed definition, other code or a lower budget may replace what is stored, if that is
            safe.
        max_failures: as many trials that fail one after another end the launch, and any worker that joins it.
        check_export: whether the study's first trial sees first that its models can be exported.

    Raises:
        UsageError: the study cannot run as it is; the storage then holds nothing of it.
        StudyAmended: others amended it meanwhile; running trials were brought to their end.
        TooManyFailures: trials fail one after another.
        Outage: the database has not answered for long, or a disk is full.
        Interrupted: SIGINT or SIGTERM; running trials were given back.
    """
    found = _resumed(found, url)
    definition = found.definition
    sampling.check(definition.explicit_sampler(), definition.search_space)
    # Before anything is written: fails if there is no data, and fills the cache that the workers share.
    dataset = definition.load_dataset(run_dir)
    storage = open_storage(url, write=True)
    study, is_new = stored_study.create_or_resume(storage, found, run_dir, amend=amend)
    if dataset is not None:
        stored_study.check_data(study, dataset.sha256)
        study.set_user_attr("data_sha256", dataset.sha256)
    with study_lock(storage, study._study_id):
        if run_failed_again(study, found):
            stored_study.set_ended(study, None)
    sampling.start_again(study)
    study.set_user_attr("max_failures", max_failures)
    if not check_export or amend:  # None: another model has to be checked
        stored_study.set_export_check(study, None if check_export else stored_study.UNCHECKED)
    processes = WorkerProcesses(study, found, url, run_dir, slots)
    try:
        return _supervise(processes, study, found, run_dir, show=show, max_failures=max_failures)
    except UsageError:
        now = status_of(study)
        if is_new and now.finished == 0 and not now.workers:
            stored_study.delete(study, run_dir)
        raise


def join(name: str, url: URL, run_dir: RunDir, slots: list[Slot], *, show: Show, file: str | None = None) -> Launched:
    """Run trials of the stored study ``name`` in several workers until its budget has ended; raises as `launch` does.

    Args:
        file: where its code is on this machine; None looks for it.
    """
    storage = open_storage(url, write=True)
    study = stored_study.load(storage, name)
    found = study_code.found_again(study, file)
    definition = found.definition
    sampling.check(definition.explicit_sampler(), definition.search_space)
    dataset = definition.load_dataset(run_dir)
    if dataset is not None:
        stored_study.check_data(study, dataset.sha256)
    processes = WorkerProcesses(study, found, url, run_dir, slots)
    max_failures = study.user_attrs.get("max_failures", MAX_FAILURES)
    return _supervise(processes, study, found, run_dir, show=show, max_failures=max_failures)


def _supervise(
    processes: WorkerProcesses,
    study: optuna.Study,
    found: FoundStudy,
    run_dir: RunDir,
    *,
    show: Show,
    max_failures: int,
) -> Launched:
    """Run workers until the budget has ended, and end them all at an error or a signal."""
    before = status_of(study)
    is_done = before.finished >= before.budget and not found.definition.is_freeze_thaw
    if is_done or before.ended_by not in (None, "space"):
        cleanup.remove_all(study, run_dir)
        return Launched(ran=0, budget=before.budget, status=before)
    earlier = ended(study)
    with _signals() as received, stored_study.noticing_deletion(study._storage, found.name):
        retry_of(study._storage).stopped = lambda: bool(received)
        try:
            # Of a freeze-thaw search, paused configurations may be continued even if all have begun.
            least = FINISHED if found.definition.is_freeze_thaw else 0
            processes.start(max(least, before.budget - before.finished))
            finished = before.finished
            while processes.keep_running():
                now = status_of(study)
                show(now)
                if now.finished != finished:
                    cleanup.remove_checkpoints(study, run_dir)
                    stop_at_failures(study, earlier, max_failures)
                finished = now.finished
                if received:
                    raise Interrupted(received.pop(0), _how_to_continue(study))
                time.sleep(_POLL_SECONDS)
        except Outage as error:
            if received:  # which it did not wait out
                raise Interrupted(received.pop(0), str(error)) from None
            raise
        finally:
            processes.stop(received)
    after = status_of(study)
    show(after)
    ran = processes.ran()
    if after.finished < after.budget and stored_study.is_amended(study, found):
        raise StudyAmended(
            f"Study {found.name!r} was amended by another launch: the workers of this one ended after their "
            f"trials, {ran} in all. The same command continues it, if the code here is the amended one."
        )
    cleanup.remove_all(study, run_dir)
    if ran and after.finished == after.states.get("FAIL", 0):
        stop_at_failures(study, earlier, ran)
    return Launched(ran=ran, budget=before.budget, status=after)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of letting them end this process."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # Python tells signals to the main thread alone
        yield received
        return
    before = {
        signum: signal.signal(signum, lambda number, _frame: received.append(number))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _resumed(found: FoundStudy, url: URL) -> FoundStudy:
    """``found`` as its earlier launches left it, if there were any."""
    try:
        return stored_study.resumed(open_storage(url, write=False), found)
    # There is none yet, or another first launch is just making its tables, one after another; what else may be wrong
    # shows when it is opened to write.
    except (StorageError, Outage, StorageInternalError, SQLAlchemyError):
        return found


def _how_to_continue(study: optuna.Study) -> str:
    now, url = status_of(study), backend_of(study._storage).engine.url
    return (
        f"Interrupted with {now.done} trials done; running trials were given back. "
        f"Continue with the same command, or{unsaid(url)}: {command(url, 'launch', '--study', now.name)}"
    )
