"""What is recorded of the machine."""

import shutil
import subprocess
from pathlib import Path

import optuna
import pytest

from hpo.storage.environment import _PACKAGES, environment, versions


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_environment_names_the_commit_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the checkout that a launch runs in, and none outside of one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["commit"] is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "m"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert environment()["commit"] == head


def test_versions_are_those_that_are_installed() -> None:
    """A package that is not there is left out, not guessed."""
    found = versions()
    assert found["optuna"] == optuna.__version__
    assert all(found.values())
    assert found.keys() <= set(_PACKAGES)
