"""This worker process itself: how it stops with its launcher, ends what it has started, and starts afresh."""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from hpo.workers import shutdown

_logger = logging.getLogger("hpo")


def stop_with_launcher() -> None:
    """Stop this process as SIGTERM does when its launcher dies: its end of our standard input closes."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        # Python sees a signal when the main thread comes back from where it is, which may hang.
        time.sleep(shutdown.GIVE_UP_SECONDS + shutdown.EXIT_SECONDS)
        end_children()
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, name="launcher", daemon=True).start()


def end_children() -> None:
    """Kill what a trial has started that does not come to its end."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def after(seconds: float, action: Callable[..., None], *arguments: Any) -> threading.Timer:
    """Do ``action`` in that many seconds, unless it is cancelled or this process ends before."""
    timer = threading.Timer(seconds, action, arguments)
    timer.daemon = True
    timer.start()
    return timer


def restart(reason: str) -> None:
    """Become a fresh process under the same number, which the launcher does not notice."""
    _logger.info("Starting afresh: %s", reason)
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "hpo", *sys.argv[1:]])
