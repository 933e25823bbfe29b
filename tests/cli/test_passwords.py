"""A password is seen by nobody, wherever it was given."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import optuna
import psutil
import pytest
from command import INSTANT, Hpo
from commandline import CANARY, SLOW, start_launch, wait_for_a_trial
from sqlalchemy.engine import make_url

from hpo.files.run_dir import RunDir
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url


@pytest.fixture(
    params=[
        pytest.param("user", id="before-the-host"),
        pytest.param("query", id="as-option"),
    ]
)
def url_with_password(request: pytest.FixtureRequest, postgres: str) -> Iterator[str]:
    """Of a server that takes any password; the study ``slow`` is not in it, before and after."""
    url = make_url(postgres)._replace(password=None)
    url = url.set(password=CANARY) if request.param == "user" else url.update_query_dict({"password": CANARY})
    yield url.render_as_string(hide_password=False)
    storage = open_storage(resolve_url(postgres, RunDir(Path())), write=True)
    if "slow" in {study.study_name for study in storage.get_all_studies()}:
        optuna.delete_study(study_name="slow", storage=storage)
    backend_of(storage).engine.dispose()


def test_a_password_on_the_command_line_is_seen_by_nobody(
    write_study: Callable[..., Path], tmp_path: Path, run_dir: RunDir, url_with_password: str, postgres: str
) -> None:
    """Not by `ps`, nor in what is printed, logged, stored or browsed."""
    write_study(SLOW, "slow.py")
    launcher = start_launch(tmp_path, "--storage", url_with_password)
    wait_for_a_trial(launcher, run_dir)
    processes = [psutil.Process(launcher.pid), *psutil.Process(launcher.pid).children(recursive=True)]
    lines = [" ".join(process.cmdline()) for process in processes]
    launcher.terminate()
    output, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 143, errors
    assert len(lines) == 2
    assert all("--study slow" in line and CANARY not in line for line in lines)
    assert CANARY not in output + errors
    stored = _everything_in(postgres)
    assert "slow" in stored
    assert CANARY not in stored
    seen = _browsed(tmp_path, url_with_password)
    assert "slow" in seen
    assert CANARY not in seen
    written = [path for path in run_dir.home.rglob("*") if path.is_file()]
    assert run_dir.definition("slow") in written
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []


def test_commands_after_a_launch_say_what_they_need(
    hpo: Hpo, write_study: Callable[..., Path], url_with_password: str
) -> None:
    """They would else ask another storage, which has no such study."""
    write_study(INSTANT.replace("instant", "slow").replace("trials=5", "trials=1"), "slow.py")
    answer = hpo("launch", "--study", "slow", "--workers", "1", "--storage", url_with_password)
    assert "Next, with HPO_STORAGE set to the same storage:\n  hpo trials --study slow\n" in answer.stdout


def test_commands_after_a_launch_can_be_pasted(
    hpo: Hpo, write_study: Callable[..., Path], tmp_path: Path, run_dir: RunDir
) -> None:
    """Into a shell, whatever the storage is called, and in another folder."""
    write_study(INSTANT.replace("trials=5", "trials=1"))
    answer = hpo("launch", "--study", "instant", "--workers", "1", "--storage", "sqlite:///it's my/h p o.db")
    [line] = [line for line in answer.stdout.splitlines() if "hpo trials" in line]
    shell = ["sh", "-c", f'hpo() {{ "{sys.executable}" -m hpo "$@"; }}\n{line}']
    (tmp_path / "elsewhere").mkdir()
    pasted = subprocess.run(shell, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=True)
    assert "COMPLETE" in pasted.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_in_any_encoding_is_no_traceback(
    encoding: str, write_study: Callable[..., Path], run_dir: RunDir, tmp_path: Path
) -> None:
    """A sign that it lacks is written as its number."""
    write_study(INSTANT.replace("budget=", 'description="Größe → 網路", budget='))

    def output(*arguments: str) -> str:
        command = [sys.executable, "-m", "hpo", *arguments]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
        return (answer.stdout + answer.stderr).decode(encoding)

    assert "Traceback" not in output("--help")
    listed = "Größe → 網路".encode(encoding, "backslashreplace").decode(encoding)
    assert listed in output("studies")
    assert output("launch", "--study", "網").startswith("hpo: No study is called")


def _browsed(folder: Path, url: str) -> str:
    """What the dashboard of a storage answers, prints, and shows of itself to `ps`."""
    with subprocess.Popen(
        [sys.executable, "-m", "hpo", "dashboard", "--no-browser", "--port", "0", "--storage", url],
        cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as dashboard:  # fmt: skip
        assert dashboard.stdout is not None
        address = urlsplit(dashboard.stdout.readline().removeprefix("optuna-dashboard: ").strip())
        bearer = {"Authorization": f"Bearer {parse_qs(address.query)['token'][0]}"}
        seen = [" ".join(psutil.Process(dashboard.pid).cmdline())]
        opener = build_opener(ProxyHandler({}))  # it is on this machine
        for path in ("/dashboard", "/api/studies", "/api/meta", "/api/studies/1", "/api/studies/x"):
            request = Request(f"http://{address.netloc}{path}", headers=bearer)
            try:
                with opener.open(request, timeout=30) as answer:
                    seen.append(answer.read().decode())
            except HTTPError as error:
                seen.append(error.read().decode())
        dashboard.terminate()
        return "".join([*seen, *dashboard.communicate(timeout=30)])


def _everything_in(url: str) -> str:
    """Every value of every table of a PostgreSQL database, as text."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        tables = [sqlalchemy.text(f'SELECT * FROM "{table}"') for table in sqlalchemy.inspect(engine).get_table_names()]
        found = [str(row) for table in tables for row in connection.execute(table)]
    engine.dispose()
    return "\n".join(found)
