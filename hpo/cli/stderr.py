"""The standard error of a command that imports Keras: hidden, unless the command ends in a bug."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hpo.devices.log_lines import caught, show
from hpo.devices.slots import Slot, import_backend
from hpo.errors import HpoError


@contextmanager
def silent_keras() -> Iterator[None]:
    """Import Keras for this machine's first slot, and hide what it and the block write to standard error.

    Raises:
        DeviceError: Keras cannot be imported.
    """
    os.environ.update(Slot.from_environment().environment())
    with silenced():
        import_backend()
        yield


@contextmanager
def silenced() -> Iterator[None]:
    """Hide what the block writes to standard error; show it if the block ends in an error that is not hpo's."""
    written = bytearray()
    try:
        with caught(written):
            yield
    except (HpoError, KeyboardInterrupt):
        raise
    except BaseException:
        show(written)
        raise
