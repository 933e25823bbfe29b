"""The checker finds what it is there to find."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from faults.checker import check
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo.files.run_dir import RunDir
from hpo.storage.trial_rows import finish_trial
from hpo.trial.events import EventLog


class History:
    """A study with what its workers logged, both written by hand: nothing wrong in it yet.

    Configuration 0 was lost in its second epoch and went on as trial 1 from its first; configuration 2 was paused and
    went on as trial 3.
    """

    def __init__(self, storage: BaseStorage, run_dir: RunDir) -> None:
        self.study = optuna.create_study(storage=storage, study_name="s", sampler=RandomSampler())
        self.study.set_user_attr("budget", 2)
        self.log = EventLog(run_dir.events("s") / "host-1.jsonl")
        self.claim(0, configuration=0, attempt=1)
        self.report(0, epoch=1, value=0.1)
        self.end(0, TrialState.FAIL, None, given_back=True)
        self.claim(1, configuration=0, attempt=2)
        self.log.write("resume", trial=1, epoch=1)
        for epoch in (1, 2):
            self.report(1, epoch=epoch, value=0.2)
        self.tell(1, 0.2)
        self.claim(2, configuration=2, attempt=1)
        self.tell(2, 0.3, state=TrialState.PRUNED, stop_reason="paused")
        self.claim(3, configuration=2, attempt=2)
        self.tell(3, 0.3)

    def claim(self, number: int, *, configuration: int, attempt: int) -> None:
        claim = {"configuration": configuration, "attempt": attempt}
        self.study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"claim": claim}))
        self.log.write("claim", trial=number, configuration=configuration, attempt=attempt)

    def report(self, number: int, *, epoch: int, value: float) -> None:
        trial_id = self.study.trials[number]._trial_id
        self.study._storage.set_trial_intermediate_value(trial_id, epoch, value)
        self.log.write("report", trial=number, epoch=epoch, value=value)

    def tell(self, number: int, value: float, *, state: TrialState = TrialState.COMPLETE, **records: Any) -> None:
        for event in ("tell", "told"):
            self.log.write(event, trial=number, state=state.name, value=value)
        self.end(number, state, value, **records)

    def end(self, number: int, state: TrialState, value: float | None, **records: Any) -> None:
        trial_id = self.study.trials[number]._trial_id
        finish_trial(self.study._storage, trial_id, state, value, records)


@pytest.fixture
def history(sqlite: BaseStorage, run_dir: RunDir) -> History:
    return History(sqlite, run_dir)


def _violations(history: History, run_dir: RunDir) -> list[str]:
    url = str(history.study._storage._backend.engine.url)  # type: ignore[attr-defined]
    return check(run_dir, url, "s", is_kept=True).violations


def test_a_study_in_order_has_no_violation(history: History, run_dir: RunDir) -> None:
    """An attempt that was lost and went on is none."""
    assert _violations(history, run_dir) == []


def _double_claim(history: History) -> None:
    history.log.write("claim", trial=2, configuration=2, attempt=1)


def _double_attempt(history: History) -> None:
    history.claim(4, configuration=0, attempt=2)
    history.end(4, TrialState.FAIL, None, given_back=True)


def _overlap(history: History) -> None:
    history.log.write("report", trial=0, epoch=3, value=0.1)


def _two_results(history: History) -> None:
    history.claim(4, configuration=2, attempt=2)
    history.tell(4, 0.3)


def _lost_result(history: History) -> None:
    history.log.write("told", trial=0, state="COMPLETE", value=0.9)


def _result_of_nobody(history: History) -> None:
    history.claim(4, configuration=3, attempt=1)
    history.end(4, TrialState.COMPLETE, 0.7)


def _running(history: History) -> None:
    history.claim(4, configuration=3, attempt=1)


def _too_many(history: History) -> None:
    history.claim(4, configuration=3, attempt=1)
    history.tell(4, 0.4)


def _failed(history: History) -> None:
    history.claim(4, configuration=3, attempt=1)
    history.end(4, TrialState.FAIL, None, stop_reason="error", failure="OSError: lost")


def _two_epochs_again(history: History) -> None:
    history.claim(4, configuration=0, attempt=3)
    for epoch in (1, 2):
        history.report(4, epoch=epoch, value=0.1)


def _again_after_a_signal(history: History) -> None:
    history.claim(4, configuration=3, attempt=1)
    history.report(4, epoch=1, value=0.1)
    history.log.write("give_back", trial=4, signal=15)
    history.claim(5, configuration=3, attempt=2)
    history.report(5, epoch=1, value=0.1)


def _again_after_a_pause(history: History) -> None:
    history.claim(4, configuration=3, attempt=1)
    history.report(4, epoch=1, value=0.1)
    history.tell(4, 0.1, state=TrialState.PRUNED, stop_reason="paused")
    history.claim(5, configuration=3, attempt=2)
    history.report(5, epoch=1, value=0.1)
    history.tell(5, 0.1)


def _resumed_too_late(history: History) -> None:
    history.claim(4, configuration=3, attempt=1)
    history.report(4, epoch=1, value=0.1)
    history.claim(5, configuration=3, attempt=2)
    history.log.write("resume", trial=5, epoch=4)


def _another_claim(history: History) -> None:
    history.study.add_trial(
        optuna.create_trial(state=TrialState.RUNNING, user_attrs={"claim": {"configuration": 7, "attempt": 3}})
    )
    history.log.write("claim", trial=4, configuration=0, attempt=1)


def _unclaimed(history: History) -> None:
    history.study.add_trial(optuna.create_trial(state=TrialState.COMPLETE, value=0.5))


def _unstored(history: History) -> None:
    history.log.write("claim", trial=5, configuration=5, attempt=1)


def _another_report(history: History) -> None:
    history.log.write("report", trial=2, epoch=1, value=0.9)


@pytest.mark.parametrize(
    ("spoil", "violation"),
    [
        pytest.param(_double_claim, "trial 2 was claimed 2 times", id="double-claim"),
        pytest.param(_double_attempt, "attempt 2 of configuration 0 has 2 trials", id="double-attempt"),
        pytest.param(_overlap, "configuration 0: trial 0 went on after trial 1 began", id="overlap"),
        pytest.param(_two_results, "configuration 2 has 2 results", id="two-results"),
        pytest.param(_lost_result, "trial 0 was told as 0.9, but is stored as ('FAIL', None)", id="lost-result"),
        pytest.param(_result_of_nobody, "trial 4 is stored as ('COMPLETE', 0.7), but", id="result-of-nobody"),
        pytest.param(_running, "trial 4 is still RUNNING", id="left-running"),
        pytest.param(_too_many, "3 trials finished, but the budget is 2", id="over-budget"),
        pytest.param(_failed, "trial 4 failed (error): OSError: lost", id="failed"),
        pytest.param(_two_epochs_again, "trial 4 trained epochs [1, 2] again", id="epochs-repeated"),
        pytest.param(_again_after_a_signal, "trial 5 trained [1] again without a kill", id="epoch-after-a-signal"),
        pytest.param(_again_after_a_pause, "trial 5 trained [1] again without a kill", id="epoch-after-a-pause"),
        pytest.param(_resumed_too_late, "trial 5 went on from epoch 4, but 1 were trained", id="epochs-left-out"),
        pytest.param(_another_claim, "trial 4 was claimed as (0, 1), but is stored as", id="another-claim"),
        pytest.param(_unclaimed, "trial 4 is COMPLETE, but nobody claimed it", id="claimed-by-nobody"),
        pytest.param(_unstored, "trial 5 is in no storage", id="not-stored"),
        pytest.param(_another_report, "trial 2 reported 0.9 at epoch 1, but None is stored", id="lost-report"),
    ],
)
def test_each_violation_is_found(
    spoil: Callable[[History], None], violation: str, history: History, run_dir: RunDir
) -> None:
    """And named with its trials."""
    spoil(history)
    assert any(violation in found for found in _violations(history, run_dir)), _violations(history, run_dir)


def test_the_half_line_of_a_killed_worker_is_left_out(history: History, run_dir: RunDir, tmp_path: Path) -> None:
    """It is what a kill leaves, no violation; a broken line before others is none that a kill leaves."""
    with (run_dir.events("s") / "host-1.jsonl").open("a") as stream:
        stream.write('{"time": 1, "eve')
    assert _violations(history, run_dir) == []
    history.log.write("give_back", trial=2)
    with pytest.raises(json.JSONDecodeError):
        _violations(history, run_dir)
