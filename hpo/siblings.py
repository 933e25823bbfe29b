"""Modules beside a study file: the file imports them, and so does what its trials spawn."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path

from hpo.source_code import imported

_offered: list[str] = []  # the folder of the study file that was read last


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
        check: raises where a file must not be run.
    """

    class Checked(_Sibling):
        def get_data(self, path: str) -> bytes:
            check(Path(path))
            return super().get_data(path)

    for module in {name.partition(".")[0] for name in _loaded()}:
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{module}.")]:
            del sys.modules[name]
    for path in _offered:
        sys.path.remove(path)
        del sys.path_importer_cache[path]
    _offered.clear()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        _offered.append(str(folder))
    sys.path_importer_cache[str(folder)] = FileFinder(
        str(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES), (Checked, [".py"])
    )


def offer_to_children() -> None:
    """Let processes that this one starts find the modules beside the study file, too, through ``PYTHONPATH``.

    Not if one of them has the name of an installed module: what is in ``PYTHONPATH`` comes first.
    """
    for folder in _offered:
        files, packages = Path(folder).glob("*.py"), Path(folder).glob("*/__init__.py")
        names = [*(path.stem for path in files), *(path.parent.name for path in packages)]
        if all(_is_sibling(_spec(name)) for name in names if name.isidentifier()):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))


def siblings_of(path: Path) -> list[Path]:
    """The files beside a study file that it, or one of them, imports; of a package all. Call it after the import."""
    found: list[Path] = []
    # What an `import` says, wherever it stands; and what was imported by other means.
    names = [*imported(path), *_loaded()]
    while names:
        spec = _spec(names.pop())
        if spec is None or spec.origin is None or not _is_sibling(spec) or Path(spec.origin) in found:
            continue
        module = Path(spec.origin)
        files = sorted(module.parent.rglob("*.py")) if module.name == "__init__.py" else [module]
        found += files
        names += [name for file in files for name in imported(file)]
    return sorted(found)


def _loaded() -> list[str]:
    return [name for name, module in sys.modules.items() if _is_sibling(getattr(module, "__spec__", None))]


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # such as of __main__
        return None


def _is_sibling(spec: ModuleSpec | None) -> bool:
    return spec is not None and isinstance(spec.loader, _Sibling)
