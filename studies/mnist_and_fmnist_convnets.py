"""Report B: how deep, which kernels, how much pooling; on MNIST, then on Fashion-MNIST."""

from dataclasses import replace

from hpo import Budget, Comparison, Setting, Train
from hpo.models import build_stack

train = Train(data="mnist", model=build_stack, stopping=None, validation=1 / 12)

mnist = Comparison(
    name="mnist-convnets",
    description="Report B, tests 1 to 6: depth, kernels and pools on MNIST; test 3 cannot be trained",
    task=train,
    base={"optimizer": "rmsprop", "batch_size": 64, "epochs": 5},
    remarks="Looked at: the losses. The reported accuracies are higher, and the reported losses higher as well, two to "
    "five times ours: as after many more epochs than the five that the report names, where a network grows surer of "
    "its few mistakes. And at the images: it does not say which it validated on, ours are a stratified twelfth. The "
    "default model, whose test accuracy it gives as 99.14, lies as close to our first as chance explains, if it is "
    "that one.",
    settings=[
        Setting(
            {"layers": "conv32 pool conv64 pool conv64 flatten dense64 softmax"},
            {"parameters": 93_322, "val_loss": 0.1785, "val_accuracy": 0.9942},
            "1",
        ),
        Setting(
            {"layers": "conv32x5 pool conv64x5 pool conv64 flatten dense64 softmax"},
            {"parameters": 106_122, "val_loss": 0.1635, "val_accuracy": 0.9944},
            "2: larger kernels",
        ),
        Setting({"layers": "conv32 pool"}, {"parameters": 320}, "3: no dense layer"),
        Setting(
            {"layers": "conv32 pool conv64 flatten dense64 softmax"},
            {"parameters": 515_146, "val_loss": 0.1365, "val_accuracy": 0.9956},
            "4: shallower",
        ),
        Setting(
            {"layers": "conv32 conv32 pool conv32 pool conv64 conv64 flatten dense64 softmax"},
            {"parameters": 79_050, "val_loss": 0.2042, "val_accuracy": 0.9925},
            "5: deeper",
        ),
        Setting(
            {"layers": "conv32 conv64 conv64 flatten dense64 softmax"},
            {"parameters": 2_038_922, "val_loss": 0.1207, "val_accuracy": 0.9962},
            "6: no pools",
        ),
    ],
    budget=Budget(max_epochs=5),
)

fashion = replace(
    mnist,
    name="fmnist-convnets",
    description="Report B, tests 7 to 9.1: dropout and pools on Fashion-MNIST",
    task=replace(train, data="fashion-mnist"),
    base={"optimizer": "rmsprop", "batch_size": 64, "epochs": 20},
    remarks="Looked at: test 7, tested above and validated below the reported accuracies. It is tested with the "
    "weights of its best epoch, the report's probably with those of its last: the reported loss, almost twice ours, is "
    "that of a network that trained on after its best epoch. It validated on the first 5,000 "
    "training images, we on a stratified twelfth: it has more than two points between test 7's two accuracies, we have "
    "less than one. Retrained on all training images for 15 epochs, one of its models came to 90.70 on the test "
    "images; `hpo export` does that.",
    settings=[
        Setting(
            {"layers": "conv32 pool conv64 pool conv64 flatten dense128 softmax"},
            {"parameters": 130_890, "val_loss": 0.5026, "val_accuracy": 0.917, "test_accuracy": 0.8925},
            "7",
        ),
        Setting(
            {"layers": "conv32 pool drop0.3 conv64 pool drop0.3 conv64 flatten dense128 softmax"},
            {"parameters": 130_890, "val_loss": 0.3673, "val_accuracy": 0.914, "test_accuracy": 0.9026},
            "7.1: dropout after pools",
        ),
        Setting(
            {"layers": "conv32 pool drop0.3 conv64 pool drop0.3 conv64 flatten drop0.3 dense128 softmax"},
            {"parameters": 130_890, "val_loss": 0.4194, "val_accuracy": 0.915, "test_accuracy": 0.9035},
            "7.2: and after flatten",
        ),
        Setting(
            {"layers": "conv32 conv64 conv64 flatten dense128 softmax"},
            {"parameters": 4_022_090, "val_loss": 1.18, "val_accuracy": 0.921},
            "8: no pools",
        ),
        # The report says 5x5, but its number of parameters is that of 3x3.
        Setting(
            {"layers": "conv32 pool flatten dense64 softmax"},
            {"parameters": 347_146, "val_loss": 0.3267, "val_accuracy": 0.921},
            "9: one convolution",
        ),
        Setting(
            {"layers": "conv32 pool drop0.3 flatten dense64 softmax"},
            {"parameters": 347_146, "val_loss": 0.3436, "val_accuracy": 0.921, "test_accuracy": 0.9147},
            "9.1: and dropout",
        ),
    ],
    budget=Budget(max_epochs=20),
)
