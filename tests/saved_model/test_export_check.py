"""What cannot be exported is found on an untrained model, and what can be is let through."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.datasets import Dataset, Split
from hpo.errors import StudyError
from hpo.saved_model import export_check, model_file
from hpo.study import catalog
from hpo.study.found import FoundStudy
from hpo.trial.model import build

# As in a study file: what is registered, and what is not.
STUDY = """
import keras
from keras import layers
from hpo import Budget, Search, Train
from optuna.distributions import IntDistribution

register = keras.saving.register_keras_serializable("mine")

class Unregistered(layers.Layer):
    def call(self, inputs):
        return inputs / 2

class Scaled(layers.Layer):
    def __init__(self, factor=None, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

@register
class Forgetful(Scaled):
    def __init__(self, **kwargs):
        super().__init__(factor=next(FACTORS), **kwargs)

    def get_config(self):
        return keras.layers.Layer.get_config(self)

@register
class Halve(Unregistered):
    pass

@register
def swish(x):
    return x * keras.ops.sigmoid(x)

def unregistered_swish(x):
    return swish(x)

@register
class Squares(keras.regularizers.Regularizer):
    def __call__(self, x):
        return 1e-4 * keras.ops.sum(x * x)

    def get_config(self):
        return {}

class Unregularized(Squares):
    pass

@register
def own_loss(labels, outputs):
    return keras.losses.sparse_categorical_crossentropy(labels, outputs)

@register
class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten = layers.Flatten()
        self.last = layers.Dense(2, activation="softmax")

    def call(self, images):
        return self.last(self.flatten(images))

@register
class NetWithoutConfig(Net):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)

@register
class NetWithOptions(Net):
    def __init__(self, *, name="net", **options):
        super().__init__(name=name, **options)

@register
class GraphWithoutConfig(keras.Model):
    def __init__(self, units=3):
        images = keras.Input((4, 4, 1))
        units = layers.Dense(units)(layers.Flatten()(images))
        super().__init__(images, layers.Dense(2, activation="softmax")(units))

class UnregisteredNet(Net):
    pass

FACTORS = iter((2.0, 3.0))
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SPARSE = "sparse_categorical_crossentropy"

def adapted(axis, images):
    layer = layers.Normalization(axis=axis)
    layer.adapt(images.astype("float32"))
    return layer

def head(*before, last=None, batch_size=None, scale=True):
    last = layers.Dense(2, activation="softmax") if last is None else last
    first = [layers.Rescaling(1 / 255)] if scale else []
    return keras.Sequential([keras.Input((4, 4, 1), batch_size=batch_size), *first, *before, layers.Flatten(), last])

KINDS = {
    "softmax": lambda images: (head(), SPARSE),
    "logits": lambda images: (head(last=layers.Dense(2)), LOGITS),
    "sigmoid": lambda images: (head(last=layers.Dense(1, activation="sigmoid")), "binary_crossentropy"),
    "one-logit": lambda images: (head(last=layers.Dense(1)), keras.losses.BinaryCrossentropy(from_logits=True)),
    "fixed-batch": lambda images: (head(batch_size=16), SPARSE),
    "own-layer": lambda images: (head(Halve()), SPARSE),
    "own-activation": lambda images: (head(layers.Dense(2, activation=swish)), SPARSE),
    "own-regularizer": lambda images: (head(layers.Dense(2, kernel_regularizer=Squares())), SPARSE),
    "own-loss": lambda images: (head(), own_loss),
    "loss-that-is-a-lambda": lambda images: (head(), lambda labels, outputs: own_loss(labels, outputs)),
    "normalization": lambda images: (head(adapted(-1, images), scale=False), SPARSE),
    "normalization-of-all": lambda images: (head(adapted(None, images), scale=False), SPARSE),
    "subclassed": lambda images: (Net(), SPARSE),
    "unregistered-layer": lambda images: (head(Unregistered()), SPARSE),
    "unregistered-activation": lambda images: (head(layers.Dense(2, activation=unregistered_swish)), SPARSE),
    "unregistered-regularizer": lambda images: (head(layers.Dense(2, kernel_regularizer=Unregularized())), SPARSE),
    "unregistered-model": lambda images: (UnregisteredNet(), SPARSE),
    "lambda": lambda images: (head(layers.Lambda(lambda x: x / 2)), SPARSE),
    "lambda-as-activation": lambda images: (head(layers.Dense(2, activation=lambda x: x / 2)), SPARSE),
    "subclassed-with-options": lambda images: (NetWithOptions(), SPARSE),
    "graph-without-config": lambda images: (GraphWithoutConfig(), SPARSE),
    "model-without-config": lambda images: (NetWithoutConfig(), SPARSE),
    "layer-with-a-hidden-state": lambda images: (head(Forgetful()), SPARSE),
    "logits-to-a-loss-of-probabilities": lambda images: (head(last=layers.Dense(2)), SPARSE),
    "three-outputs": lambda images: (head(last=layers.Dense(3, activation="softmax")), own_loss),
    "no-image": lambda images: (keras.Sequential([keras.Input((4, 4)), layers.Flatten(), layers.Dense(2)]), LOGITS),
}

def build(params, dataset):
    model, loss = KINDS[params["kind"]](dataset.train.images)
    model.compile("adam", loss, metrics=["accuracy"])
    return model

study = Search(
    name="kinds", task=Train(data="digits", model=build), space={"x": IntDistribution(0, 1)}, budget=Budget(trials=1)
)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FoundStudy:
    path = tmp_path_factory.mktemp("studies") / "kinds.py"
    path.write_text(STUDY)
    return catalog.load(str(path))


def _build(study: FoundStudy, kind: str, dataset: Dataset) -> Any:
    return build(study.written.task, {"kind": kind}, dataset, seed=0, precision="float32")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Fewer validation images than a batch of the model with a fixed one."""
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)
    split = Split(images, np.arange(20) % 2)
    return Dataset("own", split, split.take(np.arange(9)), ("a", "b"), "0" * 64, 0, 0.1, None)


@pytest.mark.parametrize(
    ("kind", "h5"),
    [
        ("softmax", True), ("logits", True), ("sigmoid", True), ("one-logit", True), ("fixed-batch", True),
        ("own-layer", True), ("own-activation", True), ("own-regularizer", True), ("own-loss", True),
        ("loss-that-is-a-lambda", True), ("normalization", True),
        ("normalization-of-all", False), ("subclassed", False),
        ("subclassed-with-options", False),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
def test_what_can_be_exported_passes(study: FoundStudy, dataset: Dataset, tmp_path: Path, kind: str, h5: bool) -> None:
    """And what passes loads from .keras, and all but two kinds, which Keras does not bring back, from .h5."""
    model = _build(study, kind, dataset)
    export_check.check(model, dataset)
    images = np.resize(dataset.train.images, (16, 4, 4, 1))
    expected = model.predict(images, batch_size=16, verbose=0)
    for suffix in (".keras", ".h5") if h5 else (".keras",):
        model_file.save(model, tmp_path / f"m{suffix}")
        given = model_file.load(tmp_path / f"m{suffix}").predict(images, batch_size=16, verbose=0)
        np.testing.assert_allclose(given, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param("unregistered-layer", "'Unregistered' is neither. Decorate .* @keras.saving.reg", id="layer"),
        pytest.param("unregistered-activation", "'unregistered_swish' is neither. Decorate", id="activation"),
        pytest.param("unregistered-regularizer", "'Unregularized' is neither. Decorate", id="regularizer"),
        pytest.param("unregistered-model", "'UnregisteredNet' is neither. Decorate", id="model"),
        pytest.param("lambda", "it holds a 'Lambda', which runs code.*Decorate", id="lambda"),
        pytest.param("lambda-as-activation", "loaded again after the search: .*Decorate", id="lambda-as-activation"),
        pytest.param("model-without-config", "must have a get_config, but NetWithoutConfig has none", id="config"),
        pytest.param("graph-without-config", "must have a get_config, but GraphWithoutConfig has none", id="graph"),
        pytest.param("layer-with-a-hidden-state", "gives other outputs than before", id="hidden-state"),
        pytest.param("logits-to-a-loss-of-probabilities", "logits to a loss with from_logits=True, but", id="loss"),
    ],
)
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
def test_what_cannot_be_exported_is_refused(study: FoundStudy, dataset: Dataset, kind: str, message: str) -> None:
    """On one line, with the way out."""
    model = _build(study, kind, dataset)
    with pytest.raises(StudyError, match=message) as caught:
        export_check.check(model, dataset)
    assert "\n" not in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_a_model_of_other_outputs_is_refused(study: FoundStudy, dataset: Dataset) -> None:
    """It could not be measured."""
    model = _build(study, "three-outputs", dataset)
    with pytest.raises(StudyError, match=r"could not be measured .* has 3 for 2 classes"):
        export_check.check(model, dataset)


def test_the_files_of_registered_code_are_named(
    study: FoundStudy, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the working folder; a process without them loads the model by the card, if they are as they were."""
    import keras

    from hpo.errors import FileError
    from hpo.saved_model import code_file
    from hpo.saved_model.inspection import inspect_model

    model = _build(study, "own-activation", dataset)
    path = tmp_path / "m.keras"
    model_file.save(model, path)
    source = Path(catalog.load(study.source).source.partition(".py:")[0] + ".py")
    monkeypatch.chdir(source.parent)
    card: dict[str, Any] = {"code": code_file.files_of(inspect_model(path))}
    assert list(card["code"]) == ["kinds.py"]

    monkeypatch.setattr(keras.src.saving.object_registration, "GLOBAL_CUSTOM_OBJECTS", {})
    with pytest.raises(FileError, match=r"holds 'mine>swish', which is neither\. Name the file .* --code"):
        model_file.load(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileError, match=r"kinds\.py is missing \(SHA-256 [0-9a-f]{64}\)\. Name that version with --code"
    ):
        model_file.load(path, card)
    other = tmp_path / "other.py"
    other.write_text(STUDY + "\n")
    with pytest.raises(FileError, match=r"other\.py has SHA-256 .* and the card of .* lists kinds\.py"):
        model_file.load(path, card, other)
    other.write_text(STUDY)
    assert isinstance(model_file.load(path, card, other), keras.Model)
    (tmp_path / "kinds.py").write_text(STUDY + "\n")
    keras.saving.get_custom_objects().clear()
    with pytest.raises(FileError, match=r"kinds\.py has changed since"):
        model_file.load(path, card)
