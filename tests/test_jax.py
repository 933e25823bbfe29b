"""The same study on another backend."""

import importlib.util
import json

import pytest
from command import Hpo

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs the jax extra: pip install '.[jax]'"
)


def test_a_study_runs_and_exports_on_jax(hpo: Hpo) -> None:
    """Nothing in models, training or export is TensorFlow's."""
    run = ("launch", "--study", "digits-cnn", "--name", "on-jax", "--trials", "2", "--max-epochs", "2")
    hpo(*run, "--workers", "1", "--gpus", "none", KERAS_BACKEND="jax")
    trials = json.loads(hpo("trials", "--study", "on-jax", "--json").stdout)
    assert {trial["backend"] for trial in trials} == {"jax"}
    assert [trial["state"] for trial in trials].count("COMPLETE") == 2  # whatever was paused before
    exported = hpo("export", "--study", "on-jax", "--output", "best.h5", KERAS_BACKEND="jax")
    assert "both models reload without hpo and agree" in exported.stdout
