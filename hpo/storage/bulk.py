"""Trials read many at a time: Optuna makes an object of each row, which takes seconds for ten thousand trials."""

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import orm

# The columns of Optuna's tables.
_TRIAL = models.TrialModel.__table__.c
_PARAM, _VALUE = models.TrialParamModel.__table__.c, models.TrialValueModel.__table__.c
_EPOCH = models.TrialIntermediateValueModel.__table__.c
_USER, _SYSTEM = models.TrialUserAttributeModel.__table__.c, models.TrialSystemAttributeModel.__table__.c
_value_of = models.TrialValueModel.stored_repr_to_value
_reported = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
_MOST_CHOSEN = 1000  # a database takes only so many values in one question


class BulkStorage(RDBStorage):
    """Optuna's storage with the same trials, read by one question to each table."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        chosen = {trial_id for trial_id in included_trial_ids if trial_id <= trial_id_greater_than}
        if len(chosen) > _MOST_CHOSEN:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        asked = [
            _TRIAL.study_id == study_id,
            sqlalchemy.or_(_TRIAL.trial_id > trial_id_greater_than, _TRIAL.trial_id.in_(chosen)),
        ]
        if states is not None:
            asked.append(_TRIAL.state.in_([state for state in TrialState if state in states]))
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            question = sqlalchemy.select(
                _TRIAL.trial_id, _TRIAL.number, _TRIAL.state, _TRIAL.datetime_start, _TRIAL.datetime_complete
            )
            trials = session.execute(question.where(*asked).order_by(_TRIAL.trial_id)).all()
            return _whole(session, study_id, trials) if trials else []


def _whole(session: orm.Session, study_id: int, trials: Sequence[Any]) -> list[FrozenTrial]:
    """The trials of these rows, with what other tables hold of them."""
    ids = [row.trial_id for row in trials]

    def by_trial(*columns: Any, order: Any = None) -> dict[int, list[Any]]:
        """Rows of another table, by the trial that they belong to.

        Asked for by the trials' ids, not by their states once more: one may have ended since.
        """
        table = columns[0].table
        question = sqlalchemy.select(table.c.trial_id, *columns).order_by(order)
        if len(ids) <= _MOST_CHOSEN:
            question = question.where(table.c.trial_id.in_(ids))
        else:
            question = question.where(
                table.c.trial_id == _TRIAL.trial_id,
                _TRIAL.study_id == study_id,
                _TRIAL.trial_id.between(ids[0], ids[-1]),
            )
        rows: dict[int, list[Any]] = defaultdict(list)
        for trial_id, *row in session.execute(question):
            rows[trial_id].append(row)
        return rows

    params = by_trial(_PARAM.param_name, _PARAM.param_value, _PARAM.distribution_json, order=_PARAM.param_id)
    values = by_trial(_VALUE.value, _VALUE.value_type, order=_VALUE.objective)
    epochs = by_trial(_EPOCH.step, _EPOCH.intermediate_value, _EPOCH.intermediate_value_type)
    user, system = by_trial(_USER.key, _USER.value_json), by_trial(_SYSTEM.key, _SYSTEM.value_json)
    known: dict[str, BaseDistribution] = {}
    for kind in {kind for rows in params.values() for _name, _place, kind in rows}:
        known[kind] = json_to_distribution(kind)
    return [
        FrozenTrial(
            trial_id=trial_id,
            number=number,
            state=state,
            value=None,
            values=[_value_of(*row) for row in values[trial_id]] if trial_id in values else None,
            datetime_start=_local(started),
            datetime_complete=_local(ended),
            params={
                name: known[distribution].to_external_repr(place) for name, place, distribution in params[trial_id]
            },
            distributions={name: known[distribution] for name, _place, distribution in params[trial_id]},
            user_attrs=_attributes(user[trial_id]),
            system_attrs=_attributes(system[trial_id]),
            intermediate_values={step: _reported(*stored) for step, *stored in epochs[trial_id]},
        )
        for trial_id, number, state, started, ended in trials
    ]


def _local(moment: datetime | None) -> datetime | None:
    """As Optuna gives it: the time of this machine's zone, which it does not name."""
    return None if moment is None else moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _attributes(rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in rows}
