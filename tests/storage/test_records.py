"""What is recorded of a trial comes back as it was; what another program wrote under our names is left out."""

import ast
import dataclasses
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from recorded import STRANGE_TRIAL

import hpo
from hpo.storage import records
from hpo.storage.records import (
    ClaimRecord,
    Configuration,
    FitRecord,
    MeasureRecord,
    ModelRecord,
    ResultRecord,
    claim_of,
    configuration_of,
    result_of,
    token_of,
    was_given_back,
)

CLAIM = ClaimRecord(
    Configuration(3, "uuid", seed=11, attempt=2, deaths=1, origin={"setting": 0, "repeat": 1}),
    worker="gpu-box-3-4242",
    device="gpu:1",
    token="token",
    code="0123",
    started=1.5e9,
)
RESULT = ResultRecord(
    stop_reason="early_stopping",
    ended=1.6e9,
    weights="artifact",
    model=ModelRecord(parameters=74, precision="float32", backend="jax", physical_batch_size=16),
    fit=FitRecord(
        epochs=3, best_epoch=2, seconds=12.5, seconds_to_best=8.0, images_per_second=1.0, validation_images=9
    ),
    measures=MeasureRecord(test_accuracy=0.0, test_loss=0.3, test_images=360),
    history={"loss": [0.5, 0.25, 0.125]},
)


def _trial(storage: BaseStorage, state: TrialState, attributes: dict[str, Any]) -> FrozenTrial:
    """A trial with these attributes, as the storage gives it back."""
    study = optuna.create_study(storage=storage)
    value = 0.5 if state == TrialState.COMPLETE else None
    study.add_trial(optuna.trial.create_trial(state=state, value=value, user_attrs=attributes))
    return study.trials[0]


def test_a_claim_comes_back_as_it_was(storage: BaseStorage) -> None:
    """From either kind of storage."""
    trial = _trial(storage, TrialState.RUNNING, CLAIM.as_attributes())
    assert claim_of(trial) == CLAIM
    assert configuration_of(trial) == CLAIM.configuration
    assert token_of(trial) == "token"
    assert CLAIM.host == "gpu-box-3"


def test_a_result_comes_back_as_it_was(storage: BaseStorage) -> None:
    """An accuracy of 0 is a figure; what a trial has not is not written."""
    attributes = RESULT.as_attributes()
    assert result_of(_trial(storage, TrialState.COMPLETE, attributes)) == RESULT
    assert attributes["test_accuracy"] == 0.0
    assert "failure" not in attributes
    assert "given_back" not in attributes


def test_a_trial_that_was_given_back_says_so(sqlite: BaseStorage) -> None:
    """Only one that has failed can be."""
    attributes = ResultRecord(stop_reason="interrupted", given_back=True).as_attributes()
    assert was_given_back(_trial(sqlite, TrialState.FAIL, attributes))
    assert not was_given_back(optuna.trial.create_trial(value=0.5, user_attrs=attributes))


@pytest.mark.parametrize(
    "left_out", ["configuration", "uuid", "seed", "attempt", "deaths", "worker", "device", "token"]
)
def test_a_claim_that_lacks_something_is_none(left_out: str) -> None:
    """Another program may have called something a claim."""
    claim = {name: value for name, value in CLAIM.as_attributes()["claim"].items() if name != left_out}
    assert claim_of(optuna.trial.create_trial(value=0.5, user_attrs={"claim": claim})) is None


def test_what_another_program_calls_by_our_names_is_left_out(sqlite: BaseStorage) -> None:
    """Whatever type it has; True is no number."""
    trial = _trial(sqlite, TrialState.COMPLETE, {**STRANGE_TRIAL, "best_epoch": True, "ended": 1e300})
    assert result_of(trial) == ResultRecord()
    assert (claim_of(trial), configuration_of(trial), token_of(trial)) == (None, None, None)


def test_no_other_module_names_an_attribute_of_a_trial() -> None:
    """One fact, one place: what is renamed here is renamed everywhere."""
    kinds = (ModelRecord, FitRecord, MeasureRecord, ResultRecord)
    names = {each.name for kind in kinds for each in dataclasses.fields(kind)} - {"model", "fit", "measures"}
    read = []
    for path in Path(hpo.__file__).parent.rglob("*.py"):
        if path == Path(records.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            touches = isinstance(node, ast.Attribute) and node.attr in ("user_attrs", "set_user_attr")
            if touches:
                line = path.read_text(encoding="utf-8").splitlines()[node.lineno - 1]
                read += [f"{path.name}:{node.lineno}" for name in {*names, "claim"} if f'"{name}"' in line]
    assert read == []
