"""Leases: who runs which trial and is alive, and giving back what nobody runs any more."""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from datetime import datetime

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import InvalidModel, TrialError, TrialTimeout
from hpo.storage.database import backend_of
from hpo.storage.records import (
    GIVEN_BACK,
    ResultRecord,
    claim_of,
    configuration_of,
    result_of,
    token_of,
    was_given_back,
)
from hpo.storage.trial_rows import Heartbeat, finish_trial, heartbeats, mark_finished
from hpo.storage.url import first_line
from hpo.study.budget import MAX_RETRIES
from hpo.study.code_hash import digest
from hpo.study.found import FoundStudy

# A worker proves each BEAT seconds that it is alive; a trial whose worker was silent for LEASE seconds is lost.
BEAT = 5
LEASE = 30
TOKEN = "HPO_WORKER_TOKEN"  # in a worker's environment: by it its launcher knows which claims are of that worker
# Why a trial fails by a bug, and not by its configuration: once the code is mended, it may have a result.
_MENDABLE = (TrialError.reason, InvalidModel.reason)
_HURRIED_BEAT = 1  # seconds, after one that failed
_LONGEST_LOOK_AWAY = 3 * BEAT
_logger = logging.getLogger("hpo")


def worker_name(pid: int | None = None) -> str:
    """The name of a worker process on this machine, of this one without a ``pid``; its events and records bear it."""
    return f"{socket.gethostname()}-{pid or os.getpid()}"


class Lease:
    """Keeps a claimed trial alive: beats from a thread until the block ends."""

    def __init__(self, storage: BaseStorage, trial_id: int) -> None:
        self._storage = storage
        self._trial_id = trial_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{trial_id}", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        backend = backend_of(self._storage)
        pause = BEAT
        while not self._ended.wait(pause):
            try:
                backend.record_heartbeat(self._trial_id)
                pause = BEAT
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                # The database may be restarting; when it is back, the first beat must come soon.
                pause = _HURRIED_BEAT
                _logger.warning("A heartbeat failed: %s", first_line(error, backend.engine.url))


class HeartbeatMonitor:
    """Tells which running trials have lost their worker, by watching their heartbeat.

    By the watcher's own clock, not the database's alone: somebody may set that one, and after an outage all heartbeats
    are old until their workers have beaten again. So a watcher that could not look for a while begins anew.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[datetime | None, float]] = {}
        self._looked = 0.0

    def lost(self, found: Mapping[int, Heartbeat]) -> list[int]:
        """The ids of those trials whose heartbeat has stopped."""
        now = time.monotonic()
        if now > self._looked + _LONGEST_LOOK_AWAY:
            self._seen = {}
        self._looked = now
        seen = {trial_id: self._seen.get(trial_id, (None, now)) for trial_id in found}
        self._seen = {
            trial_id: seen[trial_id] if seen[trial_id][0] == heartbeat.beat else (heartbeat.beat, now)
            for trial_id, heartbeat in found.items()
        }
        unchanged = {trial_id: now - since for trial_id, (_beat, since) in self._seen.items()}
        return [
            trial_id
            for trial_id, heartbeat in found.items()
            if unchanged[trial_id] > LEASE or (heartbeat.age > LEASE and unchanged[trial_id] > 3 * BEAT)
        ]


def give_back(study: optuna.Study, trial_id: int, reason: str) -> None:
    """End a running trial without a result, so that its configuration runs again; not if it has ended.

    Args:
        reason: "interrupted", or "lost_worker"; a configuration that has killed more workers than the study's
            ``max_retries`` counts as failed instead of running again.
    """
    configuration = configuration_of(study._storage.get_trial(trial_id))
    deaths = (configuration.deaths if configuration else 0) + 1
    result = ResultRecord(stop_reason=reason, given_back=True)
    if reason == "lost_worker" and deaths > study.user_attrs.get("max_retries", MAX_RETRIES):
        who = "1 worker died while it" if deaths == 1 else f"{deaths} workers died while they"
        result = ResultRecord(stop_reason=reason, failure=f"{who} ran this configuration")
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # its worker told a result after all
        finish_trial(study._storage, trial_id, TrialState.FAIL, None, result.as_attributes())


def give_back_lost(study: optuna.Study, monitor: HeartbeatMonitor) -> bool:
    """Give back the trials whose heartbeat has stopped; whether there were any. Call it under the study's lock."""
    silent = set(monitor.lost(heartbeats(study._storage, study._study_id)))
    # One without a claim is another program's, such as a notebook's, which need not beat.
    lost = [t for t in study.get_trials(deepcopy=False) if t._trial_id in silent and claim_of(t)] if silent else []
    for trial in lost:
        give_back(study, trial._trial_id, "lost_worker")
    return bool(lost)


def fail_hung(study: optuna.Study, trial_id: int, seconds: float) -> None:
    """End a running trial that has run for too many ``seconds`` as failed; not if it has ended."""
    failure = TrialTimeout(f"it ran longer than {seconds:g} seconds and its process was killed")
    result = ResultRecord(stop_reason=failure.reason, failure=str(failure))
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        finish_trial(study._storage, trial_id, TrialState.FAIL, None, result.as_attributes())


def claimed(study: optuna.Study) -> list[tuple[FrozenTrial, str]]:
    """The trials that run, each with its worker's token; those of other programs are left out."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [(trial, token) for trial in running if (token := token_of(trial))]


def give_back_of_worker(study: optuna.Study, token: str, reason: str) -> list[int]:
    """Give back what a worker known to be dead had claimed; the numbers of those trials."""
    held = [trial for trial, holder in claimed(study) if holder == token]
    for trial in held:
        give_back(study, trial._trial_id, reason)
    return [trial.number for trial in held]


def run_failed_again(study: optuna.Study, found: FoundStudy) -> int:
    """Give back the trials that failed by code that has been mended since; how many there were.

    So does code that has given no result yet: what was wrong may lie outside of it. The configurations run again, each
    with the parameters that it had.
    """
    storage, study_id = study._storage, study._study_id
    # Not as this process may have read them before.
    trials = backend_of(storage).get_all_trials(study_id, deepcopy=False)
    code = digest(found.code)
    has_result = any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    failed = [
        trial._trial_id
        for trial in trials
        if trial.state == TrialState.FAIL
        and result_of(trial).stop_reason in _MENDABLE
        and (claim := claim_of(trial))
        and not was_given_back(trial)
        and not (has_result and claim.code == code)
    ]
    if failed:
        mark_finished(storage, study_id, failed, GIVEN_BACK)
    return len(failed)
