"""What the trials of a study come to, as a worker keeps it up to date."""

import random
from typing import Any

import optuna
import pytest
from definitions import define
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo import Budget
from hpo.search import attempts, history
from hpo.search.history import History
from hpo.storage.records import GIVEN_BACK, ClaimRecord, Configuration
from hpo.storage.trial_rows import finish_trial, mark_finished


def _history(study: optuna.Study) -> History:
    definition = define(
        name="s", task=lambda params, trial: 0.0, direction="maximize", budget=Budget(trials=9),
        space={"x": FloatDistribution(0, 1)},
    )  # fmt: skip
    return History(study, definition, lambda configuration: True)


@pytest.fixture
def study(sqlite: BaseStorage) -> optuna.Study:
    return optuna.create_study(storage=sqlite, study_name="s", direction="maximize")


def _claim(study: optuna.Study, configuration: int, attempt: int = 1) -> int:
    """The id of a trial that runs."""
    configured = Configuration(configuration, f"u{configuration}", 1, attempt)
    claim = ClaimRecord(configured, "host-1", "cpu", "t", started=1.0)
    template = optuna.create_trial(
        state=TrialState.RUNNING,
        user_attrs=claim.as_attributes(),
        system_attrs={"fixed_params": {"x": configuration / 1000}},
    )
    return study._storage.create_new_trial(study._study_id, template)


def _end(study: optuna.Study, trial_id: int, how: str) -> None:
    state = {"lost": TrialState.FAIL, "failed": TrialState.FAIL, "paused": TrialState.PRUNED}
    records = {"stop_reason": "paused" if how == "paused" else how} | ({GIVEN_BACK: True} if how == "lost" else {})
    ended = state.get(how, TrialState.COMPLETE)
    finish_trial(study._storage, trial_id, ended, None if ended == TrialState.FAIL else 0.5, records)


def _seen(found: History) -> dict[str, Any]:
    """All that it says."""
    states = {state: found.in_state(state) for state in ("running", "lost", "paused", "ended", "failed")}
    curves = [(each.number, each.params, list(each.values), each.state) for each in found.curves()]
    said = {name: getattr(found, name) for name in ("begun", "epochs", "origins", "known", "next_number")}
    return {**states, **said, "curves": curves, "open": sorted(found.open), "seconds": found.seconds() // 10}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_up_to_date_is_what_a_new_look_finds(study: optuna.Study, seed: int) -> None:
    """After each of many claims, ends, losses, pauses, continuations and other programs' trials, in any order."""
    draw, kept = random.Random(seed), _history(study)
    running: dict[int, tuple[int, int]] = {}
    again: list[tuple[int, int]] = []
    for step in range(60):
        match draw.choice(["begin", "begin", "end", "end", "again", "foreign"]):
            case "begin":
                running[_claim(study, step)] = step, 1
            case "end" if running:
                trial_id = draw.choice(list(running))
                configuration, attempt = running.pop(trial_id)
                how = draw.choice(["ended", "lost", "failed", "paused"])
                _end(study, trial_id, how)
                again += [(configuration, attempt + 1)] if how in ("lost", "paused") else []
            case "again" if again:
                configuration, attempt = again.pop(draw.randrange(len(again)))
                running[_claim(study, configuration, attempt)] = configuration, attempt
            case "foreign":
                study.add_trial(optuna.create_trial(value=1.0))
        if draw.random() < 0.5:
            kept.update()
    kept.update()
    fresh = _history(study)
    fresh.update()
    assert _seen(kept) == _seen(fresh)


def test_a_failed_trial_may_be_given_back_later(study: optuna.Study) -> None:
    """Its code was mended: the configuration runs again, and its failure does not count any more."""
    found = _history(study)
    trial_id = _claim(study, 0)
    _end(study, trial_id, "failed")
    found.update()
    assert (found.in_state("failed"), found.begun) == ([0], 1)
    mark_finished(study._storage, study._study_id, [trial_id], GIVEN_BACK)
    found.update()
    assert (found.in_state("lost"), found.in_state("failed"), found.begun) == ([0], [], 0)


def test_a_trial_that_has_ended_is_read_once(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a claim among many trials takes no longer than among few."""
    read: list[int] = []

    def attempt_of(trial: Any, **settings: Any) -> Any:
        read.append(trial.number)
        return attempts.attempt_of(trial, **settings)

    monkeypatch.setattr(history, "attempt_of", attempt_of)
    found = _history(study)
    for number in range(3):
        _end(study, _claim(study, number), "ended")
    waiting = study._storage.create_new_trial(study._study_id)
    for _ in range(3):
        found.update()
    _end(study, waiting, "ended")
    found.update()
    assert read == [0, 1, 2, 3, 3, 3, 3]


def test_an_answer_that_was_lost_is_no_second_configuration(study: optuna.Study) -> None:
    """A claim that was made twice, of which one was given back, runs; once the other is lost, too, it runs again."""
    found = _history(study)
    first, second = _claim(study, 0), _claim(study, 0)
    _end(study, second, "lost")
    found.update()
    assert (found.in_state("running"), found.in_state("lost")) == ([0], [])
    _end(study, first, "lost")
    found.update()
    assert (found.in_state("running"), found.in_state("lost")) == ([], [0])
