"""What ends a study whose trials fail, and what it says of them."""

from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import TooManyFailures
from hpo.workers.failure_limit import in_common, stop_at_failures

SPACE = {"rate": FloatDistribution(0, 1), "pool": CategoricalDistribution(["max", "average"])}


def _trial(rate: float, pool: str, *, failed: bool, **attrs: Any) -> FrozenTrial:
    return optuna.create_trial(
        state=TrialState.FAIL if failed else TrialState.COMPLETE,
        value=None if failed else 0.5,
        params={"rate": rate, "pool": pool},
        distributions=SPACE,
        user_attrs={"stop_reason": "nan", "failure": "the loss was nan", **attrs} if failed else {},
    )


@pytest.mark.parametrize(
    ("failed", "others", "common"),
    [
        pytest.param([(0.5, "max"), (0.7, "max")], [(0.1, "average")], ["rate from 0.5 to 0.7", "pool=max"], id="both"),
        pytest.param([(0.5, "max"), (0.7, "average")], [(0.1, "max")], ["rate from 0.5 to 0.7"], id="numbers"),
        pytest.param([(0.5, "max"), (0.7, "max")], [(0.6, "average")], ["pool=max"], id="one-number-between"),
        pytest.param([(0.5, "max"), (0.5, "average")], [(0.1, "max")], ["rate=0.5"], id="one-number"),
        pytest.param([(0.5, "max"), (0.7, "average")], [(0.6, "max")], [], id="nothing"),
        pytest.param([(0.5, "max"), (0.7, "max")], [], [], id="no-other-trial"),
    ],
)
def test_what_failed_trials_have_in_common(
    failed: list[tuple[float, str]], others: list[tuple[float, str]], common: list[str]
) -> None:
    """Only what no other trial has: the rest says nothing about why."""
    found = in_common([_trial(*one, failed=True) for one in failed], [_trial(*one, failed=False) for one in others])
    assert list(found) == common


def _study(*trials: FrozenTrial) -> optuna.Study:
    study = optuna.create_study(study_name="s")
    study.add_trials(trials)
    return study


def test_failures_one_after_another_end_a_study() -> None:
    """With their reason, the latest message and what they share."""
    good, bad = _trial(0.1, "max", failed=False), _trial(0.9, "average", failed=True)
    study = _study(good, bad, bad)
    stop_at_failures(study, set(), 3)
    with pytest.raises(
        TooManyFailures,
        match=r"^The last 2 trials of 's' failed \(nan\), the latest with: the loss was nan\. All of them have "
        r"rate=0\.9, pool=average, which no other trial has\. Fix the study and launch it again\.$",
    ):
        stop_at_failures(study, set(), 2)
    with pytest.raises(TooManyFailures, match=r"^The last trial of 's' failed \(nan\), .* the loss was nan\. Fix the"):
        stop_at_failures(study, set(), 1)


def test_the_order_is_not_the_clock_s() -> None:
    """One that was an hour ahead, or in another zone, ended those that failed."""
    bad, good = _trial(0.9, "average", failed=True), _trial(0.1, "max", failed=False)
    bad.datetime_complete = datetime.now() + timedelta(hours=1)
    stop_at_failures(_study(bad, bad, good, good), set(), 2)
    bad.datetime_complete = datetime.now() - timedelta(hours=1)
    with pytest.raises(TooManyFailures):
        stop_at_failures(_study(good, good, bad, bad), set(), 2)


def test_a_result_in_between_goes_on() -> None:
    """And so do trials of earlier launches, and those that were given back."""
    bad, good = _trial(0.9, "average", failed=True), _trial(0.1, "max", failed=False)
    lost = _trial(0.9, "average", failed=True, given_back=True)
    stop_at_failures(_study(bad, good, _trial(0.9, "average", failed=True)), set(), 2)
    stop_at_failures(_study(bad, bad), {0}, 2)
    stop_at_failures(_study(bad, lost), set(), 2)
