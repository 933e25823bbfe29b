"""What a setting may hold, and lists of settings made of ranges and of one parameter's values."""

import re
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo import Setting, When, grid, vary
from hpo.errors import SpaceError, StudyError
from hpo.study.comparison_settings import FIGURES, values_of


def _whole(message: str) -> str:
    """The pattern of just this message."""
    return f"^{re.escape(message)}$"


def test_a_setting_is_parameters_figures_and_a_name() -> None:
    """In this order; all but the parameters may be left out."""
    setting = Setting({"layers": "conv32 softmax", "epochs": 5}, {"test_accuracy": 0.9}, "small")
    assert setting.as_json() == {
        "name": "small",
        "params": {"layers": "conv32 softmax", "epochs": 5},
        "reported": {"test_accuracy": 0.9},
    }
    assert Setting({"epochs": 5}).as_json() == {"name": "", "params": {"epochs": 5}, "reported": {}}


def test_a_setting_keeps_its_own_copies() -> None:
    """A study file that changes its dictionaries afterwards does not change a setting that was checked."""
    params: dict[str, Any] = {"epochs": 5}
    reported = {"test_accuracy": 0.9}
    setting = Setting(params, reported)
    params["epochs"], reported["test_accuracy"] = "five", 90.0
    assert setting == Setting({"epochs": 5}, {"test_accuracy": 0.9})


@pytest.mark.parametrize("value", ["relu", 32, 0.1, True, None], ids=["text", "whole", "float", "bool", "none"])
def test_a_value_is_what_a_storage_can_hold(value: Any) -> None:
    """What Optuna takes as a choice."""
    assert Setting({"parameter": value}).params == {"parameter": value}


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_that_is_measured_can_be_reported(figure: str) -> None:
    """The bounds of an accuracy are accuracies."""
    assert [Setting({"x": 1}, {figure: value}).reported[figure] for value in (0, 0.5, 1)] == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(({},), "A setting must be a dictionary of parameters, but got {}.", id="no-parameter"),
        pytest.param((["epochs"],), "A setting must be a dictionary of parameters, but got ['epochs'].", id="a-list"),
        pytest.param(
            ({"kernel": (3, 3)},),
            "The value of 'kernel' in a setting must be a text, a finite number, True, False or None, but got (3, 3). "
            "Give it a name, and look that up in a dictionary, such as "
            '{"small": ..., "large": ...}[params["size"]].',
            id="tuple-as-value",
        ),
        pytest.param(
            ({3: "kernel"},), "The name of a parameter must be a text, but a setting has 3.", id="number-as-parameter"
        ),
        pytest.param(
            ({"epochs": 5}, "five epochs"),
            "The reported figures of a setting must be a dictionary, but got 'five epochs'.",
            id="name-in-the-place-of-figures",
        ),
        pytest.param(({"epochs": 5}, {}, 5), "The name of a setting must be a text, but got 5.", id="number-as-name"),
        pytest.param(
            ({"epochs": 5}, {"accuracy_of_test": 0.9}),
            "A reported figure must be one of test_accuracy, test_loss, val_accuracy, val_loss, accuracy, loss, "
            "parameters, seconds, best_epoch, but got 'accuracy_of_test'.",
            id="unknown-figure",
        ),
        pytest.param(
            ({"epochs": 5}, {"test_loss": "0.3"}), "A reported test_loss must be a number, but got '0.3'.", id="text"
        ),
        pytest.param(
            ({"epochs": 5}, {"parameters": True}), "A reported parameters must be a number, but got True.", id="bool"
        ),
        pytest.param(
            ({"epochs": 5}, {"val_accuracy": 91.2}),
            "A reported val_accuracy must lie between 0 and 1, but got 91.2. Divide by 100.",
            id="percent",
        ),
        pytest.param(
            ({"epochs": 5}, {"accuracy": -0.1}),
            "A reported accuracy must lie between 0 and 1, but got -0.1. Divide by 100.",
            id="negative-accuracy",
        ),
        pytest.param(
            ({"epochs": 5}, {"test_accuracy": float("nan")}),
            "A reported test_accuracy must lie between 0 and 1, but got nan. Divide by 100.",
            id="nan",
        ),
        pytest.param(
            ({"epochs": 5}, {"test_loss": float("nan")}),
            "A reported test_loss must be finite, but got nan. Leave it out.",
            id="nan-as-loss",
        ),
        pytest.param(
            ({"epochs": 5}, {"seconds": float("inf")}),
            "A reported seconds must be finite, but got inf. Leave it out.",
            id="infinite",
        ),
        pytest.param(
            ({"momentum": float("nan")},),
            "The value of 'momentum' in a setting must be a text, a finite number, True, False or None, but got nan. "
            "Give it a name, and look that up in a dictionary, such as "
            '{"small": ..., "large": ...}[params["size"]].',
            id="nan-as-value",
        ),
    ],
)
def test_a_bad_setting_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    """The rule, the value, and where it helps what to do."""
    with pytest.raises(StudyError, match=_whole(message)):
        Setting(*arguments)


def test_numbers_of_numpy_become_those_of_python() -> None:
    """A setting may come out of somebody's calculation."""
    setting = Setting({"units": np.int64(8), "rate": np.float32(0.5)}, {"test_accuracy": np.float64(0.75)})
    assert setting == Setting({"units": 8, "rate": 0.5}, {"test_accuracy": 0.75})
    assert [type(value) for value in (*setting.params.values(), *setting.reported.values())] == [int, float, float]


# A grid


def test_a_grid_is_every_combination_in_order() -> None:
    """The last parameter changes fastest; whole numbers and floats go by their steps."""
    space = {
        "kind": CategoricalDistribution(["b", "a"]),
        "units": IntDistribution(16, 48, step=16),
        "dropout": FloatDistribution(0.0, 0.3, step=0.3),
    }
    expected = [
        {"kind": kind, "units": units, "dropout": dropout}
        for kind in ("b", "a")
        for units in (16, 32, 48)
        for dropout in (0.0, 0.3)
    ]
    assert [dict(setting.params) for setting in grid(space)] == expected
    assert {(setting.name, len(setting.reported)) for setting in grid(space)} == {("", 0)}


def test_a_conditional_parameter_is_in_the_settings_that_have_it() -> None:
    """The others are there once, not once for each of its values."""
    space = {
        "optimizer": CategoricalDistribution(["adam", "sgd"]),
        "momentum": When("optimizer", ["sgd"], CategoricalDistribution([0.0, 0.9])),
    }
    assert [setting.params for setting in grid(space)] == [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "sgd", "momentum": 0.9},
    ]


def test_figures_go_to_the_settings_they_were_reported_of() -> None:
    """In whatever order, also of its parameters; the rest of the grid has none."""
    space = {"x": IntDistribution(1, 2), "y": CategoricalDistribution(["a", "b"])}
    settings = grid(space, [({"y": "a", "x": 2}, {"val_loss": 0.2}), ({"x": 1, "y": "b"}, {"test_accuracy": 0.9})])
    assert [setting.reported for setting in settings] == [{}, {"test_accuracy": 0.9}, {"val_loss": 0.2}, {}]


def test_a_continuous_parameter_has_no_grid() -> None:
    """The error names it and two ways out."""
    dropout = FloatDistribution(0.0, 0.5)
    message = (
        f"A grid needs a finite number of values, but 'dropout' is continuous: {dropout}. "
        "Give it a step, or list its values in a CategoricalDistribution."
    )
    with pytest.raises(SpaceError, match=_whole(message)):
        grid({"units": IntDistribution(1, 2), "dropout": dropout})


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"x": 3, "y": "a"}, id="another-value"),
        pytest.param({"x": 1}, id="a-part"),
        pytest.param({"x": 1, "y": "a", "z": 0}, id="one-more-parameter"),
    ],
)
def test_a_figure_of_a_setting_outside_of_the_grid_is_refused(params: dict[str, Any]) -> None:
    """It would silently be compared with nothing."""
    message = (
        f"Figures must be reported for settings of the grid, but {params!r} is none of its 4. "
        "The first is {'x': 1, 'y': 'a'}."
    )
    with pytest.raises(StudyError, match=_whole(message)):
        grid({"x": IntDistribution(1, 2), "y": CategoricalDistribution(["a", "b"])}, [(params, {"test_loss": 0.3})])


def test_two_reports_of_one_setting_are_refused() -> None:
    """Nobody could say which of them ours is compared with."""
    twice = [({"x": 1}, {"test_loss": 0.3}), ({"x": 2}, {"test_loss": 0.3}), ({"x": 1}, {"test_loss": 0.2})]
    message = "Figures must be reported once for a setting, but {'x': 1} is there twice."
    with pytest.raises(StudyError, match=_whole(message)):
        grid({"x": IntDistribution(1, 2)}, twice)


def test_figures_of_a_grid_come_in_pairs() -> None:
    """Of a setting and what was reported of it."""
    message = "Figures must be reported as pairs, such as ({'x': 1}, {'test_accuracy': 0.9}), but got {'x': 2}."
    with pytest.raises(StudyError, match=_whole(message)):
        grid({"x": IntDistribution(1, 2)}, [{"x": 2}])  # type: ignore[list-item]


def test_figures_of_a_grid_are_checked() -> None:
    """As those of a setting that is written by itself."""
    message = "A reported test_accuracy must lie between 0 and 1, but got 90. Divide by 100."
    with pytest.raises(StudyError, match=_whole(message)):
        grid({"x": IntDistribution(1, 2)}, [({"x": 2}, {"test_accuracy": 90})])


# One parameter


def test_one_parameter_varies() -> None:
    """A setting for each value, in order, with its figures or none."""
    assert vary("dropout", {0.5: {"test_accuracy": 0.9}, 0.0: {}}) == (
        Setting({"dropout": 0.5}, {"test_accuracy": 0.9}),
        Setting({"dropout": 0.0}),
    )


@pytest.mark.parametrize("values", [pytest.param([8, 16], id="list"), pytest.param({}, id="nothing")])
def test_what_varies_is_a_dictionary(values: Any) -> None:
    """Each value with its figures, or with none."""
    message = (
        "The values to vary must be a dictionary, such as vary('filters', {8: {'test_accuracy': 0.9}, 16: {}}), "
        f"but got {values!r}."
    )
    with pytest.raises(StudyError, match=_whole(message)):
        vary("filters", values)


# The values


def test_values_are_those_of_all_settings_in_the_order_in_which_they_come() -> None:
    """Each once, also of a parameter that not all settings have, and None is one."""
    settings = [
        Setting({"units": 32, "kind": "b"}),
        Setting({"units": 16}),
        Setting({"units": 32, "patience": None}),
        Setting({"kind": "a", "units": 64}),
    ]
    assert values_of(settings) == {
        "units": CategoricalDistribution([32, 16, 64]),
        "kind": CategoricalDistribution(["b", "a"]),
        "patience": CategoricalDistribution([None]),
    }
    assert list(values_of(settings)) == ["units", "kind", "patience"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(True, 1, id="true-and-1"),
        pytest.param(0, False, id="0-and-false"),
        pytest.param(1, 1.0, id="1-and-1.0"),
    ],
)
def test_values_that_a_storage_would_confuse_are_refused(one: Any, other: Any) -> None:
    """Optuna would record the first of them for both."""
    message = (
        f"The values of 'x' in the settings must differ, but {one!r} and {other!r} are equal. Write them as one type."
    )
    with pytest.raises(StudyError, match=_whole(message)):
        values_of([Setting({"x": one}), Setting({"x": "y"}), Setting({"x": other, "z": 0})])


def test_true_and_1_are_values_of_different_parameters() -> None:
    """Only within one parameter they are confused."""
    assert values_of([Setting({"x": True, "y": 1}), Setting({"x": False, "y": 0})]) == {
        "x": CategoricalDistribution([True, False]),
        "y": CategoricalDistribution([1, 0]),
    }
