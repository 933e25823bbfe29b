"""One factor at a time around a small network, five repeats each.

After a lab report without a title, exercises on a network of one convolution: 32 filters of 3x3, a pool, 16 dense
units, a softmax; SGD with momentum, 5 epochs. The report names no batch size: ours is Keras's default, 32. If it
names no learning rate, ours is 0.01, the best of those that it tried.
"""

from dataclasses import replace

from hpo import Budget, Comparison, Setting, Train, vary
from hpo.models import build_stack

VALIDATION = (
    "Our validation accuracies are closer to the reported figures than our test accuracies are; the report does not "
    "say which images its figures are of. It has one setting (32 filters, 16 units, 5 epochs, a rate of 0.01) in four "
    "of its tables, with a different figure in each. The study fmnist-conditions tries what the report does not name."
)
MOSTLY = VALIDATION.replace("Our validation accuracies", "Most of our validation accuracies")

filters = Comparison(
    name="fmnist-filters",
    description="8 to 128 filters, five repeats (lab report on one convolution)",
    task=Train(data="fashion-mnist", model=build_stack, stopping=None),
    base={
        "layers": "conv{filters} pool drop{dropout} flatten dense{dense_units} softmax",
        "filters": 32, "dense_units": 16, "dropout": 0.0,
        "optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01, "batch_size": 32, "epochs": 5,
    },
    settings=vary(
        "filters",
        {
            8: {"test_accuracy": 0.89496},
            16: {"test_accuracy": 0.89974},
            32: {"test_accuracy": 0.89932},
            64: {"test_accuracy": 0.90258},
            128: {"test_accuracy": 0.90146},
        },
    ),
    repeats=5,
    remarks=VALIDATION,
    budget=Budget(max_epochs=20),
)  # fmt: skip

dense_units = replace(
    filters,
    name="fmnist-dense-units",
    description="16 to 512 dense units, five repeats (lab report on one convolution)",
    settings=vary(
        "dense_units",
        {
            16: {"test_accuracy": 0.9009},
            64: {"test_accuracy": 0.9099},
            128: {"test_accuracy": 0.9086},
            256: {"test_accuracy": 0.9089},
            512: {"test_accuracy": 0.9065},
        },
    ),
)

epochs = replace(
    filters,
    name="fmnist-epochs",
    description="1 to 20 epochs, five repeats (lab report on one convolution)",
    remarks=MOSTLY,
    settings=vary(
        "epochs",
        {
            1: {"test_accuracy": 0.86545},
            2: {"test_accuracy": 0.876875},
            5: {"test_accuracy": 0.891075},
            10: {"test_accuracy": 0.892625},
            20: {"test_accuracy": 0.9015},
        },
    ),
)

learning_rate = replace(
    filters,
    name="fmnist-learning-rate",
    description="Learning rates of 0.1 to 0.00001, five repeats (lab report on one convolution)",
    remarks=MOSTLY
    + " At rates of 0.001 and less, ours is below the reported figure, more so with each smaller rate, and "
    "our last epoch is always our best. Ours has learned less in the same epochs: the report's steps seem to be "
    "larger at the same rate. The study fmnist-conditions tries what could make them larger.",
    settings=vary(
        "learning_rate",
        {
            0.1: {"test_accuracy": 0.8321},
            0.01: {"test_accuracy": 0.895525},
            0.001: {"test_accuracy": 0.874175},
            0.0001: {"test_accuracy": 0.836075},
            0.00001: {"test_accuracy": 0.7402},
        },
    ),
)

dropout = replace(
    filters,
    name="fmnist-dropout",
    description="Dropout of 0 to 0.5 after the pool, early stopping, five repeats (lab report on one convolution)",
    remarks="",
    base={**filters.base, "epochs": 20, "patience": 3},
    settings=vary(
        "dropout",
        {
            0.0: {"test_accuracy": 0.8939, "best_epoch": 7},
            0.1: {"test_accuracy": 0.901775},
            0.2: {"test_accuracy": 0.9013},
            0.3: {"test_accuracy": 0.900275},
            0.4: {"test_accuracy": 0.902375},
            0.5: {"test_accuracy": 0.898625},
        },
    ),
)

conditions = replace(
    filters,
    name="fmnist-conditions",
    remarks="No other batch size or momentum raises the first setting to the reported figure, which is the second "
    "highest of the four that the report has for it (89.11, 89.55, 89.93 and 90.09; the lowest is within two "
    "deviations of ours). One explanation remains, the images that it is measured on: our validation accuracy is "
    "closer. The smallest rate is above its reported figure with a momentum of 0.99 or with Adam, and far below it "
    "with 0.9 (see fmnist-learning-rate): the report's small rates made larger steps than SGD with the usual momentum "
    "makes.",
    description="Batch sizes, momenta and optimizers, which the report does not name (lab report on one convolution)",
    base={name: value for name, value in filters.base.items() if name != "momentum"},
    settings=[
        *(
            Setting(
                {"learning_rate": 0.01, "optimizer": "sgd", "batch_size": batch_size, "momentum": momentum},
                {"test_accuracy": 0.89932},
            )
            for batch_size, momentum in [(32, 0.9), (8, 0.9), (128, 0.9), (32, 0.0), (32, 0.99)]
        ),
        Setting(
            {"learning_rate": 0.00001, "optimizer": "sgd", "batch_size": 32, "momentum": 0.99},
            {"test_accuracy": 0.7402},
        ),
        Setting({"learning_rate": 0.00001, "optimizer": "adam", "batch_size": 32}, {"test_accuracy": 0.7402}),
    ],
    repeats=1,
)
