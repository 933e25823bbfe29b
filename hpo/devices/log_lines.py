"""The log lines of TensorFlow, absl and Keras, hidden from people."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

# Lines that TensorFlow, absl and XLA log, from C++ and from Python, and warnings that Keras and TensorFlow raise.
_LOGGED = re.compile(
    rb"""^(?:
    WARNING:\ All\ log\ messages\ before\ absl::InitializeLog.*\n
    | [IWEF]\d{4}\ \d\d:\d\d:\d+\.\d+\s+\d+\ \S+:\d+\]\ .*\n (?:To\ enable\ the\ following\ instructions.*\n)?
    | \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d\.\d+:\ [IWEF]\ .*\n (?:To\ enable\ the\ following\ instructions.*\n)?
    | [A-Z]+:(?:absl|tensorflow):.*\n
    | \S*/site-packages/(?:keras|tensorflow|absl|jax)/\S+:\d+:\ \w*Warning:\ .*\n (?:\ \ .*\n)?
    )""",
    re.MULTILINE | re.VERBOSE,
)


@contextmanager
def without_log_lines() -> Iterator[None]:
    """Hide the log lines of TensorFlow, absl and Keras that the block writes to standard error.

    Everything else is shown when the block ends. If standard error is a file, such as a worker's log, it gets every
    line at once, because the last lines of a process that dies within the block are the most useful ones.
    """
    if sys.stderr is None or stat.S_ISREG(os.fstat(2).st_mode):
        yield
        return
    written = bytearray()
    try:
        with caught(written):
            yield
    finally:
        show(_LOGGED.sub(b"", written))


@contextmanager
def caught(written: bytearray) -> Iterator[None]:
    """Put what the block writes to standard error into ``written``.

    At import TensorFlow's C++ writes lines that no setting turns off, so the file descriptor itself is redirected.
    """
    if sys.stderr is None:  # it was closed by whoever started this process
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            hidden.seek(0)
            written += hidden.read()


def show(text: bytes | bytearray) -> None:
    """Write all of ``text`` to the file descriptor of standard error."""
    while text:
        text = text[os.write(2, text) :]
