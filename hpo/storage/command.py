"""Commands that messages name for a user to paste: quoted for the shell, and for the same storage as before."""

import shlex

from sqlalchemy.engine import URL

from hpo.errors import StorageError
from hpo.files.run_dir import RunDir
from hpo.storage.url import has_secret, resolve_url


def command(url: URL, *arguments: str) -> str:
    """``hpo`` with these arguments, for the storage at ``url``; without its password, of which `unsaid` tells."""
    if not has_secret(url) and url != _default():
        arguments = (*arguments, "--storage", url.set(drivername=url.get_backend_name()).render_as_string())
    return shlex.join(["hpo", *arguments])


def _default() -> URL | None:
    """The storage of a command without ``--storage``; None if ``HPO_STORAGE`` names none that can be."""
    try:
        return resolve_url(None, RunDir.from_environment())
    except StorageError:
        return None


def unsaid(url: URL) -> str:
    """What a sentence with such a command must add, because a command line shows its password to everyone."""
    return ", with HPO_STORAGE set to the same storage" if has_secret(url) else ""
