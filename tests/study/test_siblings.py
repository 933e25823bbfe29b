"""Modules beside a study file, imported by it and by what it spawns."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Hpo

from hpo.errors import StudyError
from hpo.study import catalog, siblings

STUDY = """
from optuna.distributions import FloatDistribution
from hpo import Budget, Search
import helpers

study = Search(
    name="mine",
    description=helpers.NAME,
    task=lambda params, trial: params["x"],
    space={"x": FloatDistribution(0, 1)},
    budget=Budget(trials=1),
    direction="maximize",
)
"""


def _study(folder: Path, name: str, text: str = STUDY) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "helpers.py").write_text(f"NAME = {name!r}\n")
    (folder / "mine.py").write_text(text)
    return str(folder / "mine.py")


def test_each_study_file_imports_what_is_beside_it(tmp_path: Path) -> None:
    """Two folders may each have a helper of one name; and a helper is read anew, however soon it was changed."""
    one, two = (_study(tmp_path / name, name) for name in ("one", "two"))
    assert [catalog.load(path).written.description for path in (one, two, one)] == ["one", "two", "one"]
    (tmp_path / "one" / "helpers.py").write_text("NAME = 'new'\n")
    assert catalog.load(one).written.description == "new"
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["helpers.py", "mine.py"]
    assert [path for path in sys.path if path.startswith(str(tmp_path))] == [str(tmp_path / "one")]


@pytest.mark.parametrize("others", [("__init__.py",), ()], ids=["with-init", "without-init"])
def test_a_package_beside_it_is_a_module(others: tuple[str, ...], tmp_path: Path) -> None:
    """With the modules in it, all of which are its code, also one that Python cannot read and nobody imports."""
    path = _study(tmp_path / "one", "one", STUDY.replace("import helpers", "from nets import wide as helpers"))
    (tmp_path / "one" / "nets").mkdir()
    for name in others:
        (tmp_path / "one" / "nets" / name).touch()
    (tmp_path / "one" / "nets" / "old.py").write_text("print 'Python 2'\n")
    (tmp_path / "one" / "nets" / "wide.py").write_text("NAME = 'wide'\n")
    study = catalog.load(path)
    assert study.written.description == "wide"
    assert {name for name in study.code if "/" in name} == {f"nets/{name}" for name in (*others, "old.py", "wide.py")}
    (tmp_path / "one" / "nets" / "wide.py").write_text("NAME = 'wider'\n")
    changed = catalog.load(path)
    assert changed.written.description == "wider"
    assert {name for name in study.code if study.code[name] != changed.code[name]} == {"nets/wide.py"}


def test_a_study_file_may_change_the_path_itself(tmp_path: Path) -> None:
    """The next one is read all the same."""
    own = "\nimport sys\nsys.path = [path for path in sys.path if path != __file__.rpartition('/')[0]]\n"
    one, two = (_study(tmp_path / name, name, STUDY + own) for name in ("one", "two"))
    assert [catalog.load(path).written.description for path in (one, two)] == ["one", "two"]


def test_what_is_installed_comes_first(tmp_path: Path) -> None:
    """A file does not stand in for a module of Python's, of hpo's or of another package."""
    for name in ("json", "hpo", "colorsys", "sortedcontainers", "optuna"):
        (tmp_path / "one").mkdir(exist_ok=True)
        (tmp_path / "one" / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    path = _study(tmp_path / "one", "one", STUDY.replace("import helpers", "import colorsys, helpers"))
    assert catalog.load(path).written.description == "one"


def test_a_module_that_everyone_may_write_is_not_run(tmp_path: Path) -> None:
    """As the study file itself."""
    path = _study(tmp_path / "one", "one")
    (tmp_path / "one" / "helpers.py").chmod(0o666)
    with pytest.raises(StudyError, match=r"must not be writable by everyone.*helpers\.py is"):
        catalog.load(path)


@pytest.mark.parametrize(("others", "offered"), [((), True), (("queue.py",), False)], ids=["free", "hides-a-module"])
def test_what_a_process_starts_finds_them(
    others: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, offered: bool
) -> None:
    """Through PYTHONPATH, which comes before what is installed: so not if one of them has such a name."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    path = _study(tmp_path / "one", "one")
    for name in others:
        (tmp_path / "one" / name).touch()
    catalog.load(path)
    assert os.environ["PYTHONPATH"] == "/elsewhere"
    siblings.offer_to_children()
    assert os.environ["PYTHONPATH"].split(os.pathsep)[1:] == ([str(tmp_path / "one")] if offered else [])
    answer = subprocess.run([sys.executable, "-c", "import helpers"], cwd=tmp_path, capture_output=True, check=False)
    assert (answer.returncode == 0) is offered


SPAWNING = """
import multiprocessing, subprocess, sys
from optuna.distributions import FloatDistribution
from hpo import Budget, Search
import helpers

def score(params, trial):
    import late
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(helpers.double, (late.ONE,)) == 2
    subprocess.run([sys.executable, "-c", "import helpers; helpers.double(1)"], check=True)
    return params["x"]

study = Search(name="spawning", task=score, space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=1),
                        direction="maximize")
"""


def test_a_trial_and_what_it_spawns_import_them(hpo: Hpo, tmp_path: Path) -> None:
    """In a worker process that runs elsewhere, as late as they like."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "helpers.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "late.py").write_text("ONE = 1\n")
    (folder / "spawning.py").write_text(SPAWNING)
    answer = hpo("launch", "--study", "project/spawning.py", "--workers", "1")
    assert "1 of 1 done" in answer.stdout
    assert "Best trial of spawning" in answer.stdout
