"""Every path under ``HPO_HOME``, in one class."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import StudyError

# A study's name is also the name of its folder, so it must be valid on every file system.
_RESERVED = ("artifacts", "data", "locks", "hpo.db", "test-reads.jsonl")  # are beside the studies' folders
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_study_name(name: str) -> str:
    """Return ``name`` if it can be a study's name.

    Raises:
        StudyError: it is empty, longer than 100 characters, reserved, or not a plain name.
    """
    if not isinstance(name, str) or not _STUDY_NAME.fullmatch(name):
        shown = repr(name) if len(str(name)) <= 60 else repr(str(name)[:60]) + "…"
        raise StudyError(
            "A study name must start with a letter or digit and hold at most 100 letters, digits, "
            f"'.', '_' and '-', but got {shown}. Choose another with --name."
        )
    if name.lower() in _RESERVED or name.lower().startswith("hpo.db"):
        raise StudyError(
            f"A study cannot be called {name!r}, like a file of hpo's own. Choose another name with --name."
        )
    return name


def expanded(path: str) -> Path:
    """A path that a person named, with ``~`` as the home folder; in ``--output=~/best.h5`` shells do not replace it."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for a file called ~best.h5


@dataclass(frozen=True)
class RunDir:
    """The paths of one ``HPO_HOME`` (default ``./runs``)."""

    home: Path

    @classmethod
    def from_environment(cls) -> "RunDir":
        """The folder that ``HPO_HOME`` names, or ``./runs``; absolute."""
        return cls(expanded(os.environ.get("HPO_HOME") or "runs").absolute())

    @property
    def database(self) -> Path:
        return self.home / "hpo.db"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def data_cache(self) -> Path:
        return self.home / "data"

    @property
    def locks(self) -> Path:
        return self.home / "locks"

    @property
    def test_reads(self) -> Path:
        """JSON lines, one per read of a test split."""
        return self.home / "test-reads.jsonl"

    def study(self, name: str) -> Path:
        return self.home / check_study_name(name)

    def definition(self, name: str) -> Path:
        return self.study(name) / "definition.json"

    def environment(self, name: str) -> Path:
        return self.study(name) / "environment.json"

    def logs(self, name: str) -> Path:
        return self.study(name) / "logs"

    def events(self, name: str) -> Path:
        """What the workers did, one file per worker."""
        return self.study(name) / "events"

    def trials(self, name: str) -> Path:
        """Checkpoints of the running trials, one folder per configuration."""
        return self.study(name) / "trials"

    def trial(self, name: str, configuration: int, uuid: str) -> Path:
        """Checkpoints of all attempts of one configuration."""
        return self.trials(name) / f"{configuration}-{uuid}"
