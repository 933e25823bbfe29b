"""What a result may depend on besides its study: versions, commit, machine."""

import platform
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hpo.devices.slots import machine

_PACKAGES = ("hpo", "keras", "tensorflow", "jax", "optuna", "numpy", "sqlalchemy", "scikit-learn")


def environment() -> dict[str, Any]:
    """What a result may depend on besides the study: versions, commit, host."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": machine(),
        "host": socket.gethostname(),
        "commit": _commit(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that a result may depend on, those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The git commit of the folder the launch runs in, None outside of a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True, cwd=Path.cwd()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
