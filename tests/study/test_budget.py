"""What a study and each of its trials may cost, and the rules that a budget is held to."""

from typing import Any

import pytest

from hpo import Budget, Stopping
from hpo.errors import StudyError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"trials": 0}, "trials must be a whole number of at least 1, but got 0", id="no-trials"),
        pytest.param({"trials": 1.5}, "trials must be a whole number of at least 1, but got 1.5", id="half-a-trial"),
        pytest.param({"trials": True}, "trials must be a whole number of at least 1, but got True", id="yes"),
        pytest.param({"trials": "40"}, "trials must be a whole number of at least 1, but got '40'", id="text"),
        pytest.param({"trials": 1, "max_epochs": 0}, "max_epochs must be a whole number.* but got 0", id="no-epochs"),
        pytest.param({"trials": 1, "max_epochs": None}, "max_epochs must be .* but got None", id="endless"),
        pytest.param(
            {"trials": 1, "trial_seconds": 0},
            "trial_seconds must be a positive number or None, but got 0",
            id="no-time",
        ),
        pytest.param(
            {"trials": 1, "trial_seconds": -1.0}, "trial_seconds must be a positive .* but got -1.0", id="negative-time"
        ),
        pytest.param(
            {"trials": 1, "trial_seconds": float("nan")}, "trial_seconds must be .* but got nan", id="nan-time"
        ),
        pytest.param(
            {"trials": 1, "trial_seconds": float("inf")}, "trial_seconds must be .* but got inf", id="infinite-time"
        ),
        pytest.param({"trials": 1, "trial_seconds": "60"}, "trial_seconds must be .* but got '60'", id="time-as-text"),
        pytest.param({"trials": 1, "trial_seconds": True}, "trial_seconds must be .* but got True", id="time-as-yes"),
        pytest.param({"trials": 1, "trial_timeout": 0}, "trial_timeout must be a positive number", id="no-timeout"),
        pytest.param({"trials": 1, "max_retries": -1}, "max_retries must be .* at least 0, but got -1", id="retries"),
        pytest.param({"trials": 1, "max_retries": None}, "max_retries must be .* but got None", id="no-retries"),
    ],
)
def test_a_bad_budget_is_refused(settings: dict[str, Any], message: str) -> None:
    """By its own rule, before it is part of a study."""
    with pytest.raises(StudyError, match=f"Budget: {message}"):
        Budget(**settings)


def test_a_budget_is_one_trial_of_one_epoch_at_least() -> None:
    """Without a limit on its time, which a part of a second sets as well."""
    assert Budget(trials=1, max_epochs=1).trial_seconds is None
    assert Budget(trials=1, max_epochs=1, trial_seconds=0.5).trial_seconds == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"patience": 0}, "patience must be a whole number of at least 1 or None, but got 0", id="no-patience"
        ),
        pytest.param(
            {"reduce_lr_patience": -1},
            "reduce_lr_patience must be a whole number of at least 1 or None, but got -1",
            id="negative",
        ),
        pytest.param({"patience": "6"}, "patience must be .* but got '6'", id="text"),
        pytest.param({"patience": 1.5}, "patience must be .* but got 1.5", id="half-an-epoch"),
        pytest.param({"reduce_lr_patience": True}, "reduce_lr_patience must be .* but got True", id="yes"),
        pytest.param(
            {"reduce_lr_factor": 1},
            "reduce_lr_factor must lie between 0 and 1, but got 1",
            id="factor-one",
        ),
        pytest.param({"reduce_lr_factor": 0}, "reduce_lr_factor must lie between 0 and 1, but got 0", id="factor-zero"),
        pytest.param({"reduce_lr_factor": "half"}, "reduce_lr_factor must lie .* but got 'half'", id="factor-as-text"),
    ],
)
def test_bad_stopping_is_refused(settings: dict[str, Any], message: str) -> None:
    """Each setting by a rule of its own."""
    with pytest.raises(StudyError, match=f"Stopping: {message}"):
        Stopping(**settings)


def test_none_switches_a_rule_of_stopping_off() -> None:
    """Nothing else does."""
    stopping = Stopping(patience=None, reduce_lr_patience=None)
    assert (stopping.patience, stopping.reduce_lr_patience) == (None, None)
