"""What a study takes of the disk."""

import uuid

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo.files.run_dir import RunDir
from hpo.results.disk import disk_bytes


def test_disk_bytes_are_of_the_study_s_folder_and_weights(storage: BaseStorage, run_dir: RunDir) -> None:
    """Not of other studies' weights, nor of what another machine kept; but of those that a killed trial left."""
    study = optuna.create_study(storage=storage, study_name="s")
    kept, elsewhere, left, other = (str(uuid.uuid4()) for _ in range(4))
    for artifact, state in ((kept, TrialState.COMPLETE), (elsewhere, TrialState.COMPLETE), (left, TrialState.FAIL)):
        value = 1.0 if state == TrialState.COMPLETE else None
        attrs = {f"artifacts:{artifact}": "{}"}
        study.add_trial(optuna.create_trial(state=state, value=value, system_attrs=attrs))
    for path in (run_dir.logs("s") / "worker.log", *(run_dir.artifacts / name for name in (kept, left, other))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    assert disk_bytes(study, run_dir) == 15


@pytest.mark.parametrize("name", ["../x", "/etc", "artifacts", "a name"], ids=["above", "absolute", "ours", "words"])
def test_a_name_that_is_no_folder_takes_no_disk(name: str, storage: BaseStorage, run_dir: RunDir) -> None:
    """Another program may call a study as it likes, and its weights: what lies outside is not looked at."""
    study = optuna.create_study(storage=storage, study_name=name)
    for weights in ("../x/file", str(run_dir.home.parent / "x" / "file")):
        study.add_trial(optuna.create_trial(value=1.0, system_attrs={f"artifacts:{weights}": "{}"}))
    for folder in (run_dir.home.parent / "x", run_dir.artifacts):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_bytes(b"12345")
    assert disk_bytes(study, run_dir) == 0
