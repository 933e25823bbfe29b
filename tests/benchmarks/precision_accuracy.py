"""Whether half precision costs accuracy: ordinary models in float32, in mixed_bfloat16 by Keras, and by `hpo`.

`hpo` keeps the outputs in float32. Each model is trained for three epochs on 6,000 images of Fashion-MNIST, from the
same weights with each precision, once per seed; the score is that of its metric on 2,000 test images. A loss is within
chance if it is below three standard errors of the mean difference, or below 0.01. A model that cannot be trained as
Keras leaves it, because its loss or metric does not take bfloat16, scores nan.

Needs NumPy and Keras only, the backend by KERAS_BACKEND, the images in the folder HPO_DATA_DIR:
``PYTHONPATH=. python tests/benchmarks/precision_accuracy.py --seeds 5``, and ``--models "dense, raw" lstm`` for some.
"""

import argparse
import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from hpo.trial.half_precision import keep_outputs_in_float32

EPOCHS, TRAINED, MEASURED = 3, 6_000, 2_000
CHANCE = 3  # standard errors
SHAPE = (28, 28, 1)
VARIANTS = ("float32", "as Keras", "as hpo")


def _classifier(*body: layers.Layer) -> keras.Model:
    model = keras.Sequential([keras.Input(SHAPE), *body, layers.Dense(10, activation="softmax")])
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _dense() -> list[layers.Layer]:
    return [layers.Flatten(), layers.Dense(128, activation="relu")]


def _convolutions() -> list[layers.Layer]:
    blocks = [(layers.Conv2D(n, 3, activation="relu"), layers.MaxPooling2D()) for n in (16, 32)]
    return [*(layer for block in blocks for layer in block), layers.Flatten(), layers.Dense(64, activation="relu")]


def _normalized() -> list[layers.Layer]:
    convolutions = [layers.Conv2D(n, 3, strides=2, use_bias=False) for n in (16, 32)]
    blocks = [(layer, layers.BatchNormalization(momentum=0.9), layers.ReLU()) for layer in convolutions]
    return [*(layer for block in blocks for layer in block), layers.GlobalAveragePooling2D(), layers.Dropout(0.2)]


def _head(units: int, activation: str | None, loss: object, metric: object) -> keras.Model:
    model = keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255), *_dense(), layers.Dense(units)])
    if activation:
        model.add(layers.Activation(activation))
    model.compile("adam", loss=loss, metrics=[metric])
    return model


def _focal(true: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    """The cross-entropy of hard images (Lin et al., 2017)."""
    chosen = ops.sum(ops.one_hot(ops.cast(ops.reshape(true, (-1,)), "int32"), 10) * predicted, axis=-1)
    return -((1 - chosen) ** 2) * ops.log(ops.maximum(chosen, 1e-7))


def _within_half(true: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    distances = ops.abs(ops.cast(ops.reshape(true, (-1,)), "float32") - ops.reshape(predicted, (-1,)))
    return ops.cast(distances < 0.5, "float32")


def _residual() -> keras.Model:
    images = keras.Input(SHAPE)
    x = layers.Conv2D(16, 3, strides=2, padding="same")(layers.Rescaling(1 / 255)(images))
    x = layers.Add()([x, layers.Conv2D(16, 3, padding="same", activation="relu")(x)])
    branches = [layers.GlobalAveragePooling2D()(x), layers.Dense(32, activation="relu")(layers.Flatten()(x))]
    outputs = layers.Softmax()(layers.Dense(10)(layers.Concatenate()(branches)))
    model = keras.Model(images, outputs)
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _attention() -> keras.Model:
    images = keras.Input(SHAPE)
    patches = layers.Conv2D(32, 7, strides=7)(layers.Rescaling(1 / 255)(images))
    x = layers.Reshape((16, 32))(patches)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 16)(x, x))
    x = layers.GlobalAveragePooling1D()(layers.Dense(64, activation="gelu")(x))
    model = keras.Model(images, layers.Dense(10, activation="softmax")(x))
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _rows(recurrent: layers.Layer) -> list[layers.Layer]:
    return [layers.Rescaling(1 / 255), layers.Reshape((28, 28)), recurrent]


# Name, model, what its metric is called, labels from the ten classes.
MODELS: dict[str, tuple[Callable[[], keras.Model], str, Callable[[np.ndarray], np.ndarray]]] = {
    "dense, raw": (lambda: _classifier(*_dense()), "accuracy", np.asarray),
    "dense": (lambda: _classifier(layers.Rescaling(1 / 255), *_dense()), "accuracy", np.asarray),
    "convolutions, raw": (lambda: _classifier(*_convolutions()), "accuracy", np.asarray),
    "convolutions": (lambda: _classifier(layers.Rescaling(1 / 255), *_convolutions()), "accuracy", np.asarray),
    "batch normalization": (lambda: _classifier(*_normalized()), "accuracy", np.asarray),
    "residual, two branches": (_residual, "accuracy", np.asarray),
    "attention": (_attention, "accuracy", np.asarray),
    "lstm": (lambda: _classifier(*_rows(layers.LSTM(64))), "accuracy", np.asarray),
    "gru": (lambda: _classifier(*_rows(layers.GRU(64))), "accuracy", np.asarray),
    "logits": (
        lambda: _head(10, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"),
        "accuracy",
        np.asarray,
    ),
    "custom loss": (lambda: _head(10, "softmax", _focal, "accuracy"), "accuracy", np.asarray),
    "one sigmoid, AUC": (
        lambda: _head(1, "sigmoid", "binary_crossentropy", keras.metrics.AUC(name="auc")),
        "auc",
        lambda labels: (labels % 2).astype("int64"),
    ),
    "regression": (lambda: _head(1, None, "mse", _within_half), "_within_half", np.asarray),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    chosen = parser.parse_args()
    train, test = _read("train", TRAINED), _read("t10k", MEASURED)
    print(f"{keras.backend.backend()}, {chosen.seeds} seeds, mean and standard deviation\n")
    print(f"| model | {' | '.join(VARIANTS)} | difference | standard error | within chance | seconds |")
    print("|---|" + "---:|" * (len(VARIANTS) + 4))
    for name in chosen.models:
        started = time.perf_counter()
        scores = {variant: _scores(name, variant, chosen.seeds, train, test) for variant in ("float32", "as hpo")}
        try:
            scores["as Keras"] = _scores(name, "as Keras", chosen.seeds, train, test)
        except (TypeError, ValueError):  # a metric or loss that does not take bfloat16
            scores["as Keras"] = np.full(chosen.seeds, np.nan)
        difference = scores["as hpo"] - scores["float32"]
        error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
        holds = difference.mean() > -max(CHANCE * error, 0.01)
        cells = [f"{scores[variant].mean():.3f} ± {scores[variant].std():.3f}" for variant in VARIANTS]
        cells += [f"{difference.mean():+.4f}", f"{error:.4f}", "yes" if holds else "NO"]
        print(f"| {name} | {' | '.join(cells)} | {time.perf_counter() - started:.0f} |", flush=True)


def _read(part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28, 1) and labels (n,), the first of the file."""
    folder = Path(os.environ["HPO_DATA_DIR"]) / "fashion-mnist"
    images = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return images.reshape(-1, *SHAPE)[:count], labels[:count].astype("int64")


def _scores(name: str, variant: str, seeds: int, train: tuple, test: tuple) -> np.ndarray:
    """The score of each seed; one model for all of them, because to compile it takes longest."""
    build, metric, labels = MODELS[name]
    keras.utils.clear_session()
    keras.config.set_dtype_policy("float32")
    weights = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        weights.append(build().get_weights())
    keras.config.set_dtype_policy("float32" if variant == "float32" else "mixed_bfloat16")
    model = build()
    if variant == "as hpo" and not keep_outputs_in_float32(model, SHAPE):
        raise RuntimeError(f"the outputs of {name!r} cannot be kept in float32")
    model.optimizer.build(model.trainable_variables)
    fresh = [ops.convert_to_numpy(variable) for variable in model.optimizer.variables]
    scores = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        model.set_weights(weights[seed])
        for variable, value in zip(model.optimizer.variables, fresh, strict=True):
            variable.assign(value)
        done = model.fit(
            train[0],
            labels(train[1]),
            batch_size=128,
            epochs=EPOCHS,
            validation_data=(test[0], labels(test[1])),
            validation_freq=EPOCHS,
            verbose=0,
        )
        scores.append(done.history[f"val_{metric}"][-1])
    return np.array(scores)


if __name__ == "__main__":
    main()
