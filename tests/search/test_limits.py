"""The limits of a study's budget."""

from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from definitions import define
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo import Budget
from hpo.search.history import History
from hpo.search.limits import Spent, spent_of
from hpo.storage.records import ClaimRecord, Configuration, ResultRecord

SpentOf = Callable[..., Spent]


def _trial(number: int, configuration: int, value: float, **result: Any) -> FrozenTrial:
    """The trial of this number; it took a minute."""
    claim = ClaimRecord(
        Configuration(configuration, f"u{configuration}", 1), "host-1", "cpu", "t", started=100.0 * number
    )
    return optuna.create_trial(
        value=value,
        state=TrialState.PRUNED if result.get("stop_reason") == "paused" else TrialState.COMPLETE,
        user_attrs={**claim.as_attributes(), **ResultRecord(ended=100.0 * number + 60, **result).as_attributes()},
    )


@pytest.fixture
def spent(sqlite: BaseStorage) -> SpentOf:
    """What trials have spent of a budget."""

    def spent(trials: Sequence[FrozenTrial], direction: str = "maximize", most: int = 9, **budget: Any) -> Spent:
        definition = define(
            name="s", task=lambda params, trial: 0.0, direction=direction, budget=Budget(trials=9),
            space={"x": FloatDistribution(0, 1)},
        )  # fmt: skip
        study = optuna.create_study(storage=sqlite, direction=direction)
        study.add_trials(trials)
        history = History(study, definition, lambda configuration: True)
        history.update()
        return spent_of(history, {"trials": most, **budget})

    return spent


TRIALS = [
    _trial(0, 0, 0.5),
    _trial(1, 1, 0.8, stop_reason="paused"),
    _trial(2, 2, 0.6),
    _trial(3, 1, 0.9, stop_reason="completed"),
    _trial(4, 3, 0.7),
]


def test_a_configuration_that_was_continued_counts_once(spent: SpentOf) -> None:
    """Five trials, of four configurations."""
    assert spent(TRIALS).trials == 4
    assert spent(TRIALS).may_begin
    assert not spent(TRIALS, most=4).may_begin


def test_time_between_trials_does_not_count(spent: SpentOf) -> None:
    """Each took a minute, and there were 40 s in between."""
    assert spent(TRIALS, seconds=1000).seconds == pytest.approx(300)


@pytest.mark.parametrize(
    ("budget", "reached"),
    [
        pytest.param({"target": 0.9}, "target", id="target-reached"),
        pytest.param({"target": 0.91}, None, id="target-missed"),
        pytest.param({"patience": 1}, "patience", id="patience-over"),
        pytest.param({"patience": 2}, None, id="patience-left"),
        pytest.param({"seconds": 300}, "seconds", id="time-over"),
        pytest.param({"seconds": 301}, None, id="time-left"),
        pytest.param({"total_epochs": 4}, "total_epochs", id="epochs-over"),
        pytest.param({"total_epochs": 5}, None, id="epochs-left"),
    ],
)
def test_the_first_limit_reached_ends_the_study(spent: SpentOf, budget: dict[str, Any], reached: str | None) -> None:
    """Of a function, a value is an epoch; patience counts what began after the best value was reached."""
    assert spent(TRIALS, **budget).reached == reached


def test_a_target_of_a_minimized_study_is_reached_from_above(spent: SpentOf) -> None:
    """The smallest of these is 0.5."""
    assert spent(TRIALS, "minimize", target=0.5).reached == "target"
    assert spent(TRIALS, "minimize", target=0.4).reached is None


def test_how_much_is_spent_is_the_larger_part(spent: SpentOf) -> None:
    """Of seconds and epochs; without such a limit nothing is."""
    assert spent(TRIALS, seconds=600, total_epochs=5).part == pytest.approx(0.8)
    assert spent(TRIALS).part == 0.0
    assert spent(TRIALS, seconds=400).seconds_left == pytest.approx(100)
