"""Launching a study on one machine: record it, start a worker a slot, watch them, and end with all of them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import optuna
from sqlalchemy.engine import URL

from hpo import stored_study
from hpo.claims import give_back_of_worker, was_given_back, worker_name
from hpo.devices import Slot
from hpo.errors import HpoError, Interrupted, StorageError, TooManyFailures, UsageError
from hpo.results import StudyStatus, status
from hpo.run_dir import RunDir
from hpo.storage import open_storage
from hpo.study import StudyDefinition

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 15  # a batch of the slowest model has ended by then
_MOST_DEATHS = 3  # of workers that finish no trial in between

Show = Callable[[StudyStatus], None]


@dataclass(frozen=True, kw_only=True)
class Launched:
    """What a launch did: trials finished by it, and the study's status after."""

    ran: int
    status: StudyStatus


def launch(
    definition: StudyDefinition,
    url: URL,
    run_dir: RunDir,
    slots: list[Slot],
    *,
    show: Show,
    amend: bool = False,
    max_failures: int = 5,
) -> Launched:
    """Run ``definition`` until its budget has ended; where it was launched before, continue it.

    Args:
        url: of the storage, as ``resolve_url`` gives it.
        slots: a worker each.
        show: called with the study's status, about twice a second.
        amend: whether a changed definition may replace the stored one, where that is safe.
        max_failures: as many trials that fail one after another end the launch.

    Raises:
        UsageError: the study cannot run as it is; the storage then holds nothing of it.
        TooManyFailures: trials fail one after another.
        Interrupted: SIGINT or SIGTERM; running trials were given back.
    """
    definition = _resumed(definition, url)
    # Before anything is written: fails where there is no data, and fills the cache that the workers share.
    definition.load_dataset(run_dir)
    storage = open_storage(url, write=True)
    study, is_new = stored_study.create_or_resume(storage, definition, run_dir, amend=amend)
    before = status(study)
    if before.finished >= before.budget:
        return Launched(ran=0, status=before)
    earlier = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}
    crew = _Crew(study, url, run_dir, slots[: before.budget - before.finished])
    with _signals() as received:
        try:
            crew.start()
            while crew.tend():
                show(status(study))
                _stop_at_failures(study, earlier, max_failures)
                if received:
                    raise Interrupted(received.pop(0), _how_to_continue(study))
                time.sleep(_POLL_SECONDS)
        except KeyError as error:  # how Optuna says that a study is not there
            raise HpoError(f"The study {definition.name!r} was deleted while it ran.") from error
        except UsageError:
            crew.stop(received)
            now = status(study)
            if is_new and now.finished == 0 and not now.workers:
                stored_study.delete(study, run_dir)
            raise
        finally:
            crew.stop(received)
    after = status(study)
    show(after)
    if after.finished == after.states.get("FAIL", 0):
        _stop_at_failures(study, earlier, after.finished - before.finished)
    return Launched(ran=after.finished - before.finished, status=after)


@dataclass(frozen=True)
class _Place:
    """Where one worker process of this launch runs, and the log it writes from ``log_start`` on."""

    slot: Slot
    log: Path
    log_start: int

    def last_error(self) -> str:
        """The last line that the worker wrote for people, else its last line."""
        with self.log.open("rb") as stream:
            stream.seek(self.log_start)
            lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
        marked = [line.removeprefix("hpo: ") for line in lines if line.startswith("hpo: ")]
        return (marked or lines or ["it left no message."])[-1]


class _Crew:
    """The worker processes of one launch."""

    def __init__(self, study: optuna.Study, url: URL, run_dir: RunDir, slots: list[Slot]) -> None:
        self._study = study
        self._url = url
        self._run_dir = run_dir
        self._slots = slots
        self._places: dict[subprocess.Popen[bytes], _Place] = {}
        self._deaths = 0
        self._results = 0

    def start(self) -> None:
        """Start a worker in each slot."""
        logs = self._run_dir.logs(self._study.study_name)
        logs.mkdir(parents=True, exist_ok=True)
        for index, slot in enumerate(self._slots):
            self._start(slot, logs / f"worker-{slot.device.replace(':', '')}-{index}.log")

    def tend(self) -> bool:
        """Give back what dead workers held and replace them; whether any worker is left.

        Raises:
            UsageError: a worker found that the study cannot run.
            HpoError: workers die without a result in between.
        """
        for process, place in list(self._places.items()):
            if process.poll() is None:
                continue
            del self._places[process]
            if process.returncode == UsageError.exit_code:
                raise UsageError(place.last_error())
            if process.returncode != 0:
                give_back_of_worker(self._study, worker_name(process.pid), "lost_worker")
                self._count_death(process.returncode, place)
                self._start(place.slot, place.log)
        return bool(self._places)

    def stop(self, received: list[int]) -> None:
        """End every worker: ask, wait, then kill, at once where a signal is received; and give back what they held."""
        for process in self._places:
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        while any(process.poll() is None for process in self._places):
            if received or time.monotonic() > deadline:
                for process in self._places:
                    process.kill()
            time.sleep(0.05)
        with contextlib.suppress(KeyError):  # the study was deleted, and its trials with it
            for process in self._places:
                give_back_of_worker(self._study, worker_name(process.pid), "interrupted")
        self._places.clear()

    def _start(self, slot: Slot, log: Path) -> None:
        environment = {
            **os.environ,
            **slot.environment(),
            # Not on the command line, where everybody could read its password.
            "HPO_STORAGE": self._url.render_as_string(hide_password=False),
            "HPO_HOME": str(self._run_dir.home),
        }
        with log.open("ab") as stream:
            process = subprocess.Popen(
                # -P: a file of the working folder must not stand in for one of hpo's.
                [sys.executable, "-P", "-m", "hpo", "worker", "--study", self._study.study_name, "--with-launcher"],
                env=environment,
                # The worker reads it to its end, which comes when this process dies, however it dies.
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                # A Ctrl-C in the terminal comes to us alone; we pass it on.
                start_new_session=True,
            )
            self._places[process] = _Place(slot, log, stream.tell())

    def _count_death(self, returncode: int, place: _Place) -> None:
        states = status(self._study).states
        results = states.get("COMPLETE", 0) + states.get("PRUNED", 0)
        self._deaths = 1 if results > self._results else self._deaths + 1
        self._results = results
        if self._deaths >= _MOST_DEATHS:
            cause = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
            raise HpoError(
                f"{self._deaths} workers died one after another ({cause}) without a result in between: "
                f"{place.last_error()} The whole log: {place.log}"
            )


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of letting them end this process."""
    received: list[int] = []
    before = {
        signum: signal.signal(signum, lambda number, _frame: received.append(number))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _resumed(definition: StudyDefinition, url: URL) -> StudyDefinition:
    """``definition`` as its earlier launches left it, if there were any."""
    try:
        return stored_study.resumed(open_storage(url, write=False), definition)
    except StorageError:  # there is none yet, or what is wrong with it shows when it is opened to write
        return definition


def _stop_at_failures(study: optuna.Study, earlier: set[int], most: int) -> None:
    """Raise ``TooManyFailures`` where the last ``most`` trials, those of earlier launches left out, all failed."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number not in earlier]
    ended = [trial for trial in trials if trial.state.is_finished() and not was_given_back(trial)]
    last = sorted(ended, key=lambda trial: trial.datetime_complete or datetime.max)[-most:]
    if len(last) < most or any(trial.state != optuna.trial.TrialState.FAIL for trial in last):
        return
    reasons = {trial.user_attrs.get("stop_reason", "error") for trial in last}
    raise TooManyFailures(
        f"The last {most} trials of {study.study_name!r} failed ({', '.join(sorted(reasons))}), the latest with: "
        f"{last[-1].user_attrs.get('failure', 'no message')}. Fix the study; launching it again continues it."
    )


def _how_to_continue(study: optuna.Study) -> str:
    now = status(study)
    return (
        f"Interrupted with {now.finished} of {now.budget} trials done; running trials were given back. "
        f"Continue with the same command, or: hpo launch --study {now.name}"
    )
