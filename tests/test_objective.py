"""One trial, whatever it ends as."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import ThresholdPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from hpo import Budget, StudyDefinition
from hpo.claims import Claim
from hpo.devices import Slot
from hpo.errors import TrialInterrupted
from hpo.objective import Objective, Outcome, ReportedTrial
from hpo.run_dir import RunDir

Score = Callable[[dict[str, Any], ReportedTrial], Any]


def _run(objective: Score, tmp_path: Path, *, warm: bool = False, interrupted: bool = False, **fields: Any) -> Outcome:
    definition = StudyDefinition(
        name="s", objective=objective, space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=1), **fields
    )
    study = optuna.create_study(
        direction=definition.direction, sampler=RandomSampler(seed=0), pruner=ThresholdPruner(lower=0.5)
    )
    claim = Claim(study.ask(), seed=11, attempt=1, is_warm_start=warm)
    run = Objective(definition, None, RunDir(tmp_path), Slot(threads=1), interrupted=lambda: interrupted)
    return run(claim)


def test_an_objective_sees_its_trial(tmp_path: Path) -> None:
    """Parameters, seed and number are at hand; its return is the value."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        assert trial.params == params
        assert (trial.seed, trial.number) == (11, 0)
        return float(params["x"])

    outcome = _run(score, tmp_path)
    assert (outcome.state, outcome.stop_reason) == (TrialState.COMPLETE, "completed")
    assert outcome.value is not None
    assert 0 <= outcome.value <= 1


def test_a_pruned_trial_keeps_its_best_value_and_its_curve(tmp_path: Path) -> None:
    """Not its last, which is what it was pruned for."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        for epoch, value in enumerate((0.7, 0.9, 0.1, 1.0), start=1):
            trial.report(value, epoch)
        raise AssertionError("not reached")

    outcome = _run(score, tmp_path)
    assert (outcome.state, outcome.value, outcome.stop_reason) == (TrialState.PRUNED, 0.9, "pruned")
    assert outcome.records == {"epochs": 3, "best_epoch": 2}


def test_the_best_of_a_minimized_trial_is_its_smallest(tmp_path: Path) -> None:
    """Direction decides what best means."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        for epoch, value in enumerate((0.9, 0.6, 0.8, 0.1), start=1):
            trial.report(value, epoch)
        return 0.0

    assert _run(score, tmp_path, direction="minimize").value == 0.1


def test_a_warm_start_is_not_pruned(tmp_path: Path) -> None:
    """It is what the search has to beat."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        trial.report(0.1, 1)
        return 0.2

    assert _run(score, tmp_path, warm=True).state == TrialState.COMPLETE
    assert _run(score, tmp_path).state == TrialState.PRUNED


def test_a_stop_of_the_worker_comes_at_the_next_report(tmp_path: Path) -> None:
    """The trial gives no result."""

    def score(params: dict[str, Any], trial: ReportedTrial) -> float:
        trial.report(0.8, 1)
        raise AssertionError("not reached")

    with pytest.raises(TrialInterrupted):
        _run(score, tmp_path, interrupted=True)


def _raises(params: dict[str, Any], trial: ReportedTrial) -> float:
    raise KeyError("filters")


def _reports_nan(params: dict[str, Any], trial: ReportedTrial) -> float:
    trial.report(float("nan"), 4)
    return 0.0


@pytest.mark.parametrize(
    ("objective", "reason", "failure"),
    [
        pytest.param(_raises, "error", "KeyError: 'filters'", id="bug"),
        pytest.param(lambda p, t: None, "error", "the objective must return a number, but returned None", id="none"),
        pytest.param(lambda p, t: "0.5", "error", "must return a number, but returned '0.5'", id="text"),
        pytest.param(lambda p, t: float("nan"), "nan", "the objective returned nan", id="nan"),
        pytest.param(_reports_nan, "nan", "the objective reported nan at epoch 4", id="reported-nan"),
    ],
)
def test_failures_have_a_type_and_one_line(objective: Score, reason: str, failure: str, tmp_path: Path) -> None:
    """The study goes on; the traceback is in the log."""
    outcome = _run(objective, tmp_path)
    assert (outcome.state, outcome.value, outcome.stop_reason) == (TrialState.FAIL, None, reason)
    assert failure in outcome.records["failure"]
    assert "\n" not in outcome.records["failure"]
