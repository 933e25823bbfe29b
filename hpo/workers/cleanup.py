"""What trials have left on this machine's disk that nobody will read again."""

import shutil

import optuna
from optuna.trial import TrialState

from hpo.files.run_dir import RunDir
from hpo.results.disk import artifact_files
from hpo.storage.records import configuration_of, was_given_back


def remove_checkpoints(study: optuna.Study, run_dir: RunDir) -> None:
    """Remove the checkpoints of configurations that have ended elsewhere: killed for good, or on another machine."""
    folders = list(run_dir.trials(study.study_name).glob("*"))
    if not folders:
        return
    trials = study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.is_finished() and not was_given_back(trial)]
    uuids = {known.uuid for known in map(configuration_of, ended) if known}
    for folder in folders:
        if folder.name.partition("-")[2] in uuids:
            shutil.rmtree(folder, ignore_errors=True)


def remove_all(study: optuna.Study, run_dir: RunDir) -> None:
    """Once no trial of a finished study runs: remove all checkpoints, and weights of attempts that have no result."""
    trials = study.get_trials(deepcopy=False)
    if any(trial.state == TrialState.RUNNING for trial in trials):
        return
    shutil.rmtree(run_dir.trials(study.study_name), ignore_errors=True)
    for trial in filter(was_given_back, trials):
        for path in artifact_files(trial, run_dir):
            path.unlink(missing_ok=True)
