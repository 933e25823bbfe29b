"""Activations and optimizers by the names that a search uses."""

from typing import Any

import numpy as np
import pytest

from hpo.datasets import Dataset, Split
from hpo.models import ACTIVATIONS, OPTIMIZERS, PAIRS, pairs_with
from hpo.models.optimizer import activation_of, build_optimizer

# 300 images: three batches of 128, the last one smaller.
_SPLIT = Split(np.zeros((300, 8, 8, 1), np.uint8), np.zeros(300, np.int64))
DATASET = Dataset("blank", _SPLIT, _SPLIT, ("0", "1"), sha256="", seed=0, validation_fraction=0.5, subset=None)


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
    assert type(build_optimizer(params, DATASET)).__name__ == optimizer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learning_rate_is_set_or_left_to_keras(optimizer: str) -> None:
    """Whatever the optimizer."""
    import keras

    default = keras.optimizers.get(optimizer)
    assert float(build_optimizer({"optimizer": optimizer}, DATASET).learning_rate) == float(default.learning_rate)
    tuned = build_optimizer({"optimizer": optimizer, "learning_rate": 0.0625}, DATASET)
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
    assert build_optimizer(params, DATASET).momentum == momentum


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "sgd"])
def test_momentum_of_another_optimizer_is_left_alone(optimizer: str) -> None:
    """One that is given for sgd does not change the momentum that RMSprop has as well, nor fail elsewhere."""
    import keras

    built = build_optimizer({"optimizer": optimizer, "momentum": 0.5}, DATASET).get_config()
    assert {**built, "name": ""} == {**keras.optimizers.get(optimizer).get_config(), "name": ""}


@pytest.mark.parametrize("name", ["adamm", "", "SGD+relu"])
def test_an_unknown_optimizer_is_refused(name: str) -> None:
    """As a value that is wrong, which ends the trial and not the study."""
    with pytest.raises(ValueError, match="Could not interpret optimizer identifier"):
        build_optimizer({"optimizer": name}, DATASET)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weight_decay_is_set_or_there_is_none(optimizer: str) -> None:
    """Whatever the optimizer."""
    assert not build_optimizer({"optimizer": optimizer}, DATASET).weight_decay
    assert build_optimizer({"optimizer": optimizer, "weight_decay": 0.25}, DATASET).weight_decay == 0.25


@pytest.mark.parametrize(
    ("params", "steps"),
    [pytest.param({"epochs": 4}, 12, id="batches-of-128"), pytest.param({"epochs": 2, "batch_size": 300}, 2, id="own")],
)
def test_a_cosine_falls_to_zero_within_the_epochs(params: dict[str, Any], steps: int) -> None:
    """From the learning rate, or Keras's own for that optimizer; half of it is left halfway."""
    schedule = build_optimizer({**params, "learning_rate": 0.5, "schedule": "cosine"}, DATASET)._learning_rate
    rates = [float(schedule(step)) for step in (0, steps // 2, steps)]
    assert rates == pytest.approx([0.5, 0.25, 0.0], abs=1e-6)
    assert float(build_optimizer({**params, "schedule": "cosine"}, DATASET)._learning_rate(0)) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"schedule": "cosine"}, "give the study a parameter epochs", id="no-length"),
        pytest.param({"schedule": "linear"}, "one of constant, cosine, but got 'linear'", id="unknown"),
    ],
)
def test_a_schedule_that_cannot_be_is_an_error_of_the_value(params: dict[str, Any], message: str) -> None:
    """Which ends the trial and not the study."""
    with pytest.raises(ValueError, match=message):
        build_optimizer(params, DATASET)
