"""The health of a container: 0 where it does its work, 1 where it does not.

A dashboard has to answer. Every other command is healthy while it runs: a worker's health is its lease in the
storage, and a container killed for a slow database would lose the trial that the lease still protects.
"""

import sys
import urllib.request
from pathlib import Path


def dashboard_port(arguments: list[str]) -> int | None:
    """The port of the dashboard that this command line starts, or None where it starts none."""
    if "dashboard" not in arguments:
        return None
    for position, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        if option == "--port":
            return int(value or arguments[position + 1])
    return 8080


def main(process: str = "1") -> None:
    """Check the container whose first process, by number, is ``process``.

    Raises:
        OSError: it is a dashboard that does not answer.
    """
    # The container's command, whether or not an init process (`docker run --init`) stands before it.
    arguments = Path("/proc", process, "cmdline").read_bytes().decode().split("\0")
    port = dashboard_port(arguments)
    if port is not None:
        # A proxy set for the container would be asked for the container itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"http://127.0.0.1:{port}/healthz", timeout=4).close()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"The dashboard does not answer: {error}")
