"""Pruners see one trial per configuration: deaths of workers change nothing that they decide."""

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from recorded import Recorded

from hpo import Budget
from hpo.files.run_dir import RunDir
from hpo.search.curve import Curve
from hpo.search.freeze_thaw import FreezeThaw
from hpo.search.pruning import judged_by_search, should_prune
from hpo.storage.leases import give_back
from hpo.storage.trial_rows import finish_trial
from hpo.study.space import Space


@pytest.mark.parametrize(
    "pruner",
    [
        pytest.param(MedianPruner(n_startup_trials=2), id="median"),
        pytest.param(SuccessiveHalvingPruner(1, 2), id="halving"),
        pytest.param(HyperbandPruner(1, 4, 2), id="hyperband"),
    ],
)
def test_deaths_do_not_change_what_is_pruned(pruner: BasePruner, sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Each configuration is pruned at the epoch at which it would have been, whoever died before."""
    undisturbed = _pruned(Recorded(sqlite, run_dir, name="s", **SEARCH, pruner=pruner), deaths=False)
    optuna.delete_study(study_name="s", storage=sqlite)  # Hyperband's brackets depend on the name
    assert _pruned(Recorded(sqlite, run_dir, name="s", **SEARCH, pruner=pruner), deaths=True) == undisturbed


SEARCH: dict[str, Any] = {"space": {"x": FloatDistribution(0, 1)}, "budget": Budget(trials=20)}


VALUES = (0.9, 0.8, 0.85, 0.88, 0.2, 0.95, 0.5, 0.7)


def _pruned(recorded: Recorded, *, deaths: bool) -> list[int]:
    """How many epochs each of eight configurations trains; with deaths, two of them die once in their second epoch."""
    epochs = []
    for number, value in enumerate(VALUES):
        if deaths and number in (0, 5):
            claim = recorded.start()
            _train(claim.trial, value, epochs=1)
            give_back(recorded.study, claim.trial._trial_id, "lost_worker")
        trial = recorded.start().trial
        epochs.append(_train(trial, value, epochs=4))
        state = TrialState.COMPLETE if epochs[-1] == 4 else TrialState.PRUNED
        finish_trial(recorded.study._storage, trial._trial_id, state, value, {})
    return epochs


def _train(trial: optuna.Trial, value: float, *, epochs: int) -> int:
    """Report so many epochs, or fewer if the pruner says so; how many."""
    for epoch in range(1, epochs + 1):
        trial.report(value * epoch, epoch)
        if should_prune(trial):
            return epoch
    return epochs


@pytest.mark.parametrize(
    ("seconds", "looks"),
    [
        pytest.param(None, [3, 4, 7], id="no-limit"),
        pytest.param(4000.0, [3, 4, 7], id="short-epochs"),
        pytest.param(800.0, [2, 3, 4, 6, 7], id="half-of-what-an-epoch-takes"),
        pytest.param(400.0, [1, 2, 3, 4, 5, 6, 7], id="long-epochs"),
    ],
)
def test_what_takes_long_is_looked_at_sooner(
    seconds: float | None, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fortieth of the seconds of a study, whatever the epoch; here an epoch takes ten."""
    clock = [0.0]
    monkeypatch.setattr("hpo.search.pruning.time.monotonic", lambda: clock[0])
    search = FreezeThaw(Space({"x": FloatDistribution(0, 1)}), 50, seed=0, hints={})
    looked_at: list[int] = []

    def is_to_go_on() -> bool:
        looked_at.append(epoch)
        return True

    curve = Curve(number=0, params={"x": 0.5}, values=[], epochs=50, state="running")
    judge = judged_by_search(search, curve, is_to_go_on, seconds)
    for epoch in range(1, 8):
        clock[0] += 10
        assert judge(epoch) is None
    assert looked_at == looks
