"""Does a classifier learn more from an autoencoder's output? After the slides "Analyzing Images using Convolutions".

SGD with momentum, batches of 200, 50,000 training and 10,000 validation images: here a stratified split, in the slides
the first and the last images.
"""

from hpo import Budget, Comparison, Setting, Train
from hpo.models import build_stack

study = Comparison(
    name="fmnist-autoencoder",
    description='Dense layers, deep convolutions, dense layers behind an autoencoder (slides "Analyzing Images using '
    'Convolutions")',
    task=Train(data="fashion-mnist", model=build_stack, stopping=None, validation=1 / 6),
    base={"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9, "batch_size": 200, "padding": "same"},
    settings=[
        Setting(
            {"layers": "flatten dense300 dense100 softmax", "epochs": 5},
            {"test_accuracy": 0.8512},
            "baseline",
        ),
        Setting(
            {
                "layers": "conv64 conv64 pool conv128 conv128 pool conv256 conv256 pool "
                "flatten dense500 dense250 softmax",
                "epochs": 5,
            },
            name="convs (reported as too slow to run)",
        ),
        Setting(
            {"layers": "autoencoder flatten dense300 dense100 softmax", "epochs": 5},
            {"test_accuracy": 0.8575, "parameters": 313_139},
            "autoencoder",
        ),
        Setting(
            {"layers": "autoencoder flatten dense300 dense100 softmax", "epochs": 50, "patience": 5},
            {"test_accuracy": 0.9033, "parameters": 313_139},
            "autoencoder, early stopping",
        ),
    ],
    remarks="The convolutions that were too slow to run take by far the most time, and in their five epochs they reach "
    "less than the autoencoder does in its many.",
    budget=Budget(max_epochs=50),
)
