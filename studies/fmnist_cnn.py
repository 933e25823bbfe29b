"""The stock search: a convolutional network for Fashion-MNIST, its width, depth, regularization and training.

The default budget is half an hour. For more: ``--timeout 2h``, which continues the stored study.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo import Budget, Search, Train, When
from hpo.models import PAIRS, build_cnn, pairs_with

# What the reports' networks do without.
_PLAIN = {"head": "flatten", "augmentation": "none"}

study = Search(
    name="fmnist-cnn",
    description="A CNN for Fashion-MNIST: its width, depth, head, regularization, augmentation and optimizer",
    task=Train(data="fashion-mnist", model=build_cnn),
    space={
        "filters": IntDistribution(8, 128, log=True),
        "blocks": IntDistribution(1, 3),
        "convs_per_block": IntDistribution(1, 2),
        "kernel_size": CategoricalDistribution([3, 5]),
        "pooling": CategoricalDistribution(["max", "average"]),
        "batch_norm": CategoricalDistribution([False, True]),
        "head": CategoricalDistribution(["flatten", "average"]),
        "augmentation": CategoricalDistribution(["none", "flip"]),
        "dense_units": IntDistribution(16, 512, log=True),
        "dropout": FloatDistribution(0.0, 0.5),
        "activation_optimizer": CategoricalDistribution(PAIRS),
        "momentum": When("activation_optimizer", pairs_with("sgd"), FloatDistribution(0.0, 0.99)),
        "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
        "batch_size": IntDistribution(16, 256, log=True),
        "epochs": IntDistribution(1, 50),
    },
    budget=Budget(seconds=1800, max_epochs=50),
    # The best networks that people found by hand, as far as this space has them: the best value of each factor (with
    # adam, because SGD, which the report used, learns little in 7 epochs at a rate of 0.001), a fan-out network with
    # LeakyReLU and adam, and a batch-normalized network with two convolutions per block and much dropout.
    warm_starts=[
        {
            "filters": 64, "blocks": 1, "convs_per_block": 1, "kernel_size": 3, "pooling": "max", "batch_norm": False,
            "dense_units": 250, "dropout": 0.0, "activation_optimizer": "relu+adam", "learning_rate": 1e-3,
            **_PLAIN, "batch_size": 64, "epochs": 7,
        },
        {
            "filters": 128, "blocks": 3, "convs_per_block": 1, "kernel_size": 3, "pooling": "max", "batch_norm": False,
            "dense_units": 100, "dropout": 0.1, "activation_optimizer": "leaky_relu+adam", "learning_rate": 1e-3,
            **_PLAIN, "batch_size": 64, "epochs": 20,
        },
        {
            "filters": 64, "blocks": 2, "convs_per_block": 2, "kernel_size": 3, "pooling": "max", "batch_norm": True,
            "dense_units": 512, "dropout": 0.3, "activation_optimizer": "relu+adam", "learning_rate": 1e-3,
            **_PLAIN, "batch_size": 128, "epochs": 50,
        },
    ],
    seed=0,
)  # fmt: skip
