"""Finding study definitions: by name in ``./studies`` and in the studies that ship with hpo, or by path."""

import dataclasses
import difflib
import importlib.util
import os
import shlex
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo.devices.log_lines import without_log_lines
from hpo.errors import StudyError, UnknownStudy
from hpo.files.run_dir import expanded
from hpo.study import siblings
from hpo.study.code_hash import code_of
from hpo.study.comparison import Comparison
from hpo.study.found import FoundStudy, Study
from hpo.study.search import Search
from hpo.study.task import Train


def load(source: str) -> FoundStudy:
    """The study that ``source`` names: a name, the path of a ``.py`` file, or ``path.py:name``.

    Raises:
        UnknownStudy: there is none.
        StudyError: its file does not import, or the name is not unique.
    """
    path, _, name = source.partition(".py:")
    if name:
        return _only(read_file(expanded(path + ".py")), source, name)
    if source.endswith(".py"):
        return _only(read_file(expanded(source)), source, None)
    return _find(source)


def available() -> tuple[list[FoundStudy], list[str]]:
    """Every study in ``./studies`` and among those that ship with hpo; the first of a name counts.

    Returns:
        The studies, and a line for each file there that cannot be used.
    """
    studies: dict[str, FoundStudy] = {}
    broken: list[str] = []
    for folder in _folders():
        found, errors = _read_folder(folder)
        broken += errors
        try:
            _check_names([study.name for study, _ in found], str(folder))
        except StudyError as error:
            broken.append(str(error))
        for study, _ in found:
            studies.setdefault(study.name, study)
    return list(studies.values()), broken


def read_file(path: Path) -> list[FoundStudy]:
    """The studies that one Python file defines, in order; those that it imports if it defines none. Runs the file."""
    if not _is_file(path):
        raise UnknownStudy(f"No study file {path}. Give the path of a .py file that defines a study.")
    check_writers(path)
    siblings.offer(path.resolve().parent, check_writers)
    module_name = f"hpo_study_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path, loader=siblings.Uncached(module_name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with without_log_lines():  # of a TensorFlow that the file imports
            spec.loader.exec_module(module)
    except StudyError as error:
        raise type(error)(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:
        raise StudyError(f"{path} does not import: {_where(error, path)}. Fix the file and launch again.") from error
    variables = {name: value for name, value in vars(module).items() if isinstance(value, Search | Comparison)}
    # Not one whose name begins with an underscore, of which the file makes another.
    public = {id(study): study for name, study in variables.items() if not name.startswith("_")}
    written = list((public or {id(study): study for study in variables.values()}).values())
    # One that it imports from beside, to make another of it, is that module's.
    others = {id(value) for other in siblings.loaded() for value in vars(sys.modules[other]).values()}
    written = [study for study in written if id(study) not in others] or written
    if not written:
        raise StudyError(f"{path} defines no study. Assign a Search or a Comparison to a variable of the module.")
    _check_names([study.name for study in written], str(path))
    beside = siblings.siblings_of(path)

    def code(study: Study) -> dict[str, str]:
        names = {name for name, value in variables.items() if value is study}
        task = study.task
        functions = (task.model, task.prepare) if isinstance(task, Train) else (task,)
        stock = any(map(_is_stock, functions))
        return code_of(path.resolve(), names, studies={*variables}, siblings=beside, stock=stock)

    return [FoundStudy(study, f"{path.absolute()}:{study.name}", str(path), code(study)) for study in written]


def _is_stock(function: Callable[..., Any] | None) -> bool:
    """Whether a function ships with hpo, also one with some of its arguments set."""
    return str(getattr(getattr(function, "func", function), "__module__", "")).startswith("hpo.models.")


def check_writers(path: Path) -> None:
    """Check that only its owner, one that is trusted, can have written the file, or another in its place."""
    if path.stat().st_mode & stat.S_IWOTH:
        raise StudyError(
            f"A study file must not be writable by everyone, because it is run, but {path} is. "
            f"Make it yours alone with: chmod o-w {shlex.quote(str(path))}"
        )
    for folder in (path.absolute().parent, path.resolve().parent):  # of a link, and of what it leads to
        # In a folder with the sticky bit, such as /tmp, nobody replaces the file of another.
        if folder.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) != stat.S_IWOTH:
            continue
        raise StudyError(
            f"A study file must not lie where everyone can replace it, because it is run, but {folder} is writable by "
            f"everyone. Close it with: chmod o-w {shlex.quote(str(folder))}"
        )
    if not hasattr(os, "geteuid"):
        return
    # Whoever owns hpo itself is trusted already: the administrator of a shared installation.
    if (owner := path.stat().st_uid) not in (0, os.geteuid(), Path(__file__).stat().st_uid):
        raise StudyError(
            f"A study file must belong to you or to root, because it is run, but {path} belongs to user {owner}. "
            "Read it, copy it into a folder of yours, and launch the copy."
        )


def _find(name: str) -> FoundStudy:
    for folder in _folders():
        # The file that is named like the study first: it spares importing all the others.
        likely = folder / f"{name.replace('-', '_')}.py"
        for study in _read(likely) if _is_file(likely) else []:
            if study.name == name:
                return study
    for folder in _folders():
        named = [(study, path) for study, path in _read_folder(folder)[0] if study.name == name]
        _check_names([study.name for study, _ in named], str(folder))
        for _, path in named:
            # Once more, so that no other file has been read since: what it imports later is what it has imported now.
            return next(study for study in _read(path) if study.name == name)
    studies, broken = available()
    known = sorted(study.name for study in studies)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known) or 'none'}."
    also = f" Not read: {' '.join(broken)}" if broken else ""
    raise UnknownStudy(
        f"No study is called {name!r}. {hint} `hpo studies` lists them; a path to a .py file works too.{also}"
    )


def _folders() -> list[Path]:
    package = Path(__file__).parents[1]
    folders = [Path("studies"), package / "studies"]
    if (package.parent / "pyproject.toml").is_file():
        # In a checkout the studies stand beside the package; a wheel carries them inside it.
        folders.append(package.parent / "studies")
    return list({folder.resolve(): folder for folder in folders if folder.is_dir()}.values())


def _read(path: Path) -> list[FoundStudy]:
    """The studies of a file in one of the known folders, which a worker finds by name on any machine."""
    return [dataclasses.replace(study, source=study.name) for study in read_file(path)]


def _read_folder(folder: Path) -> tuple[list[tuple[FoundStudy, Path]], list[str]]:
    """The studies of a folder, each with its file, and why the other files cannot be used."""
    studies: list[tuple[FoundStudy, Path]] = []
    errors: list[str] = []
    for path in sorted(path for path in folder.glob("*.py") if not path.name.startswith("_")):
        try:
            studies += [(study, path) for study in _read(path)]
        except StudyError as error:
            errors.append(str(error))
    return studies, errors


def _check_names(names: list[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"{where} defines two studies called {name!r}. Give each its own name.")


def _only(studies: list[FoundStudy], source: str, name: str | None) -> FoundStudy:
    chosen = [study for study in studies if name in (None, study.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(study.name for study in studies)
    if not chosen:
        raise UnknownStudy(f"{source} defines no study called {name!r}. It defines: {names}.")
    raise StudyError(f"{source} defines several studies: {names}. Name one, as in {source}:{studies[0].name}.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _where(error: BaseException, path: Path) -> str:
    """The error and the line of the study file that raised it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).absolute() == path.absolute()]
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
