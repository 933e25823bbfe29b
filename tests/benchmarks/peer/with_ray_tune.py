"""Ray Tune with Optuna's sampler, two trials at a time; what was begun is restored, as its documentation has it."""

import sys
from pathlib import Path

import ray
from problem import SPACE, train
from ray import tune
from ray.tune.search.optuna import OptunaSearch


def trainable(config: dict) -> None:
    """One trial."""
    tune.report({"val_accuracy": train(config)})


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    low, high = SPACE["learning_rate"]
    begun = Path("ray").absolute() / "peers"
    resources = tune.with_resources(trainable, {"cpu": 1})
    if tune.Tuner.can_restore(str(begun)):
        tuner = tune.Tuner.restore(str(begun), resources, resume_unfinished=True, restart_errored=True)
    else:
        tuner = tune.Tuner(
            resources,
            param_space={
                "filters": tune.lograndint(*SPACE["filters"]),
                "units": tune.lograndint(*SPACE["units"]),
                "dropout": tune.uniform(*SPACE["dropout"]),
                "learning_rate": tune.loguniform(low, high),
            },
            tune_config=tune.TuneConfig(
                metric="val_accuracy", mode="max", num_samples=int(sys.argv[1]), search_alg=OptunaSearch(),
                max_concurrent_trials=2,
            ),
            run_config=tune.RunConfig(name="peers", storage_path=str(begun.parent), verbose=0),
        )  # fmt: skip
    tuner.fit()
