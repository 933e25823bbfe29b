"""How much of this machine's disk a study takes."""

import re
from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from hpo.errors import StudyError
from hpo.files.run_dir import RunDir

# Optuna's key of an artifact; its function that lists them asks the storage for each trial again. Only a UUID counts,
# because a text of another program must not lead to another folder.
_ARTIFACT = re.compile(r"artifacts:([0-9a-f-]{36})")


def disk_bytes(study: optuna.Study, run_dir: RunDir) -> int:
    """Bytes that the study takes on this machine: its folder, and the artifacts of its trials."""
    try:
        files = list(run_dir.study(study.study_name).rglob("*"))
    except StudyError:  # another program gave a name for which hpo has no folder
        files = []
    for trial in study.get_trials(deepcopy=False):
        files += artifact_files(trial, run_dir)
    return file_bytes(files)


def file_bytes(paths: Iterable[Path]) -> int:
    """Bytes that files take; folders, and what is gone, take none."""
    return sum(map(_size, paths))


def artifact_files(trial: FrozenTrial, run_dir: RunDir) -> list[Path]:
    """Where the trial's artifacts are, such as its weights, on the machine that ran it."""
    keys = map(_ARTIFACT.fullmatch, trial.system_attrs)
    return [run_dir.artifacts / key[1] for key in keys if key]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # a checkpoint that has just been replaced
        return 0
