"""What trials have left on this machine's disk that nobody will read again."""

import contextlib
import shutil
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.files.run_dir import RunDir
from hpo.results.disk import artifact_files, file_bytes
from hpo.storage.records import configuration_of, is_paused, was_given_back
from hpo.storage.stored_study import checkpoint_bytes_of


def remove_checkpoints(study: optuna.Study, run_dir: RunDir) -> None:
    """Remove the checkpoints of configurations that have ended elsewhere: killed for good, or on another machine.

    Those of paused configurations stay as far as the study's disk budget allows, the best first. A configuration
    without them starts again if it is continued.
    """
    folders = {folder.name.partition("-")[2]: folder for folder in run_dir.trials(study.study_name).glob("*")}
    if not folders:
        return
    last = _last_trials(study)
    paused = [(trial, folders[uuid]) for uuid, trial in last.items() if is_paused(trial) and uuid in folders]
    for uuid, trial in last.items():
        if uuid in folders and trial.state.is_finished() and not is_paused(trial):
            shutil.rmtree(folders[uuid], ignore_errors=True)
    _bound(study, paused)


def remove_all(study: optuna.Study, run_dir: RunDir) -> None:
    """Once no trial of a finished study runs: remove all checkpoints except those of paused configurations.

    So are the weights of attempts that have no result.
    """
    trials = study.get_trials(deepcopy=False)
    if any(trial.state == TrialState.RUNNING for trial in trials):
        return
    paused = {uuid for uuid, trial in _last_trials(study).items() if is_paused(trial)}
    for folder in run_dir.trials(study.study_name).glob("*"):
        if folder.name.partition("-")[2] not in paused:
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # something is left in it, or there is none
        run_dir.trials(study.study_name).rmdir()
    for trial in filter(was_given_back, trials):
        for path in artifact_files(trial, run_dir):
            path.unlink(missing_ok=True)


def _last_trials(study: optuna.Study) -> dict[str, FrozenTrial]:
    """The last trial of each configuration that was not given back, by the configuration's uuid."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if not was_given_back(trial)]
    return {known.uuid: trial for trial in trials if (known := configuration_of(trial))}


def _bound(study: optuna.Study, paused: list[tuple[FrozenTrial, Path]]) -> None:
    """Remove the checkpoints of the worst paused configurations that exceed the study's disk budget."""
    left = checkpoint_bytes_of(study)
    is_best_last = study.direction == optuna.study.StudyDirection.MINIMIZE
    ranked = sorted(paused, key=lambda pair: pair[0].value or 0.0, reverse=not is_best_last)
    for _trial, folder in ranked:
        left -= file_bytes(folder.rglob("*"))
        if left < 0:
            shutil.rmtree(folder, ignore_errors=True)
