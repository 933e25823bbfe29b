"""What is removed of what trials have left, and what is kept for others to go on from."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from hpo.files.run_dir import RunDir
from hpo.storage.records import PAUSED, ClaimRecord, Configuration
from hpo.workers import cleanup


def _study(*trials: tuple[TrialState, dict[str, Any]]) -> optuna.Study:
    """A study with a trial of a configuration of its own for each."""
    study = optuna.create_study(study_name="s")
    for number, (state, records) in enumerate(trials):
        claim = {"configuration": number, "uuid": f"u{number}", "seed": 1, "attempt": 1, "deaths": 0}
        attrs = {"claim": {**claim, "worker": "host-1", "device": "cpu", "token": "t"}, **records}
        value = 0.5 if state == TrialState.COMPLETE else None
        study.add_trial(optuna.create_trial(state=state, value=value, user_attrs=attrs))
    return study


@pytest.fixture
def folders(run_dir: RunDir) -> list[Path]:
    """Where three configurations keep their checkpoints."""
    made = [run_dir.trial("s", number, f"u{number}") for number in range(3)]
    for folder in made:
        folder.mkdir(parents=True)
        (folder / "1-2.checkpoint").touch()
    return made


def test_checkpoints_go_with_what_has_ended(folders: list[Path], run_dir: RunDir) -> None:
    """Killed for good or ended on another machine; one that was given back goes on from its own."""
    study = _study(
        (TrialState.FAIL, {"stop_reason": "timeout"}),
        (TrialState.FAIL, {"stop_reason": "lost_worker", "given_back": True}),
        (TrialState.COMPLETE, {}),
    )
    cleanup.remove_checkpoints(study, run_dir)
    assert [folder.exists() for folder in folders] == [False, True, False]


def test_nothing_of_a_study_that_has_ended_stays(folders: list[Path], run_dir: RunDir) -> None:
    """Unless another launch still runs a trial of it."""
    cleanup.remove_all(_study((TrialState.RUNNING, {})), run_dir)
    assert all(folder.exists() for folder in folders)
    cleanup.remove_all(_study((TrialState.COMPLETE, {})), run_dir)
    assert not run_dir.trials("s").exists()


def _paused(value: float, configuration: int) -> FrozenTrial:
    claim = ClaimRecord(Configuration(configuration, f"u{configuration}", 1), "host-1", "cpu", "t")
    return optuna.create_trial(
        state=TrialState.PRUNED, value=value, user_attrs={**claim.as_attributes(), "stop_reason": PAUSED}
    )


@pytest.mark.parametrize(
    ("limit", "kept"), [(3000, [True, True, True]), (2500, [False, True, True]), (0, [False, False, False])]
)
def test_paused_configurations_keep_theirs_within_the_disk_budget(
    limit: int, kept: list[bool], folders: list[Path], run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst of them goes first, also once the study has ended: a larger budget may continue them."""
    for folder in folders:
        (folder / "1-2.checkpoint").write_bytes(bytes(1000))
    study = optuna.create_study(study_name="s", direction="maximize")
    for configuration, value in enumerate((0.5, 0.7, 0.6)):
        study.add_trial(_paused(value, configuration))
    monkeypatch.setattr(cleanup, "checkpoint_bytes_of", lambda study: limit)
    cleanup.remove_checkpoints(study, run_dir)
    cleanup.remove_all(study, run_dir)
    assert [folder.exists() for folder in folders] == kept
