"""Exactly the budget, each trial once, whoever claims."""

import collections
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo import Budget, StudyDefinition, stored_study
from hpo.claims import MOST_ATTEMPTS, Claim, Claims, Wait, give_back, give_back_of_worker
from hpo.run_dir import RunDir
from hpo.seeds import derive_seed, reseed
from hpo.storage import backend_of, finish_trial

THOUSAND = """
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, StudyDefinition

def score(params, trial):
    with open("ran.log", "a") as log:
        log.write(f"{trial.number}\\n")
    return params["x"]

study = StudyDefinition(name="thousand", objective=score, space={"x": FloatDistribution(0, 1)},
                        budget=Budget(trials=1000), sampler=RandomSampler())
"""


def _definition(**changes: Any) -> StudyDefinition:
    fields: dict[str, Any] = {
        "name": "s",
        "objective": lambda params, trial: 0.0,
        "space": {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])},
        "budget": Budget(trials=3),
        "sampler": RandomSampler(),
    }
    return StudyDefinition(**{**fields, **changes})


def _claims(storage: BaseStorage, run_dir: RunDir, worker: str = "host-1", **changes: Any) -> Claims:
    definition = _definition(**changes)
    study, _ = stored_study.create_or_resume(storage, definition, run_dir)
    return Claims(study, definition, worker, "cpu")


def _take(claims: Claims) -> Claim:
    claim = claims.next()
    assert isinstance(claim, Claim)
    return claim


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
    assert again.attempt == 2
    _finish(again)
    assert claims.next() is None


def test_a_lost_configuration_runs_again_with_its_parameters_and_seed(storage: BaseStorage, run_dir: RunDir) -> None:
    """What a dead worker held goes on as a new attempt, once."""
    claims = _claims(storage, run_dir, worker="host-7")
    lost = _take(claims)
    params = {"x": lost.trial.suggest_float("x", 0, 1), "kind": lost.trial.suggest_categorical("kind", ["a", "b"])}
    assert give_back_of_worker(claims._study, "host-8", "lost_worker") == []
    assert give_back_of_worker(claims._study, "host-7", "lost_worker") == [0]
    again = _take(claims)
    assert (again.number, again.attempt, again.seed) == (1, 2, lost.seed)
    assert again.trial.suggest_float("x", 0, 1) == params["x"]
    assert again.trial.suggest_categorical("kind", ["a", "b"]) == params["kind"]
    assert _take(claims).attempt == 1


def test_a_configuration_that_kills_its_workers_counts_as_failed(storage: BaseStorage, run_dir: RunDir) -> None:
    """It is not tried for ever."""
    claims = _claims(storage, run_dir, budget=Budget(trials=1))
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert _take(claims).attempt == attempt
        give_back_of_worker(claims._study, "host-1", "lost_worker")
    assert claims.next() is None
    assert claims._study.trials[-1].user_attrs["failure"] == "4 workers died while they ran this configuration"


def test_warm_starts_come_first_and_once(storage: BaseStorage, run_dir: RunDir) -> None:
    """Each is tried before anything is sampled; what it leaves out is sampled."""
    claims = _claims(storage, run_dir, warm_starts=[{"x": 0.25, "kind": "b"}, {"x": 0.5}])
    first, second, third = (_take(claims) for _ in range(3))
    assert first.trial.suggest_float("x", 0, 1) == 0.25
    assert first.trial.suggest_categorical("kind", ["a", "b"]) == "b"
    assert second.trial.suggest_float("x", 0, 1) == 0.5
    assert [claim.is_warm_start for claim in (first, second, third)] == [True, True, False]


def test_a_trial_enqueued_by_optuna_is_taken(storage: BaseStorage, run_dir: RunDir) -> None:
    """What somebody adds in the dashboard or a notebook runs like any other."""
    claims = _claims(storage, run_dir)
    claims._study.enqueue_trial({"x": 0.125})
    assert _take(claims).trial.suggest_float("x", 0, 1) == 0.125


def test_a_claim_whose_worker_died_before_its_first_heartbeat_comes_back(storage: BaseStorage, run_dir: RunDir) -> None:
    """The moment between claim and heartbeat is no hole."""
    claims = _claims(storage, run_dir, budget=Budget(trials=1))
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING, user_attrs={"claim": claims._signed(claims._new_configuration(0))}
    )
    storage.create_new_trial(claims._study._study_id, template_trial=template)
    assert _take(claims).attempt == 2


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


def test_eight_workers_claim_a_thousand_trials(storage_url: str, tmp_path: Path, run_dir: RunDir) -> None:
    """Exactly 1,000 run, none twice, by eight real processes on each kind of storage."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "thousand.py").write_text(THOUSAND)
    environment = {**os.environ, "HPO_STORAGE": storage_url}
    launch = [sys.executable, "-m", "hpo", "launch", "--study", "thousand", "--workers", "8", "--gpus", "none"]
    subprocess.run(launch, cwd=tmp_path, env=environment, check=True, capture_output=True)
    ran = collections.Counter((tmp_path / "ran.log").read_text().split())
    assert len(ran) == 1000
    assert set(ran.values()) == {1}
    study = optuna.load_study(study_name="thousand", storage=_opened(storage_url, run_dir))
    assert [trial.number for trial in study.trials] == list(range(1000))
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert len({trial.params["x"] for trial in study.trials}) == 1000
    assert len({trial.user_attrs["claim"]["worker"] for trial in study.trials}) == 8
    backend_of(study._storage).engine.dispose()


def _opened(url: str, run_dir: RunDir) -> BaseStorage:
    from hpo.storage import open_storage, resolve_url

    return open_storage(resolve_url(url, run_dir), write=False)
