"""Workers and launchers that are killed, stopped and interrupted: nothing is lost, nothing runs twice."""

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from faults.deaths import INSTANTS
from faults.launching import HURRIED, TRAINED, Begin, Faults, interrupt, kill_at_random, wait_for, workers_of
from faults.results import COMPARED, Results

from hpo.files.run_dir import RunDir
from hpo.storage.leases import worker_name
from hpo.storage.records import is_paused

FULL = pytest.mark.faults_full
ARMED = "from faults import deaths\ndeaths.arm({folder!r}, each={each})"


@pytest.mark.parametrize("kills", [pytest.param(6, id="few"), pytest.param(200, id="many", marks=FULL)])
def test_workers_are_killed_at_random(
    kills: int, storage_url: str, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """While they start, claim, run and tell: the launcher replaces each, and the budget is exact."""
    faults = begin(tmp_path, storage_url, trials=8 * kills, pause=0.05)
    launcher = faults.launch(workers=4)
    kill_at_random(faults, launcher, kills, random.Random(kills))
    assert launcher.wait(3600) == 0, faults.log()
    finding = faults.check()
    assert faults.kills >= kills / 3
    assert finding.finished == 8 * kills
    results.add(COMPARED, storage_url, faults.kills, finding)


@pytest.mark.parametrize("each", [pytest.param(1, id="few"), pytest.param(40, id="many", marks=FULL)])
def test_workers_are_killed_at_chosen_instants(
    each: int, storage_url: str, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """After a claim, around a report and around the transaction of a result."""
    faults = begin(tmp_path, storage_url, preparation=ARMED.format(folder=str(tmp_path), each=each), trials=10 * each)
    faults.run(workers=4, seconds=3600)
    finding = faults.check()
    assert Counter(faults.deaths()) == dict.fromkeys(INSTANTS - {"checkpoint"}, each)
    results.add("SIGKILL of workers at chosen instants", storage_url, 5 * each, finding)


@pytest.mark.parametrize("each", [pytest.param(1, id="few"), pytest.param(9, id="many", marks=FULL)])
def test_a_killed_training_goes_on_from_its_last_epoch(
    each: int, storage_url: str, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """A real network, killed before, within and after its checkpoints: an epoch is repeated for each kill at most."""
    if "postgresql" in storage_url and each == 1:
        pytest.skip("checkpoints are files, whatever the storage; the full numbers are run on both")
    armed = ARMED.format(folder=str(tmp_path), each=each)
    faults = begin(tmp_path, storage_url, TRAINED, preparation=armed, trials=max(4, 6 * each))
    faults.run(workers=2, seconds=3600)
    finding = faults.check()
    assert Counter(faults.deaths()) == dict.fromkeys(INSTANTS, each)
    # Few may all die before their first checkpoint; whether the others went on is in the checker's repeated epochs.
    assert faults.count("resume") > 0 or each == 1
    kept = len(list(faults.run_dir.trials("faults").iterdir()))
    assert kept <= sum(is_paused(trial) for trial in faults.trials()) - finding.pauses
    results.add("SIGKILL of workers that train", storage_url, 6 * each, finding)


@pytest.mark.parametrize("kills", [pytest.param(1, id="once"), pytest.param(50, id="many", marks=FULL)])
def test_launchers_are_killed(kills: int, storage_url: str, tmp_path: Path, begin: Begin, results: Results) -> None:
    """Their workers end with them, and the same command continues."""
    faults = begin(tmp_path, storage_url, trials=12 * kills, pause=0.05)
    rng = random.Random(kills)
    for _ in range(kills):
        workers = _begun(faults, launcher := faults.launch(workers=2))
        time.sleep(rng.uniform(0, 1))
        launcher.kill()
        launcher.wait()
        wait_for(lambda workers=workers: not any(_is_alive(worker) for worker in workers))
    faults.run(workers=2, seconds=3600)
    results.add("SIGKILL of launchers", storage_url, kills, faults.check())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [pytest.param(1, id="once"), pytest.param(50, id="many", marks=FULL)])
def test_launches_are_interrupted(
    times: int, signum: signal.Signals, storage_url: str, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """Everything is given back at once, no process is left, and the same command continues."""
    faults = begin(tmp_path, storage_url, trials=12 * times, pause=0.05)
    rng = random.Random(times)
    for _ in range(times):
        workers = _begun(faults, launcher := faults.launch(workers=2))
        time.sleep(rng.uniform(0, 1))
        assert interrupt(launcher, signum) == 128 + signum, faults.log()
        assert not any(_is_alive(worker) for worker in workers)
        assert faults.running() == 0
    faults.run(workers=2, seconds=3600)
    results.add(f"{signum.name} of launches", storage_url, times, faults.check())


@pytest.mark.parametrize(
    ("times", "signum"),
    [
        pytest.param(1, signal.SIGINT, id="once"),  # SIGTERM is in the next test
        pytest.param(10, signal.SIGINT, id="many-sigint", marks=FULL),
        pytest.param(10, signal.SIGTERM, id="many-sigterm", marks=FULL),
    ],
)
def test_interrupted_trainings_lose_no_epoch(
    times: int, signum: signal.Signals, storage_url: str, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """Each ends its epoch, keeps it, and is gone on with from there."""
    if "postgresql" in storage_url and times == 1:
        pytest.skip("checkpoints are files, whatever the storage; the full numbers are run on both")
    faults = begin(tmp_path, storage_url, TRAINED, trials=3 * times)
    for _ in range(times):
        launcher = faults.launch_and_train(workers=2)
        assert interrupt(launcher, signum) == 128 + signum, faults.log()
        assert faults.running() == 0
    # One that the signal met at the end of an epoch may have paused there, which is a result.
    assert faults.count("give_back") + faults.count("told") >= times
    assert faults.count("give_back") > 0 or times == 1
    faults.run(workers=2, seconds=3600)
    finding = faults.check()
    assert finding.repeated == 0
    results.add(f"{signum.name} of launches that train", storage_url, times, finding)


def test_a_machine_that_is_shut_down_loses_no_epoch(tmp_path: Path, run_dir: RunDir, begin: Begin) -> None:
    """It sends SIGTERM to all processes, and workers get another from their launcher: each keeps its epoch."""
    faults = begin(tmp_path, f"sqlite:///{run_dir.database}", TRAINED, trials=2)
    launcher = faults.launch_and_train(workers=2)
    for process in (*workers_of(launcher), launcher):
        process.send_signal(signal.SIGTERM)
    assert launcher.wait(60) == 128 + signal.SIGTERM, faults.log()
    # Each by its worker itself, which writes it down: none had to be killed.
    assert faults.count("give_back") == faults.count("claim") - faults.count("told")
    faults.run(workers=2)
    assert faults.check().repeated == 0


@pytest.mark.parametrize("hurried", [pytest.param(HURRIED, id="hurried"), pytest.param("", id="real", marks=FULL)])
def test_a_worker_that_was_taken_for_dead_is_fenced(
    hurried: str, storage_url: str, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """Stopped for longer than its lease, it comes back when another attempt has the trial: it is dropped."""
    stopping = f"from faults import deaths\nstop = deaths.Stop({str(tmp_path)!r})"
    faults = begin(tmp_path, storage_url, preparation=hurried + stopping, between="stop(epoch)", trials=8, pause=0.2)
    launcher = faults.launch(workers=2)
    wait_for((tmp_path / "stopped").exists)
    wait_for(lambda: faults.given_back() > 0)
    [stopped] = [worker for worker in workers_of(launcher) if worker.status() == psutil.STATUS_STOPPED]
    stopped.resume()
    assert launcher.wait(300) == 0, faults.log()
    finding = faults.check()
    log = faults.run_dir.events("faults") / f"{worker_name(stopped.pid)}.jsonl"
    assert log.read_text().count('"event": "fenced"') == 1
    results.add("SIGSTOP for longer than the lease", storage_url, 1, finding)


def _begun(faults: Faults, launcher: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The workers of a launch, once one of them has begun a trial."""
    before = faults.count("claim")
    wait_for(lambda: faults.count("claim") > before or launcher.poll() is not None)
    assert launcher.poll() is None, faults.log()
    return workers_of(launcher)


def _is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a dead orphan may wait for init to collect it."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
