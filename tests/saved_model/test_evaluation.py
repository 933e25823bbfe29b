"""Measures on a test split agree with scikit-learn and Keras, and misfits are refused with both values."""

import hashlib
import json

import numpy as np
import pytest
from sklearn.metrics import classification_report

from hpo import datasets
from hpo.datasets import Split
from hpo.errors import FileError, UsageError
from hpo.files.run_dir import RunDir
from hpo.saved_model.evaluation import class_names, evaluate_file
from hpo.trial.measures import evaluate, image_shape

# Keras 3.15 turns a variable into an array by a protocol that NumPy 2 wants extended; saving does it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

# "accuracy" is also a key of scikit-learn's report, and two classes share a name.
CLASSES = ("accuracy", "shirt", "shirt")


@pytest.fixture(scope="module")
def model():
    """Takes 2x2x1 images, gives three probabilities."""
    import keras

    keras.utils.set_random_seed(3)
    layers = [keras.layers.Rescaling(1 / 64), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((2, 2, 1)), *layers])


@pytest.fixture(scope="module")
def split():
    """300 random images; label 2 is never given, so one class is without support."""
    random = np.random.default_rng(0)
    return Split(random.integers(0, 256, (300, 2, 2, 1), np.uint8), random.integers(0, 2, 300))


@pytest.fixture(scope="module")
def evaluation(model, split):
    return evaluate(model, split, CLASSES)


def test_agrees_with_scikit_learn(model, split, evaluation):
    """Each figure is the one in scikit-learn's classification report."""
    predicted = model.predict(split.images, verbose=0).argmax(axis=1)
    names = ["a", "b", "c"]
    report = classification_report(
        split.labels, predicted, labels=range(3), target_names=names, output_dict=True, zero_division=0
    )
    ours = (*evaluation.classes, evaluation.macro, evaluation.weighted)
    for measures, key in zip(ours, (*names, "macro avg", "weighted avg"), strict=True):
        expected = report[key]
        assert measures.precision == pytest.approx(expected["precision"])
        assert measures.recall == pytest.approx(expected["recall"])
        assert measures.f1 == pytest.approx(expected["f1-score"])
        assert measures.support == expected["support"]
    assert [measures.name for measures in evaluation.classes] == list(CLASSES)
    assert evaluation.classes[2].support == 0


def test_agrees_with_keras(model, split, evaluation):
    """Loss and accuracy are the ones that Keras gives for the same probabilities."""
    import keras

    given = model.predict(split.images, verbose=0)
    loss = keras.losses.SparseCategoricalCrossentropy()(split.labels, given)
    # Keras adds up 300 logarithms in float32, and divides each row by its sum.
    assert evaluation.loss == pytest.approx(float(loss), rel=1e-4)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    accuracy.update_state(split.labels, given)
    assert evaluation.accuracy == pytest.approx(float(accuracy.result()))


def test_counts_every_image_once(split, evaluation):
    """The confusion matrix has the true classes as rows, and its off-diagonal is the list of mistakes."""
    confusion = np.array(evaluation.confusion)
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(split.labels, minlength=3))
    assert confusion.trace() == round(evaluation.accuracy * evaluation.images)
    mistakes = evaluation.misclassified
    assert len(mistakes) == evaluation.images - confusion.trace() > 0
    assert all(split.labels[m.index] == m.true != m.predicted for m in mistakes)
    assert [m.probability for m in mistakes] == sorted((m.probability for m in mistakes), reverse=True)
    assert len({m.index for m in mistakes}) == len(mistakes)
    assert evaluation.images == 300
    assert evaluation.seconds > 0


def test_as_json(evaluation):
    """The record becomes plain JSON with its attributes as keys."""
    value = json.loads(json.dumps(evaluation.as_json()))
    assert value["classes"][1]["name"] == "shirt"
    assert value["confusion"] == [list(row) for row in evaluation.confusion]
    assert set(value["misclassified"][0]) == {"index", "true", "predicted", "probability"}


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        pytest.param((4, 3, 2, 1), (0, 1), "abc", "the model takes, 2x2x1, but they have 3x2x1", id="image-shape"),
        pytest.param((4, 2, 2), (0, 1), "abc", "2x2x1, but they have 2x2", id="no-channels"),
        pytest.param((4, 2, 2, 1), (0, 1), "abcd", "it has 3 for 4 classes", id="class-count"),
        pytest.param((4, 2, 2, 1), (0, 3), "abc", "must be 0 to 2, but the split has 0 to 3", id="label-too-large"),
        pytest.param((0, 2, 2, 1), (), "abc", "the split has no labels", id="empty"),
    ],
)
def test_refuses_what_does_not_fit(model, images, labels, classes, message):
    """Model, images, labels and classes that do not fit together are refused with both values."""
    labels = np.resize(np.array(labels, int), images[0])
    with pytest.raises(UsageError, match=message):
        evaluate(model, Split(np.zeros(images, np.uint8), labels), tuple(classes))


def _ending_in(units, activation, loss, batch_size=None):
    """A model of raw pixels whose outputs are as the arguments say; its weights are always the same."""
    import keras

    keras.utils.set_random_seed(5)
    dense = keras.layers.Dense(units, activation=activation)
    layers = [keras.layers.Rescaling(1 / 64), keras.layers.Flatten(), dense]
    model = keras.Sequential([keras.Input((2, 2, 1), batch_size=batch_size), *layers])
    if loss is not None:
        model.compile("adam", loss)
    return model


def _own_loss(labels, outputs):
    import keras

    return keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)


@pytest.mark.parametrize("compiled", [pytest.param(True, id="compiled"), pytest.param(False, id="without-a-loss")])
@pytest.mark.parametrize(
    ("units", "activation", "loss", "from_logits"),
    [
        pytest.param(2, "softmax", "SparseCategoricalCrossentropy", False, id="softmax"),
        pytest.param(2, None, "SparseCategoricalCrossentropy", True, id="logits"),
        pytest.param(2, None, _own_loss, True, id="logits-to-a-loss-of-ones-own"),
        pytest.param(1, "sigmoid", "BinaryCrossentropy", False, id="sigmoid"),
        pytest.param(1, None, "BinaryCrossentropy", True, id="one-logit"),
    ],
)
def test_measures_what_the_outputs_mean(split, units, activation, loss, from_logits, compiled):
    """Accuracy is what NumPy makes of them, loss what Keras does."""
    import keras

    made = getattr(keras.losses, loss)(from_logits=from_logits) if isinstance(loss, str) else loss
    model = _ending_in(units, activation, made if compiled else None)
    measured = evaluate(model, split, ("a", "b"))
    given = model.predict(split.images, verbose=0)
    threshold = 0 if from_logits else 0.5
    predicted = given[:, 0] > threshold if units == 1 else given.argmax(axis=1)
    assert measured.accuracy == pytest.approx((predicted == split.labels).mean())
    kind = keras.losses.BinaryCrossentropy if units == 1 else keras.losses.SparseCategoricalCrossentropy
    labels = split.labels[:, None] if units == 1 else split.labels
    assert measured.loss == pytest.approx(float(kind(from_logits=from_logits)(labels, given)), rel=1e-4)
    if not compiled:
        assert class_names(model, None) == ("0", "1")


def test_a_fixed_batch_size_is_kept(split):
    """The last batch is filled up, and what fills it is not counted."""
    fixed, free = (_ending_in(2, "softmax", None, batch_size) for batch_size in (16, None))
    assert len(split.labels) % 16
    measured, expected = (evaluate(model, split, ("a", "b")) for model in (fixed, free))
    assert measured.images == len(split.labels)
    assert measured.loss == pytest.approx(expected.loss)
    assert measured.confusion == expected.confusion


def test_a_subclassed_model_is_measured(split):
    """It does not say what it gives, so its outputs do."""
    import keras

    class Net(keras.Model):
        def __init__(self, logits):
            super().__init__()
            self.last = keras.layers.Dense(2, activation=None if logits else "softmax")
            self.flatten = keras.layers.Flatten()

        def call(self, images):
            return self.last(self.flatten(images))

    for logits in (True, False):
        model = Net(logits)
        model(keras.Input((2, 2, 1), dtype="uint8"))
        given = model.predict(split.images, verbose=0)
        assert evaluate(model, split, ("a", "b")).accuracy == (given.argmax(axis=1) == split.labels).mean()


def test_refuses_what_are_no_probabilities(split):
    """Logits to a loss that takes probabilities, and nan, are refused with what the model gives."""
    model = _ending_in(2, None, "sparse_categorical_crossentropy")
    with pytest.raises(UsageError, match=r"for image 0 it gives \[.*End it with a float32 softmax"):
        evaluate(model, split, ("a", "b"))
    model.set_weights([np.full((4, 2), np.nan), np.zeros(2)])
    with pytest.raises(UsageError, match=r"gives \[nan, nan\] with sum nan"):
        evaluate(model, split, ("a", "b"))


def test_image_shape(model):
    """A model's image shape is its input shape without the batch; other inputs are refused."""
    import keras

    assert image_shape(model) == (2, 2, 1)
    assert image_shape(keras.Sequential([keras.Input((None, None, 3)), keras.layers.ReLU()])) == (None, None, 3)
    with pytest.raises(UsageError, match=r"takes \(None, 4\)"):
        image_shape(keras.Sequential([keras.Input((4,)), keras.layers.ReLU()]))
    with pytest.raises(UsageError, match="takes None"):
        image_shape(keras.Sequential([keras.layers.Dense(2)]))


def test_class_names(model):
    """Class names come from the card, else they are the numbers of the outputs."""
    assert class_names(model, {"classes": ["a", "b", "c"]}) == ("a", "b", "c")
    assert class_names(model, None) == ("0", "1", "2")


@pytest.fixture
def digits_model(tmp_path):
    """An untrained model of the digits, merged to two classes, saved with its card."""
    import keras

    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    path = tmp_path / "best.keras"
    keras.Sequential([keras.Input((28, 28, 1)), *layers]).save(path)
    card = dict.fromkeys(("study", "trial", "params", "metrics", "fingerprint", "versions", "input"))
    card |= {"outputs": "probabilities", "code": {}}
    card["dataset"] = {"name": "digits", "merge": [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]}
    card["classes"] = ["even", "odd"]
    card["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".card.json").write_text(json.dumps(card))
    return path


def test_evaluates_a_file_as_its_card_says(digits_model, tmp_path):
    """Data set, merged classes and names come from the card; the read of the test split is recorded."""
    run_dir = RunDir(tmp_path / "runs")
    evaluation = evaluate_file(digits_model, run_dir=run_dir, dataset=None)
    assert [measures.name for measures in evaluation.classes] == ["even", "odd"]
    record = json.loads(run_dir.test_reads.read_text())
    assert (record["dataset"], record["reader"]) == ("digits", f"evaluate {digits_model}")
    test = datasets.load_test("digits", run_dir=run_dir, reader="test")
    assert evaluation.classes[1].support == (test.labels % 2).sum()
    assert evaluate_file(digits_model, run_dir=run_dir, dataset="digits").confusion == evaluation.confusion


def test_evaluates_on_another_data_set(digits_model, tmp_path):
    """A data set named in place of the card's brings neither the card's class names nor its merge."""
    images = np.zeros((4, 28, 28), np.uint8)
    labels = np.array([0, 0, 1, 1])
    other = tmp_path / "other.npz"
    np.savez(other, x_train=images, y_train=labels, x_test=images, y_test=labels)
    evaluation = evaluate_file(digits_model, run_dir=RunDir(tmp_path / "runs"), dataset=str(other))
    assert [(measures.name, measures.support) for measures in evaluation.classes] == [("0", 2), ("1", 2)]


def test_evaluate_file_needs_a_data_set(digits_model, tmp_path):
    """Without a card the data set must be named; a model that its card does not describe is refused."""
    run_dir = RunDir(tmp_path / "runs")
    digits_model.write_bytes(digits_model.read_bytes() + b"\0")
    with pytest.raises(FileError, match="must be the one its card describes"):
        evaluate_file(digits_model, run_dir=run_dir, dataset=None)
    digits_model.with_suffix(".card.json").unlink()
    with pytest.raises(UsageError, match=r"no card \(best\.card\.json\) that names one. Name it with --dataset"):
        evaluate_file(digits_model, run_dir=run_dir, dataset=None)
    assert not run_dir.test_reads.exists()
