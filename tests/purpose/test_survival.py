"""README: "Interrupted, killed, restarted: ... the same command continues", and nothing is lost by it."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import optuna
from faults.launching import Begin, Faults, interrupt, wait_for, workers_of
from optuna.trial import FrozenTrial, TrialState
from postgres import Postgres

TRIALS = 8

Result = tuple[float, float | None, dict[int, float]]


def test_a_search_survives_all_at_once(
    postgres_server: Postgres, empty_postgres: str, tmp_path: Path, begin: Begin
) -> None:
    """Ctrl-C, a killed worker, a database that restarts, SIGTERM, a killed launcher: the results are Optuna's.

    Each configuration of the undisturbed search has one result, with the value and the curve that ``study.optimize``
    gets for the same parameters.
    """
    faults = begin(tmp_path, empty_postgres, trials=TRIALS, pause=0.1)
    for signum in (signal.SIGINT, signal.SIGTERM):
        launcher = faults.launch(workers=2)
        _wait_for_reports(faults, launcher)
        workers_of(launcher)[0].kill()
        postgres_server.restart("fast")
        _wait_for_reports(faults, launcher)
        assert interrupt(launcher, signum) == 128 + signum, faults.log()
        assert faults.running() == 0
    launcher = faults.launch(workers=2)
    _wait_for_reports(faults, launcher)
    launcher.kill()
    launcher.wait()
    faults.run(workers=2)
    assert faults.check().finished == TRIALS
    survived = sorted(_results(faults.trials()))
    assert survived == sorted(_results(_plain([x for x, _, _ in survived])))

    assert faults.launch(2, "--name", "undisturbed").wait(300) == 0, faults.log()
    assert survived == sorted(_results(faults.trials("undisturbed")))


def _wait_for_reports(faults: Faults, launcher: "subprocess.Popen[bytes]") -> None:
    """Until some more have been made: trials are under way."""
    before = faults.count("report")
    wait_for(lambda: faults.count("report") > before + 2 or launcher.poll() is not None)
    assert launcher.poll() is None, faults.log()


def _plain(xs: list[float]) -> list[FrozenTrial]:
    """What Optuna alone makes of these parameters and the study's objective."""
    study = optuna.create_study(direction="maximize")
    for x in xs:
        study.enqueue_trial({"x": x})

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for epoch in range(1, 11):
            trial.report(x * epoch, epoch)
        return x * 10

    study.optimize(objective, n_trials=len(xs))
    return study.trials


def _results(trials: list[FrozenTrial]) -> Iterator[Result]:
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            yield trial.params["x"], trial.value, trial.intermediate_values
