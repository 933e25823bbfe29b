"""Databases that restart or are out of reach, clocks that jump, disks that are full: the study waits and ends right."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy
from faults.clock import Clock
from faults.launching import TRAINED, Begin, Faults, wait_for
from faults.proxy import Proxy
from faults.results import Results
from postgres import Postgres

from hpo.errors import Outage

FULL = pytest.mark.faults_full


@pytest.mark.parametrize("restarts", [pytest.param(2, id="few"), pytest.param(20, id="many", marks=FULL)])
def test_the_database_restarts(
    restarts: int, postgres_server: Postgres, empty_postgres: str, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """Fast, which ends connections, and immediate, which loses what was not committed: no trial notices."""
    workers = 2 if restarts < 20 else 8
    faults = begin(tmp_path, empty_postgres, trials=20 * restarts, pause=0.05)
    launcher = faults.launch(workers)
    for restart in range(restarts):
        told = faults.count("told")
        wait_for(lambda told=told: faults.count("told") > told + 2 or launcher.poll() is not None)
        postgres_server.restart(("fast", "immediate")[restart % 2])
    assert launcher.wait(600) == 0, faults.log()
    finding = faults.check()
    assert finding.attempts - finding.finished <= restarts  # claims whose answer was lost, not trials that ran
    assert faults.count("give_back") == faults.count("fenced") == 0
    results.add("PostgreSQL restarts", empty_postgres, restarts, finding)


@pytest.mark.parametrize("how", ["silent", "on COMMIT", "closed"])
@pytest.mark.parametrize("seconds", [3, *(pytest.param(seconds, marks=FULL) for seconds in (5, 30, 120, 300))])
def test_the_network_is_cut(
    seconds: int,
    how: str,
    postgres_server: Postgres,
    empty_postgres: str,
    tmp_path: Path,
    begin: Begin,
    results: Results,
) -> None:
    """For the launcher and its workers: they wait, and go on when it is back, with what was written written once.

    Nothing passes any more; or from the moment on when a COMMIT has passed; or all connections are closed and new ones,
    too, as when the server is gone.
    """
    with Proxy(Path(empty_postgres.partition("host=")[2])) as proxy:
        faults = begin(tmp_path, f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", trials=16, pause=0.05)
        launcher = faults.launch(workers=2)
        wait_for(lambda: faults.count("told") > 2)
        proxy.cut(after=b"COMMIT" if how == "on COMMIT" else None, close=how == "closed")
        wait_for(lambda: proxy.is_cut)
        time.sleep(seconds)
        told = faults.count("told")
        proxy.mend()
        wait_for(lambda: faults.count("told") > told)
        assert launcher.wait(600) == 0, faults.log()
        finding = faults.check()
    assert faults.count("give_back") == faults.count("fenced") == 0
    results.add(f"network cuts, {how}", empty_postgres, 1, finding)


def test_an_outage_is_not_counted_as_a_trial_s_time(
    postgres_server: Postgres, empty_postgres: str, tmp_path: Path, begin: Begin
) -> None:
    """A trial of three seconds that may take twelve, with 13 in between in which nothing answers, is no hung one."""
    with Proxy(Path(empty_postgres.partition("host=")[2])) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        faults = begin(tmp_path, url, trials=1, pause=0.3)
        launcher = faults.launch(1, "--trial-timeout", "12")
        wait_for(lambda: faults.count("report") > 1)
        proxy.cut()
        time.sleep(13)
        proxy.mend()
        assert launcher.wait(120) == 0, faults.log()
        assert faults.check().attempts == 1


@pytest.fixture
def clock(storage_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Of the processes that the test starts, and of the database's."""
    server = request.getfixturevalue("postgres_server") if "postgresql" in storage_url else None
    with tempfile.TemporaryDirectory(prefix="hpo-clock-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL has a user of its own
        clock = Clock(Path(folder))
        with monkeypatch.context() as patched:
            for name, value in clock.environment.items():
                patched.setenv(name, value)
            if server:
                server.restart("fast")
            yield clock
        if server:
            server.restart("fast")


@pytest.mark.parametrize("jumps", [pytest.param(4, id="few"), pytest.param(20, id="many", marks=FULL)])
def test_the_clock_jumps(
    jumps: int, storage_url: str, clock: Clock, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """By an hour either way, for all at once: each beat looks as old or as new; no trial is taken for lost."""
    faults = begin(tmp_path, storage_url, trials=6 * jumps, pause=0.1)
    launcher = faults.launch(workers=2)
    hours = 0
    for jump in (1, -1, -1, 1) * (jumps // 4):
        claims = faults.count("claim")
        wait_for(lambda claims=claims: faults.count("claim") > claims + 2)
        clock.set(hours := hours + jump)
    assert launcher.wait(300) == 0, faults.log()
    finding = faults.check()
    assert finding.attempts == finding.finished
    beats = faults.beats()
    assert max(beats) - min(beats) > timedelta(hours=1.9)  # the database's clock did jump
    results.add("clock jumps of an hour", storage_url, jumps, finding)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    """Fill a disk to its last byte; the file to remove for room."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as stream:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while stream.write(b"0" * size):
                    pass
            except OSError:
                continue
    return path


@pytest.mark.parametrize("times", [pytest.param(1, id="once"), pytest.param(5, id="many", marks=FULL)])
def test_the_disk_of_checkpoints_is_full(
    times: int, storage_url: str, small_disk: Path, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """One line says so and no trial is failed for it; with room again, the same command ends the study."""
    if "postgresql" not in storage_url:
        pytest.skip("a storage on another disk")
    faults = begin(small_disk, storage_url, TRAINED, trials=2 * times)
    for _ in range(times):
        launcher = faults.launch_and_train(workers=1)
        filler = _fill(small_disk)
        assert launcher.wait(120) == Outage.exit_code, faults.log()
        assert faults.running() == 0
        filler.unlink()
    faults.run(workers=1)
    finding = faults.check()
    assert "disk" in _logs(faults)
    results.add("full disk of checkpoints", storage_url, times, finding)


@pytest.mark.parametrize(
    "is_waited_out", [pytest.param(True, id="for-a-moment"), pytest.param(False, id="for-long", marks=FULL)]
)
def test_the_disk_of_the_database_is_full(
    is_waited_out: bool, small_disk: Path, tmp_path: Path, begin: Begin, results: Results
) -> None:
    """SQLite's: a launch waits for a minute, then it says so and ends; with room again, every result is whole."""
    url = f"sqlite:///{small_disk}/hpo.db"
    faults = begin(tmp_path, url, trials=40, pause=0.05)
    launcher = faults.launch(workers=2)
    wait_for(lambda: faults.count("told") > 1)
    filler = _fill(small_disk)
    if is_waited_out:
        time.sleep(5)
    else:
        assert launcher.wait(200) == Outage.exit_code, faults.log()
        assert "full" in faults.log()
    told = faults.count("told")
    filler.unlink()
    if is_waited_out:
        assert launcher.wait(300) == 0, faults.log()
    else:
        faults.run(workers=2)
    finding = faults.check()
    assert finding.finished == 40 > told
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    engine.dispose()
    results.add("full disk of the database", url, 1, finding)


def _logs(faults: Faults) -> str:
    return faults.log() + "".join(path.read_text() for path in faults.run_dir.logs("faults").glob("*.log"))
