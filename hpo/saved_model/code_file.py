"""The files that register the parts of a saved model that are not Keras's, such as its own layers and activations."""

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from hpo.errors import FileError
from hpo.files.reading import reading, sha256
from hpo.study.catalog import check_writers


def unregistered(names: Iterable[str]) -> list[str]:
    """The names of parts that are neither Keras's nor registered in this process."""
    import keras

    modules = (
        *(keras.activations, keras.constraints, keras.initializers, keras.losses, keras.metrics, keras.ops),
        keras.regularizers,
    )
    return sorted(
        name
        for name in names
        if keras.saving.get_registered_object(name) is None and not any(hasattr(module, name) for module in modules)
    )


def files_of(names: Iterable[str]) -> dict[str, str]:
    """The files whose code registered ``names`` in this process, each with its SHA-256.

    Returns:
        Paths relative to the working folder; for a file elsewhere, absolute ones.

    Raises:
        FileError: a name is not registered, or not by a file that can run by itself.
    """
    import keras

    if missing := unregistered(names):
        raise FileError(f"A part of a model must be Keras's or registered, but {missing[0]!r} is neither.")
    files = {}
    for name in sorted(names):
        part = keras.saving.get_registered_object(name)
        if part is None:
            continue  # it is Keras's
        module = sys.modules.get(part.__module__)
        file = getattr(module, "__file__", None)
        if module is None or file is None or module.__package__:
            raise FileError(
                f"A part of a model must be registered by the study file or one beside it, but {name!r} is registered "
                f"by the module {part.__module__!r}. Move it there."
            )
        path = Path(file).absolute()
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        files[shown.as_posix()] = sha256(path)
    return files


def run_for(model: Path, files: Mapping[str, str], instead: Path | None) -> None:
    """Run the code files that a model needs, so that they register its parts.

    Args:
        model: the model file, for messages.
        files: the files that the model's card names, each with its SHA-256.
        instead: the path of one of them, if it is not where the card says; run unchecked if there are no ``files``.

    Raises:
        FileError: a file is missing, has changed, or does not run.
        StudyError: others than its owner may have written it.
    """
    places = {Path(file): digest for file, digest in files.items()}
    if instead is not None:
        found = sha256(instead)
        places = {path: digest for path, digest in places.items() if digest != found}
        if files and len(places) == len(files):
            raise FileError(
                f"The code of a model must be that with which it was exported, but {instead} has SHA-256 {found} and "
                f"the card of {model} lists {', '.join(f'{file} ({digest})' for file, digest in files.items())}. Name "
                "that version with --code."
            )
        places[instead] = found
    for path, digest in places.items():
        if not path.is_file() or sha256(path) != digest:
            found = "has changed since" if path.is_file() else "is missing"
            raise FileError(
                f"{model} needs the code with which it was exported, but {path} {found} (SHA-256 {digest}). Name that "
                "version with --code, or export the model again."
            )
    for path in places:
        _run(path)


def _run(path: Path) -> None:
    check_writers(path)
    name = f"hpo_code_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.absolute().parent)
    sys.path.append(folder)  # for the modules beside it
    try:
        with reading(path, "Correct it, or name another version with --code.", rule="The code of a model must run"):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
