"""Launches of a study for the fault tests, with the checker at their end."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import psutil
import sqlalchemy
from faults.checker import Finding, check
from optuna.storages import BaseStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.records import was_given_back
from hpo.storage.url import resolve_url

TESTS = Path(__file__).parents[1]

# Ten reports a trial, a hundredth of a second each; its value tells its seed.
QUICK = """
import time
from optuna.distributions import FloatDistribution
from hpo import Budget, Search
{preparation}

def score(params, trial):
    for epoch in range(1, 11):
        time.sleep({pause})
        {between}
        trial.report(params["x"] * epoch, epoch)
    return params["x"] * 10

study = Search(
    name="faults", task=score, direction="maximize", space={{"x": FloatDistribution(0, 1)}},
    budget=Budget(trials={trials}, max_retries=1000),
)
"""

# Put into a study, whose launcher and workers all read it: what takes half a minute otherwise takes five seconds.
HURRIED = """
from hpo.storage import leases
from hpo.workers import processes
leases.BEAT = processes.BEAT = 1
leases.LEASE = processes.LEASE = 5
"""

# A network that trains six epochs of bundled digits in two seconds, is kept epoch by epoch, and paused between them.
TRAINED = """
import dataclasses
from hpo import Budget
from hpo.study import catalog
{preparation}

task = catalog.load("digits-cnn").written.task
stopping = dataclasses.replace(task.stopping, patience=None)
study = dataclasses.replace(
    catalog.load("digits-cnn").written, name="faults", warm_starts=[],
    task=dataclasses.replace(task, stopping=stopping),
    budget=Budget(trials={trials}, max_epochs=6, max_retries=1000),
)
"""


class Faults:
    """One study in a folder of its own, launched as often as it takes."""

    def __init__(self, folder: Path, url: str, text: str = QUICK, **values: object) -> None:
        self.folder = folder
        self.url = url
        self.run_dir = RunDir(folder / "runs")
        self.kills = 0
        self._launched: list[subprocess.Popen[bytes]] = []
        self._is_kept = text == TRAINED  # epoch by epoch
        (folder / "faults_study.py").write_text(
            text.format(**{"preparation": "", "pause": 0.01, "between": "", **values})
        )

    def launch(self, workers: int, *options: str) -> "subprocess.Popen[bytes]":
        """Start ``hpo launch`` and return at once."""
        with (self.folder / "launch.log").open("ab") as log:
            launcher = subprocess.Popen(
                [
                    *(sys.executable, "-m", "hpo", "launch", "--study", "faults_study.py", "--gpus", "none"),
                    *("--workers", str(workers), "--max-failures", "100000", *options),
                ],
                cwd=self.folder,
                env={
                    **os.environ,
                    "HPO_HOME": str(self.run_dir.home),
                    "HPO_STORAGE": self.url,
                    "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._launched.append(launcher)
        return launcher

    def launch_and_train(self, workers: int) -> "subprocess.Popen[bytes]":
        """Start ``hpo launch`` and return when it has reported two more epochs."""
        reports = self.count("report")
        launcher = self.launch(workers)
        wait_for(lambda: self.count("report") > reports + 1)
        return launcher

    def end(self) -> None:
        """End what a test that failed has left, stopped workers among it."""
        for launcher in self._launched:
            if launcher.poll() is None:
                for worker in workers_of(launcher):
                    worker.kill()
                launcher.kill()
                launcher.wait()

    def run(self, workers: int, seconds: float = 600) -> None:
        """Launch and wait for its end."""
        assert self.launch(workers).wait(seconds) == 0, self.log()

    def log(self) -> str:
        """The end of what the launches printed."""
        return (self.folder / "launch.log").read_text()[-3000:]

    def count(self, event: str) -> int:
        """How many events of this kind the workers have logged."""
        logs = self.run_dir.events("faults").glob("*.jsonl")
        return sum(log.read_text().count(f'"event": "{event}"') for log in logs)

    def running(self) -> int:
        """How many trials the storage says are running."""
        return sum(trial.state == TrialState.RUNNING for trial in self.trials())

    def given_back(self) -> int:
        """How many trials were given back."""
        return sum(was_given_back(trial) for trial in self.trials())

    def beats(self) -> list[datetime]:
        """When each trial last gave a sign of life, by the database's clock."""
        with self._storage() as storage, backend_of(storage).engine.connect() as connection:
            return list(connection.scalars(sqlalchemy.select(models.TrialHeartbeatModel.heartbeat)))

    def trials(self, name: str = "faults") -> list[FrozenTrial]:
        """All trials of the study in the storage, those given back among them."""
        with self._storage() as storage:
            return stored_study.load(storage, name).get_trials(deepcopy=False)

    @contextlib.contextmanager
    def _storage(self) -> Iterator[BaseStorage]:
        storage = open_storage(resolve_url(self.url, self.run_dir), write=False)
        try:
            yield storage
        finally:
            backend_of(storage).engine.dispose()

    def deaths(self) -> list[str]:
        """The instant of each worker that has killed itself where ``deaths.arm`` let it."""
        log = self.folder / "deaths"
        return log.read_text().splitlines() if log.exists() else []

    def check(self) -> Finding:
        """The checker's finding; fails with the first violations."""
        finding = check(self.run_dir, self.url, "faults", is_kept=self._is_kept)
        assert not finding.violations, (finding.violations[:10], self.log())
        return finding


Begin = Callable[..., Faults]


def workers_of(launcher: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The worker processes of a launch that live."""
    try:
        children = psutil.Process(launcher.pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "worker" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def kill_at_random(faults: Faults, launcher: "subprocess.Popen[bytes]", kills: int, rng: random.Random) -> None:
    """SIGKILL workers of a launch, starting ones among them, until there were as many or it has ended."""
    told = 0
    while faults.kills < kills and launcher.poll() is None:
        if faults.count("told") == told:  # a launch whose workers die with no result in between ends, as it should
            time.sleep(0.02)
            continue
        told = faults.count("told")
        time.sleep(rng.uniform(0, 1))
        workers = workers_of(launcher)
        if workers:
            rng.choice(workers).kill()
            faults.kills += 1


def interrupt(launcher: "subprocess.Popen[bytes]", signum: int, seconds: float = 60) -> int:
    """Signal a launch and wait for its end; its exit code."""
    os.kill(launcher.pid, signum)
    return launcher.wait(seconds)
