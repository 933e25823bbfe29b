"""What a space suggests, lists, refuses and records."""

import contextlib
import enum
import json
import re
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.samplers import RandomSampler

from hpo.errors import SpaceError
from hpo.models import PAIRS, pairs_with
from hpo.study.space import Space, When, can_continue

OPTIMIZER = CategoricalDistribution(["adam", "sgd"])
MOMENTUM = When("optimizer", ["sgd"], FloatDistribution(0.0, 0.9, step=0.3))

# One of each kind that Optuna has.
KINDS = {
    "float": FloatDistribution(0.0, 0.5),
    "log-float": FloatDistribution(1e-5, 1e-1, log=True),
    "stepped-float": FloatDistribution(0.0, 1.0, step=0.25),
    "int": IntDistribution(1, 3),
    "log-int": IntDistribution(8, 128, log=True),
    "stepped-int": IntDistribution(16, 64, step=16),
    "categorical": CategoricalDistribution([None, True, 3, 0.5, "max"]),
}


def _trial(**fixed: Any) -> optuna.Trial:
    """A trial of an Optuna study in memory, with some of its values fixed."""
    return _ask(optuna.create_study(sampler=RandomSampler(seed=0)), **fixed)


def _ask(study: optuna.Study, **fixed: Any) -> optuna.Trial:
    study.enqueue_trial(fixed)
    return study.ask()


@pytest.mark.parametrize("pair", PAIRS)
def test_momentum_exists_only_where_the_pair_has_sgd(pair: str) -> None:
    """A condition on a pair of activation and optimizer looks at the optimizer."""
    space = Space(
        {
            "activation_optimizer": CategoricalDistribution(PAIRS),
            "momentum": When("activation_optimizer", pairs_with("sgd"), FloatDistribution(0.0, 0.99)),
        }
    )
    params = space.suggest(_trial(activation_optimizer=pair))
    assert params["activation_optimizer"] == pair
    assert ("momentum" in params) == pair.endswith("+sgd")


def test_suggest_asks_for_each_distribution_as_it_was_written() -> None:
    """Steps and logarithms reach Optuna, and the values come in the order of the parameters."""
    trial = _trial()
    params = Space(KINDS).suggest(trial)
    assert list(params) == list(KINDS)
    assert trial.distributions == KINDS
    assert trial.params == params


def test_a_condition_on_an_absent_parameter_does_not_hold() -> None:
    """Conditions nest: without momentum there is nothing that depends on momentum."""
    space = Space(
        {
            "optimizer": OPTIMIZER,
            "nesterov": When("optimizer", ["sgd"], CategoricalDistribution([False, True])),
            "warmup": When("nesterov", [True], IntDistribution(1, 5)),
        }
    )
    assert list(space.suggest(_trial(optimizer="adam"))) == ["optimizer"]
    assert list(space.suggest(_trial(optimizer="sgd", nesterov=False))) == ["optimizer", "nesterov"]
    assert list(space.suggest(_trial(optimizer="sgd", nesterov=True))) == ["optimizer", "nesterov", "warmup"]


def test_grid_holds_each_configuration_once() -> None:
    """A conditional parameter multiplies only the configurations in which it exists."""
    space = Space({"optimizer": OPTIMIZER, "momentum": MOMENTUM, "units": IntDistribution(16, 48, step=16)})
    grid = space.grid()
    momenta = [0.0, 0.3, 0.6, 0.9]
    expected = [{"optimizer": "adam", "units": units} for units in (16, 32, 48)]
    expected += [{"optimizer": "sgd", "momentum": m, "units": units} for m in momenta for units in (16, 32, 48)]
    assert [list(params) for params in grid] == [list(params) for params in expected]
    assert grid == [pytest.approx(params) for params in expected]


@pytest.mark.parametrize(
    ("distribution", "count"),
    [
        pytest.param(CategoricalDistribution(["max", "average"]), 2, id="categorical"),
        pytest.param(IntDistribution(1, 3), 3, id="int"),
        pytest.param(IntDistribution(1, 10, step=3), 4, id="stepped-int"),
        pytest.param(IntDistribution(8, 16, log=True), 9, id="log-int"),
        pytest.param(FloatDistribution(0.0, 0.9, step=0.3), 4, id="stepped-float-whose-sum-falls-short"),
        pytest.param(FloatDistribution(0.1, 0.25, step=0.05), 4, id="stepped-float-whose-quotient-falls-short"),
        pytest.param(FloatDistribution(0.0, 0.6, step=0.1), 7, id="stepped-float-whose-sum-overshoots"),
        pytest.param(FloatDistribution(1.0, 2.0, step=1e-3), 1001, id="fine-float"),
    ],
)
def test_grid_values_are_points_of_the_space(distribution: BaseDistribution, count: int) -> None:
    """Both ends belong to it, nothing comes twice, and rounding leads nowhere outside."""
    space = Space({"x": distribution})
    grid = space.grid()
    assert len(grid) == count
    assert len({params["x"] for params in grid}) == count
    for params in grid:
        space.point(params)


@pytest.mark.parametrize(
    "parameter",
    [
        pytest.param(FloatDistribution(0.0, 1.0), id="linear"),
        pytest.param(FloatDistribution(1e-5, 1e-1, log=True), id="log"),
        pytest.param(When("optimizer", ["sgd"], FloatDistribution(0.0, 1.0)), id="conditional"),
    ],
)
def test_grid_of_a_continuous_parameter_is_refused(parameter: BaseDistribution | When) -> None:
    """The error names the parameter and the two ways to make it finite."""
    space = Space({"optimizer": OPTIMIZER, "rate": parameter})
    with pytest.raises(SpaceError, match=r"'rate' is continuous: FloatDistribution.*Give it a step, or list its val"):
        space.grid()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({}, "at least one parameter, but got {}. Write, for example", id="empty"),
        pytest.param(["x"], "must be a dictionary", id="list"),
        pytest.param({"x": (0, 1)}, r"'x' must be an Optuna distribution, but got \(0, 1\). Use Float", id="tuple"),
        pytest.param({"x": FloatDistribution}, "'x' must be an Optuna distribution", id="class"),
        pytest.param(
            {"momentum": MOMENTUM, "optimizer": OPTIMIZER},
            "'momentum' must name a parameter that stands before it, but got 'optimizer'. Parameters before it: none",
            id="condition-on-a-later-parameter",
        ),
        pytest.param(
            {"units": IntDistribution(1, 2), "momentum": MOMENTUM},
            "Parameters before it: units",
            id="condition-on-an-unknown-parameter",
        ),
        pytest.param(
            {"units": IntDistribution(1, 2), "momentum": MOMENTUM, "optimizer": OPTIMIZER},
            "got 'optimizer'. Parameters before it: units",
            id="condition-on-the-next-parameter",
        ),
        pytest.param(
            {"x": When("x", [1], IntDistribution(1, 2))}, "must name a parameter that stands before", id="on-itself"
        ),
        pytest.param(
            {"optimizer": OPTIMIZER, "x": When("optimizer", ["sgd", "SGD"], IntDistribution(1, 2))},
            "'x' can never hold: 'optimizer' cannot be 'SGD'",
            id="condition-on-an-impossible-choice",
        ),
        pytest.param(
            {"units": IntDistribution(1, 9), "x": When("units", [10], IntDistribution(1, 2))},
            "'units' cannot be 10. It is IntDistribution",
            id="condition-out-of-range",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(parameters: Any, message: str) -> None:
    """When it is written, not when a worker meets it."""
    with pytest.raises(SpaceError, match=message):
        Space(parameters)


class Kind(enum.StrEnum):
    """Its members are texts, and more than that."""

    WIDE = "wide"


NAMED = re.escape('Give it a name, and look that up in a dictionary, such as {"small": ..., "large": ...}')


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")  # Optuna's own word of the same
@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        pytest.param((3, 3), r"\(3, 3\)", id="tuple"),
        pytest.param([16, 32], r"\[16, 32\]", id="list"),
        pytest.param({"units": 16}, r"\{'units': 16\}", id="dictionary"),
        pytest.param(max, "<built-in function max>", id="function"),
        pytest.param(Space, "<class 'hpo.study.space.Space'>", id="class"),
        pytest.param(float("nan"), "nan", id="nan"),
        pytest.param(float("-inf"), "-inf", id="infinity"),
        pytest.param(np.float32("inf"), "inf", id="infinity-of-numpy"),
        pytest.param(np.zeros((2, 2)), r"array\(\[\[0., 0.\], \[0., 0.\]\]\)", id="array"),
        pytest.param(1 + 2j, r"\(1\+2j\)", id="complex"),
        pytest.param(b"wide", "b'wide'", id="bytes"),
        pytest.param(Kind.WIDE, "<Kind.WIDE: 'wide'>", id="enumeration"),
    ],
)
@pytest.mark.parametrize("condition", [False, True], ids=["alone", "under-a-condition"])
def test_a_choice_that_no_storage_can_hold_is_refused(choice: object, shown: str, *, condition: bool) -> None:
    """When it is written, with the way out: names, and a dictionary from names to values."""
    size: Any = CategoricalDistribution(["small", choice])  # type: ignore[list-item]
    parameters = {"optimizer": OPTIMIZER, "size": When("optimizer", ["sgd"], size) if condition else size}
    message = f"^A choice of 'size' must be a text, a finite number, True, False or None, but got {shown}\\. {NAMED}"
    with pytest.raises(SpaceError, match=message) as refused:
        Space(parameters)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("one", "other"), [(True, 1), (1, 1.0), (0, False), (0.0, -0.0), ("a", "a"), (2, np.int64(2))])
@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_choices_that_are_equal_are_refused(one: Any, other: Any) -> None:
    """Optuna finds a choice by ==, and would record the first of them for both."""
    with pytest.raises(SpaceError, match=r"^The choices of 'x' must differ, but .* are equal\. Leave one out, or"):
        Space({"x": CategoricalDistribution([one, None, other])})


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_numbers_of_numpy_become_those_of_python() -> None:
    """Wherever they stand: JSON knows no others, and the model is given what the storage holds."""
    numpy, python = (
        Space(
            {
                "size": CategoricalDistribution([of(int, 8), of(int, 16)]),
                "flag": CategoricalDistribution([of(bool, True), of(str, "auto")]),
                "rate": FloatDistribution(of(float, 0.5), of(float, 1.0), log=of(bool, True)),
                "units": IntDistribution(of(int, 1), of(int, 9), step=of(int, 2)),
                "momentum": When("size", [of(int, 16)], FloatDistribution(of(float, 0), of(float, 0.5))),
            }
        )
        for of in (lambda kind, value: np.array([value], kind)[0], lambda kind, value: value)
    )
    assert json.dumps(numpy.as_json()) == json.dumps(python.as_json())
    params = numpy.suggest(_trial(size=16))
    assert {name: type(value) for name, value in params.items() if name != "flag"} == {
        "size": int, "rate": float, "units": int, "momentum": float
    }  # fmt: skip
    assert type(params["flag"]) in (bool, str)


@pytest.mark.parametrize(
    "pin", [CategoricalDistribution(["adam"]), IntDistribution(3, 3), FloatDistribution(0.5, 0.5)], ids=type
)
def test_a_parameter_of_one_value_is_a_pin(pin: BaseDistribution) -> None:
    """It stays where it was searched before; what depends on another value of it stays, too, and never exists."""
    space = Space({"x": pin, "momentum": When("x", ["sgd", 9], FloatDistribution(0.0, 0.9)),
                   "nesterov": When("momentum", [0.5], CategoricalDistribution([True, False]))})  # fmt: skip
    params = space.suggest(_trial())
    assert list(params) == ["x"]
    assert space.point({}) == {}
    assert space.point(params) == params


def test_a_space_of_pins_is_one_configuration() -> None:
    """A grid of it has one setting."""
    space = Space(
        {"optimizer": CategoricalDistribution(["adam"]), "momentum": MOMENTUM, "units": IntDistribution(8, 8)}
    )
    assert space.grid() == [{"optimizer": "adam", "units": 8}]


@pytest.mark.parametrize("name", [3, "", None], ids=["number", "empty", "none"])
def test_a_parameter_has_a_name(name: Any) -> None:
    """Which Optuna would ask for first in a worker."""
    with pytest.raises(SpaceError, match=f"The name of a parameter must be a text, but got {name!r}"):
        Space({name: OPTIMIZER})


def test_an_infinite_range_is_refused() -> None:
    """Nothing can be drawn from it."""
    with pytest.raises(SpaceError, match="The range of 'rate' must be finite, but got FloatDistribution"):
        Space({"rate": FloatDistribution(0.0, float("inf"))})


@pytest.mark.parametrize(
    "values", [pytest.param("sgd", id="text"), pytest.param([], id="none"), pytest.param(5, id="number")]
)
def test_a_condition_needs_a_list_of_values(values: Any) -> None:
    """``"sgd"`` would else mean the letters s, g and d."""
    with pytest.raises(SpaceError, match=f"list with at least one value, but got {values!r}".replace("[]", r"\[\]")):
        When("optimizer", values, FloatDistribution(0.0, 1.0))


def test_a_space_keeps_its_own_copy() -> None:
    """A study file that changes its dictionary afterwards does not change a space that was checked."""
    parameters: dict[str, Any] = {"x": IntDistribution(1, 2)}
    space = Space(parameters)
    parameters["y"] = "not a distribution"
    assert list(space.parameters) == ["x"]


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"units": 48}, id="part"),
        pytest.param({"optimizer": "sgd", "momentum": 0.3, "units": 16}, id="all"),
    ],
)
def test_points_of_a_space_pass(params: dict[str, Any]) -> None:
    """A warm start may leave parameters to the sampler."""
    Space({"optimizer": OPTIMIZER, "momentum": MOMENTUM, "units": IntDistribution(16, 48, step=16)}).point(params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"unit": 16}, "'unit' is not a parameter of this space. Its parameters: optimizer", id="unknown"),
        pytest.param({"units": 64}, r"units=64 lies outside of IntDistribution\(high=48.*Widen it or", id="too-large"),
        pytest.param({"units": 17}, "units=17 lies outside", id="between-two-steps"),
        pytest.param({"units": "many"}, "units='many' lies outside", id="text-for-a-number"),
        pytest.param({"units": None}, "units=None lies outside", id="nothing-for-a-number"),
        pytest.param({"momentum": float("nan")}, "momentum=nan lies outside", id="nan"),
        pytest.param({"momentum": -0.3}, "momentum=-0.3 lies outside", id="conditional-too-small"),
        pytest.param({"optimizer": "lion"}, "optimizer='lion' lies outside", id="unlisted-choice"),
        pytest.param({"optimizer": ["adam"]}, "lies outside", id="unhashable-choice"),
    ],
)
def test_points_outside_are_refused(params: dict[str, Any], message: str) -> None:
    """The error shows the value and what the parameter may be."""
    space = Space({"optimizer": OPTIMIZER, "momentum": MOMENTUM, "units": IntDistribution(16, 48, step=16)})
    with pytest.raises(SpaceError, match=message):
        space.point(params)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(IntDistribution(1, 50), IntDistribution(1, 10), id="lowered"),
        pytest.param(IntDistribution(1, 50, log=True), IntDistribution(1, 10, log=True), id="log-stays"),
        pytest.param(IntDistribution(1, 50, step=7), IntDistribution(1, 8, step=7), id="step-stays"),
        pytest.param(IntDistribution(1, 10), IntDistribution(1, 10), id="low-enough"),
        pytest.param(IntDistribution(20, 50), IntDistribution(10, 10), id="wholly-above"),
        pytest.param(FloatDistribution(1, 50), FloatDistribution(1, 50), id="not-whole-numbers"),
        pytest.param(CategoricalDistribution([5, 20, 50]), CategoricalDistribution([5, 10]), id="choices"),
        pytest.param(
            CategoricalDistribution(["few", 50]), CategoricalDistribution(["few", 10]), id="choices-with-text"
        ),
    ],
)
def test_limited_lowers_the_upper_end(before: BaseDistribution, after: BaseDistribution) -> None:
    """Of the one parameter that was named, to what the budget allows."""
    other = IntDistribution(1, 99)
    limited = Space({"epochs": before, "units": other}).limited("epochs", 10)
    assert limited.parameters == {"epochs": after, "units": other}


def test_limited_reaches_a_conditional_parameter() -> None:
    """A condition is no way around the budget, and stays."""
    space = Space({"optimizer": OPTIMIZER, "epochs": When("optimizer", ["sgd"], IntDistribution(1, 50))})
    assert space.limited("epochs", 10).parameters["epochs"] == When("optimizer", ["sgd"], IntDistribution(1, 10))


def test_limited_leaves_out_what_depends_on_more() -> None:
    """And what depends on that: neither will exist."""
    space = Space(
        {
            "epochs": CategoricalDistribution([5, 10, 50]),
            "warmup": When("epochs", [10, 50], IntDistribution(1, 3)),
            "cooldown": When("epochs", [50], IntDistribution(1, 3)),
            "slowly": When("cooldown", [3], CategoricalDistribution([True, False])),
        }
    )
    assert space.limited("epochs", 10).parameters == {
        "epochs": CategoricalDistribution([5, 10]),
        "warmup": When("epochs", [10], IntDistribution(1, 3)),
    }


def test_limited_without_that_parameter_changes_nothing() -> None:
    """A study need not search for its epochs."""
    space = Space({"units": IntDistribution(1, 99)})
    assert space.limited("epochs", 10) == space


@pytest.mark.parametrize("kind", KINDS)
def test_json_gives_the_distribution_back(kind: str) -> None:
    """The canonical form is Optuna's own, so that any Optuna tool reads it."""
    stored = json.dumps(Space({"x": KINDS[kind]}).as_json()["x"])
    assert json_to_distribution(stored) == KINDS[kind]


def test_json_of_a_condition_names_it() -> None:
    """Beside the distribution, which Optuna still reads."""
    form = Space({"optimizer": OPTIMIZER, "momentum": MOMENTUM}).as_json()["momentum"]
    assert form["when"] == {"parameter": "optimizer", "values": ["sgd"]}
    assert json_to_distribution(json.dumps(form)) == MOMENTUM.distribution


def test_json_is_stable() -> None:
    """It survives a storage, follows the parameters' order, and does not depend on how a sequence was written."""
    space = Space({**KINDS, "optimizer": OPTIMIZER, "momentum": MOMENTUM})
    form = space.as_json()
    assert json.loads(json.dumps(form)) == form
    assert list(form) == list(space.parameters)
    tuples = {
        "optimizer": CategoricalDistribution(("adam", "sgd")),
        "momentum": When("optimizer", ("sgd",), FloatDistribution(0, 0.9, step=0.3)),
    }
    assert Space({**KINDS, **tuples}).as_json() == form


@pytest.mark.parametrize(
    ("old", "new", "may"),
    [
        pytest.param({"x": IntDistribution(1, 9)}, {"x": IntDistribution(1, 9)}, True, id="same"),
        pytest.param({"x": IntDistribution(1, 9)}, {"x": IntDistribution(5, 99, step=2)}, True, id="other-range"),
        pytest.param({"x": OPTIMIZER}, {"x": OPTIMIZER, "y": IntDistribution(1, 9)}, True, id="one-more"),
        pytest.param({"x": OPTIMIZER, "y": IntDistribution(1, 9)}, {"x": OPTIMIZER}, True, id="one-less"),
        pytest.param(
            {"o": OPTIMIZER, "x": IntDistribution(1, 9)},
            {"o": OPTIMIZER, "x": When("o", ["sgd"], IntDistribution(1, 9))},
            True,
            id="made-conditional",
        ),
        pytest.param({"x": IntDistribution(1, 9)}, {"x": FloatDistribution(1, 9)}, False, id="other-kind"),
        pytest.param({"x": IntDistribution(1, 9)}, {"x": IntDistribution(1, 9, log=True)}, False, id="other-scale"),
        pytest.param({"x": OPTIMIZER}, {"x": CategoricalDistribution(["adam"])}, False, id="fewer-choices"),
        pytest.param({"x": OPTIMIZER}, {"x": CategoricalDistribution(["sgd", "adam"])}, False, id="other-order"),
        pytest.param(
            {"o": OPTIMIZER, "x": When("o", ["sgd"], OPTIMIZER)},
            {"o": OPTIMIZER, "x": When("o", ["sgd"], IntDistribution(1, 9))},
            False,
            id="other-kind-under-a-condition",
        ),
    ],
)
def test_can_continue_where_optuna_admits_the_change(old: Any, new: Any, *, may: bool) -> None:
    """Ranges may move and parameters come and go; kinds, scales and choices stay. Optuna itself is asked as well."""
    assert can_continue(Space(old).as_json(), Space(new).as_json()) is may
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    Space(old).suggest(_ask(study, o="sgd"))
    with contextlib.nullcontext() if may else pytest.raises(ValueError, match=r"Cannot set|does not support"):
        Space(new).suggest(_ask(study, o="sgd"))
