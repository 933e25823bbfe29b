"""Exactly the budget, each trial once, whoever claims."""

import collections
import os
import subprocess
import sys
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from definitions import found
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import NSGAIISampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo import Budget, Setting, vary
from hpo.errors import Outage, StudyError
from hpo.files.run_dir import RunDir
from hpo.search.claims import Claim, Claims, Wait
from hpo.search.sampling import reseed
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage, study_lock
from hpo.storage.leases import (
    BEAT,
    LEASE,
    HeartbeatMonitor,
    give_back,
    give_back_lost,
    give_back_of_worker,
    run_failed_again,
)
from hpo.storage.records import Configuration
from hpo.storage.trial_rows import finish_trial, heartbeats
from hpo.study.budget import MAX_RETRIES
from hpo.study.found import FoundStudy
from hpo.study.seeds import derive_seed

MANY = """
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, Search

def score(params, trial):
    with open("ran.log", "a") as log:
        log.write(f"{{trial.number}}\\n")
    return params["x"]

study = Search(name="many", task=score, direction="maximize", space={{"x": FloatDistribution(0, 1)}},
                        budget=Budget(trials={trials}), sampler=RandomSampler())
"""

FACTORS = """
from optuna.distributions import CategoricalDistribution, IntDistribution
from hpo import Budget, Comparison, grid

def score(params, trial):
    with open("ran.log", "a") as log:
        log.write(f"{params['size']} {params['kind']} {trial.seed}\\n")
    return params["size"]

study = Comparison(
    name="factors", task=score, direction="maximize", budget=Budget(), repeats=5,
    settings=grid({"size": IntDistribution(1, 6), "kind": CategoricalDistribution(["a", "b"])}),
)
"""


def _definition(**changes: Any) -> FoundStudy:
    fields: dict[str, Any] = {
        "name": "s",
        "task": lambda params, trial: 0.0,
        "direction": "maximize",
        "budget": Budget(trials=3),
    }
    if "settings" not in changes:
        space = {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}
        fields |= {"space": space, "sampler": RandomSampler()}
    return found(**{**fields, **changes})


def _claims(storage: BaseStorage, run_dir: RunDir, worker: str = "host-1", **changes: Any) -> Claims:
    definition = _definition(**changes)
    study, _ = stored_study.create_or_resume(storage, definition, run_dir)
    return Claims(study, definition, worker, "cpu")


def _take(claims: Claims) -> Claim:
    """Claim a trial as a worker process of its own: one that asks again has lost the answer to its last claim."""
    claim = claims.next()
    assert isinstance(claim, Claim)
    claims._token = uuid.uuid4().hex
    return claim


def _made(claims: Claims) -> tuple[int, Configuration] | None:
    """The trial that a worker makes, by what it saw when it looked last."""
    return claims._take(may_begin=True)


def _token(claim: Claim) -> str:
    """Of the worker that holds it."""
    token: str = claim.trial.user_attrs["claim"]["token"]
    return token


def _finish(claim: Claim, value: float = 1.0) -> None:
    finish_trial(claim.trial.storage, claim.trial._trial_id, TrialState.COMPLETE, value, {"stop_reason": "completed"})


def test_claims_end_with_the_budget(storage: BaseStorage, run_dir: RunDir) -> None:
    """While claimed trials run elsewhere there is a wait; when all have ended there is nothing."""
    claims = _claims(storage, run_dir)
    taken = [_take(claims) for _ in range(3)]
    assert [claim.number for claim in taken] == [0, 1, 2]
    assert isinstance(claims.next(), Wait)
    for claim in taken:
        _finish(claim)
    assert claims.next() is None


def test_a_later_launch_may_raise_the_budget(storage: BaseStorage, run_dir: RunDir) -> None:
    """A worker that runs meanwhile sees it."""
    claims = _claims(storage, run_dir, budget=Budget(trials=1))
    _finish(_take(claims))
    assert claims.next() is None
    stored_study.create_or_resume(storage, _definition(budget=Budget(trials=2)), run_dir)
    assert _take(claims).number == 1


def test_a_failed_trial_counts_and_one_given_back_does_not(storage: BaseStorage, run_dir: RunDir) -> None:
    """A bug of the study is a result; a lost worker is not."""
    claims = _claims(storage, run_dir, budget=Budget(trials=2))
    finish_trial(storage, _take(claims).trial._trial_id, TrialState.FAIL, None, {"stop_reason": "error"})
    give_back(claims._study, _take(claims).trial._trial_id, "interrupted")
    again = _take(claims)
    assert again.configuration.attempt == 2
    _finish(again)
    assert claims.next() is None


@pytest.mark.parametrize(
    ("last", "mended", "count"),
    [
        pytest.param(None, False, 2, id="no-result-yet"),
        pytest.param(TrialState.PRUNED, True, 2, id="mended"),
        pytest.param(TrialState.COMPLETE, False, 0, id="the-same-code"),
    ],
)
def test_what_failed_by_the_code_runs_again_once_it_is_mended(
    last: TrialState | None, mended: bool, count: int, sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """With its parameters and its place in the plan; a loss that was no number is a result of its configuration."""
    fields: dict[str, Any] = {"budget": Budget(trials=4), "warm_starts": [{"x": 0.25}]}
    claims = _claims(sqlite, run_dir, **fields)
    first = _take(claims)
    params = claims._definition.search_space.suggest(first.trial)
    for claim, reason in ((first, "error"), (_take(claims), "nan"), (_take(claims), "invalid_model")):
        finish_trial(sqlite, claim.trial._trial_id, TrialState.FAIL, None, {"stop_reason": reason, "failure": "why"})
    if last is not None:
        finish_trial(sqlite, _take(claims).trial._trial_id, last, 0.5, {"stop_reason": "completed"})
    definition = _definition(**fields, code={"score": "mended"} if mended else {})
    assert [run_failed_again(claims._study, definition) for _ in range(2)] == [count, 0]
    claims = Claims(claims._study, definition, "host-1", "cpu")
    stored_study.create_or_resume(sqlite, definition, run_dir, amend=True)
    taken = [_take(claims) for _ in range(count)]
    assert [(claim.configuration.number, claim.configuration.attempt) for claim in taken] == [(0, 2), (2, 2)][:count]
    if taken:
        assert taken[0].configuration.origin == {"warm_start": 0}
        assert claims._definition.search_space.suggest(taken[0].trial) == params


def test_a_lost_configuration_runs_again_with_its_parameters_and_seed(storage: BaseStorage, run_dir: RunDir) -> None:
    """What a dead worker held goes on as a new attempt, once."""
    claims = _claims(storage, run_dir)
    lost = _take(claims)
    params = {"x": lost.trial.suggest_float("x", 0, 1), "kind": lost.trial.suggest_categorical("kind", ["a", "b"])}
    assert give_back_of_worker(claims._study, "another", "lost_worker") == []
    assert give_back_of_worker(claims._study, _token(lost), "lost_worker") == [0]
    again = _take(claims)
    assert (again.number, again.configuration.attempt, again.seed) == (1, 2, lost.seed)
    assert again.trial.suggest_float("x", 0, 1) == params["x"]
    assert again.trial.suggest_categorical("kind", ["a", "b"]) == params["kind"]
    assert _take(claims).configuration.attempt == 1


def test_a_lost_configuration_keeps_its_generation(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """And all else that a sampler wrote down: without it its result would be in no population of NSGA-II."""
    claims = _claims(sqlite, run_dir, sampler=NSGAIISampler(population_size=2))
    lost = _take(claims)
    claims._definition.search_space.suggest(lost.trial)
    sqlite.set_trial_system_attr(lost.trial._trial_id, "completed_rung_0", 0.5)
    give_back(claims._study, lost.trial._trial_id, "lost_worker")
    again = _take(claims).trial
    generation = {"NSGAIISampler:generation": 0}
    assert sqlite.get_trial(lost.trial._trial_id).system_attrs.items() >= generation.items()
    attrs = sqlite.get_trial(again._trial_id).system_attrs
    assert {name: value for name, value in attrs.items() if name != "fixed_params"} == generation


def test_a_configuration_that_kills_its_workers_counts_as_failed(storage: BaseStorage, run_dir: RunDir) -> None:
    """It is not tried for ever."""
    claims = _claims(storage, run_dir, budget=Budget(trials=1))
    for attempt in range(1, MAX_RETRIES + 2):
        claim = _take(claims)
        assert claim.configuration.attempt == attempt
        give_back_of_worker(claims._study, _token(claim), "lost_worker")
    assert claims.next() is None
    assert claims._study.trials[-1].user_attrs["failure"] == "4 workers died while they ran this configuration"


def test_a_study_sets_how_often_a_configuration_runs_again(storage: BaseStorage, run_dir: RunDir) -> None:
    """Workers that were stopped do not count, those that died do."""
    claims = _claims(storage, run_dir, budget=Budget(trials=1, max_retries=1))
    for reason in ("interrupted", "lost_worker", "interrupted", "lost_worker"):
        give_back(claims._study, _take(claims).trial._trial_id, reason)
    assert claims.next() is None
    assert [trial.user_attrs["claim"]["deaths"] for trial in claims._study.trials] == [0, 0, 1, 1]
    assert claims._study.trials[-1].user_attrs["failure"] == "2 workers died while they ran this configuration"


class _Counting(RandomSampler):
    """A sampler with a plain attribute that changes as it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def before_trial(self, *_arguments: Any) -> None:
        self.calls += 1


def test_a_sampler_that_counts_does_not_amend_its_study(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Its settings are part of what a study is, as they were before it was used."""
    claims = _claims(sqlite, run_dir, sampler=_Counting())
    assert [_take(claims).number for _ in range(3)] == [0, 1, 2]


class _Failing(RandomSampler):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def before_trial(self, *_arguments: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "raised", "message", "given_back"),
    [
        pytest.param(
            ZeroDivisionError("no room"), StudyError, "_Failing fails before a trial: ZeroDivisionError: no room", True,
            id="its-own",
        ),
        pytest.param(Outage("the database is away"), Outage, "^the database is away$", False, id="the-storage-s"),
    ],
)  # fmt: skip
def test_a_sampler_that_fails_before_a_trial_is_told(
    error: Exception, raised: type[Exception], message: str, given_back: bool, sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """It cannot search, and its trial is given back; a storage that does not answer is no fault of the sampler."""
    claims = _claims(sqlite, run_dir, sampler=_Failing(error))
    with pytest.raises(raised, match=message):
        claims.next()
    assert claims._study.trials[0].user_attrs.get("given_back", False) is given_back


def test_warm_starts_come_first_and_once(storage: BaseStorage, run_dir: RunDir) -> None:
    """Each is tried before anything is sampled; what it leaves out is sampled."""
    claims = _claims(storage, run_dir, warm_starts=[{"x": 0.25, "kind": "b"}, {"x": 0.5}])
    first, second, third = (_take(claims) for _ in range(3))
    assert first.trial.suggest_float("x", 0, 1) == 0.25
    assert first.trial.suggest_categorical("kind", ["a", "b"]) == "b"
    assert second.trial.suggest_float("x", 0, 1) == 0.5
    assert [bool(claim.configuration.origin) for claim in (first, second, third)] == [True, True, False]


def test_a_trial_enqueued_by_optuna_is_taken(storage: BaseStorage, run_dir: RunDir) -> None:
    """What somebody adds in the dashboard or a notebook runs like any other."""
    claims = _claims(storage, run_dir)
    claims._study.enqueue_trial({"x": 0.125})
    assert _take(claims).trial.suggest_float("x", 0, 1) == 0.125


def test_the_next_attempt_keeps_what_others_noted_of_an_enqueued_trial(storage: BaseStorage, run_dir: RunDir) -> None:
    """Parameters and attributes; as Optuna's retries do. What hpo wrote of the lost attempt is not kept."""
    claims = _claims(storage, run_dir)
    claims._study.enqueue_trial({"x": 0.125}, user_attrs={"idea": "of Monday", "claim": "of another program"})
    give_back(claims._study, _take(claims).trial._trial_id, "lost_worker")
    again = _take(claims)
    assert again.configuration.attempt == 2
    assert again.trial.suggest_float("x", 0, 1) == 0.125
    assert again.trial.user_attrs.keys() == {"idea", "claim"}
    assert again.trial.user_attrs["idea"] == "of Monday"


def test_an_enqueued_trial_that_another_program_took_is_left_to_it(
    sqlite: BaseStorage, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our claim."""
    claims = _claims(sqlite, run_dir)
    claims._study.enqueue_trial({"x": 0.125})
    claims._history.update()
    [enqueued] = claims._study.get_trials(deepcopy=False)
    assert sqlite.set_trial_state_values(enqueued._trial_id, TrialState.RUNNING)
    taken = _made(claims)
    assert taken is not None
    assert taken[0] != enqueued._trial_id
    assert "claim" not in sqlite.get_trial(enqueued._trial_id).user_attrs


@pytest.mark.parametrize(
    "claim", ["x", 3, None, [], {}, {"token": "x"}, {"configuration": "0", "uuid": 1, "attempt": "1"}], ids=repr
)
def test_a_foreign_claim_is_another_program_s_business(claim: Any, sqlite: BaseStorage, run_dir: RunDir) -> None:
    """An attribute of that name, of any kind, on trials of any state: none is taken, given back or asked for more."""
    claims = _claims(sqlite, run_dir, budget=Budget(trials=4))
    for state in (TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE):
        value = 1.0 if state == TrialState.COMPLETE else None
        claims._study.add_trial(optuna.create_trial(state=state, value=value, user_attrs={"claim": claim}))
    claimed = _take(claims)
    assert (claimed.number, claimed.configuration.number, claimed.configuration.attempt) == (3, 0, 1)
    assert run_failed_again(claims._study, claims._found) == 0
    assert give_back_of_worker(claims._study, "x", "lost_worker") == []
    assert claims._study.trials[0].state == TrialState.RUNNING


def test_trials_of_other_programs_shift_no_seed(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """They take no lock, so that one may come between our look and our claim: two would share a number."""
    claims = _claims(sqlite, run_dir, budget=Budget(trials=9))
    first = _take(claims)
    claims._history.update()
    claims._study.add_trial(optuna.create_trial(value=1.0))
    taken = _made(claims)
    assert taken is not None
    claims._token = "another"
    third = _take(claims)
    assert [first.configuration.number, taken[1].number, third.configuration.number] == [0, 1, 2]
    assert (first.number, third.number) == (0, 3)


def test_a_trial_that_a_notebook_asked_for_is_left_to_it(storage: BaseStorage, run_dir: RunDir) -> None:
    """It has no heartbeat and is not lost; it takes none of the budget before it has ended."""
    claims = _claims(storage, run_dir, budget=Budget(trials=2))
    asked = storage.create_new_trial(claims._study._study_id)
    _finish(_take(claims))
    claim = _take(claims)
    assert storage.get_trial(asked).state == TrialState.RUNNING
    storage.set_trial_state_values(asked, TrialState.COMPLETE, [0.5])
    _finish(claim)
    assert claims.next() is None


def test_a_claimed_trial_is_born_with_a_heartbeat(storage: BaseStorage, run_dir: RunDir) -> None:
    """In the transaction that makes it: nobody sees it without, whoever dies or restarts in between."""
    claims = _claims(storage, run_dir)
    taken = _made(claims)
    assert taken is not None
    trial_id, _claim = taken
    assert heartbeats(storage, claims._study._study_id)[trial_id].age < LEASE


def test_a_claim_whose_answer_was_lost_is_made_once(storage: BaseStorage, run_dir: RunDir) -> None:
    """The database made the trial, twice even, and the worker asks again: it gets one, and no other runs beside it."""
    claims, other = (
        _claims(storage, run_dir, budget=Budget(trials=1)),
        _claims(storage, run_dir, budget=Budget(trials=1)),
    )
    for _ in range(2):
        _made(claims)
    claim = _take(claims)
    assert (claim.number, claim.configuration.attempt) == (2, 2)
    assert isinstance(other.next(), Wait)
    _finish(claim)
    assert (claims.next(), other.next()) == (None, None)


def test_a_claim_that_two_hold_leads_to_one_more(storage: BaseStorage, run_dir: RunDir) -> None:
    """One lost its lock with its connection and gives back; the configuration is not run beside the other."""
    claims, other = (_claims(storage, run_dir, worker) for worker in ("host-1", "host-2"))
    _made(claims)
    _made(other)
    for trial in claims._study.trials:
        backend_of(storage).record_heartbeat(trial._trial_id)
    claim = other.next()
    assert isinstance(claim, Claim)
    assert (claim.configuration.number, claim.configuration.attempt) == (1, 1)
    states = [trial.state for trial in claims._study.trials]
    assert states == [TrialState.RUNNING, TrialState.FAIL, TrialState.RUNNING]


def test_a_lost_trial_of_another_machine_comes_back(
    storage: BaseStorage, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the storage: the worker that beats keeps its trial, the other's goes on as a new attempt."""
    claims = _claims(storage, run_dir, budget=Budget(trials=2))
    dead, alive = _take(claims), _take(claims)
    watch, now = HeartbeatMonitor(), [1000.0]
    monkeypatch.setattr("hpo.storage.leases.time.monotonic", lambda: now[0])
    noon = datetime(2026, 1, 1, 12)
    engine = backend_of(storage).engine
    for minute in range(20):
        with engine.begin() as connection:  # a second, as stored, is the finest of SQLite
            connection.execute(
                sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = :beat WHERE trial_id = :trial"),
                {"beat": noon + timedelta(minutes=minute), "trial": alive.trial._trial_id},
            )
        with study_lock(storage, claims._study._study_id):
            lost = give_back_lost(claims._study, watch)
        if lost:
            break
        now[0] += BEAT
    trials = claims._study.trials
    assert (trials[dead.number].state, trials[alive.number].state) == (TrialState.FAIL, TrialState.RUNNING)
    assert trials[dead.number].user_attrs["stop_reason"] == "lost_worker"
    again = _take(_claims(storage, run_dir, budget=Budget(trials=2)))
    assert (again.configuration.number, again.configuration.attempt) == (dead.configuration.number, 2)


def test_draws_depend_on_seed_and_trial_number_alone(storage: BaseStorage, run_dir: RunDir) -> None:
    """Any worker draws for trial n what any other would have drawn; no two trials draw the same."""
    one, two = _claims(storage, run_dir, worker="host-1"), _claims(storage, run_dir, worker="host-2")
    drawn = [_take(claims).trial.suggest_float("x", 0, 1) for claims in (one, two, one)]
    sampler = RandomSampler()
    expected = []
    for number in range(3):
        reseed(sampler, derive_seed(0, "sampler", number))
        study = optuna.create_study(sampler=sampler)
        expected.append(study.ask().suggest_float("x", 0, 1))
    assert drawn == expected
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(
    "trials", [pytest.param(200, id="few"), pytest.param(1000, id="many", marks=pytest.mark.faults_full)]
)
def test_eight_workers_claim_as_many_trials_as_there_are(
    trials: int, storage_url: str, tmp_path: Path, run_dir: RunDir
) -> None:
    """Exactly as many run, none twice, by eight real processes on each kind of storage."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "many.py").write_text(MANY.format(trials=trials))
    environment = {**os.environ, "HPO_STORAGE": storage_url}
    launch = [sys.executable, "-m", "hpo", "launch", "--study", "many", "--workers", "8", "--gpus", "none"]
    subprocess.run(launch, cwd=tmp_path, env=environment, check=True, capture_output=True)
    ran = collections.Counter((tmp_path / "ran.log").read_text().split())
    assert len(ran) == trials
    assert set(ran.values()) == {1}
    study = optuna.load_study(study_name="many", storage=_opened(storage_url, run_dir))
    assert [trial.number for trial in study.trials] == list(range(trials))
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert len({trial.params["x"] for trial in study.trials}) == trials
    assert len({trial.user_attrs["claim"]["worker"] for trial in study.trials}) == 8
    backend_of(study._storage).engine.dispose()


# Comparisons


def _comparison(storage: BaseStorage, run_dir: RunDir, worker: str = "host-1", **changes: Any) -> Claims:
    """Three settings, each twice; the second has a parameter of its own."""
    settings = [Setting({"x": 1}), Setting({"x": 2, "kind": "b"}), Setting({"x": 3})]
    fields = {"settings": settings, "repeats": 2, "budget": Budget(), **changes}
    return _claims(storage, run_dir, worker, **fields)


SETTINGS = [{"setting": setting, "repeat": repeat} for repeat in range(2) for setting in range(3)]


def test_a_comparison_is_claimed_setting_by_setting(storage: BaseStorage, run_dir: RunDir) -> None:
    """By whoever comes: every setting once before any is again, each claim with a seed of its own, and then no more."""
    one, two = _comparison(storage, run_dir, "host-1"), _comparison(storage, run_dir, "host-2")
    taken = [_take(claims) for claims in (one, two, two, one, two, one)]
    assert [claim.configuration.origin for claim in taken] == SETTINGS
    assert [claim.configuration.attempt for claim in taken] == [1] * 6
    assert len({claim.seed for claim in taken}) == 6
    assert isinstance(one.next(), Wait)
    for claim in taken:
        _finish(claim)
    assert (one.next(), two.next()) == (None, None)


def test_a_claim_has_the_parameters_of_its_setting(storage: BaseStorage, run_dir: RunDir) -> None:
    """Asked as a worker does, for these and no others."""
    claims = _comparison(storage, run_dir)
    params = []
    for _ in range(3):
        claim = _take(claims)
        params.append(claims._definition.space_of(claim.configuration.origin).suggest(claim.trial))
        _finish(claim)
    assert params == [{"x": 1}, {"x": 2, "kind": "b"}, {"x": 3}]
    assert [trial.params for trial in claims._study.trials] == params


def test_a_comparison_goes_on_where_it_was_left(storage: BaseStorage, run_dir: RunDir) -> None:
    """A later launch runs what was given back, with its seed, and then what nobody has begun."""
    claims = _comparison(storage, run_dir)
    finished, lost, interrupted = (_take(claims) for _ in range(3))
    _finish(finished)
    give_back(claims._study, interrupted.trial._trial_id, "interrupted")
    assert give_back_of_worker(claims._study, _token(lost), "lost_worker") == [lost.number]
    later = _comparison(storage, run_dir, "host-2")
    again = [_take(later) for _ in range(5)]
    assert [(claim.configuration.origin, claim.configuration.attempt) for claim in again] == [
        (SETTINGS[1], 2),
        (SETTINGS[2], 2),
        *((origin, 1) for origin in SETTINGS[3:]),
    ]
    assert [claim.seed for claim in again[:2]] == [lost.seed, interrupted.seed]
    assert isinstance(later.next(), Wait)
    for claim in again:
        _finish(claim)
    assert later.next() is None


def test_a_setting_that_kills_its_workers_counts_as_failed(storage: BaseStorage, run_dir: RunDir) -> None:
    """And the others are run nevertheless."""
    claims = _comparison(storage, run_dir, settings=vary("x", {1: {}, 2: {}}), repeats=1)
    for attempt in range(1, MAX_RETRIES + 2):
        claim = _take(claims)
        assert (claim.configuration.origin, claim.configuration.attempt) == ({"setting": 0, "repeat": 0}, attempt)
        give_back_of_worker(claims._study, _token(claim), "lost_worker")
    last = _take(claims)
    assert last.configuration.origin == {"setting": 1, "repeat": 0}
    _finish(last)
    assert claims.next() is None


def test_a_part_of_a_comparison_can_be_run_and_later_the_rest(storage: BaseStorage, run_dir: RunDir) -> None:
    """With a budget below its trials, which a later launch raises."""
    part = _comparison(storage, run_dir, budget=Budget(trials=2))
    taken = [_take(part) for _ in range(2)]
    for claim in taken:
        _finish(claim)
    assert part.next() is None
    whole = _comparison(storage, run_dir)
    assert [_take(whole).configuration.origin for _ in range(4)] == SETTINGS[2:]
    assert isinstance(whole.next(), Wait)


def test_a_trial_that_somebody_enqueued_is_no_part_of_a_comparison(storage: BaseStorage, run_dir: RunDir) -> None:
    """It stays where it is, and the comparison runs and ends without it."""
    claims = _comparison(storage, run_dir)
    claims._study.enqueue_trial({"x": 3})
    first = _take(claims)
    claims._study.enqueue_trial({"x": 4})
    taken = [first, *(_take(claims) for _ in range(5))]
    assert [claim.configuration.origin for claim in taken] == SETTINGS
    for claim in taken:
        _finish(claim)
    assert claims.next() is None
    waiting = [trial.number for trial in claims._study.trials if trial.state == TrialState.WAITING]
    assert waiting == [0, 2]


def test_four_workers_run_each_setting_of_a_comparison_once_a_repeat(
    storage_url: str, tmp_path: Path, run_dir: RunDir
) -> None:
    """Sixty trials by four real processes on each kind of storage, none twice and none left out."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "factors.py").write_text(FACTORS)
    environment = {**os.environ, "HPO_STORAGE": storage_url}
    launch = [sys.executable, "-m", "hpo", "launch", "--study", "factors", "--workers", "4", "--gpus", "none"]
    subprocess.run(launch, cwd=tmp_path, env=environment, check=True, capture_output=True)
    ran = [line.split() for line in (tmp_path / "ran.log").read_text().splitlines()]
    assert collections.Counter((size, kind) for size, kind, _seed in ran) == {
        (str(size), kind): 5 for size in range(1, 7) for kind in "ab"
    }
    assert len({seed for _size, _kind, seed in ran}) == 60
    study = optuna.load_study(study_name="factors", storage=_opened(storage_url, run_dir))
    claims = [trial.user_attrs["claim"] for trial in study.trials]
    assert sorted((claim["setting"], claim["repeat"]) for claim in claims) == [
        (setting, repeat) for setting in range(12) for repeat in range(5)
    ]
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    backend_of(study._storage).engine.dispose()


def _opened(url: str, run_dir: RunDir) -> BaseStorage:
    from hpo.storage.url import resolve_url

    return open_storage(resolve_url(url, run_dir), write=False)
