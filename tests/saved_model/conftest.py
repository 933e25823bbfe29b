"""A trained model as files, for the tests that load it."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def images():
    """Images that the model of ``saved`` takes."""
    return np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, images):
    """A folder with one trained model as ``best.h5`` and ``best.keras``, and its probabilities for ``images``."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, dtype="mixed_bfloat16"),
            layers.BatchNormalization(dtype="mixed_bfloat16"),
            layers.LeakyReLU(negative_slope=0.1, dtype="mixed_bfloat16"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", dtype="float32"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, np.arange(32) % 10, epochs=1, verbose=0)  # moves the batch normalization's averages
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "best.h5")
    model.save(folder / "best.keras")
    return folder, model.predict(images, verbose=0)


@pytest.fixture
def model(saved, tmp_path):
    """A copy of ``best.h5`` that a test may change."""
    path = tmp_path / "best.h5"
    path.write_bytes((saved[0] / "best.h5").read_bytes())
    return path
