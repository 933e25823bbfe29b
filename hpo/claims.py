"""Claiming trials: exactly as many as the budget has, each by one worker, whoever joins, dies or comes back."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.seeds import derive_seed, reseed
from hpo.space import Params
from hpo.storage import BEAT, backend_of, finish_trial, first_line, silent_trial_ids, study_lock
from hpo.stored_study import budget_of
from hpo.study import StudyDefinition

# A configuration that has killed so many workers is not tried on another.
MOST_ATTEMPTS = 4


def worker_name(pid: int | None = None) -> str:
    """The name of a worker process on this machine, the same to itself and to its launcher."""
    return f"{socket.gethostname()}-{pid or os.getpid()}"


@dataclass(frozen=True)
class Claim:
    """One trial that this process, and no other, runs.

    Args:
        trial: Optuna's trial; asking it for a value samples or gives what is fixed.
        seed: of this trial's weights and batches; a configuration that runs again keeps it.
        attempt: 1, or more where the configuration was lost with a worker before.
        is_warm_start: whether the study lists it among its warm starts.
    """

    trial: optuna.Trial
    seed: int
    attempt: int
    is_warm_start: bool

    @property
    def number(self) -> int:
        return self.trial.number


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
        while not self._ended.wait(BEAT):
            try:
                backend.record_heartbeat(self._trial_id)
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                # The database may be restarting; the lease outlives several missed beats.
                optuna.logging.get_logger("hpo").warning(f"A heartbeat failed: {first_line(error, backend.engine.url)}")


@dataclass(frozen=True)
class Wait:
    """Nothing to claim now, but a trial that runs elsewhere may yet come back."""


class Claims:
    """Claims the trials of one study for one worker."""

    def __init__(self, study: optuna.Study, definition: StudyDefinition, worker: str, device: str) -> None:
        self._study = study
        self._definition = definition
        self._worker = worker
        self._device = device

    def next(self) -> Claim | Wait | None:
        """Claim a trial; ``Wait`` while others run the rest of the budget, None when all of it has ended."""
        storage, study_id = self._study._storage, self._study._study_id
        with study_lock(storage, study_id):
            for trial_id in silent_trial_ids(storage, study_id):
                give_back(self._study, trial_id, "lost_worker")
            trials = self._study.get_trials(deepcopy=False)
            counted = [trial for trial in trials if _counts(trial)]
            if len(counted) >= budget_of(self._study):
                return Wait() if any(trial.state == TrialState.RUNNING for trial in counted) else None
            trial_id, claim = self._take(trials)
            backend_of(storage).record_heartbeat(trial_id)
        # Out of the lock: sampling takes milliseconds, and only this trial's seed decides it.
        sampler = self._definition.sampler
        reseed(sampler, derive_seed(self._definition.seed, "sampler", claim["configuration"]))
        return Claim(
            optuna.Trial(self._study, trial_id), claim["seed"], claim["attempt"], claim["warm_start"] is not None
        )

    def _take(self, trials: list[FrozenTrial]) -> tuple[int, dict[str, Any]]:
        """Make a trial that runs, or take one that waits; returns its id and what is recorded of the claim."""
        storage = self._study._storage
        waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
        if waiting is not None:
            # Somebody enqueued it with Optuna or in the dashboard.
            claim = self._signed(self._new_configuration(waiting.number))
            storage.set_trial_user_attr(waiting._trial_id, "claim", claim)
            storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
            return waiting._trial_id, claim
        configuration, fixed = self._choose(trials)
        claim = self._signed(configuration)
        # With its claim in the same transaction: no moment at which a kill leaves a trial of nobody.
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs={"claim": claim},
            system_attrs={"fixed_params": fixed} if fixed else {},
        )
        return storage.create_new_trial(self._study._study_id, template_trial=template), claim

    def _choose(self, trials: list[FrozenTrial]) -> tuple[dict[str, Any], Params]:
        """What to run next, and which of its parameters are fixed: what was lost, then warm starts, then anything."""
        lost = next(_lost_configurations(trials), None)
        if lost is not None:
            before = lost.user_attrs["claim"]
            return {**before, "attempt": before["attempt"] + 1}, {
                **lost.system_attrs.get("fixed_params", {}),
                **lost.params,
            }
        configuration = self._new_configuration(len(trials))
        started = {trial.user_attrs["claim"]["warm_start"] for trial in trials if "claim" in trial.user_attrs}
        for index, params in enumerate(self._definition.first_trials()):
            if index not in started:
                return {**configuration, "warm_start": index}, params
        return configuration, {}

    def _new_configuration(self, number: int) -> dict[str, Any]:
        """The record of a configuration first claimed as trial ``number``, by which later attempts refer to it."""
        seed = derive_seed(self._definition.seed, "trial", number)
        return {"configuration": number, "seed": seed, "attempt": 1, "warm_start": None}

    def _signed(self, configuration: dict[str, Any]) -> dict[str, Any]:
        return {**configuration, "worker": self._worker, "device": self._device}


def give_back(study: optuna.Study, trial_id: int, reason: str) -> None:
    """End a running trial without a result, so that its configuration runs again; not if it has ended.

    Args:
        reason: "interrupted", or "lost_worker"; a configuration that has lost ``MOST_ATTEMPTS`` workers counts as
            failed instead of running again.
    """
    attempt = study._storage.get_trial(trial_id).user_attrs.get("claim", {}).get("attempt", 1)
    records: dict[str, Any] = {"stop_reason": reason, "given_back": True}
    if reason == "lost_worker" and attempt >= MOST_ATTEMPTS:
        records = {"stop_reason": reason, "failure": f"{attempt} workers died while they ran this configuration"}
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # its worker told a result after all
        finish_trial(study._storage, trial_id, TrialState.FAIL, None, records)


def give_back_of_worker(study: optuna.Study, worker: str, reason: str) -> list[int]:
    """Give back what a worker known to be dead had claimed; the numbers of those trials."""
    with study_lock(study._storage, study._study_id):
        held = [trial for trial in study.get_trials(deepcopy=False) if _is_held_by(trial, worker)]
        for trial in held:
            give_back(study, trial._trial_id, reason)
    return [trial.number for trial in held]


def was_given_back(trial: FrozenTrial) -> bool:
    """Whether the trial ended without a result through no fault of its own, so that it does not count."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("given_back", False) is True


def _counts(trial: FrozenTrial) -> bool:
    return trial.state != TrialState.WAITING and not was_given_back(trial)


def _is_held_by(trial: FrozenTrial, worker: str) -> bool:
    claim = trial.user_attrs.get("claim", {})
    return trial.state == TrialState.RUNNING and claim.get("worker") == worker


def _lost_configurations(trials: list[FrozenTrial]) -> Iterator[FrozenTrial]:
    """Trials given back whose configuration has not been claimed again, oldest first."""
    claims = [trial.user_attrs["claim"] for trial in trials if "claim" in trial.user_attrs]
    attempts = {(claim["configuration"], claim["attempt"]) for claim in claims}
    for trial in trials:
        claim = trial.user_attrs.get("claim")
        if claim and was_given_back(trial) and (claim["configuration"], claim["attempt"] + 1) not in attempts:
            yield trial
