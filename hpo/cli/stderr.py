"""The standard error of a command that imports Keras: hidden, unless the command ends in a bug."""

from collections.abc import Iterator
from contextlib import contextmanager

from hpo.devices.log_lines import caught, show
from hpo.errors import HpoError


@contextmanager
def silenced() -> Iterator[None]:
    """Hide what the block writes to standard error; show it if the block ends in an error that is not ours."""
    written = bytearray()
    try:
        with caught(written):
            yield
    except (HpoError, KeyboardInterrupt):
        raise
    except BaseException:
        show(written)
        raise
