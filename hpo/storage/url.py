"""The URL of a storage: where it comes from, and how it and its errors are shown without their password."""

import os
import re

import sqlalchemy
from sqlalchemy.engine import URL, make_url

from hpo.errors import StorageError
from hpo.files.run_dir import RunDir, expanded

_SHOWN = {"host", "port", "dbname", "user", "sslmode", "mode"}  # of a URL's query


def resolve_url(url: str | None, run_dir: RunDir) -> URL:
    """The storage's URL: ``url``, else ``HPO_STORAGE``, else the SQLite file under ``HPO_HOME``.

    Raises:
        StorageError: it is not the URL of a SQLite file or a PostgreSQL database.
    """
    text = url or os.environ.get("HPO_STORAGE")
    if not text:
        return URL.create("sqlite", database=str(run_dir.database.resolve()))
    if text.partition("://")[2].partition("?")[0].count("@") > 1:
        raise StorageError("A storage's URL must have at most one @. Write one that belongs to a password as %40.")
    try:
        parsed = make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # The text may hold a password, so it is not shown.
        raise StorageError(
            "The storage must be a URL like sqlite:///runs/hpo.db or postgresql://user@host/database, "
            "but got something else. Check --storage and HPO_STORAGE."
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StorageError(
                f"A SQLite storage must be a file that all workers can open, but got {shown(parsed)}. "
                "Write sqlite:///path/to/hpo.db."
            )
        return parsed.set(drivername="sqlite", database=str(expanded(parsed.database).resolve()))
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StorageError(
        f"The storage must be SQLite or PostgreSQL, but got {backend!r}. "
        "Write sqlite:///path/to/hpo.db or postgresql://user@host/database."
    )


def shown(url: URL) -> str:
    """``url`` for people: without its password, wherever it stands, and however it is spelt there."""
    query = {name: value for name, value in url.query.items() if name in _SHOWN}
    return url.set(query=query).render_as_string(hide_password=True)


def has_secret(url: URL) -> bool:
    """Whether ``url`` has a part that `shown` leaves out."""
    return shown(url) != url.render_as_string(hide_password=False)


def first_line(error: BaseException, url: URL) -> str:
    """The cause in one line, with the password, should the driver have quoted it, taken out."""
    cause = error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause
    line = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
    for secret in (url.password, *url.normalized_query.get("password", ())):
        if not secret:
            continue
        password = re.escape(str(secret))
        line = line.replace(f":{secret}@", ":***@")
        line = re.sub(rf"(password=['\"]?){password}(?!\w)", r"\1***", line)
        # A quoted name may be spelt like it.
        if secret not in (url.username, url.database, url.host):
            line = re.sub(rf"(['\"]){password}\1", r"\1***\1", line)
    return line
