"""Modules beside a study file: the file imports them, and so does what its trials spawn."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path

from hpo.study.code_hash import imported

# The folder of the study file that was read last, and whether it is in `sys.path` because of us.
_offered: dict[str, bool] = {}


class Uncached(SourceFileLoader):
    """Reads a file each time it is imported: Python's bytecode takes two versions of one second for the same."""

    def path_stats(self, path: str) -> dict[str, float]:
        """What Python asks before it reads or writes bytecode; without an answer it does neither."""
        raise OSError


class _Sibling(Uncached):
    """Loads a module beside a study file."""


def offer(folder: Path, check: Callable[[Path], None]) -> None:
    """Let imports find the modules in ``folder``, after all that is installed; those offered before no longer.

    They are read anew.

    Args:
        check: raises if a file must not be run.
    """

    class Checked(_Sibling):
        def get_data(self, path: str) -> bytes:
            check(Path(path))
            return super().get_data(path)

    for module in {name.partition(".")[0] for name in loaded()}:
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{module}.")]:
            del sys.modules[name]
    for path, is_ours in _offered.items():
        if is_ours and path in sys.path:  # a study file may change it, too
            sys.path.remove(path)
        sys.path_importer_cache.pop(path, None)
    _offered.clear()
    _offered[str(folder)] = str(folder) not in sys.path
    if _offered[str(folder)]:
        sys.path.append(str(folder))
    sys.path_importer_cache[str(folder)] = FileFinder(
        str(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES), (Checked, [".py"])
    )


def offer_to_children() -> None:
    """Let processes that this one starts find the modules beside the study file, too, through ``PYTHONPATH``.

    Not if one of them has the name of an installed module: what is in ``PYTHONPATH`` comes first.
    """
    for folder in [folder for folder, is_ours in _offered.items() if is_ours]:
        files, packages = Path(folder).glob("*.py"), Path(folder).glob("*/__init__.py")
        names = [*(path.stem for path in files), *(path.parent.name for path in packages)]
        if all(_is_sibling(_spec(name)) for name in names if name.isidentifier()):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))


def siblings_of(path: Path) -> list[Path]:
    """The files beside a study file that it, or one of them, imports; of a package all. Call it after the import."""
    found: list[Path] = []
    # What an `import` says, wherever it stands; and what was imported by other means.
    names = [*imported(path), *loaded()]
    while names:
        files = [file for file in _files(_spec(names.pop())) if file not in found]
        found += files
        names += [name for file in files for name in imported(file)]
    return sorted(found)


def _files(spec: ModuleSpec | None) -> list[Path]:
    """The files of a module beside the study file; of a package all, used or not."""
    if spec is None or not _is_sibling(spec):
        return []
    if spec.origin is None:
        folders = _folders(spec)
    elif Path(spec.origin).name == "__init__.py":
        folders = [Path(spec.origin).parent]
    else:
        return [Path(spec.origin)]
    return [file for folder in folders for file in folder.rglob("*.py")]


def loaded() -> list[str]:
    """The names of those modules beside the study file that have been imported."""
    return [name for name, module in list(sys.modules.items()) if _is_sibling(getattr(module, "__spec__", None))]


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # such as of __main__
        return None


def _is_sibling(spec: object) -> bool:
    return isinstance(spec, ModuleSpec) and (isinstance(spec.loader, _Sibling) or bool(_folders(spec)))


def _folders(spec: ModuleSpec) -> list[Path]:
    """Of a package without an ``__init__.py``, which Python's own loader loads, the folders beside the study file."""
    places = spec.submodule_search_locations if spec.origin is None else None
    return [Path(place) for place in places or () if str(Path(place).parent) in _offered]
