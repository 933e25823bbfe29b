"""README: "exactly ``--trials`` run, whatever the number of workers and restarts"; each setting ``repeats`` times."""

import random
from collections import Counter
from pathlib import Path

import optuna
from faults.launching import HURRIED, Begin, Faults, kill_at_random
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from hpo.storage.records import was_given_back

COMPARISON = """
import time
from hpo import Budget, Comparison, vary
{preparation}

def score(params, trial):
    time.sleep(0.3)
    return params["x"]

study = Comparison(
    name="faults", task=score, direction="maximize", settings=vary("x", {{1: {{}}, 2: {{}}, 3: {{}}}}), repeats=4,
    budget=Budget(max_retries=1000),
)
"""


def test_as_many_trials_run_as_in_optuna(storage_url: str, tmp_path: Path, begin: Begin) -> None:
    """Three workers, one of which is killed; a launcher that is killed; and a second launch with a larger budget."""
    faults = begin(tmp_path, storage_url, trials=8, pause=0.05, preparation=HURRIED)
    launcher = faults.launch(workers=3)
    kill_at_random(faults, launcher, 1, random.Random(0))
    launcher.kill()
    launcher.wait()
    assert faults.launch(2, "--trials", "12").wait(300) == 0, faults.log()
    study = optuna.create_study(sampler=RandomSampler())
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
    assert _ended(faults) == Counter(trial.state for trial in study.trials) == {TrialState.COMPLETE: 12}
    assert faults.check().budget == 12
    faults.run(workers=1)
    assert "Nothing to run" in faults.log()
    assert _ended(faults).total() == 12


def test_each_setting_runs_as_often_as_it_is_enqueued_in_optuna(storage_url: str, tmp_path: Path, begin: Begin) -> None:
    """By three workers, two of which are killed."""
    faults = begin(tmp_path, storage_url, COMPARISON, preparation=HURRIED)
    launcher = faults.launch(workers=3)
    kill_at_random(faults, launcher, 2, random.Random(1))
    assert launcher.wait(300) == 0, faults.log()
    study = optuna.create_study()
    for x in (1, 2, 3) * 4:
        study.enqueue_trial({"x": x})
    study.optimize(lambda trial: trial.suggest_categorical("x", [1, 2, 3]), n_trials=12)
    ended = [trial.params["x"] for trial in faults.trials() if trial.state == TrialState.COMPLETE]
    assert Counter(ended) == Counter(trial.params["x"] for trial in study.trials) == {1: 4, 2: 4, 3: 4}
    assert faults.check().finished == 12


def _ended(faults: Faults) -> Counter[TrialState]:
    """Trials by state; those that were given back and ran again do not count."""
    return Counter(trial.state for trial in faults.trials() if not was_given_back(trial))
