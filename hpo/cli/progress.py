"""The progress of a launch: a live table in a terminal, one line in a notebook, timestamped lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hpo.cli.durations import duration
from hpo.results.status import StudyStatus
from hpo.study.budget import limited
from hpo.study.found import Study
from hpo.study.task import Train
from hpo.text import count_text, figure_text
from hpo.workers.launch import Show

_QUIET_SECONDS = 60


@contextmanager
def progress(metric: str) -> Iterator[Show]:
    """Yield the function that shows each status of a launch."""
    console = Console()
    if _is_notebook():
        yield _NotebookCell(metric)
    elif console.is_terminal:
        live = Live(console=console, refresh_per_second=4)

        def show(status: StudyStatus) -> None:
            live.start()  # not earlier, because a download may show its own bar until then
            live.update(_table(status, metric))

        try:
            yield show
        finally:
            live.stop()
    else:
        yield _Lines(metric)


class _Lines:
    """Prints a line if trials have ended, otherwise one per minute."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._finished = -1
        self._printed = 0.0

    def __call__(self, status: StudyStatus) -> None:
        if status.finished == self._finished and time.monotonic() < self._printed + _QUIET_SECONDS:
            return
        self._finished, self._printed = status.finished, time.monotonic()
        print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {summary(status, self._metric)}", file=sys.stdout, flush=True)


class _NotebookCell:
    """Shows one output of a notebook cell, which changes as trials end."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._shown = ""
        self._handle: Any = None

    def __call__(self, status: StudyStatus) -> None:
        from IPython.display import display

        text = f"{status.name}  {summary(status, self._metric)}"
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        elif text != self._shown:
            self._handle.update(content, raw=True)
        self._shown = text


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def stopping_line(definition: Study, task: Train) -> str:
    """Whether the trials of a study have early stopping and learning-rate reduction, and how to turn them off."""
    stopping = task.trial_stopping
    patience = definition.base.get("patience", stopping.patience)
    if "patience" in definition.search_space.parameters:
        patience = "`patience`"
    parts = []
    if patience:
        parts.append(f"early stopping after {patience} epochs")
    if stopping.reduce_lr_patience:
        parts.append(f"a learning rate times {stopping.reduce_lr_factor:g} after {stopping.reduce_lr_patience} epochs")
    if not parts:
        return "Early stopping and learning-rate reduction are off."
    turned_off = "both" if len(parts) == 2 else "it"
    return f"On: {' and '.join(parts)} without a better {task.metric}; stopping=None turns {turned_off} off."


def summary(status: StudyStatus, metric: str) -> str:
    """The study's status in one line."""
    parts = [f"{status.done} trials" if limited(status.budget) else count_text(status.finished, "trial")]
    states = [f"{count} {state.lower().replace('_', ' ')}" for state, count in status.states.items()]
    if states:
        parts.append(", ".join(states))
    if status.best is not None:
        parts.append(f"best {metric} {figure_text(status.best.value)} (trial {status.best.number})")
    parts.append(f"elapsed {duration(status.seconds)}")
    remaining = remaining_seconds(status)
    if remaining is not None:
        parts.append(f"about {duration(remaining)} left")
    return "; ".join(parts)


def remaining_seconds(status: StudyStatus) -> float | None:
    """Seconds until a limit of the budget is reached, if it goes on as until now; None before two trials have ended."""
    left = []
    if "seconds" in status.limits:
        left.append(status.limits["seconds"] - status.seconds)
    if status.finished >= 2 and limited(status.budget) is not None:
        left.append(status.seconds / status.finished * (status.budget - status.finished))
    if status.epochs and "total_epochs" in status.limits:
        left.append(status.seconds / status.epochs * (status.limits["total_epochs"] - status.epochs))
    return min(left) if left and min(left) > 0 else None


def limits_line(status: StudyStatus) -> str:
    """What will end a study, or has ended it."""
    if status.ended_by is not None:
        return ended_line(status)
    limits = status.limits
    parts = [f"{limits['trials']:g} trials"] if "trials" in limits else []
    parts += [duration(limits["seconds"])] if "seconds" in limits else []
    parts += [f"{limits['total_epochs']:g} epochs"] if "total_epochs" in limits else []
    parts += [f"{limits['patience']:g} trials that are not better"] if "patience" in limits else []
    parts += [f"a value of {limits['target']:g}"] if "target" in limits else []
    return f"Ends after {', or '.join(parts)}." if parts else "Ends when somebody ends it."


def ended_line(status: StudyStatus) -> str:
    """Why a study has ended, and how to continue it."""
    best = status.best
    match status.ended_by:
        case "target" if best is not None:
            first = " The first trial already has: look whether the target is on the right side." * (best.number == 0)
            return f"Trial {best.number} has reached the target {status.limits['target']:g}.{first}"
        case "patience":
            return f"The last {status.limits['patience']:g} trials were not better than the best. More with --patience."
        case "seconds":
            return f"The time of {duration(status.limits['seconds'])} is over. More with --timeout."
        case "total_epochs":
            return f"The {status.limits['total_epochs']:g} epochs have been trained. More with --total-epochs."
        case "space":
            return "Every configuration that the sampler can draw has run."
    return f"All {status.budget} trials of {status.name} are done."


def _table(status: StudyStatus, metric: str) -> Group:
    workers = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("worker", "device", "trial", "epoch", metric):
        workers.add_column(column, justify="left" if column in ("worker", "device") else "right")
    for worker in sorted(status.workers, key=lambda worker: str(worker["worker"])):
        workers.add_row(
            str(worker["worker"]), str(worker["device"]), str(worker["trial"]), str(worker["epoch"] or "…"),
            figure_text(worker["value"]),
        )  # fmt: skip
    heading = Text.assemble((status.name, "bold"), "  ", summary(status, metric))
    if not status.states and not status.workers:
        return Group(heading, Text("starting the workers…", style="dim"))
    return Group(heading, workers) if status.workers else Group(heading)
