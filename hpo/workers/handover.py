"""A study that exists in the launching process only, handed to its workers: never through the storage."""

import json
import os
import pickle
import sys
from tempfile import TemporaryFile
from typing import IO

import cloudpickle

from hpo.errors import StudyError
from hpo.study.found import FoundStudy


def handed_over(found: FoundStudy) -> IO[bytes]:
    """A file without a name that holds the study, and where its modules are; worker processes inherit its descriptor.

    Raises:
        StudyError: something that the study's functions use cannot be handed to another process.
    """
    try:
        content = cloudpickle.dumps(found)
    except Exception as error:  # of the objects that the functions use, any
        raise StudyError(
            f"Study {found.name!r} cannot be handed to worker processes ({type(error).__name__}: {error}). Let its "
            "functions make what they need, or write the study into a file and launch that."
        ) from error
    path = [folder or str(os.getcwd()) for folder in sys.path]  # noqa: PTH109 - "" is the working folder
    file = TemporaryFile()  # noqa: SIM115 - open as long as workers may be started
    file.write(json.dumps(path).encode() + b"\n" + content)
    file.flush()
    return file


def received(descriptor: int) -> FoundStudy:
    """The study that this process's launcher has handed over."""
    os.set_inheritable(descriptor, True)  # a worker that starts itself afresh reads it again
    path, _, content = os.pread(descriptor, os.fstat(descriptor).st_size, 0).partition(b"\n")
    sys.path += [folder for folder in json.loads(path) if folder not in sys.path]
    found: FoundStudy = pickle.loads(content)
    return found
