"""Keras Tuner in its distributed mode: a chief and two workers, as its documentation has it."""

import sys

import keras_tuner
from problem import BATCH_SIZE, EPOCHS, SPACE, LogEpochs, build, data


def build_with(hp: keras_tuner.HyperParameters) -> object:
    """The model of one trial."""
    low, high = SPACE["learning_rate"]
    return build(
        {
            "filters": hp.Int("filters", *SPACE["filters"], sampling="log"),
            "units": hp.Int("units", *SPACE["units"], sampling="log"),
            "dropout": hp.Float("dropout", *SPACE["dropout"]),
            "learning_rate": hp.Float("learning_rate", low, high, sampling="log"),
        }
    )


tuner = keras_tuner.BayesianOptimization(
    build_with, objective="val_accuracy", max_trials=int(sys.argv[1]), directory="keras-tuner", project_name="peers"
)
train_images, validation_images, train_labels, validation_labels = data()
tuner.search(
    train_images,
    train_labels,
    batch_size=BATCH_SIZE,
    epochs=EPOCHS,
    validation_data=(validation_images, validation_labels),
    callbacks=[LogEpochs()],
    verbose=0,
)
