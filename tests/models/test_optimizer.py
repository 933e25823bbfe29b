"""Activations and optimizers by the names that a search uses."""

from typing import Any

import pytest

from hpo.models import ACTIVATIONS, OPTIMIZERS, PAIRS, pairs_with
from hpo.models.optimizer import activation_of, build_optimizer


def test_pairs_are_every_activation_with_every_optimizer() -> None:
    """35 of them, each once."""
    assert len(PAIRS) == len(set(PAIRS)) == 35
    assert {tuple(pair.split("+")) for pair in PAIRS} == {(a, o) for a in ACTIVATIONS for o in OPTIMIZERS}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pairs_with_an_optimizer_are_one_for_each_activation(optimizer: str) -> None:
    """Those of adamax are not those of adam."""
    assert pairs_with(optimizer) == tuple(f"{activation}+{optimizer}" for activation in ACTIVATIONS)


def test_there_are_no_pairs_with_an_unknown_optimizer() -> None:
    """A part of a name is no name; a condition on no pairs is then refused."""
    assert pairs_with("ada") == pairs_with("lion") == ()


@pytest.mark.parametrize(
    ("params", "activation"),
    [
        pytest.param({}, "relu", id="default"),
        pytest.param({"activation": "tanh"}, "tanh", id="alone"),
        pytest.param({"activation_optimizer": "leaky_relu+sgd"}, "leaky_relu", id="pair"),
        pytest.param({"activation_optimizer": "selu+adam", "activation": "tanh"}, "selu", id="pair-before-alone"),
    ],
)
def test_activation_comes_from_the_pair_or_by_itself(params: dict[str, Any], activation: str) -> None:
    """A study searches them together or apart."""
    assert activation_of(params) == activation


@pytest.mark.parametrize(
    ("params", "optimizer"),
    [
        pytest.param({}, "Adam", id="default"),
        pytest.param({"optimizer": "rmsprop"}, "RMSprop", id="alone"),
        pytest.param({"activation_optimizer": "relu+adadelta"}, "Adadelta", id="pair"),
        pytest.param({"activation_optimizer": "relu+nadam", "optimizer": "sgd"}, "Nadam", id="pair-before-alone"),
    ],
)
def test_optimizer_comes_from_the_pair_or_by_itself(params: dict[str, Any], optimizer: str) -> None:
    """As the activation does."""
    assert type(build_optimizer(params)).__name__ == optimizer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learning_rate_is_set_or_left_to_keras(optimizer: str) -> None:
    """Whatever the optimizer."""
    import keras

    default = keras.optimizers.get(optimizer)
    assert float(build_optimizer({"optimizer": optimizer}).learning_rate) == float(default.learning_rate)
    tuned = build_optimizer({"optimizer": optimizer, "learning_rate": 0.0625})
    assert type(tuned) is type(default)
    assert float(tuned.learning_rate) == 0.0625


@pytest.mark.parametrize(
    ("params", "momentum"),
    [
        pytest.param({"optimizer": "sgd"}, 0.9, id="sgd-without-momentum"),
        pytest.param({"optimizer": "sgd", "momentum": 0.0}, 0.0, id="sgd-with-none"),
        pytest.param({"activation_optimizer": "elu+sgd", "momentum": 0.5}, 0.5, id="pair"),
    ],
)
def test_momentum_is_that_of_sgd(params: dict[str, Any], momentum: float) -> None:
    """Plain gradient descent hardly trains these networks: 0.9 unless the search says otherwise."""
    assert build_optimizer(params).momentum == momentum


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "sgd"])
def test_momentum_of_another_optimizer_is_left_alone(optimizer: str) -> None:
    """One that is given for sgd does not change the momentum that RMSprop has as well, nor fail elsewhere."""
    import keras

    built = build_optimizer({"optimizer": optimizer, "momentum": 0.5}).get_config()
    assert {**built, "name": ""} == {**keras.optimizers.get(optimizer).get_config(), "name": ""}


@pytest.mark.parametrize("name", ["adamm", "", "SGD+relu"])
def test_an_unknown_optimizer_is_refused(name: str) -> None:
    """As a value that is wrong, which ends the trial and not the study."""
    with pytest.raises(ValueError, match="Could not interpret optimizer identifier"):
        build_optimizer({"optimizer": name})
