"""The loop of one worker process: claim a trial, keep it alive, run it, tell the result, repeat."""

import dataclasses
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo.devices.slots import Slot, import_backend
from hpo.errors import Interrupted, Outage, TrialInterrupted
from hpo.files.run_dir import RunDir
from hpo.saved_model import export_check
from hpo.search import sampling
from hpo.search.claims import Claim, Claims, Wait
from hpo.storage import stored_study, study_code
from hpo.storage.database import retry_of
from hpo.storage.leases import TOKEN, Lease, give_back, worker_name
from hpo.storage.records import PAUSED
from hpo.storage.trial_rows import finish_trial
from hpo.study import siblings
from hpo.study.budget import MAX_FAILURES
from hpo.study.found import FoundStudy
from hpo.study.task import Train
from hpo.text import figure_text
from hpo.trial.events import EventLog
from hpo.trial.function_task import FunctionCalls
from hpo.trial.outcome import Outcome
from hpo.trial.reported import ReportedTrial
from hpo.trial.runner import TrialRunner
from hpo.trial.train_task import Trainings
from hpo.workers import cleanup, shutdown
from hpo.workers.failure_limit import ended, stop_at_failures
from hpo.workers.own_process import after, end_children, restart
from hpo.workers.time_limit import time_limit

# TensorFlow keeps some of each trial (tests/benchmarks/RESULTS.md): after many, a fresh process is cheaper.
_GROWTH_BYTES = 2_000_000_000
# Most of a model is garbage soon; to look through all that TensorFlow holds for the rest takes 0.2 s.
_TRIALS_A_FULL_COLLECTION = 5
_POLL_SECONDS = 0.5  # while others run the rest of the budget

_logger = logging.getLogger("hpo")


def work(
    storage: BaseStorage,
    name: str,
    run_dir: RunDir,
    slot: Slot,
    *,
    file: str | None = None,
    known: FoundStudy | None = None,
    is_watched: bool = False,
) -> int:
    """Run trials of the stored study ``name`` until its budget has ended.

    Args:
        file: where its code is on this machine; None looks for it.
        known: the study, if it was handed over.
        is_watched: whether a launcher ends this process should a trial hang.

    Returns:
        The number of trials this process ran.

    Raises:
        StudyError: the study is not there, this code defines another one, or its sampler fails.
        StudyAmended: another launch amended it between two trials.
        HpoError: it was deleted.
        Interrupted: SIGINT or SIGTERM; the trial that ran is given back.
    """
    study = stored_study.load(storage, name)
    found = study_code.found_again(study, file, known)
    siblings.offer_to_children()
    sampling.check(found.definition.explicit_sampler(), found.definition.search_space)
    if isinstance(found.definition.task, Train):
        import_backend()
    with stored_study.noticing_deletion(storage, name):
        return Worker(study, found, run_dir, slot, is_watched=is_watched).run()


class Worker:
    """One process that runs trials of one study, one at a time."""

    def __init__(
        self, study: optuna.Study, found: FoundStudy, run_dir: RunDir, slot: Slot, *, is_watched: bool = False
    ) -> None:
        self._study = study
        self._run_dir = run_dir
        self._is_watched = is_watched
        self._held: Claim | None = None
        self._slot = slot
        self._name = worker_name()
        self._claims = Claims(
            study,
            found,
            self._name,
            slot.device,
            os.environ.get(TOKEN),
            is_kept=lambda configuration: run_dir.trial(found.name, configuration.number, configuration.uuid).is_dir(),
        )
        self._stop_signal = 0
        self._events = EventLog(run_dir.events(found.name) / f"{self._name}.jsonl")
        retry_of(study._storage).stopped = self._is_stopped
        watched: dict[str, Any] = {"interrupted": self._is_stopped, "events": self._events}
        self._run_trial = TrialRunner(found.definition, self._task(found, **watched), run_dir, **watched)

    def _task(
        self, found: FoundStudy, *, interrupted: Callable[[], bool], events: EventLog
    ) -> Callable[[Claim, ReportedTrial], Outcome]:
        """What a trial of the study does."""
        definition, task = found.definition, found.definition.task
        if not isinstance(task, Train):
            return FunctionCalls(task)
        dataset = task.load_dataset(self._run_dir, seed=definition.seed)
        stored_study.check_data(self._study, dataset.sha256)
        return Trainings(
            found,
            task,
            dataset,
            self._run_dir,
            self._slot,
            interrupted=interrupted,
            events=events,
            check_export=export_check.check,
            finish_seconds=shutdown.FINISH_EPOCH_SECONDS,
        )

    def _is_stopped(self) -> bool:
        return self._stop_signal != 0

    def run(self) -> int:
        """Claim and run trials until the budget has ended; the number of trials run."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._on_signal)
        try:
            return self._run_all()
        except Outage as error:
            if self._stop_signal:  # which it did not wait out
                raise Interrupted(self._stop_signal, str(error)) from None
            raise

    def _run_all(self) -> int:
        ran = 0
        earlier = ended(self._study)
        baseline: int | None = None
        while not self._stop_signal:
            claim = self._claims.next()
            if claim is None:
                if not self._is_watched:
                    cleanup.remove_checkpoints(self._study, self._run_dir)
                _logger.info("%s: the budget has ended after %d trials of this worker", self._name, ran)
                return ran
            if isinstance(claim, Wait):
                time.sleep(_POLL_SECONDS)
                continue
            failed = self._run(claim)
            ran += 1
            if failed and not self._is_watched:  # else its launcher looks at all that fail
                stop_at_failures(self._study, earlier, self._study.user_attrs.get("max_failures", MAX_FAILURES))
            # Here and not while a trial trains: a model's reference cycles hold its weights.
            gc.collect(2 if ran % _TRIALS_A_FULL_COLLECTION == 0 else 1)
            memory = psutil.Process().memory_info().rss
            # After the first trial: importing the backend is no growth.
            baseline = baseline or memory
            if memory > baseline + _GROWTH_BYTES and not self._stop_signal:
                restart(f"memory has grown by more than {_GROWTH_BYTES // 1_000_000} MB")
        raise Interrupted(self._stop_signal, f"Worker {self._name} stopped; its trial was given back.")

    def _run(self, claim: Claim) -> bool:
        """Run a trial to its end; whether it failed."""
        storage, trial_id = self._study._storage, claim.trial._trial_id
        started = time.perf_counter()
        _logger.info("Trial %d started (attempt %d, seed %d)", claim.number, claim.configuration.attempt, claim.seed)
        self._held = claim
        timeout = None if self._is_watched else stored_study.timeout_of(self._study)
        with Lease(storage, trial_id), time_limit(self._study, claim, timeout):
            try:
                facts = {
                    "configuration": claim.configuration.number,
                    "attempt": claim.configuration.attempt,
                    "worker": self._name,
                }
                self._events.write("claim", trial=claim.number, **facts)
                outcome = self._run_trial(claim)
                self._tell(claim, outcome, time.perf_counter() - started)
                return outcome.state == TrialState.FAIL
            except TrialInterrupted:
                self._give_back(claim)
                return False
            except UpdateFinishedTrialError:
                _logger.warning("Trial %d was presumed lost while it ran: it is left to others", claim.number)
                self._events.write("fenced", trial=claim.number)
                return False
            except BaseException:
                self._give_back(claim)
                raise
            finally:
                self._held = None

    def _give_back(self, claim: Claim) -> None:
        give_back(self._study, claim.trial._trial_id, "interrupted")
        self._events.write("give_back", trial=claim.number, signal=self._stop_signal)

    def _tell(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        trial_id = claim.trial._trial_id
        recorded = outcome.result
        if recorded.fit.seconds is None:
            recorded = dataclasses.replace(recorded, fit=dataclasses.replace(recorded.fit, seconds=round(seconds, 3)))
        attributes = recorded.as_attributes()
        failure = sampling.learn(claim.trial, outcome.state, outcome.value, attributes)
        result = {"state": outcome.state.name, "value": outcome.value}
        self._events.write("tell", trial=claim.number, **result)
        finish_trial(self._study._storage, trial_id, outcome.state, outcome.value, attributes)
        self._events.write("told", trial=claim.number, **result)
        if recorded.stop_reason != PAUSED:
            self._run_trial.forget(claim)
        shown = "no value" if outcome.value is None else figure_text(outcome.value)
        _logger.info(
            "Trial %d ended: %s, %s, %s", claim.number, TrialState(outcome.state).name, shown, recorded.stop_reason
        )
        if failure is not None:
            raise failure

    def _on_signal(self, signum: int, _frame: object) -> None:
        if not self._stop_signal:
            self._stop_signal = signum
            after(shutdown.GIVE_UP_SECONDS, self._abandon)
        elif not self._is_watched:  # a launcher that is asked twice kills; one signal may come from it and the system
            # The lease gives the trial back.
            end_children()
            os._exit(128 + signum)

    def _abandon(self) -> None:
        """Give back the trial, which has not noticed that it is to end, and end without it."""
        end_children()
        after(shutdown.EXIT_SECONDS, os._exit, 128 + self._stop_signal)  # also if the storage does not answer
        try:
            if self._held is not None:
                self._give_back(self._held)
        finally:
            os._exit(128 + self._stop_signal)
