"""Where a storage is, and how its URL and its errors are shown."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from hpo.errors import StorageError
from hpo.files.run_dir import RunDir
from hpo.storage.url import first_line, resolve_url, shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("not a url", "must be a URL like sqlite:///", id="not-a-url"),
        pytest.param("sqlite://", "must be a file", id="in-memory"),
        pytest.param("sqlite:///:memory:", "must be a file", id="in-memory-by-name"),
        pytest.param("mysql://root@localhost/x", "must be SQLite or PostgreSQL, but got 'mysql'", id="mysql"),
        pytest.param("redis://localhost", "must be SQLite or PostgreSQL, but got 'redis'", id="redis"),
    ],
)
def test_other_storages_are_refused(url: str, message: str, run_dir: RunDir) -> None:
    """Only what is known to be safe for many processes is taken."""
    with pytest.raises(StorageError, match=message):
        resolve_url(url, run_dir)


def test_default_is_the_file_under_home_and_the_environment_comes_before(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option, then HPO_STORAGE, then the file in HPO_HOME."""
    assert resolve_url(None, run_dir).database == str(run_dir.database)
    monkeypatch.setenv("HPO_STORAGE", "postgresql://me@host/x")
    assert resolve_url(None, run_dir).drivername == "postgresql+psycopg"
    assert resolve_url("sqlite:///other.db", run_dir).database == str(Path("other.db").absolute())


@pytest.mark.parametrize(
    ("password", "message", "shown"),
    [
        pytest.param("a", "a file at a@b", "a file at a@b", id="one-letter"),
        pytest.param("hpo", 'role "hpo" of hpo', 'role "hpo" of hpo', id="a-name"),
        pytest.param("hpo", "no postgresql://me:hpo@db/hpo", "no postgresql://me:***@db/hpo", id="in-a-url"),
        pytest.param("s.3", "bad password=s.3 host=db", "bad password=*** host=db", id="in-a-connection-string"),
        pytest.param("s.3", "bad value 's.3' for it, not s.3", "bad value '***' for it, not s.3", id="quoted"),
    ],
)
def test_a_password_is_masked_where_it_is_quoted(password: str, message: str, shown: str) -> None:
    """And nowhere else, however short it is, or if it is also a name."""
    url = make_url("postgresql://hpo@db/hpo").set(password=password)
    assert first_line(RuntimeError(message), url) == shown
    assert first_line(RuntimeError(message), make_url("postgresql://hpo@db/hpo")) == message.rstrip(".")


@pytest.mark.parametrize("name", ["password", "sslpassword", "passwd", "Password", "oauth_client_secret"])
def test_a_url_for_people_has_no_secret(name: str) -> None:
    """Wherever it stands, and however it is spelt; where the database is, it says."""
    url = make_url(f"postgresql+psycopg://me:canary@db/hpo?{name}=canary&host=/run/postgresql")
    assert shown(url) == "postgresql+psycopg://me:***@db/hpo?host=%2Frun%2Fpostgresql"
