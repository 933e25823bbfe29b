"""How much a study and each of its trials may cost; how many retries and failures there may be."""

from dataclasses import dataclass

from hpo.errors import StudyError

MAX_RETRIES = 3  # how often a configuration runs again whose worker died, unless a budget says otherwise
MAX_FAILURES = 5  # how many trials that fail one after another end a launch, unless it says otherwise


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a study may cost.

    Args:
        trials: trials in all, over every launch; None for a comparison that runs each of its settings.
        max_epochs: the most epochs of one trial; a parameter ``epochs`` must not exceed it.
        trial_seconds: seconds of training after which a trial ends with its epoch and keeps its best.
        trial_timeout: seconds after which a trial has hung: its process is killed and the trial failed.
        max_retries: how often a configuration runs again whose worker died.
    """

    trials: int | None = None
    max_epochs: int = 50
    trial_seconds: float | None = None
    trial_timeout: float | None = None
    max_retries: int = MAX_RETRIES

    def __post_init__(self) -> None:
        for name, value in (("trials", self.trials), ("max_epochs", self.max_epochs)):
            if not is_whole(value, at_least=1) and (name, value) != ("trials", None):
                raise StudyError(f"Budget: {name} must be a whole number of at least 1, but got {value!r}.")
        for name, seconds in (("trial_seconds", self.trial_seconds), ("trial_timeout", self.trial_timeout)):
            if seconds is not None and not is_number(seconds, above=0, below=float("inf")):
                raise StudyError(f"Budget: {name} must be a positive number or None, but got {seconds!r}.")
        if not is_whole(self.max_retries, at_least=0):
            raise StudyError(f"Budget: max_retries must be a whole number of at least 0, but got {self.max_retries!r}.")


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


def is_whole(value: object, *, at_least: int) -> bool:
    """Whether ``value`` is a whole number of at least ``at_least``; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def is_number(value: object, *, above: float, below: float) -> bool:
    """Whether ``value`` is a number strictly between ``above`` and ``below``."""
    return isinstance(value, int | float) and not isinstance(value, bool) and above < value < below
