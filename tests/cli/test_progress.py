"""What a launch shows while it runs."""

import io
import re
from typing import Any

import pytest
from definitions import define
from optuna.distributions import IntDistribution
from rich.console import Console

from hpo import Budget, Stopping, Train
from hpo.cli.progress import _table, ended_line, progress, remaining_seconds, stopping_line, summary
from hpo.models import build_mlp
from hpo.results.status import StudyStatus
from hpo.results.trials import TrialRecord
from hpo.study.budget import UNLIMITED

BEST = TrialRecord(number=7, state="COMPLETE", value=0.91236, params={"units": 32})
WORKERS = [
    {"worker": "host-22", "device": "gpu:1", "trial": 9, "epoch": 0, "value": None},
    {"worker": "host-21", "device": "gpu:0", "trial": 8, "epoch": 12, "value": 0.90449},
]


def _status(**fields: Any) -> StudyStatus:
    given = {"name": "s", "budget": 10, "finished": 0, "states": {}, "best": None, "workers": [], "seconds": 0.0}
    return StudyStatus(**{**given, **fields})


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable by which Rich would see a terminal where there is none."""
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "150")


EARLY, REDUCED = "early stopping after 6 epochs", "a learning rate times 0.5 after 2 epochs"
BETTER = "without a better val_accuracy; stopping=None turns"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        pytest.param({}, f"On: {EARLY} and {REDUCED} {BETTER} both off.", id="by-default"),
        pytest.param({"stopping": None}, "Early stopping and learning-rate reduction are off.", id="none"),
        pytest.param({"stopping": Stopping(patience=None)}, f"On: {REDUCED} {BETTER} it off.", id="reduction"),
        pytest.param({"stopping": Stopping(reduce_lr_patience=None)}, f"On: {EARLY} {BETTER} it off.", id="early"),
        pytest.param({"base": {"patience": None}}, f"On: {REDUCED} {BETTER} it off.", id="by-the-base"),
        pytest.param({"space": {"patience": IntDistribution(2, 9)}},
                     f"On: early stopping after `patience` epochs and {REDUCED} {BETTER} both off.", id="searched"),
        pytest.param({"metric": "val_loss"}, f"On: {EARLY} and {REDUCED} without a better val_loss; stopping=None "
                     "turns both off.", id="of-another-metric"),
    ],
)  # fmt: skip
def test_what_ends_and_slows_a_trial_is_said(fields: dict[str, Any], line: str) -> None:
    """With the word that turns it off: a comparison of learning rates is no such with either."""
    given = {"space": {"units": IntDistribution(8, 16)}, "budget": Budget(trials=1), **fields}
    study = define(name="s", data="digits", model=build_mlp, **given)
    assert isinstance(study.task, Train)
    assert stopping_line(study, study.task) == line


@pytest.mark.parametrize(
    ("finished", "seconds"),
    [
        pytest.param(0, None, id="none-ended"),
        pytest.param(1, None, id="one-says-too-little"),
        pytest.param(2, 240.0, id="two"),
        pytest.param(6, 40.0, id="six"),
        pytest.param(10, None, id="done"),
        pytest.param(12, None, id="more-than-the-budget"),
    ],
)
def test_the_rest_is_estimated_from_what_has_ended(finished: int, seconds: float | None) -> None:
    """Each trial that is left takes as long as those before, of which there must be two."""
    assert remaining_seconds(_status(finished=finished, seconds=60.0)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(_status(), "0 of 10 trials; elapsed 0 s", id="nothing-yet"),
        pytest.param(
            _status(finished=1, states={"COMPLETE": 1, "RUNNING": 2}, best=BEST, seconds=61),
            "1 of 10 trials; 1 complete, 2 running; best val_accuracy 0.9124 (trial 7); elapsed 1 min 01 s",
            id="one-ended",
        ),
        pytest.param(
            _status(finished=5, states={"COMPLETE": 4, "FAIL": 1, "GIVEN_BACK": 2}, best=BEST, seconds=100),
            "5 of 10 trials; 4 complete, 1 fail, 2 given back; best val_accuracy 0.9124 (trial 7); "
            "elapsed 1 min 40 s; about 1 min 40 s left",
            id="half-of-it",
        ),
        pytest.param(
            _status(finished=10, states={"FAIL": 10}, seconds=100),
            "10 of 10 trials; 10 fail; elapsed 1 min 40 s",
            id="done-without-a-best",
        ),
    ],
)
def test_summary_is_one_line(status: StudyStatus, text: str) -> None:
    """With what is known so far and no more."""
    assert summary(status, "val_accuracy") == text


def test_without_a_terminal_a_line_is_printed_for_each_trial_that_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """Twice a second nothing new would fill a log."""
    with progress("val_loss") as show:
        for finished in (0, 0, 0, 1, 1, 3, 3):
            show(_status(finished=finished, workers=WORKERS))
    lines = capsys.readouterr().out.splitlines()
    found = [re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (\d+ of 10 trials); elapsed", line) for line in lines]
    assert [line and line[1] for line in found] == ["0 of 10 trials", "1 of 10 trials", "3 of 10 trials"]


def test_lines_are_readable_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """No colours, and a long one is not broken at the width of a terminal."""
    states = {f"STATE_{n}": n for n in range(30)}
    with progress("val_loss") as show:
        show(_status(states=states))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]
    assert len(lines[0]) > 200


def _rendered(status: StudyStatus) -> list[list[str]]:
    """The words of each line of the live table."""
    console = Console(record=True, width=150, file=io.StringIO())
    console.print(_table(status, "val_accuracy"))
    return [line.split() for line in console.export_text().splitlines()]


def test_the_table_has_a_row_for_each_worker() -> None:
    """In the order of their names, so that no row jumps; a dot where there is no epoch yet."""
    heading, columns, *rows = _rendered(_status(workers=WORKERS))
    assert heading[:5] == ["s", "0", "of", "10", "trials;"]
    assert columns == ["worker", "device", "trial", "epoch", "val_accuracy"]
    assert rows == [["host-21", "gpu:0", "8", "12", "0.9045"], ["host-22", "gpu:1", "9", "…", "…"]]


def test_a_value_of_zero_is_a_value() -> None:
    """A model that guesses none right is shown as such."""
    *_, row = _rendered(_status(workers=[{**WORKERS[1], "value": 0.0}]))
    assert row[-1] == "0.0000"


def test_before_the_first_trial_the_table_says_why_nothing_is_there() -> None:
    """Workers take seconds to import Keras."""
    assert _rendered(_status())[1:] == [["starting", "the", "workers…"]]


def test_in_a_terminal_the_table_is_live(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The last status stays on the screen when the launch has ended."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with progress("val_accuracy") as show:
        show(_status(workers=WORKERS))
        show(_status(finished=10, states={"COMPLETE": 10}, best=BEST, seconds=60))
    output = capsys.readouterr().out
    assert "\x1b[" in output
    assert "best val_accuracy 0.9124 (trial 7)" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).splitlines()[-1]


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        pytest.param({"limits": {"seconds": 600}, "budget": UNLIMITED}, 500, id="time"),
        pytest.param({"limits": {"trials": 20}, "budget": 20}, 400, id="trials"),
        pytest.param({"limits": {"seconds": 600, "trials": 6}, "budget": 6}, 50, id="what-comes-first"),
        pytest.param({"limits": {"total_epochs": 100}, "budget": UNLIMITED}, 100, id="epochs"),
        pytest.param({"budget": UNLIMITED}, None, id="no-limit"),
    ],
)
def test_the_forecast_is_of_the_limit_that_comes_first(fields: dict[str, Any], seconds: float | None) -> None:
    """After 100 s, 4 configurations and 50 epochs."""
    assert remaining_seconds(_status(seconds=100.0, finished=4, epochs=50, **fields)) == seconds


@pytest.mark.parametrize(
    ("ended_by", "line"),
    [
        ("target", "Trial 3 has reached the target 0.9."),
        ("patience", "The last 5 trials were not better than the best. More with --patience."),
        ("seconds", "The time of 10 min 00 s is over. More with --timeout."),
        ("total_epochs", "The 100 epochs have been trained. More with --total-epochs."),
        ("space", "Every configuration that the sampler can draw has run."),
        ("trials", "All 10 trials of s are done."),
    ],
)
def test_why_a_study_has_ended_is_said(ended_by: str, line: str) -> None:
    """With the option that continues it."""
    limits = {"target": 0.9, "patience": 5, "seconds": 600, "total_epochs": 100}
    best = TrialRecord(number=3, state="COMPLETE", value=0.95, params={})
    assert ended_line(_status(ended_by=ended_by, limits=limits, best=best)) == line


def test_a_target_that_the_first_trial_reaches_is_doubted() -> None:
    """It may be on the wrong side."""
    best = TrialRecord(number=0, state="COMPLETE", value=0.95, params={})
    assert "on the right side" in ended_line(_status(ended_by="target", limits={"target": 0.1}, best=best))
