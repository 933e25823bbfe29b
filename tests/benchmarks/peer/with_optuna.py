"""A plain Optuna script, as its documentation has it: two processes run `study.optimize` on one SQLite file."""

import sys

import optuna
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from problem import SPACE, train


def objective(trial: optuna.Trial) -> float:
    """One trial."""
    low, high = SPACE["learning_rate"]
    return train(
        {
            "filters": trial.suggest_int("filters", *SPACE["filters"], log=True),
            "units": trial.suggest_int("units", *SPACE["units"], log=True),
            "dropout": trial.suggest_float("dropout", *SPACE["dropout"]),
            "learning_rate": trial.suggest_float("learning_rate", low, high, log=True),
        }
    )


study = optuna.create_study(
    storage="sqlite:///optuna.db", study_name="peers", direction="maximize", load_if_exists=True
)
ended = (TrialState.COMPLETE,)
study.optimize(objective, callbacks=[MaxTrialsCallback(int(sys.argv[1]), states=ended)])
