"""What is written of a trial, all of it or nothing, and when its worker beat."""

import math
import time

import optuna
import pytest
import sqlalchemy
import sqlalchemy.orm
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo.storage.database import backend_of
from hpo.storage.leases import LEASE
from hpo.storage.trial_rows import finish_trial, heartbeats, mark_finished


def test_finish_trial_writes_all_or_nothing(storage: BaseStorage) -> None:
    """Value, state and records are one transaction; a trial that has ended keeps its first result."""
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    trial = _running(study)
    before = time.time()
    finish_trial(storage, trial, TrialState.PRUNED, 0.75, {"epochs": 3, "history": {"loss": [1.0]}})
    stored = study.trials[0]
    assert (stored.state, stored.value) == (TrialState.PRUNED, 0.75)
    assert before <= stored.user_attrs["ended"] <= time.time()
    assert stored.user_attrs == {"epochs": 3, "history": {"loss": [1.0]}, "ended": stored.user_attrs["ended"]}
    assert stored.datetime_complete is not None
    with pytest.raises(UpdateFinishedTrialError):
        finish_trial(storage, trial, TrialState.COMPLETE, 0.9, {"epochs": 9})
    assert study.trials[0].user_attrs["epochs"] == 3


def test_a_commit_whose_answer_was_lost_is_not_repeated(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has the result and the connection is gone: it is read back; another's result is not taken for it."""
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    trial, others = _running(study), _running(study)
    records = {"history": {"loss": [float("nan")]}, "epochs": 1}
    commit = sqlalchemy.orm.Session.commit
    lost = []

    def commit_and_lose(session: sqlalchemy.orm.Session) -> None:
        commit(session)
        if not lost:
            lost.append(session)
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("server closed the connection"))

    monkeypatch.setattr("sqlalchemy.orm.Session.commit", commit_and_lose)
    finish_trial(storage, trial, TrialState.COMPLETE, 0.5, records)
    assert len(lost) == 1
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.COMPLETE, 0.5)

    def lose(session: sqlalchemy.orm.Session) -> None:
        """Before the server has it; meanwhile somebody else ends the trial."""
        if lost:
            commit(session)
            return
        lost.append(session)
        session.rollback()
        finish_trial(storage, others, TrialState.FAIL, None, {"given_back": True})
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("server closed the connection"))

    lost.clear()
    monkeypatch.setattr("sqlalchemy.orm.Session.commit", lose)
    with pytest.raises(UpdateFinishedTrialError):
        finish_trial(storage, others, TrialState.COMPLETE, 0.5, records)
    assert study.trials[1].user_attrs.keys() == {"given_back", "ended"}


def test_a_mark_may_be_made_twice(storage: BaseStorage) -> None:
    """As after a commit whose answer was lost; both trials have it, and are read anew."""
    study = optuna.create_study(storage=storage, study_name="s")
    ended = [_running(study) for _ in range(2)]
    for trial in ended:
        finish_trial(storage, trial, TrialState.FAIL, None, {})
    assert not any(trial.user_attrs.get("given_back") for trial in study.trials)
    mark_finished(storage, study._study_id, ended[:1], "given_back")
    mark_finished(storage, study._study_id, ended, "given_back")
    assert [trial.user_attrs["given_back"] for trial in study.trials] == [True, True]


def test_pulses_are_of_running_trials(storage: BaseStorage) -> None:
    """When each last beat, by the database's clock; none where a worker was killed before its first."""
    study = optuna.create_study(storage=storage, study_name="s")
    never, beating, ended = _running(study), _running(study), _running(study)
    for trial in (beating, ended):
        backend_of(storage).record_heartbeat(trial)
    finish_trial(storage, ended, TrialState.COMPLETE, 1.0, {})
    found = heartbeats(storage, study._study_id)
    assert set(found) == {never, beating}
    assert (found[never].beat, found[never].age) == (None, math.inf)
    assert found[beating].beat is not None
    assert -1 <= found[beating].age < LEASE


def _running(study: optuna.Study) -> int:
    """The id of a new running trial, made as a claim makes one: Study.ask would warn that it does not beat."""
    return study._storage.create_new_trial(study._study_id)
