"""A study in a real storage whose trials end as a test says, claimed and told as a worker does it; report tables."""

import re
from typing import Any

import optuna
from definitions import found
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo import Budget
from hpo.files.run_dir import RunDir
from hpo.search.claims import Claim, Claims
from hpo.storage import stored_study
from hpo.storage.leases import give_back
from hpo.storage.trial_rows import finish_trial


class Recorded:
    """A recorded study; ``fields`` are those of its definition, which has an objective unless it has a model."""

    def __init__(self, storage: BaseStorage, run_dir: RunDir, **fields: Any) -> None:
        given: dict[str, Any] = {"name": "s", "budget": Budget(), "source": fields.get("name", "s"), **fields}
        if "settings" not in given:
            given.setdefault("sampler", RandomSampler())
        if "model" not in given:
            given = {"task": _never, "direction": "maximize", **given}
        self._found = found(**given)
        self.study, _ = stored_study.create_or_resume(storage, self._found, run_dir)

    def start(self) -> Claim:
        """The next trial, which runs with its parameters."""
        claim = Claims(self.study, self._found, "gpu-box-3-4242", "gpu:1").next()
        assert isinstance(claim, Claim)
        self._found.definition.space_of(claim.configuration.origin).suggest(claim.trial)
        return claim

    def run(self, value: float | None, *, state: TrialState = TrialState.COMPLETE, **records: Any) -> None:
        """The next trial ends with this."""
        finish_trial(self.study._storage, self.start().trial._trial_id, state, value, records)

    def fail(self, failure: str, reason: str = "error") -> None:
        """The next trial fails by itself."""
        self.run(None, state=TrialState.FAIL, stop_reason=reason, failure=failure)

    def give_back(self) -> None:
        """The next trial is lost, and is the next once more."""
        give_back(self.study, self.start().trial._trial_id, "interrupted")


# Names of ours that another program has used for something else, on each of its trials and on the study.
STRANGE_TRIAL: dict[str, Any] = {
    "claim": "x", "weights": {}, "best_epoch": "a", "history": {"loss": ["high"], "val_loss": 3}, "epochs": [],
    "parameters": "many", "seconds": {}, "failure": 5, "stop_reason": ["none"], "test_accuracy": "good",
}  # fmt: skip
STRANGE_STUDY: dict[str, Any] = {
    "definition": "x", "fingerprint": 5, "source": [], "overrides": "x", "budget": "many", "environment": 3,
    "exported": "x",
}  # fmt: skip


def foreign_study(storage: BaseStorage, name: str = "foreign") -> optuna.Study:
    """A study that another program made, with two trials that ended and one that runs."""
    study = optuna.create_study(storage=storage, study_name=name, sampler=RandomSampler())
    for key, value in STRANGE_STUDY.items():
        study.set_user_attr(key, value)
    for state, value in ((TrialState.COMPLETE, 0.5), (TrialState.FAIL, None), (TrialState.RUNNING, None)):
        study.add_trial(optuna.trial.create_trial(state=state, value=value, user_attrs=STRANGE_TRIAL))
    return study


def _never(params: dict[str, Any], trial: Any) -> float:
    raise AssertionError("a test says how trials end")


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table in a document, without the lines under their heads."""
    found_tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [
        [re.split(r"(?<!\\) \| ", line[2:-2]) for line in table.splitlines() if not line.startswith("| ---")]
        for table in found_tables
    ]
