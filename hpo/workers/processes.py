"""The worker processes of a launch: started, replaced if they die, and ended."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import optuna
from sqlalchemy.engine import URL

from hpo.devices.slots import Slot
from hpo.errors import HpoError, Outage, UsageError
from hpo.files.run_dir import RunDir
from hpo.results.status import status_of
from hpo.storage import stored_study
from hpo.storage.database import retry_of, study_lock
from hpo.storage.leases import (
    BEAT,
    LEASE,
    TOKEN,
    HeartbeatMonitor,
    claimed,
    fail_hung,
    give_back_lost,
    give_back_of_worker,
)
from hpo.storage.records import claim_of, result_of, token_of, was_given_back
from hpo.study.found import FoundStudy
from hpo.workers import shutdown
from hpo.workers.handover import handed_over

_MOST_DEATHS = 3  # per slot: how many workers without a trial may die, with no result in between, before a launch ends


@dataclass(frozen=True)
class _Place:
    """Where one worker process runs, the token of its claims, and the log it writes from ``log_start`` on."""

    slot: Slot
    token: str
    log: Path
    log_start: int

    def last_error(self) -> str:
        """The last line that the worker wrote for people, else its last line."""
        if not shutil.disk_usage(self.log.parent).free:  # its last line may have found no room
            return f"The disk of {self.log} is full. Free some space and launch again: what was recorded is whole."
        with self.log.open("rb") as stream:
            stream.seek(self.log_start)
            lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
        marked = [line.removeprefix("hpo: ") for line in lines if line.startswith("hpo: ")]
        return (marked or lines or ["it left no message."])[-1]


class WorkerProcesses:
    """The worker processes of one launch on this machine, one per slot.

    Args:
        found: the study as the launch has it; what is stored may name a file of another machine.
    """

    def __init__(self, study: optuna.Study, found: FoundStudy, url: URL, run_dir: RunDir, slots: list[Slot]) -> None:
        self._study = study
        self._found = found
        self._url = url
        self._run_dir = run_dir
        self._slots = slots
        self._places: dict[subprocess.Popen[bytes], _Place] = {}
        self._tokens: set[str] = set()  # of all workers that there were
        self._deaths = 0
        self._results = 0
        self._running: dict[int, float] = {}  # trials that run, by when they were first seen
        self._waited = 0.0  # for the storage, until trials were last looked at
        self._monitor = HeartbeatMonitor()
        self._monitored = 0.0
        self._handover: IO[bytes] | None = None  # of a study that no file has

    def start(self, most: int) -> None:
        """Start a worker in each slot, at ``most`` as many."""
        logs = self._run_dir.logs(self._study.study_name)
        logs.mkdir(parents=True, exist_ok=True)
        for index, slot in enumerate(self._slots[:most]):
            self._start(slot, logs / f"worker-{slot.device.replace(':', '')}-{index}.log")

    def keep_running(self) -> bool:
        """Give back what dead workers held and replace them; whether any worker is left.

        Raises:
            UsageError: a worker found that the study cannot run.
            Outage: a worker could not go on, such as on a full disk.
            HpoError: workers die, one after another, without a trial of theirs.
        """
        self._end_hung()
        self._give_back_lost()
        for process, place in list(self._places.items()):
            if process.poll() is None:
                continue
            del self._places[process]
            _end_group(process)
            # One that holds a trial has not ended by itself, whatever code its objective ended it with.
            if not give_back_of_worker(self._study, place.token, "lost_worker"):
                # The others bring their trials to an end, and notice then.
                if process.returncode == 0 or stored_study.is_amended(self._study, self._found):
                    continue
                for error in (UsageError, Outage):  # another worker would meet the same
                    if process.returncode == error.exit_code:
                        raise error(place.last_error())
                if not self._has_lost_a_trial(place.token):
                    self._count_death(process.returncode, place)
            self._start(place.slot, place.log)
        return bool(self._places)

    def ran(self) -> int:
        """How many configurations the workers have brought to an end, or to a pause."""
        trials = self._study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished() and not was_given_back(trial)]
        claims = [claim for claim in map(claim_of, ended) if claim and claim.token in self._tokens]
        return len({claim.configuration.number for claim in claims})

    def stop(self, received: list[int]) -> None:
        """End every worker: ask, wait, then kill, at once if a signal is received; and give back what they held."""
        for process in self._places:
            process.terminate()
        deadline = time.monotonic() + shutdown.KILL_SECONDS
        while any(process.poll() is None for process in self._places):
            if received or time.monotonic() > deadline:
                for process in self._places:
                    process.kill()
            time.sleep(0.05)
        for process in self._places:
            _end_group(process)
        # KeyError: the study was deleted, and its trials with it. Outage: the next launch finds that they are lost.
        with contextlib.suppress(KeyError, Outage):
            for place in self._places.values():
                give_back_of_worker(self._study, place.token, "interrupted")
        self._places.clear()
        if self._handover:
            self._handover.close()

    def _end_hung(self) -> None:
        """Fail each trial that runs longer than it may, and kill its process, which may not listen, if it is ours."""
        timeout = stored_study.timeout_of(self._study)
        if timeout is None:
            return
        workers = {place.token: process for process, place in self._places.items()}
        running = {trial._trial_id: workers.get(token) for trial, token in claimed(self._study)}
        now = time.monotonic()
        # An outage is no fault of the trials that wait for its end.
        waited = retry_of(self._study._storage).waited()
        seen = {trial_id: begun + waited - self._waited for trial_id, begun in self._running.items()}
        self._running = {trial_id: seen.get(trial_id, now) for trial_id in running}
        self._waited = waited
        for trial_id, process in running.items():
            # A worker of another launch is that one's to kill; its trial is not waited for if nobody does.
            if now < self._running[trial_id] + timeout + (0 if process else LEASE):
                continue
            if process:
                process.kill()
                process.wait()
                _end_group(process)
            fail_hung(self._study, trial_id, timeout)
            if process:
                place = self._places.pop(process)
                give_back_of_worker(self._study, place.token, "interrupted")  # one begun just now
                self._start(place.slot, place.log)

    def _give_back_lost(self) -> None:
        """Give back what workers of other launches and machines held that have died: so it is free to be claimed."""
        if time.monotonic() < self._monitored + BEAT:
            return
        self._monitored = time.monotonic()
        storage = self._study._storage

        def give_back() -> None:
            # Workers look, too, when they claim; whoever holds the lock may have been stopped, and we are to listen.
            with study_lock(storage, self._study._study_id, wait=False) as held:
                if held:
                    give_back_lost(self._study, self._monitor)

        retry_of(storage)(give_back)

    def _start(self, slot: Slot, log: Path) -> None:
        token = uuid.uuid4().hex
        self._tokens.add(token)
        environment = {
            **os.environ,
            **slot.environment(),
            TOKEN: token,
            # Not on the command line, where everybody could read its password.
            "HPO_STORAGE": self._url.render_as_string(hide_password=False),
            "HPO_HOME": str(self._run_dir.home),
        }
        command = ["worker", "--study", self._study.study_name, "--with-launcher"]
        descriptors = []
        if self._found.source:  # what is stored may be a path of another machine
            command += ["--file", self._found.source]
        else:
            self._handover = self._handover or handed_over(self._found)
            descriptors = [self._handover.fileno()]
            command += ["--handover", str(descriptors[0])]
        with log.open("ab") as stream:
            process = subprocess.Popen(
                # -P: a file of the working folder must not stand in for one of hpo's.
                [sys.executable, "-P", "-m", "hpo", *command],
                env=environment,
                # The worker reads it to its end, which comes when this process dies, however it dies.
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                # A Ctrl-C in the terminal comes to us alone; we pass it on.
                start_new_session=True,
                pass_fds=descriptors,
            )
            self._places[process] = _Place(slot, token, log, stream.tell())

    def _has_lost_a_trial(self, token: str) -> bool:
        """Whether a worker died with a trial, which others may have given back first: its retries are counted."""
        lost = [t for t in self._study.get_trials(deepcopy=False) if result_of(t).stop_reason == "lost_worker"]
        return any(token_of(trial) == token for trial in lost)

    def _count_death(self, returncode: int, place: _Place) -> None:
        states = status_of(self._study).states
        results = sum(states.get(state, 0) for state in ("COMPLETE", "PRUNED", "PAUSED", "CONTINUED"))
        self._deaths = 1 if results > self._results else self._deaths + 1
        self._results = results
        if self._deaths >= _MOST_DEATHS * len(self._slots):
            cause = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
            raise HpoError(
                f"{self._deaths} workers died one after another ({cause}) without a result in between: "
                f"{place.last_error()} The whole log: {place.log}"
            )


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what an ended worker started and left: it has led a group of its own."""
    if process.stdin:
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
