"""How much a study and each of its trials may cost; how many retries and failures there may be."""

from dataclasses import dataclass

from hpo.errors import StudyError

MAX_RETRIES = 3  # how often a configuration runs again whose worker died, unless a budget says otherwise
SIZES = ("trials", "seconds", "total_epochs")  # the limits of a budget of which each says how large a search is
CHECKPOINT_BYTES = 5_000_000_000
UNLIMITED = 1_000_000_000  # trials: more than any study has
MAX_FAILURES = 5  # how many trials that fail one after another end a launch, unless it says otherwise


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a study may cost. What is reached first ends it; None is no limit.

    Args:
        trials: configurations in all, over every launch: one that is lost or paused, and runs again, counts once. A
            comparison without a number runs each of its settings.
        seconds: in which trials run, over every launch; pauses between launches do not count.
        total_epochs: epochs in all. As ``seconds``, only of a search that trains models.
        target: a value of the metric; the search ends when a configuration has reached it.
        patience: the search ends when as many configurations after the best one have not been better.
        max_epochs: the most epochs of one trial; a parameter ``epochs`` must not exceed it.
        trial_seconds: seconds of training after which a trial ends with its epoch and keeps its best.
        trial_timeout: seconds after which a trial has hung: its process is killed and the trial failed.
        max_retries: how often a configuration runs again whose worker died.
        checkpoint_bytes: how much of each machine's disk the checkpoints of paused configurations may take.
    """

    trials: int | None = None
    seconds: float | None = None
    total_epochs: int | None = None
    target: float | None = None
    patience: int | None = None
    max_epochs: int = 50
    trial_seconds: float | None = None
    trial_timeout: float | None = None
    max_retries: int = MAX_RETRIES
    checkpoint_bytes: int = CHECKPOINT_BYTES

    def __post_init__(self) -> None:
        for name in ("trials", "total_epochs", "patience", "max_epochs"):
            value = getattr(self, name)
            if not is_whole(value, at_least=1) and (value is not None or name == "max_epochs"):
                raise StudyError(f"Budget: {name} must be a whole number of at least 1, but got {value!r}.")
        for name in ("seconds", "trial_seconds", "trial_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not is_number(seconds, above=0, below=float("inf")):
                raise StudyError(f"Budget: {name} must be a positive number or None, but got {seconds!r}.")
        if self.target is not None and not is_number(self.target, above=float("-inf"), below=float("inf")):
            raise StudyError(f"Budget: target must be a finite number or None, but got {self.target!r}.")
        for name in ("max_retries", "checkpoint_bytes"):
            if not is_whole(getattr(self, name), at_least=0):
                raise StudyError(
                    f"Budget: {name} must be a whole number of at least 0, but got {getattr(self, name)!r}."
                )

    @property
    def has_end(self) -> bool:
        """Whether a search with this budget ends by itself; a target may never be reached."""
        return any(limit is not None for limit in (self.trials, self.seconds, self.total_epochs, self.patience))


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When a trial has learned what it can; each is a number of epochs without a better metric.

    Both are on unless a study turns them off, with ``stopping=None``. The learning rate is reduced in every trial whose
    optimizer has a fixed rate, so that a constant rate does not stay constant; an optimizer with a Keras schedule keeps
    to its schedule. A comparison of learning rates or schedules needs ``Stopping(reduce_lr_patience=None)``, or None.

    Args:
        patience: epochs until the trial ends with the weights of its best epoch; None trains to the end.
        reduce_lr_patience: epochs until the learning rate is multiplied by ``reduce_lr_factor``; None never.
        reduce_lr_factor: between 0 and 1.
    """

    patience: int | None = 6
    reduce_lr_patience: int | None = 2
    reduce_lr_factor: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("patience", self.patience), ("reduce_lr_patience", self.reduce_lr_patience)):
            if value is not None and not is_whole(value, at_least=1):
                raise StudyError(f"Stopping: {name} must be a whole number of at least 1 or None, but got {value!r}.")
        if not is_number(self.reduce_lr_factor, above=0, below=1):
            raise StudyError(f"Stopping: reduce_lr_factor must lie between 0 and 1, but got {self.reduce_lr_factor!r}.")


def limited(trials: int) -> int | None:
    """A number of trials; None if it is no limit."""
    return trials if trials < UNLIMITED else None


def is_whole(value: object, *, at_least: int) -> bool:
    """Whether ``value`` is a whole number of at least ``at_least``; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def is_number(value: object, *, above: float, below: float) -> bool:
    """Whether ``value`` is a number strictly between ``above`` and ``below``."""
    return isinstance(value, int | float) and not isinstance(value, bool) and above < value < below
