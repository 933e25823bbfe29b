"""Finding a study by its name or its file, and saying what is wrong with a file."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpaceError, StudyError, UnknownStudy
from hpo.study import catalog

IMPORTS = """
from optuna.distributions import FloatDistribution
from hpo import Budget, Search
"""
STUDY = """
{variable} = Search(
    name="{name}",
    description="{description}",
    task=lambda params, trial: params["x"],
    direction="maximize",
    space={{"x": FloatDistribution(0, 1)}},
    budget=Budget(trials=5),
)
"""

WriteStudy = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without studies."""
    monkeypatch.chdir(tmp_path)


def _study(name: str, variable: str = "study", description: str = "") -> str:
    return STUDY.format(name=name, variable=variable, description=description)


def test_shipped_studies_are_found_by_name() -> None:
    """Anywhere, and a worker on another machine finds them again by that name."""
    study = catalog.load("digits-cnn")
    assert (study.name, study.source) == ("digits-cnn", "digits-cnn")
    assert {"digits-cnn", "fmnist-cnn"} <= {study.name for study in catalog.available()[0]}


def test_own_studies_come_before_shipped_ones(write_study: WriteStudy) -> None:
    """A copy in ``./studies``, changed under the same name, is the one that counts."""
    write_study(IMPORTS + _study("fmnist-cnn", description="mine"), "fmnist_cnn.py")
    assert catalog.load("fmnist-cnn").written.description == "mine"
    assert [study.written.description for study in catalog.available()[0] if study.name == "fmnist-cnn"] == ["mine"]


def test_a_study_need_not_be_named_like_its_file(write_study: WriteStudy) -> None:
    """One file may define several."""
    write_study(IMPORTS + _study("one") + _study("two", "other"), "many.py")
    assert catalog.load("two").name == "two"
    assert [study.name for study in catalog.available()[0]][:2] == ["one", "two"]


def test_a_study_named_like_its_file_is_found_beside_a_broken_one(write_study: WriteStudy) -> None:
    """Somebody's half-written file does not stop the others."""
    write_study("this is not Python", "broken.py")
    write_study(IMPORTS + _study("my-own"), "my_own.py")
    assert catalog.load("my-own").name == "my-own"


def test_files_with_an_underscore_are_no_studies(write_study: WriteStudy) -> None:
    """They hold what several study files share."""
    write_study("raise RuntimeError", "_shared.py")
    assert "digits-cnn" in {study.name for study in catalog.available()[0]}


def test_broken_files_and_helpers_are_told_of_and_do_not_stop_the_others(write_study: WriteStudy) -> None:
    """Neither when the studies are listed nor when one is looked for that is not named like its file."""
    write_study("this is not Python", "broken.py")
    write_study("UNITS = 3", "helpers.py")
    write_study(IMPORTS + _study("mine"), "other.py")
    studies, broken = catalog.available()
    assert {"mine", "digits-cnn"} <= {study.name for study in studies}
    assert [line.partition(":")[0].split()[0] for line in broken] == ["studies/broken.py", "studies/helpers.py"]
    assert "NameError" in broken[0]
    assert "defines no study" in broken[1]
    assert catalog.load("mine").name == "mine"
    with pytest.raises(
        UnknownStudy, match=r"No study is called 'nine'\. .*Not read: studies/broken\.py does not import"
    ):
        catalog.load("nine")


def test_a_study_is_found_by_path_and_again_by_its_source(
    tmp_path: Path, write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was started in another folder loads the same study."""
    write_study(IMPORTS + _study("mine"), "mine.py")
    study = catalog.load("studies/mine.py")
    assert study.source == f"{tmp_path}/studies/mine.py:mine"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = catalog.load(study.source)
    assert (again.source, again.definition.fingerprint) == (study.source, study.definition.fingerprint)


def test_one_of_several_studies_is_named_after_the_path(write_study: WriteStudy) -> None:
    """A path alone is then not enough, and the error says how to go on."""
    write_study(IMPORTS + _study("one") + _study("two", "other"), "many.py")
    assert catalog.load("studies/many.py:two").name == "two"
    with pytest.raises(StudyError, match=r"many.py defines several studies: one, two. Name one, as in .*many.py:one\."):
        catalog.load("studies/many.py")
    with pytest.raises(StudyError, match=r"defines no study called 'three'\. It defines: one, two"):
        catalog.load("studies/many.py:three")


def test_a_study_whose_variable_begins_with_an_underscore_is_the_file_s_own_business(write_study: WriteStudy) -> None:
    """The file makes another of it, which is the one to launch; alone it is a study like any."""
    derived = 'import dataclasses\n_base = study\ndel study\nstudy = dataclasses.replace(_base, name="derived")\n'
    write_study(IMPORTS + _study("base") + derived, "derived.py")
    assert catalog.load("studies/derived.py").name == "derived"
    write_study(IMPORTS + _study("base") + "_base = study\ndel study\n", "alone.py")
    assert catalog.load("studies/alone.py").name == "base"


def test_a_study_made_from_an_imported_one_is_the_only_one_of_its_file(write_study: WriteStudy) -> None:
    """The other is defined by its own file, and both are listed once."""
    write_study(IMPORTS + _study("base"), "base.py")
    derived = "import dataclasses\nfrom base import study as base\n"
    write_study(derived + 'study = dataclasses.replace(base, name="derived")\n', "derived.py")
    assert catalog.load("studies/derived.py").name == "derived"
    studies, broken = catalog.available()
    assert broken == []
    assert {"base", "derived"} <= {study.name for study in studies}
    assert "base.py" in catalog.load("derived").code


def test_two_variables_for_one_study_are_one_study(write_study: WriteStudy) -> None:
    """``default = study`` is no second study of that name."""
    write_study(IMPORTS + _study("mine") + "default = study", "mine.py")
    assert catalog.load("studies/mine.py").name == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("fmnist-cn", "No study is called 'fmnist-cn'. Did you mean fmnist-cnn", id="letter-missing"),
        pytest.param("digits_cnn", "Did you mean digits-cnn", id="underscore"),
        pytest.param("qqq", "There are: .*digits-cnn, .*fmnist-cnn", id="nothing-like-it"),
        pytest.param("", "No study is called ''", id="empty"),
        pytest.param("a\0b", "No study is called", id="nul"),
        pytest.param("a" * 300, "No study is called", id="300-characters"),
    ],
)
def test_an_unknown_name_gives_the_nearest(name: str, message: str) -> None:
    """Or all there are, and where to look."""
    with pytest.raises(StudyError, match=f"{message}.*`hpo studies` lists them; a path"):
        catalog.load(name)


@pytest.mark.parametrize("path", ["nowhere.py", "nowhere.py:study", "folder.py"])
def test_a_path_without_a_file_is_named(path: str, tmp_path: Path) -> None:
    """A folder is no file, whatever it is called."""
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(StudyError, match=rf"No study file {path.partition(':')[0]}\. Give the path of a \.py file"):
        catalog.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("x = 1\ny = (2\n", r"does not import: SyntaxError: .* \(line 2\)\. Fix the", id="syntax-error"),
        pytest.param(
            "x = 1\ny = undefined\n",
            r"does not import: NameError: name 'undefined' is not defined \(line 2\)\. Fix the file",
            id="name-error",
        ),
        pytest.param(
            "def f():\n    return {}['a']\n\nf()\n", r"KeyError: 'a' \(line 2\)", id="error-in-a-function-of-the-file"
        ),
        pytest.param("\nimport json\n\njson.loads('{')\n", r"JSONDecodeError: .* \(line 4\)", id="error-in-a-library"),
        pytest.param("import no_such_module", r"ModuleNotFoundError: .*no_such_module.*\(line 1\)", id="import-error"),
        pytest.param("from hpo import Nothing", r"ImportError: cannot import name 'Nothing'", id="unknown-name-of-hpo"),
        pytest.param("import sys\nsys.exit('no licence')", r"SystemExit: no licence \(line 2\)", id="system-exit"),
        pytest.param("\0", "does not import: (SyntaxError|ValueError)", id="nul"),
        pytest.param("", "defines no study. Assign a Search or a Comparison to a variable", id="empty-file"),
        pytest.param(IMPORTS + "studies = [1]", "defines no study", id="no-study"),
        pytest.param(
            IMPORTS + _study("mine") + _study("mine", "other"),
            "defines two studies called 'mine'. Give each its own name",
            id="two-of-one-name",
        ),
        pytest.param(
            "raise ValueError('first\\nsecond')",
            r"does not import: ValueError: first second \(line 1\)",
            id="message-of-two-lines",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused(text: str, message: str, write_study: WriteStudy) -> None:
    """On one line that names the file, what is wrong and where."""
    path = write_study(text, "mine.py")
    with pytest.raises(StudyError, match=message) as refused:
        catalog.load(str(path))
    assert str(refused.value).startswith(f"{path} ")
    assert "\n" not in str(refused.value)


def test_the_line_is_shown_for_a_relative_path(write_study: WriteStudy) -> None:
    """Which is how the files in ``./studies`` are read."""
    write_study("x = 1\ny = undefined\n", "mine.py")
    with pytest.raises(StudyError, match=r"studies/mine.py does not import: NameError: .* \(line 2\)"):
        catalog.load("mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(('{"x": FloatDistribution(0, 1)}', "{}"), "at least one parameter, but got {}", id="empty-space"),
        pytest.param(
            ("FloatDistribution(0, 1)", "[0, 1]"), r"'x' must be an Optuna distribution, but got \[0, 1\]", id="a-list"
        ),
        pytest.param(
            ("FloatDistribution(0, 1)", "(0, 1)"), r"'x' must be an Optuna distribution, but got \(0, 1\)", id="a-tuple"
        ),
    ],
)
def test_a_space_that_cannot_be_searched_names_file_and_study(
    change: tuple[str, str], message: str, write_study: WriteStudy
) -> None:
    """The same rule as everywhere, with where to find it."""
    path = write_study((IMPORTS + _study("mine")).replace(*change), "mine.py")
    with pytest.raises(SpaceError, match=f"{re.escape(str(path))}: Study 'mine': .*{message}"):
        catalog.load(str(path))


def test_a_bad_budget_names_the_file(write_study: WriteStudy) -> None:
    """A budget is checked before it is part of a study, so that only the file can be named."""
    path = write_study((IMPORTS + _study("mine")).replace("trials=5", "trials=0"), "mine.py")
    with pytest.raises(StudyError, match=f"{re.escape(str(path))}: Budget: trials must be .* but got 0"):
        catalog.load(str(path))


def test_two_files_with_one_name_are_refused(write_study: WriteStudy) -> None:
    """It would else depend on the files' names which of the two is launched."""
    write_study(IMPORTS + _study("mine"), "a.py")
    write_study(IMPORTS + _study("mine"), "b.py")
    [line] = catalog.available()[1]
    assert line == "studies defines two studies called 'mine'. Give each its own name."
    with pytest.raises(StudyError, match="defines two studies called 'mine'"):
        catalog.load("mine")


def test_a_file_that_everyone_may_write_is_not_run(write_study: WriteStudy, tmp_path: Path) -> None:
    """Whoever writes it would run code as whoever launches it."""
    path = write_study(
        f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n" + IMPORTS + _study("mine"), "mine.py"
    )
    path.chmod(0o666)
    with pytest.raises(StudyError, match=rf"must not be writable by everyone.*chmod o-w {re.escape(str(path))}$"):
        catalog.load(str(path))
    assert not (tmp_path / "ran").exists()
    path.chmod(0o664)
    assert catalog.load(str(path)).name == "mine"


def test_a_file_that_everyone_may_replace_is_not_run(write_study: WriteStudy, tmp_path: Path) -> None:
    """In a folder that all may write; with the sticky bit, as in /tmp, they may not replace it."""
    path = write_study(IMPORTS + _study("mine"), "mine.py")
    folder = path.parent
    folder.chmod(0o777)
    message = rf"{folder} is writable by everyone\. Close it with: chmod o-w {folder}$"
    for source in (str(path), "mine", "studies/mine.py"):
        with pytest.raises(StudyError, match=message):
            catalog.load(source)
    for mode in (0o1777, 0o775):
        folder.chmod(mode)
        assert catalog.load(str(path)).name == "mine"


def test_a_link_to_where_everyone_can_replace_a_file_is_not_run(write_study: WriteStudy, tmp_path: Path) -> None:
    """However well the link itself is kept."""
    path = write_study(IMPORTS + _study("mine"), "mine.py")
    link = tmp_path / "linked.py"
    link.symlink_to(path)
    assert catalog.load(str(link)).name == "mine"
    path.parent.chmod(0o777)
    with pytest.raises(StudyError, match=f"{path.parent} is writable by everyone"):
        catalog.load(str(link))


def test_a_file_of_another_user_is_not_run(write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's may be, and one of whoever owns hpo itself; a system without users has none."""
    path = write_study(IMPORTS + _study("mine"), "mine.py")
    owner, package = path.stat().st_uid, Path(catalog.__file__)
    stat = Path.stat

    def owned_by(uid: int, owners: int) -> Callable[..., object]:
        def answer(self: Path, **options: Any) -> object:
            values = list(stat(self, **options))
            values[4] = {path: uid, package: owners}.get(self, values[4])
            return os.stat_result(values)

        return answer

    monkeypatch.setattr(os, "geteuid", lambda: owner + 1000)
    monkeypatch.setattr(Path, "stat", owned_by(owner + 1, 0))
    with pytest.raises(StudyError, match=rf"belong to you or to root.*{path} belongs to user {owner + 1}\. .*copy it"):
        catalog.load(str(path))
    for trusted in (owned_by(0, 0), owned_by(owner + 1000, 0), owned_by(owner + 1, owner + 1)):
        monkeypatch.setattr(Path, "stat", trusted)
        assert catalog.load(str(path)).name == "mine"
    monkeypatch.setattr(Path, "stat", owned_by(owner + 1, 0))
    monkeypatch.delattr(os, "geteuid")
    assert catalog.load(str(path)).name == "mine"


def test_a_file_is_read_anew_each_time(write_study: WriteStudy) -> None:
    """Also one that was changed within the same second to a text of the same length, and leaves nothing beside it."""
    path = write_study(IMPORTS + _study("mine", description="one"), "mine.py")
    assert catalog.load(str(path)).written.description == "one"
    write_study(IMPORTS + _study("mine", description="two"), "mine.py")
    assert catalog.load(str(path)).written.description == "two"
    assert list(path.parent.iterdir()) == [path]
