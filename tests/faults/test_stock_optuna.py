"""The same kills and the same checker on stock Optuna: what hpo adds, in figures."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from faults.checker import Finding, find, read_events
from faults.launching import TESTS, Faults, kill_at_random
from faults.results import COMPARED, Results
from faults.stock_optuna import Setup, as_claimed

from hpo.storage.leases import BEAT, LEASE

FULL = pytest.mark.faults_full


class Stock(Faults):
    """The study of hpo's tests, run by stock Optuna for at most so many seconds."""

    def __init__(self, folder: Path, url: str, *, trials: int, beat: int, grace: int, seconds: int) -> None:
        super().__init__(folder, url, trials=trials, pause=0.05)
        self._setup = Setup(url, folder, beat, grace)
        self._seconds = seconds
        self._budget = trials

    def launch(self, workers: int) -> "subprocess.Popen[bytes]":
        """Start its workers, and who replaces them, and return at once."""
        self.run_dir.home.mkdir(exist_ok=True)
        with (self.folder / "launch.log").open("ab") as log:
            launcher = subprocess.Popen(
                self._setup.command("launch", workers, self._seconds),
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._launched.append(launcher)
        return launcher

    def end(self) -> None:
        """End what a test that failed has left: all at once, or a dead worker would be replaced."""
        for launcher in self._launched:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)
                launcher.wait()

    def check(self) -> Finding:
        """The checker's finding, violations and all."""
        trials = [as_claimed(trial) for trial in self.trials()]
        return find(trials, read_events(self.run_dir, "faults"), budget=self._budget, is_kept=False)


# The full run has the beat, the lease and the time that hpo has; few kills are over before such a lease is.
FEW = {"beat": 1, "grace": 2, "seconds": 60}
MANY = {"beat": BEAT, "grace": LEASE, "seconds": 3600}


@pytest.mark.parametrize(
    ("kills", "settings"), [pytest.param(2, FEW, id="few"), pytest.param(200, MANY, id="many", marks=FULL)]
)
def test_workers_of_stock_optuna_are_killed_at_random(
    kills: int,
    settings: dict[str, int],
    storage_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    results: Results,
) -> None:
    """As in ``test_workers_are_killed_at_random``; whatever comes of it is counted, and the full run writes it down."""
    stock = Stock(tmp_path, storage_url, trials=8 * kills, **settings)
    request.addfinalizer(stock.end)
    launcher = stock.launch(workers=4)
    kill_at_random(stock, launcher, kills, random.Random(kills))
    launcher.wait(3600)
    finding = stock.check()
    assert stock.kills >= kills / 3, stock.log()
    assert 0 < finding.finished <= finding.attempts, stock.log()
    results.compare(COMPARED, storage_url, stock.kills, finding, stock.count("crashed"))
