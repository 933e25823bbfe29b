"""A small search on scikit-learn's bundled digits: needs no download and ends within a few minutes anywhere."""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo import Budget, Search, Train
from hpo.models import build_cnn

study = Search(
    name="digits-cnn",
    description="A small CNN for scikit-learn's digits; works offline",
    task=Train(data="digits", model=build_cnn, validation=0.2),
    space={
        "filters": IntDistribution(16, 64, log=True),
        "blocks": IntDistribution(1, 2),
        "dense_units": IntDistribution(16, 128, log=True),
        "dropout": FloatDistribution(0.0, 0.5),
        "optimizer": CategoricalDistribution(["adam", "rmsprop", "sgd"]),
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "batch_size": CategoricalDistribution([32, 64, 128]),
    },
    budget=Budget(trials=12, max_epochs=9),
    seed=0,
)
