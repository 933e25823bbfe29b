"""A study in a real storage, and a worker that says how each of its trials ends."""

from types import SimpleNamespace
from typing import Any

import optuna
from definitions import found
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo import Budget
from hpo.files.run_dir import RunDir
from hpo.results.trials import trials_of
from hpo.search.claims import Claim, Claims
from hpo.storage import stored_study
from hpo.storage.trial_rows import finish_trial

SEARCHED = {"space": {"x": FloatDistribution(0, 1)}, "sampler": RandomSampler()}


class Searched:
    """A study in the storage, and a worker of it that says how each of its trials ends."""

    def __init__(self, storage: BaseStorage, run_dir: RunDir, **fields: Any) -> None:
        searched = {} if "settings" in fields else SEARCHED
        definition = found(
            **{
                "name": "s",
                "task": lambda params, trial: 0.0,
                "direction": "maximize",
                "budget": Budget(trials=20),
                **searched,
                **fields,
            }
        )
        self.study, _ = stored_study.create_or_resume(storage, definition, run_dir)
        self._definition = definition

    def start(self, *reported: float) -> Claim:
        """A trial that runs and has reported these values, the first at epoch 1."""
        # Each as from a process of its own: one runs one trial at a time.
        claim = Claims(self.study, self._definition, "gpu-box-3-4242", "gpu:1").next()
        assert isinstance(claim, Claim)
        claim.trial.suggest_float("x", 0, 1)
        for epoch, value in enumerate(reported, 1):
            claim.trial.report(value, epoch)
        return claim

    def end(self, claim: Claim, state: str, value: float | None = None, **records: Any) -> None:
        finish_trial(self.study._storage, claim.trial._trial_id, TrialState[state], value, records)

    def run(self, state: str, value: float | None = None, *reported: float, **records: Any) -> None:
        self.end(self.start(*reported), state, value, **records)


def flat(study: optuna.Study) -> list[SimpleNamespace]:
    """The trials with what tables, JSON and CSV show of them."""
    return [SimpleNamespace(**trial.as_json()) for trial in trials_of(study)]
