"""What libraries write to standard error, kept out of a command's output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from hpo.errors import HpoError


@contextmanager
def silenced() -> Iterator[None]:
    """Hide what the block writes to standard error; show it where the block ends in an error that is not ours.

    TensorFlow's C++ writes lines at import that no setting turns off, so the file descriptor itself is turned.
    """
    if sys.stderr is None:  # closed by whoever started us
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except (HpoError, KeyboardInterrupt):
            raise
        except BaseException:
            hidden.seek(0)
            os.write(terminal, hidden.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
