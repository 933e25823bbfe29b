"""What the README says is true."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from command import Hpo

from hpo import Comparison
from hpo.cli import app
from hpo.study import catalog

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _commands() -> dict[str, list[str]]:
    """Every command of the CLI with its options, hidden ones left out."""
    found: dict[str, list[str]] = {}

    def visit(command: typer.core.TyperCommand | typer.core.TyperGroup, name: str) -> None:
        if isinstance(command, typer.core.TyperGroup):
            for child, inner in command.commands.items():
                visit(inner, f"{name} {child}".strip())
        else:
            shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
            found[name] = [option for parameter in shown for option in parameter.opts]

    visit(typer.main.get_command(app), "")
    return found


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_named(command: str) -> None:
    """A command that nobody can find is not there."""
    assert f"hpo {command}" in README


def test_every_command_line_is_one_that_exists() -> None:
    """Commands and options as the README writes them."""
    commands = _commands()
    lines = re.findall(r"\bhpo ((?:data )?[a-z]+)((?: [^`\n|#;&)]+)?)", README.replace("hpo:cpu", ""))
    checked = 0
    for name, rest in lines:
        if name not in commands:
            continue
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in commands[name], f"hpo {name} has no {option}"
            checked += 1
    assert checked > 8


FILES = dict(re.findall(r"```python\n# studies/(\w+)\.py(.*?)```", README, flags=re.DOTALL))


@pytest.mark.parametrize(("name", "trials"), [("mine", 3), ("widths", 4)])
def test_study_files_run_as_written(name: str, trials: int, hpo: Hpo, write_study: Callable[..., Path]) -> None:
    """Complete, at most 40 lines, and launched by the name they have."""
    assert len(FILES) == README.count("```python") - 1 == 2
    assert len(FILES[name].splitlines()) <= 40
    write_study(f"#{FILES[name]}", f"{name}.py")
    answer = hpo("launch", "--study", name, "--trials", str(trials), "--workers", "1", "--gpus", "none")
    assert f"{trials} trials in this launch; {trials} of {trials} done." in answer.stdout
    assert f"Best trial of {name}" in answer.stdout


def test_the_script_runs_as_written(tmp_path: Path) -> None:
    """What the README does from Python."""
    [script] = re.findall(r"```python\n(import hpo\n.*?)```", README, flags=re.DOTALL)
    (tmp_path / "script.py").write_text(script)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    run = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines()[-1].endswith("20 of 20")


def test_every_promise_names_the_test_of_its_purpose() -> None:
    """And every such test belongs to a promise."""
    named = set(re.findall(r"^\| .* \| `(test_\w+\.py)` \|$", README, flags=re.MULTILINE))
    assert named == {path.name for path in (ROOT / "tests" / "purpose").glob("test_*.py")}


def test_every_study_file_is_named_with_its_comparisons() -> None:
    """Who looks for a comparison finds its file; names after the first leave out what they all begin with."""
    rows = re.findall(r"^\| .* \| `(\w+\.py)` \| (.*) \|$", README, flags=re.MULTILINE)
    named = {file: re.findall(r"`([\w-]+)`", studies) for file, studies in rows}
    whole = {
        file: {name if not name.startswith("-") else names[0].partition("-")[0] + name for name in names}
        for file, names in named.items()
    }
    comparisons = {
        path.name: {study.name for study in catalog.read_file(path) if isinstance(study.written, Comparison)}
        for path in (ROOT / "studies").glob("*.py")
    }
    assert whole == {file: names for file, names in comparisons.items() if names}


def test_both_set_up_commands_are_there() -> None:
    """CI runs them as they stand here."""
    assert "    pip install . && hpo launch --study fmnist-cnn\n" in README
    assert '    pip install ".[test]" && pytest\n' in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_every_link_leads_somewhere(target: str) -> None:
    """To a file of this repository."""
    assert (ROOT / target).is_file()


def test_the_versions_named_in_the_package_are_those_required() -> None:
    """The changelog's form and the package's version agree."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{version}]" in changelog
