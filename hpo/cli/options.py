"""Options that several commands share, and the stored study that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


def path(text: str) -> Path:
    """The parser of every option and argument that is a path."""
    from hpo.files.run_dir import expanded

    return expanded(text)


Study = Annotated[str, typer.Option("--study", help="The stored study's name.")]
Storage = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or postgresql://USER@HOST/NAME; else HPO_STORAGE, else the file in HPO_HOME."),
]
File = Annotated[
    str | None, typer.Option(help="Where the study's code is on this machine: FILE.py, FILE.py:NAME or a name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Replace any file at --output.")]


def open_study(study: str, storage: str | None, *, write: bool = False) -> "optuna.Study":
    """The study with that name in the storage.

    Raises:
        StudyError, StorageError: there is none.
    """
    from hpo.storage import stored_study

    return stored_study.load(opened(storage, write=write), study)


def opened(storage: str | None, *, write: bool) -> "BaseStorage":
    """The storage that the option, the environment or the default names."""
    from hpo.files.run_dir import RunDir
    from hpo.storage.database import open_storage
    from hpo.storage.url import resolve_url

    return open_storage(resolve_url(storage, RunDir.from_environment()), write=write)


def reader(storage: str | None) -> "BaseStorage | None":
    """The storage to read; None if the default one does not exist yet."""
    import os

    from hpo.files.run_dir import RunDir

    is_default = not storage and not os.environ.get("HPO_STORAGE")
    return None if is_default and not RunDir.from_environment().database.exists() else opened(storage, write=False)
