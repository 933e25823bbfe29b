"""What Optuna's samplers need of a study that many processes run."""

import warnings
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    GridSampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo import When
from hpo.errors import SpaceError, StudyError
from hpo.search import sampling
from hpo.study.space import Params, Space

SPACE = Space({"size": IntDistribution(1, 2), "kind": CategoricalDistribution(["a", "b"])})


def _quietly(make: type[BaseSampler], *arguments: Any, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(*arguments, **settings)


def _shared(storage: BaseStorage, sampler: BaseSampler) -> sampling.SharedStudy:
    study = optuna.create_study(storage=storage, study_name="s")
    return sampling.shared(study, sampler, optuna.pruners.NopPruner(), seed=0)


def _trial_of(study: sampling.SharedStudy) -> optuna.Trial:
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id))


def test_a_study_at_this_moment_has_the_trials_of_other_processes(sqlite: BaseStorage) -> None:
    """Optuna keeps the list that a thread has read until `ask` or `tell`, which nobody calls here."""
    study = _shared(sqlite, RandomSampler())
    first = study.at_this_moment()
    assert first._get_trials(use_cache=True) == []
    optuna.load_study(storage=sqlite, study_name="s").add_trial(optuna.create_trial(value=1.0))
    assert first._get_trials(use_cache=True) == []
    assert len(study.at_this_moment()._get_trials(use_cache=True)) == 1


def test_a_sampler_may_stop_a_study_until_the_next_launch(sqlite: BaseStorage) -> None:
    """Optuna's own study raises outside of its loop."""
    study = _shared(sqlite, RandomSampler())
    assert not study.is_stopped
    study.at_this_moment().stop()
    assert study.is_stopped
    sampling.start_again(study)
    assert not study.is_stopped


def test_reseed_reaches_the_samplers_inside() -> None:
    """TPE draws its first trials from a random sampler of its own."""
    drawn = []
    for seed in (5, 5, 6):
        sampler = TPESampler()
        sampling.reseed(sampler, seed)
        drawn.append(optuna.create_study(sampler=sampler).ask().suggest_float("x", 0, 1))
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_scrambled_sequence_is_one_in_all_processes(sqlite: BaseStorage) -> None:
    """Without a seed each process would scramble its own."""
    inside = _quietly(QMCSampler, scramble=True, warn_asynchronous_seeding=False)
    outside = _quietly(QMCSampler, scramble=True, warn_asynchronous_seeding=False)
    assert inside._seed != outside._seed
    _shared(sqlite, _quietly(PartialFixedSampler, {}, inside))
    sampling.shared(optuna.load_study(storage=sqlite, study_name="s"), outside, optuna.pruners.NopPruner(), seed=0)
    assert inside._seed == outside._seed


def _trial(params: Params, system_attrs: dict[str, Any] | None = None) -> FrozenTrial:
    distributions: dict[str, BaseDistribution] = {name: SPACE.distribution(name) for name in params}
    return optuna.create_trial(value=1.0, params=params, distributions=distributions, system_attrs=system_attrs or {})


def test_brute_force_has_tried_a_space_when_each_configuration_has_a_trial() -> None:
    """With fixed parameters, each that has these."""
    every = [_trial(params) for params in SPACE.configurations()]
    brute = _quietly(BruteForceSampler)
    assert [sampling.has_untried(brute, SPACE, every[:count]) for count in range(5)] == [True] * 4 + [False]
    fixed = _quietly(PartialFixedSampler, {"kind": "a"}, brute)
    assert sampling.has_untried(fixed, SPACE, every[1:])
    assert not sampling.has_untried(fixed, SPACE, [trial for trial in every if trial.params["kind"] == "a"])


def test_a_condition_makes_a_finite_space_smaller() -> None:
    """What does not exist is not waited for; steps are Optuna's, to the last digit."""
    space = Space(
        {
            "kind": CategoricalDistribution(["a", "b"]),
            "rate": When("kind", ["a"], FloatDistribution(0.1, 0.7, step=0.1)),
        }
    )
    study = optuna.create_study(sampler=_quietly(BruteForceSampler))

    def objective(trial: optuna.Trial) -> float:
        space.suggest(trial)
        return 0.0

    study.optimize(objective)
    assert len(study.trials) == 8
    assert not sampling.has_untried(study.sampler, space, study.trials)
    assert sampling.has_untried(study.sampler, space, study.trials[1:])


def test_a_grid_is_tried_when_each_of_its_places_has_a_trial() -> None:
    """By the places that GridSampler writes down: a grid of other values does not count."""
    values = {"size": [1, 2], "kind": ["a", "b"]}
    sampler = GridSampler(values)
    places = [{"grid_id": number, "search_space": sampler._search_space} for number in range(4)]
    trials = [_trial({"size": 1, "kind": "a"}, place) for place in places]
    assert not sampling.has_untried(sampler, SPACE, trials)
    assert sampling.has_untried(sampler, SPACE, trials[:3])
    assert sampling.has_untried(GridSampler({**values, "size": [2, 1]}), SPACE, trials)
    assert sampling.has_untried(sampler, SPACE, [*trials[:3], _trial({"size": 2, "kind": "b"})])


@pytest.mark.parametrize(
    ("sampler", "space", "message"),
    [
        pytest.param(
            _quietly(BruteForceSampler), {"x": FloatDistribution(0, 1)}, "A grid needs a finite number", id="continuous"
        ),
        pytest.param(
            GridSampler({"size": [1]}), dict(SPACE.parameters), "but it lacks kind", id="grid-lacks-one"
        ),
        pytest.param(
            GridSampler({"size": [1, 7], "kind": ["a"]}), dict(SPACE.parameters), "size=7 lies outside of", id="outside"
        ),
    ],
)  # fmt: skip
def test_what_a_sampler_cannot_search_is_said_before_the_launch(
    sampler: BaseSampler, space: dict[str, Any], message: str
) -> None:
    """Not by each trial, nor by a worker that dies."""
    with pytest.raises(SpaceError, match=message):
        sampling.check(sampler, Space(space))


def test_a_sampler_that_needs_pytorch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one inside another."""
    monkeypatch.setattr("hpo.search.sampling.importlib.util.find_spec", lambda name: None)
    inside = _quietly(PartialFixedSampler, {}, _quietly(GPSampler))
    with pytest.raises(StudyError, match=r"GPSampler needs PyTorch.*pip install \"\.\[gp\]\""):
        sampling.check(inside, SPACE)


class _Failing(RandomSampler):
    def after_trial(self, *_arguments: Any) -> None:
        raise ZeroDivisionError("no distance")


def test_a_sampler_that_fails_is_told_with_its_trial(sqlite: BaseStorage) -> None:
    """Its trial has a result all the same, which the worker writes first."""
    trial = _trial_of(_shared(sqlite, _Failing()))
    failure = sampling.learn(trial, TrialState.COMPLETE, 1.0, {})
    assert str(failure) == (
        "The sampler _Failing fails after trial 0, whose result is recorded: ZeroDivisionError: no distance"
    )


def test_constraints_read_what_the_trial_will_have(sqlite: BaseStorage) -> None:
    """Optuna calls their function before a trial ends; our records are written as it ends."""
    seen = []

    def constraints(trial: FrozenTrial) -> tuple[float]:
        seen.append(trial.user_attrs["parameters"])
        return (trial.user_attrs["parameters"] - 1000.0,)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = TPESampler(constraints_func=constraints)
    trial = _trial_of(_shared(sqlite, sampler))
    assert sampling.learn(trial, TrialState.COMPLETE, 1.0, {"parameters": 1200}) is None
    assert seen == [1200]
    assert sqlite.get_trial(trial._trial_id).constraints == {"0": 200.0}
