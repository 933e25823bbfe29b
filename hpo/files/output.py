"""A file that a person wants to have written: checked before the work that fills it."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hpo.errors import UsageError


def check_output(path: Path, is_ours: Callable[[Path], bool], *, force: bool) -> None:
    """Check that ``path`` can be written and that no other file is lost; makes its folder.

    Args:
        is_ours: whether an existing file is one that hpo wrote for the same purpose, so that a new one may replace it.
        force: replace whatever file is there.

    Raises:
        UsageError: it is a folder, nothing can be written into its folder, or it is another file.
    """
    if path.is_dir():
        raise UsageError(f"--output must be a file, but {path} is a folder. Name a file in it: {path / 'NAME'}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryDirectory(dir=path.parent, prefix=".hpo-").cleanup()
    except OSError as error:
        raise UsageError(
            f"--output must be where a file can be written, but {path.parent} is not: {error.strerror}."
        ) from None
    # A link that leads nowhere belongs to somebody, too.
    if os.path.lexists(path) and not force and not (path.exists() and is_ours(path)):
        raise UsageError(
            f"--output must not replace what hpo did not write there, but {path} exists and is another file. "
            "Name another, or replace it with --force."
        )
