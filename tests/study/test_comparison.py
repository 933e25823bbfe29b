"""A comparison: its settings, its repeats, its trials."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from definitions import called_search, trained_comparison, trained_search
from optuna.distributions import CategoricalDistribution, IntDistribution

from hpo import Budget, Setting, vary
from hpo.errors import StudyError
from hpo.study.comparison_settings import Planned
from hpo.study.space import Space


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"settings": [Setting({"x": 1, "y": 2}), Setting({"x": 2}), Setting({"y": 2, "x": 1}, name="again")]},
            "each setting must be there once, but {'x': 1, 'y': 2} is there twice. `repeats` runs it again.",
            id="a-setting-twice",
        ),
        pytest.param(
            {"settings": [Setting({"x": True, "y": 1}), Setting({"x": 1, "y": 2})]},
            "The values of 'x' in the settings must differ, but True and 1 are equal. Write them as one type.",
            id="true-and-1",
        ),
        pytest.param(
            {"repeats": 2, "budget": Budget(trials=7)},
            "the comparison has 3 settings with 2 repeats, so at most 6 trials, but its budget is 7.",
            id="more-trials-than-settings",
        ),
        pytest.param(
            {"base": {"epochs": "ten"}},
            "`epochs` must be a whole number of at least 1, but `base` has 'ten'.",
            id="epochs-as-text",
        ),
        pytest.param(
            {"settings": [Setting({"batch_size": 0})]},
            "`batch_size` must be a whole number of at least 1, but a setting has 0.",
            id="empty-batches",
        ),
        pytest.param(
            {"settings": [Setting({"patience": None}), Setting({"patience": 2.5})]},
            "`patience` must be a whole number of at least 1, but a setting has 2.5.",
            id="patience-of-half-epochs",
        ),
        pytest.param(
            {"settings": vary("epochs", {10: {}, 60: {}})},
            "`epochs` must be at most the budget's 50, but a setting has 60. Write budget=Budget(max_epochs=60).",
            id="more-epochs-than-the-budget",
        ),
    ],
)
def test_a_comparison_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    """It compares what is listed, each of it once a repeat, and nothing else."""
    whole = re.escape(f"Study 's': {message}")
    with pytest.raises(StudyError, match=f"^{whole}$"):
        trained_comparison(**fields)


def test_a_launch_cannot_give_a_comparison_more_trials_than_it_lists() -> None:
    """There would be nothing to run; fewer are a part of it."""
    comparison = trained_comparison(repeats=2)
    assert comparison.overridden({"trials": 4}).trials == 4
    with pytest.raises(StudyError, match=r"^Study 's': the comparison has 3 settings .* but its budget is 9\.$"):
        comparison.overridden({"trials": 9})


def test_a_launch_may_shorten_a_comparison_but_not_make_its_settings_the_same() -> None:
    """A table would show one training as two settings."""
    comparison = trained_comparison(base={"epochs": 20})
    assert comparison.overridden({"max_epochs": 2}).trials == 3
    epochs = trained_comparison(settings=vary("epochs", {1: {}, 5: {}, 10: {}}))
    assert epochs.overridden({"max_epochs": 6}).trials == 3
    message = (
        "Study 's': each setting must differ, but with at most 5 epochs two are {'epochs': 5}. "
        "Raise --max-epochs, or the budget's max_epochs."
    )
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        epochs.overridden({"max_epochs": 5})


def test_what_an_objective_calls_epochs_is_its_own() -> None:
    """Only of a model's training hpo knows what they are."""
    assert called_search(base={"epochs": "ten"}).base == {"epochs": "ten"}


def test_a_search_has_an_end() -> None:
    """A target may never be reached."""
    message = "Study 's': a search must have an end. Write budget=Budget(trials=40), or Budget(seconds=1800)."
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        trained_search(budget=Budget(target=0.9))


def test_the_budget_of_a_comparison_is_all_of_its_trials() -> None:
    """Unless it is written otherwise; that of a search is always written."""
    assert trained_comparison().trials == 3
    assert trained_comparison(repeats=4).trials == 12
    assert trained_comparison(repeats=4, budget=Budget(trials=5)).trials == 5
    assert trained_search().trials == 3


def test_every_setting_is_planned_once_before_any_is_again() -> None:
    """A comparison that is stopped early has compared all its settings."""
    comparison = trained_comparison(settings=[Setting({"x": 1}), Setting({"y": 2, "x": 2})], repeats=2)
    assert comparison.plan() == [
        Planned({"setting": 0, "repeat": 0}, {"x": 1}),
        Planned({"setting": 1, "repeat": 0}, {"y": 2, "x": 2}),
        Planned({"setting": 0, "repeat": 1}, {"x": 1}),
        Planned({"setting": 1, "repeat": 1}, {"y": 2, "x": 2}),
    ]


def test_a_search_plans_its_warm_starts() -> None:
    """Limited to its budget; what else it runs is sampled."""
    search = trained_search(warm_starts=[{"units": 32}, {"epochs": 20}]).overridden({"max_epochs": 5})
    assert search.plan() == [Planned({"warm_start": 0}, {"units": 32}), Planned({"warm_start": 1}, {"epochs": 5})]
    assert trained_search().plan() == []


def test_a_trial_is_asked_for_the_parameters_of_its_setting() -> None:
    """Each with all the values it has anywhere: Optuna wants the choices of a parameter to stay the same."""
    settings = [Setting({"x": 1}), Setting({"kind": "b", "x": 2}), Setting({"kind": "a"})]
    comparison = trained_comparison(settings=settings)
    x, kind = CategoricalDistribution([1, 2]), CategoricalDistribution(["b", "a"])
    assert comparison.search_space == Space({"x": x, "kind": kind})
    assert [comparison.space_of({"setting": index, "repeat": 0}) for index in range(3)] == [
        Space({"x": x}),
        Space({"x": x, "kind": kind}),
        Space({"kind": kind}),
    ]


@pytest.mark.parametrize("origin", [{}, {"warm_start": 0}], ids=["sampled", "warm-start"])
def test_a_trial_of_a_search_is_asked_for_all_of_the_space(origin: dict[str, int]) -> None:
    """Limited to the budget, as ever."""
    search = trained_search(warm_starts=[{"units": 32}]).overridden({"max_epochs": 5})
    assert search.space_of(origin) == search.search_space
    assert search.search_space.distribution("epochs") == IntDistribution(1, 5, log=True)


def test_a_comparison_can_be_varied() -> None:
    """Study files write one comparison and replace what the next does otherwise."""
    filters = trained_comparison(repeats=2, base={"epochs": 2})
    dropout = dataclasses.replace(filters, name="t", settings=vary("dropout", {0.0: {}, 0.5: {}}))
    assert (dropout.trials, dropout.repeats, dropout.base) == (4, 2, {"epochs": 2})
    assert list(dropout.search_space.parameters) == ["dropout"]


def test_a_comparison_keeps_its_own_copies() -> None:
    """As a search keeps those of its space; numbers of NumPy become those of Python, which JSON knows."""
    settings = [Setting({"x": 1})]
    base: dict[str, Any] = {"units": np.int64(32)}
    comparison = trained_comparison(settings=settings, base=base)
    settings.append(Setting({"x": 2}))
    base["units"] = max
    assert (comparison.settings, comparison.base) == ((Setting({"x": 1}),), {"units": 32})
    assert type(comparison.base["units"]) is int
