"""Commands to paste."""

import pytest

from hpo.files.run_dir import RunDir
from hpo.storage.command import command, unsaid
from hpo.storage.url import resolve_url


def test_the_default_storage_needs_no_option(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the one that the environment names."""
    url = resolve_url(None, run_dir)
    assert command(url, "trials", "--study", "mine") == "hpo trials --study mine"
    monkeypatch.setenv("HPO_STORAGE", "postgresql://me@db/x")
    assert command(resolve_url(None, run_dir), "dashboard") == "hpo dashboard"
    assert command(url, "dashboard") == f"hpo dashboard --storage sqlite:///{run_dir.database}"


@pytest.mark.parametrize(
    ("storage", "option"),
    [
        pytest.param("sqlite:////data/my runs/hpo.db", "'sqlite:////data/my runs/hpo.db'", id="spaces"),
        pytest.param("postgresql://me@db/x", "postgresql://me@db/x", id="postgresql"),
        pytest.param(
            "postgresql://me@db/x?host=/run&port=1", "'postgresql://me@db/x?host=%2Frun&port=1'", id="with-options"
        ),
    ],
)
def test_another_storage_is_named_and_quoted(storage: str, option: str, run_dir: RunDir) -> None:
    """As a study's name is that another program gave."""
    url = resolve_url(storage, run_dir)
    assert command(url, "best", "--study", "it's mine") == f"""hpo best --study 'it'"'"'s mine' --storage {option}"""
    assert resolve_url(option.strip("'"), run_dir) == url
    assert unsaid(url) == ""


def test_a_storage_is_named_beside_one_that_cannot_be(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable was overruled by an option; that it is wrong must not end a search that has its result."""
    url = resolve_url(None, run_dir)
    monkeypatch.setenv("HPO_STORAGE", "nonsense")
    assert command(url, "dashboard") == f"hpo dashboard --storage sqlite:///{run_dir.database}"


@pytest.mark.parametrize("storage", ["postgresql://me:canary@db/x", "postgresql://me@db/x?password=canary"])
def test_a_password_is_left_out_and_said_to_be_needed(storage: str, run_dir: RunDir) -> None:
    """Everybody sees a command line."""
    url = resolve_url(storage, run_dir)
    assert command(url, "dashboard") == "hpo dashboard"
    assert unsaid(url) == ", with HPO_STORAGE set to the same storage"
