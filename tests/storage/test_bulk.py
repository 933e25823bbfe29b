"""Trials read many at a time are what Optuna reads one by one."""

import math
import time
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.storage import bulk
from hpo.storage.database import backend_of

SPACE = {
    "rate": FloatDistribution(1e-5, 1.0, log=True),
    "size": IntDistribution(1, 9, step=2),
    "kind": CategoricalDistribution(["a", None, 3, True]),
}


@pytest.fixture
def study(storage: BaseStorage) -> optuna.Study:
    """With trials of every state, strange values, attributes of any kind, and another study beside it."""
    other = optuna.create_study(storage=storage, study_name="other")
    other.add_trial(optuna.create_trial(value=7.0, user_attrs={"of": "other"}))
    study = optuna.create_study(storage=storage, study_name="bulk")
    params: dict[str, Any] = {"size": 3, "rate": 0.1, "kind": None}
    for value in (1.0, math.inf, -math.inf):
        study.add_trial(
            optuna.create_trial(
                value=value, params=params, distributions=SPACE, user_attrs={"a": [1, {"b": None}], "ü": "x\n"},
                system_attrs={"fixed_params": params}, intermediate_values={3: math.nan, 1: value, 2: 0.5},
            )
        )  # fmt: skip
    study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    study.enqueue_trial({"rate": 0.5})
    study.add_trial(
        optuna.create_trial(state=TrialState.PRUNED, params={"size": 1}, distributions={"size": SPACE["size"]})
    )
    running = study.ask()
    running.suggest_float("rate", 1e-5, 1.0, log=True)
    running.report(0.25, 1)
    return study


def _comparable(trials: list[FrozenTrial]) -> list[Any]:
    """As text: NaN is equal to NaN there. With the orders that samplers rely on."""
    return [(repr(trial), list(trial.params), list(trial.distributions)) for trial in trials]


@pytest.mark.parametrize("states", [None, (TrialState.COMPLETE, TrialState.RUNNING), ()])
@pytest.mark.parametrize(("since", "included"), [(-1, 0), (2, 0), (4, 2), (1000, 9), (-1, 3)])
def test_it_reads_what_optuna_reads(study: optuna.Study, since: int, included: int, states: Any) -> None:
    """Of any states, since any trial, with any that had not ended before."""
    backend = backend_of(study._storage)
    ids = [trial._trial_id for trial in study.trials]
    asked = (study._study_id, states, set(ids[:included]), since if since < 0 else min(ids) + since)
    assert _comparable(backend._get_trials(*asked)) == _comparable(RDBStorage._get_trials(backend, *asked))


def test_more_than_a_question_can_hold_are_read_all_the_same(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database takes only so many values in one question."""
    ids = {trial._trial_id for trial in study.trials}
    monkeypatch.setattr(bulk, "_MOST_CHOSEN", 2)
    assert len(backend_of(study._storage)._get_trials(study._study_id, None, ids, max(ids))) == len(ids)


@pytest.mark.parametrize("states", [None, (TrialState.COMPLETE, TrialState.RUNNING)])
def test_many_are_read_by_the_range_of_their_ids(
    study: optuna.Study, states: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies between them."""
    monkeypatch.setattr(bulk, "_MOST_CHOSEN", 2)
    backend = backend_of(study._storage)
    asked = study._study_id, states, set[int](), -1
    assert _comparable(backend._get_trials(*asked)) == _comparable(RDBStorage._get_trials(backend, *asked))


def test_a_trial_that_ends_while_it_is_read_is_read_whole(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL shows each question what is there then: its parameters must not depend on its state any more."""
    if "sqlite" in str(backend_of(study._storage).engine.url):
        pytest.skip("SQLite shows all questions of a transaction the same")
    [running] = study.get_trials(states=(TrialState.RUNNING,))
    whole = bulk._whole

    def late(session: Any, study_id: int, trials: Any) -> list[FrozenTrial]:
        study.tell(running.number, 1.0)
        return whole(session, study_id, trials)

    monkeypatch.setattr(bulk, "_whole", late)
    [read] = backend_of(study._storage)._get_trials(study._study_id, (TrialState.RUNNING,), set(), -1)
    assert (read.number, read.params) == (running.number, running.params)


def test_times_are_of_this_machine_s_zone(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Optuna gives them, whatever the zone."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        backend = backend_of(study._storage)
        asked = study._study_id, None, set[int](), -1
        assert _comparable(backend._get_trials(*asked)) == _comparable(RDBStorage._get_trials(backend, *asked))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_study_that_was_deleted_is_missed(study: optuna.Study) -> None:
    """By the error that Optuna raises."""
    backend = backend_of(study._storage)
    optuna.delete_study(study_name="bulk", storage=study._storage)
    with pytest.raises(KeyError):
        backend._get_trials(study._study_id, None, set(), -1)
