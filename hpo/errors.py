"""Every error a user can cause, and every way a trial can fail.

    HpoError                     exit 1: something failed that the user should read about
    ├── UsageError               exit 2: the input was wrong; nothing was written
    │   ├── StudyError           unknown study, a study file that cannot be used
    │   │   ├── UnknownStudy     no study of that name, no file at that path
    │   │   ├── SpaceError       a search space that cannot be searched
    │   │   └── StudyChanged     the stored study was launched with another definition
    │   ├── DatasetError         no data, or altered data
    │   ├── StorageError         a bad storage URL, or one at which there is no such database
    │   ├── DeviceError          more GPUs or workers than there are
    │   └── FileError            a model or image file that cannot be used
    ├── StudyAmended         others amended the study while it was worked on here
    ├── Outage                   exit 75: the database is away, or a disk is full; later it may go on
    ├── TooManyFailures          exit 3: the trials of a study fail one after another
    └── Interrupted              exit 130 or 143: a signal ended the command

    TrialFailure                 one trial failed; the study goes on
    ├── NanLoss                  "nan"
    ├── OutOfMemory              "out_of_memory"
    ├── InvalidModel             "invalid_model": the configuration cannot be built or trained
    ├── TrialTimeout             "timeout": it took longer than a trial may, and its process was killed
    └── TrialError               "error": a bug in the study's own code

    TrialInterrupted             the worker was asked to stop; the trial is given back and runs again

The message of each says the rule, the value that broke it and the remedy, on one line.
"""

from typing import ClassVar


class HpoError(Exception):
    """Something failed; the message is the one line the user reads."""

    exit_code: ClassVar[int] = 1


class UsageError(HpoError):
    """The input was wrong and nothing was written."""

    exit_code = 2


class StudyError(UsageError):
    """A study is unknown, or its file cannot be used."""


class UnknownStudy(StudyError):
    """No study has that name, or no file that path."""


class SpaceError(StudyError):
    """A search space cannot be searched."""


class StudyChanged(StudyError):
    """The stored study was first launched with another definition."""


class DatasetError(UsageError):
    """A data set cannot be had, or is not what it should be."""


class StorageError(UsageError):
    """A storage URL is malformed, or what is there cannot be used; never names the password."""


class DeviceError(UsageError):
    """The machine lacks what was asked of it."""


class FileError(UsageError):
    """A model or image file cannot be used."""


class StudyAmended(HpoError):
    """Others amended the study while it was worked on here with the definition or the code that it had before."""


class Outage(HpoError):
    """The database is away, or did not come back in time, or a disk is full; what was written before is whole."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later


class TooManyFailures(HpoError):
    """The trials of a study fail one after another."""

    exit_code = 3


class Interrupted(HpoError):
    """A signal ended the command.

    Args:
        signum: the signal's number; the exit code is 128 more.
        message: what was saved and how to continue.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return 128 + self.signum


class TrialFailure(Exception):
    """One trial failed for a known reason; the study goes on."""

    reason: ClassVar[str] = "error"


class NanLoss(TrialFailure):
    """The loss or the objective's value is not a number."""

    reason = "nan"


class OutOfMemory(TrialFailure):
    """The device has too little memory for this configuration."""

    reason = "out_of_memory"


class InvalidModel(TrialFailure):
    """This configuration gives a model that cannot be built or trained."""

    reason = "invalid_model"


class TrialTimeout(TrialFailure):
    """The trial took longer than the study allows; its process was killed."""

    reason = "timeout"


class TrialError(TrialFailure):
    """The study's own code raised."""


class TrialInterrupted(Exception):
    """The worker was asked to stop while a trial ran; its configuration runs again."""
