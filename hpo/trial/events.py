"""What a worker did, line by line in a file that is only appended to: for whoever asks afterwards what happened."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from hpo.errors import Outage


class EventLog:
    """The events of one worker process, one JSON object a line.

    Each has ``time`` (seconds since 1970), ``monotonic`` (seconds by a clock that all processes of a machine share
    and nobody sets), ``event``, and what belongs to it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, event: str, **facts: Any) -> None:
        """Append one event; a process killed a moment later has written it.

        Raises:
            Outage: it cannot, such as on a full disk.
        """
        line = json.dumps({"time": time.time(), "monotonic": time.monotonic(), "event": event, **facts}) + "\n"
        # One short write in append mode stays whole, whoever else writes and whatever comes after.
        try:
            with self._path.open("ab", buffering=0) as stream:
                written = stream.write(line.encode())
                if written < len(line.encode()):  # the disk had room for a part
                    stream.truncate(stream.tell() - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise Outage(
                f"{self._path} cannot be written ({error.strerror}). What was recorded is whole; mend it and launch "
                "again."
            ) from None
