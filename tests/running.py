"""Trials of a study run in this process, as a worker runs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from hpo import Train
from hpo.devices.slots import Slot
from hpo.files.run_dir import RunDir
from hpo.saved_model import export_check
from hpo.search.claims import Claim
from hpo.search.pruning import judged_by_pruner
from hpo.storage.records import Configuration
from hpo.study.found import FoundStudy, Study
from hpo.trial.events import EventLog
from hpo.trial.function_task import FunctionCalls
from hpo.trial.runner import TrialRunner
from hpo.trial.train_task import Trainings


def claimed(trial: optuna.Trial, number: int = 0, **fields: Any) -> Claim:
    """A claim of a trial that runs this configuration."""
    configuration = Configuration(number, **{"uuid": "u", "seed": 11, **fields})
    return Claim(trial, configuration, judged_by_pruner(trial, is_planned=bool(configuration.origin)))


def runner(study: Study, run_dir: RunDir, *, interrupted: Callable[[], bool] = lambda: False) -> TrialRunner:
    """What runs the trials of ``study``; it writes its events to ``events`` in the home of ``run_dir``."""
    events = EventLog(Path(run_dir.home) / "events")
    if isinstance(study.task, Train):
        task: Trainings | FunctionCalls = Trainings(
            FoundStudy(study),
            study.task,
            study.task.load_dataset(run_dir, seed=study.seed),
            run_dir,
            Slot(threads=1),
            interrupted=interrupted,
            events=events,
            check_export=lambda model, dataset: export_check.check(model, dataset),
            finish_seconds=8,
        )
    else:
        task = FunctionCalls(study.task)
    return TrialRunner(study, task, run_dir, interrupted=interrupted, events=events)
