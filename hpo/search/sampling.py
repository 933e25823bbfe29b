"""Optuna's samplers as many processes use them: each draw knows all results, and a finite space ends."""

import copy
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, BruteForceSampler, GPSampler, GridSampler, PartialFixedSampler, QMCSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import Outage, SpaceError, StudyError
from hpo.study.seeds import derive_seed
from hpo.study.space import Params, Space

# Of Optuna's attributes of a trial, what its next attempt does anew; the rest, such as a generation, it keeps.
_OF_ATTEMPT = ("completed_rung_", "constraints", "artifacts:", "fixed_params")
# What GridSampler writes down of a trial's place in its grid.
_GRID_ATTRS = ("grid_id", "search_space")
_STOPPED = "stopped"
# Raised within a sampler, and no fault of its own: its trial is given back.
_OF_STORAGE = (StorageInternalError, SQLAlchemyError, Outage, UpdateFinishedTrialError)


class SharedStudy(optuna.Study):
    """A study whose trials many processes claim, instead of one that calls `Study.optimize`."""

    def at_this_moment(self) -> "SharedStudy":
        """This study without the list of trials that Optuna keeps per thread until the next `ask` or `tell`.

        We call neither, so that a sampler would see for ever the trials of its first draw.
        """
        return copy.copy(self)

    def stop(self) -> None:
        """End the launch: a sampler calls this if there is nothing left to try. Optuna's own raises here."""
        self.set_user_attr(_STOPPED, True)

    @property
    def is_stopped(self) -> bool:
        return self.user_attrs.get(_STOPPED, False) is True


def shared(study: optuna.Study, sampler: BaseSampler, pruner: optuna.pruners.BasePruner, seed: int) -> SharedStudy:
    """``study`` with these parts; a quasi-random sequence is the same in every process, by ``seed``."""
    for part in _parts(sampler):
        if isinstance(part, QMCSampler):
            part._seed = derive_seed(seed, "quasi-random", 0)
    return SharedStudy(study.study_name, study._storage, sampler, pruner)


def start_again(study: optuna.Study) -> None:
    """Let a study go on that a sampler has stopped in an earlier launch."""
    if study.user_attrs.get(_STOPPED):
        study.set_user_attr(_STOPPED, False)


def check(sampler: BaseSampler, space: Space) -> None:
    """Check before a launch that ``sampler`` can search ``space`` here.

    Raises:
        StudyError: a package is missing.
        SpaceError: the space is not finite, or a grid is not of its parameters and their values.
    """
    for part in _parts(sampler):
        if isinstance(part, GPSampler) and importlib.util.find_spec("torch") is None:
            raise StudyError('GPSampler needs PyTorch, which is not installed. Install it with: pip install ".[gp]"')
        if isinstance(part, BruteForceSampler):
            next(space.configurations())
        if isinstance(part, GridSampler):
            _check_grid(part, space)


def _check_grid(sampler: GridSampler, space: Space) -> None:
    if missing := space.parameters.keys() - sampler._search_space.keys():
        raise SpaceError(
            f"The grid of a GridSampler must have every parameter of the space, but it lacks "
            f"{', '.join(sorted(missing))}. Add their values."
        )
    for name in space.parameters:
        for value in sampler._search_space[name]:
            space.point({name: value})


def draws_in_turn(sampler: BaseSampler) -> bool:
    """Whether two processes that draw at the same moment would draw the same: such draws need the study's lock."""
    return any(isinstance(part, BruteForceSampler | GridSampler | QMCSampler) for part in _parts(sampler))


def has_untried(sampler: BaseSampler, space: Space, trials: Iterable[FrozenTrial]) -> bool:
    """Whether ``sampler`` can draw what none of ``trials`` has; a sampler that is not exhaustive always can."""
    fixed: Params = {}
    while isinstance(sampler, PartialFixedSampler):
        fixed = {**sampler._fixed_params, **fixed}
        sampler = sampler._base_sampler
    if isinstance(sampler, GridSampler):
        places = [place for place in map(_grid_place, trials) if place]
        tried = {place["grid_id"] for place in places if sampler._same_search_space(place["search_space"])}
        return len(tried) < len(sampler._all_grids)
    if isinstance(sampler, BruteForceSampler):
        known = {_key(trial.params) for trial in trials}
        return any(_key(params) not in known for params in _having(space.configurations(), fixed))
    return True


def begin(study: SharedStudy, trial_id: int) -> optuna.Trial:
    """The trial, of which the sampler is told, as `optuna.Study.ask` does.

    Raises:
        StudyError: the sampler fails.
    """
    try:
        return optuna.Trial(study.at_this_moment(), trial_id)
    except _OF_STORAGE:
        raise
    except Exception as error:
        name = type(study.sampler).__name__
        raise StudyError(f"The sampler {name} fails before a trial: {type(error).__name__}: {error}") from error


def learn(trial: optuna.Trial, state: TrialState, value: float | None, records: Mapping[str, Any]) -> StudyError | None:
    """Tell the sampler how a trial ends, before the storage is told, as `optuna.Study.tell` does.

    Args:
        records: user attributes that the trial will have; a function of constraints may read them.

    Returns:
        Why the sampler fails, which is to be raised once the result is in the storage; None if it does not.
    """
    ended = trial.storage.get_trial(trial._trial_id)
    ended.user_attrs = {**ended.user_attrs, **records}
    study = optuna.pruners._filter_study(trial.study, ended)
    try:
        trial.study.sampler.after_trial(study, ended, state, None if value is None else [value])
    except _OF_STORAGE:
        raise
    except KeyError as error:
        if error.args != ("grid_id",):  # GridSampler looks for it also in trials that were enqueued
            return _failure(trial, error)
    except Exception as error:
        return _failure(trial, error)
    return None


def _failure(trial: optuna.Trial, error: Exception) -> StudyError:
    failure = StudyError(
        f"The sampler {type(trial.study.sampler).__name__} fails after trial {trial.number}, whose result is recorded: "
        f"{type(error).__name__}: {error}"
    )
    failure.__cause__ = error
    return failure


def kept(trial: FrozenTrial) -> dict[str, Any]:
    """The system attributes of a trial that its next attempt has from the beginning: samplers look for them."""
    return {name: value for name, value in trial.system_attrs.items() if not name.startswith(_OF_ATTEMPT)}


def _grid_place(trial: FrozenTrial) -> dict[str, Any]:
    """What GridSampler wrote down of a trial's place in its grid; empty if it has none."""
    place = {name: trial.system_attrs[name] for name in _GRID_ATTRS if name in trial.system_attrs}
    return place if len(place) == len(_GRID_ATTRS) else {}


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Restart every random stream inside ``sampler`` from ``seed``.

    Optuna's own ``reseed_rng`` takes entropy from the system: no search would be repeatable.
    """
    for part in _parts(sampler):
        for value in vars(part).values():
            if isinstance(value, LazyRandomState):
                value.rng.seed(seed)


def _parts(sampler: BaseSampler) -> Iterator[BaseSampler]:
    """The sampler and those that it wraps."""
    yield sampler
    for value in vars(sampler).values():
        if isinstance(value, BaseSampler):
            yield from _parts(value)


def _having(configurations: Iterator[Params], fixed: Params) -> Iterator[Params]:
    return (
        params for params in configurations if all(params.get(name, value) == value for name, value in fixed.items())
    )


def _key(params: Params) -> frozenset[tuple[str, Any]]:
    return frozenset(params.items())
