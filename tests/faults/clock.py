"""A clock that jumps, for some processes only."""

import subprocess
from pathlib import Path

import pytest


class Clock:
    """What processes started with its ``environment`` take for the time of day; nobody can set their monotonic clock.

    Args:
        folder: empty; the users of all those processes have to reach it.
    """

    def __init__(self, folder: Path) -> None:
        library = folder / "clock.so"
        source = Path(__file__).with_suffix(".c")
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            pytest.skip("needs a C compiler and the headers of libc")
        self._offset = folder / "offset"
        self._offset.touch()
        self.set(hours=0)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._offset)}

    def set(self, hours: int) -> None:
        """Let it be so many hours later than it is."""
        with self._offset.open("r+b") as stream:  # in place: the processes have mapped it
            stream.write((hours * 3600).to_bytes(8, "little", signed=True))
