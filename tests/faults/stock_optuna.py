"""Stock Optuna for the same faults: ``study.optimize`` on its own storage, set up as its documentation recommends.

``python -m faults.stock_optuna launch …`` stands for ``hpo launch``: Optuna has workers, but nobody who replaces them.
The study file, its objective, sampler, pruner and budget are the ones that hpo's workers run.
"""

import copy
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState

from hpo.files.run_dir import RunDir
from hpo.storage.leases import worker_name
from hpo.storage.url import resolve_url
from hpo.study import catalog
from hpo.study.found import Study
from hpo.trial.events import EventLog

RESULTS = (TrialState.COMPLETE, TrialState.PRUNED)
_POLL_SECONDS = 0.05
_SQLITE_TIMEOUT = 60  # seconds a writer waits for the others, as hpo's do; Python's default of 5 is short for four


@dataclass(frozen=True)
class Setup:
    """One study of stock Optuna.

    Args:
        url: of the storage, as hpo takes it.
        folder: holds the study file and, as an ``HPO_HOME``, ``runs``.
        beat: ``heartbeat_interval`` in seconds.
        grace: ``grace_period`` in seconds.
    """

    url: str
    folder: Path
    beat: int
    grace: int

    @property
    def run_dir(self) -> RunDir:
        return RunDir(self.folder / "runs")

    @property
    def definition(self) -> Study:
        return catalog.load(str(self.folder / "faults_study.py")).definition

    def storage(self, *, retry: bool = True) -> RDBStorage:
        """Optuna's storage, with a heartbeat whose lost trials run again where ``retry`` says so."""
        url = resolve_url(self.url, self.run_dir)
        settings = {"connect_args": {"timeout": _SQLITE_TIMEOUT}} if url.get_backend_name() == "sqlite" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat has been called so since 2021
            return RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=settings,
                heartbeat_interval=self.beat,
                grace_period=self.grace,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback() if retry else None,
            )

    def command(self, name: str, *arguments: object) -> list[str]:
        """The command line of a process of this study."""
        words = (name, self.url, self.folder, self.beat, self.grace, *arguments)
        return [sys.executable, "-m", "faults.stock_optuna", *map(str, words)]


def launch(setup: Setup, workers: int, seconds: float) -> bool:
    """Run workers until the budget is met or the time is up; whether it was met.

    Whoever dies is replaced at once. Trials that lost their worker are given up once more at the end, when no worker
    is left that would do so: what then is still running is never given up.
    """
    definition = setup.definition
    optuna.create_study(storage=setup.storage(), study_name=definition.name, direction=definition.search_direction)
    running = [subprocess.Popen(setup.command("worker")) for _ in range(workers)]
    deadline = time.monotonic() + seconds
    is_met = False
    while running and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        ended = [worker for worker in running if worker.poll() is not None]
        is_met = is_met or any(worker.returncode == 0 for worker in ended)
        running = [worker for worker in running if worker not in ended]
        if not is_met:
            running += [subprocess.Popen(setup.command("worker")) for _ in ended]
    for worker in running:
        worker.kill()
        worker.wait()
    time.sleep(setup.grace + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(optuna.load_study(study_name=definition.name, storage=setup.storage(retry=False)))
    return is_met


class Worker:
    """One process that optimizes the study, and logs what hpo's workers log."""

    def __init__(self, setup: Setup) -> None:
        self._definition = setup.definition
        self._events = EventLog(setup.run_dir.events(self._definition.name) / f"{worker_name()}.jsonl")
        self._said: dict[str, Any] = {}  # of the trial that is about to be told
        self._setup = setup

    def run(self) -> None:
        """Optimize until the budget is met; an error of Optuna's ends the process."""
        try:
            self._optimize()
        except Exception as error:
            if self._said:
                # What it said it would tell was refused, as a fenced worker of hpo's is.
                self._events.write("fenced", trial=self._said["trial"])
            self._events.write("crashed", error=f"{type(error).__name__}: {error}")
            raise

    def _optimize(self) -> None:
        definition, budget = self._definition, self._definition.budget.trials
        study = optuna.load_study(
            study_name=definition.name,
            storage=self._setup.storage(),
            sampler=definition.sampler,
            pruner=definition.explicit_pruner(),
        )
        # The callback looks only after a trial: a worker that comes late would run one too many.
        if len(study.get_trials(deepcopy=False, states=RESULTS)) < budget:
            study.optimize(self._objective, callbacks=[self._told, MaxTrialsCallback(budget, states=RESULTS)])

    def _objective(self, trial: optuna.Trial) -> float:
        self._events.write("claim", trial=trial.number, **_claim(trial._cached_frozen_trial))
        reported = _Reported(trial, self._events)
        try:
            value = self._definition.task(self._definition.search_space.suggest(trial), reported)
        except optuna.TrialPruned:
            self._tell(trial, TrialState.PRUNED, reported.last)
            raise
        self._tell(trial, TrialState.COMPLETE, value)
        return value

    def _tell(self, trial: optuna.Trial, state: TrialState, value: float | None) -> None:
        self._said = {"trial": trial.number, "state": state.name, "value": value}
        self._events.write("tell", **self._said)

    def _told(self, _study: optuna.Study, _trial: FrozenTrial) -> None:
        self._events.write("told", **self._said)
        self._said = {}


class _Reported:
    """What hpo hands an objective: ``report`` ends the trial where it is to be pruned."""

    def __init__(self, trial: optuna.Trial, events: EventLog) -> None:
        self._trial = trial
        self._events = events
        self.last: float | None = None  # what Optuna makes the value of a pruned trial

    def report(self, value: float, epoch: int) -> None:
        self._trial.report(value, epoch)
        self._events.write("report", trial=self._trial.number, epoch=epoch, value=value)
        self.last = value
        if self._trial.should_prune():
            raise optuna.TrialPruned


def as_claimed(trial: FrozenTrial) -> FrozenTrial:
    """``trial`` with the records by which the checker knows hpo's trials.

    One that failed counts as given back: ``MaxTrialsCallback`` does not count it, and nothing but a lost worker or an
    error of the storage fails a trial here.
    """
    claimed = copy.copy(trial)
    claimed.user_attrs = {"claim": _claim(trial), "given_back": trial.state == TrialState.FAIL}
    return claimed


def _claim(trial: FrozenTrial) -> dict[str, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        history = RetryHeartbeatStaleTrialCallback.retry_history(trial)
    return {"configuration": history[0] if history else trial.number, "attempt": len(history) + 1}


def main(name: str, url: str, folder: str, beat: str, grace: str, *arguments: str) -> int:
    """The command line that ``Setup.command`` makes; the exit code."""
    setup = Setup(url, Path(folder), int(beat), int(grace))
    if name == "worker":
        Worker(setup).run()
        return 0
    workers, seconds = arguments
    return 0 if launch(setup, int(workers), float(seconds)) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
