"""A trial in the database: what Optuna does not write in one transaction, or not at all, and when a worker beat."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from hpo.storage.database import backend_of, retry_of
from hpo.storage.records import ENDED


def finish_trial(
    storage: BaseStorage, trial_id: int, state: TrialState, value: float | None, records: Mapping[str, Any]
) -> None:
    """Write a trial's end, its value and its records, in one transaction: all of it is there or nothing.

    Optuna keeps the local time of whoever writes, without its zone; the record ``ended`` is in seconds since 1970, UTC.
    A pruned trial has its best value; ``Study.tell`` gives it its last.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: the trial had ended, because its worker was presumed dead.
    """
    backend = backend_of(storage)
    written = json.loads(json.dumps({**records, ENDED: time.time()}))
    attempts = 0

    def write() -> None:
        nonlocal attempts
        attempts += 1
        with _create_scoped_session(backend.scoped_session) as session:
            trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            backend.check_trial_is_updatable(trial_id, trial.state)  # type: ignore[arg-type]
            for key, record in written.items():
                backend._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, trial_id, key, record)
            if value is not None:
                backend._set_trial_value_without_commit(session, trial, 0, value)
            trial.state = state
            trial.datetime_complete = datetime.now()

    try:
        retry_of(storage)(write)
    except UpdateFinishedTrialError:
        # Perhaps by ourselves: a commit whose answer was lost has happened all the same.
        found = backend.get_trial(trial_id)
        # As text: NaN is equal to NaN there.
        recorded = {key: json.dumps(found.user_attrs.get(key)) for key in written}
        if attempts == 1 or found.state != state or recorded != {key: json.dumps(r) for key, r in written.items()}:
            raise


def take_waiting(storage: BaseStorage, trial_id: int, attrs: Mapping[str, Any]) -> bool:
    """Begin a trial that somebody enqueued, with user attributes and a heartbeat, in one transaction.

    Returns:
        Whether it was still waiting; if not, another program runs it and nothing is written.
    """
    backend = backend_of(storage)
    with _create_scoped_session(backend.scoped_session) as session:
        trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
        if trial.state != TrialState.WAITING:
            return False
        for key, value in attrs.items():
            backend._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, trial_id, key, value)
        trial.state = TrialState.RUNNING
        trial.datetime_start = datetime.now()
        session.add(models.TrialHeartbeatModel(trial_id=trial_id))
    return True


def trials_by_number(study: optuna.Study) -> Mapping[int, FrozenTrial]:
    """All trials of a study by their number, in order; read it, do not change it.

    `Study.get_trials` makes a sorted list of them each time; this is what it sorts.
    """
    storage = study._storage
    assert isinstance(storage, _CachedStorage)
    storage._read_trials_from_remote_storage(study._study_id)
    return storage._studies[study._study_id].trials


def mark_finished(storage: BaseStorage, study_id: int, trial_ids: Sequence[int], name: str) -> None:
    """Give trials that have ended a user attribute ``name`` that is true, which Optuna itself refuses.

    Other processes that have read these trials before go on with what they read.
    """
    assert isinstance(storage, _CachedStorage)

    def write() -> None:
        with _create_scoped_session(backend_of(storage).scoped_session) as session:
            for trial_id in trial_ids:
                trial = models.TrialModel.find_or_raise_by_id(trial_id, session)
                # It is there if the answer to an earlier commit was lost.
                attribute = models.TrialUserAttributeModel.find_by_trial_and_key(
                    trial, name, session
                ) or models.TrialUserAttributeModel(trial_id=trial_id, key=name)
                attribute.value_json = "true"
                session.add(attribute)

    retry_of(storage)(write)
    storage._studies.pop(study_id, None)  # Optuna reads a trial that has ended once


def forget_reports(trial: optuna.Trial) -> None:
    """Remove all that a running trial has reported: Optuna ignores a second report of the same step.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: the trial had ended, because its worker was presumed dead.
    """
    backend = backend_of(trial.storage)

    def write() -> None:
        with _create_scoped_session(backend.scoped_session) as session:
            row = models.TrialModel.find_or_raise_by_id(trial._trial_id, session, for_update=True)
            backend.check_trial_is_updatable(trial._trial_id, row.state)  # type: ignore[arg-type]
            row.intermediate_values.clear()

    retry_of(trial.storage)(write)
    trial._cached_frozen_trial.intermediate_values.clear()


@dataclass(frozen=True)
class Heartbeat:
    """When the worker of a running trial last said that it is alive.

    Args:
        beat: by the database's clock; None if there was none.
        age: seconds ago, by that clock, which somebody may have set in between.
    """

    beat: datetime | None
    age: float


def heartbeats(storage: BaseStorage, study_id: int) -> dict[int, Heartbeat]:
    """The last heartbeat of each running trial, by its id."""

    def read() -> dict[int, Heartbeat]:
        with _create_scoped_session(backend_of(storage).scoped_session) as session:
            now = session.execute(sqlalchemy.func.now()).scalar().replace(tzinfo=None)  # type: ignore[union-attr]
            rows = (
                session.query(models.TrialModel.trial_id, models.TrialHeartbeatModel.heartbeat)
                .outerjoin(
                    models.TrialHeartbeatModel, models.TrialHeartbeatModel.trial_id == models.TrialModel.trial_id
                )
                .filter(models.TrialModel.study_id == study_id, models.TrialModel.state == TrialState.RUNNING)
            )
            return {
                trial_id: Heartbeat(beat, (now - beat).total_seconds() if beat else math.inf) for trial_id, beat in rows
            }

    return retry_of(storage)(read)
