"""One fit: when it ends, what it reports, and how it fails."""

from pathlib import Path

import keras
import numpy as np
import pytest

from hpo import Stopping
from hpo.datasets import Dataset, Split
from hpo.errors import InvalidModel, NanLoss, OutOfMemory, StudyError, TrialInterrupted
from hpo.storage.records import ModelRecord
from hpo.trial.callbacks import Record
from hpo.trial.checkpoint import Checkpoints
from hpo.trial.training import FitSettings, build_layers, describe, fit, refit, split_batches, start_fresh


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Two classes that differ in brightness: learned within an epoch or two."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 2
    images = (rng.integers(0, 60, (160, 6, 6, 1)) + labels[:, None, None, None] * 150).astype(np.uint8)
    split = Split(images[:128], labels[:128])
    return Dataset("bright", split, Split(images[128:], labels[128:]), ("dark", "light"), "0" * 64, 0, 0.2, None)


def _model(learning_rate: float = 0.1, loss: str = "sparse_categorical_crossentropy", classes: int = 2) -> keras.Model:
    images = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(classes, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(learning_rate), loss=loss, metrics=["accuracy"])
    return model


def _settings(**changes: object) -> FitSettings:
    fields: dict[str, object] = {
        "epochs": 4,
        "batch_size": 32,
        "metric": "val_accuracy",
        "direction": "maximize",
        "stopping": Stopping(patience=None, reduce_lr_patience=None),
    }
    return FitSettings(**{**fields, **changes})  # type: ignore[arg-type]


def _go_on(value: float, epoch: int) -> None:
    """Record nothing, and let the fit go on."""


def _pruned_at(last: int) -> Record:
    return lambda _value, epoch: "pruned" if epoch == last else None


def _never() -> bool:
    return False


def test_every_epoch_is_reported_and_recorded(dataset: Dataset) -> None:
    """Epochs count from 1; the curve has a value of each log an epoch, with its learning rate and seconds."""
    reported: dict[int, float] = {}
    start_fresh(0, "float32")
    done = fit(_model(), dataset, _settings(), record=lambda v, e: reported.update({e: v}), interrupted=_never)
    assert done.stop_reason == "completed"
    assert list(reported) == [1, 2, 3, 4]
    assert set(done.history) == {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"}
    assert done.history["val_accuracy"] == list(reported.values())
    assert done.history["learning_rate"] == pytest.approx([0.1] * 4)
    assert (done.epochs, done.images) == (4, 4 * 128)
    assert done.best_value == max(reported.values())
    assert 0 < done.seconds_to_best <= done.seconds


def test_the_model_ends_with_the_weights_of_its_best_epoch(dataset: Dataset) -> None:
    """Also where the last epoch is worse, and where training runs to its end."""
    start_fresh(0, "float32")
    model = _model()
    # Minimized, the first epoch of a model that learns is its best.
    settings = _settings(epochs=6, direction="minimize")
    done = fit(model, dataset, settings, record=_go_on, interrupted=_never)
    assert done.best_value < done.history["val_accuracy"][-1]
    measured = model.evaluate(dataset.validation.images, dataset.validation.labels, verbose=0, return_dict=True)
    assert measured["accuracy"] == pytest.approx(done.best_value)


def test_early_stopping_waits_its_patience(dataset: Dataset) -> None:
    """No better epoch for two epochs ends the fit."""
    start_fresh(0, "float32")
    settings = _settings(epochs=50, stopping=Stopping(patience=2, reduce_lr_patience=None))
    done = fit(_model(learning_rate=0.0), dataset, settings, record=_go_on, interrupted=_never)
    assert (done.stop_reason, done.epochs, done.best_epoch) == ("early_stopping", 3, 1)


def test_learning_rate_is_reduced_on_a_plateau(dataset: Dataset) -> None:
    """The history has the rate that each epoch was trained at."""
    start_fresh(0, "float32")
    settings = _settings(
        epochs=4, metric="val_loss", stopping=Stopping(patience=None, reduce_lr_patience=1, reduce_lr_factor=0.5)
    )
    model = _model(learning_rate=1e-12)  # never better: a loss maximized that does not move
    done = fit(model, dataset, settings, record=_go_on, interrupted=_never)
    assert done.history["learning_rate"] == pytest.approx([1e-12, 1e-12, 5e-13, 2.5e-13])


def test_a_learning_rate_stays_while_a_small_metric_gets_better(dataset: Dataset) -> None:
    """By however little: a mean squared error may begin at 1e-4."""
    start_fresh(0, "float32")
    settings = _settings(
        metric="val_loss", direction="minimize", stopping=Stopping(patience=None, reduce_lr_patience=1)
    )
    done = fit(_model(learning_rate=1e-5), dataset, settings, record=_go_on, interrupted=_never)
    losses = done.history["val_loss"]
    assert losses == sorted(set(losses), reverse=True)
    assert losses[0] - losses[-1] < 1e-4
    assert len(set(done.history["learning_rate"])) == 1


def test_a_minimized_metric_takes_the_smallest(dataset: Dataset) -> None:
    """Direction decides which epoch is the best."""
    start_fresh(0, "float32")
    done = fit(_model(), dataset, _settings(metric="val_loss", direction="minimize"), record=_go_on, interrupted=_never)
    assert done.best_value == min(done.history["val_loss"])


def test_pruning_ends_the_fit_and_keeps_the_curve(dataset: Dataset) -> None:
    """The outside says so after an epoch."""
    start_fresh(0, "float32")
    done = fit(_model(), dataset, _settings(), record=_pruned_at(2), interrupted=_never)
    assert (done.stop_reason, done.epochs) == ("pruned", 2)


def test_time_budget_ends_after_an_epoch(dataset: Dataset) -> None:
    """However short, one epoch is trained and counts."""
    start_fresh(0, "float32")
    done = fit(_model(), dataset, _settings(seconds=1e-9), record=_go_on, interrupted=_never)
    assert (done.stop_reason, done.epochs) == ("time_budget", 1)


@pytest.mark.parametrize("after", [1, 6], ids=["in-the-first-epoch", "in-the-second-epoch"])
def test_an_interruption_is_noticed_within_a_batch(dataset: Dataset, after: int) -> None:
    """It gives no result: the trial runs again."""
    asked = []

    def interrupted() -> bool:
        asked.append(1)
        return len(asked) >= after

    start_fresh(0, "float32")
    with pytest.raises(TrialInterrupted):
        fit(_model(), dataset, _settings(epochs=50), record=_go_on, interrupted=interrupted)
    assert len(asked) <= after + 4


def test_nan_stops_at_once(dataset: Dataset) -> None:
    """At the batch, not at the end of the epoch, and no value is reported."""
    reported: list[float] = []
    start_fresh(0, "float32")
    model = _model(learning_rate=float("inf"))
    with pytest.raises(NanLoss, match=r"the loss was (nan|inf) at batch 2 of an epoch; lower the learning rate"):
        fit(model, dataset, _settings(), record=lambda v, e: reported.append(v), interrupted=_never)
    assert reported == []


@pytest.mark.parametrize("failure", [NanLoss("the metric is nan"), KeyError("a bug in a callback")], ids=["nan", "bug"])
def test_a_fit_that_fails_leaves_its_history(failure: Exception, dataset: Dataset) -> None:
    """With the epoch at whose end it failed."""

    def record(_value: float, epoch: int) -> None:
        if epoch == 2:
            raise failure

    start_fresh(0, "float32")
    history: dict[str, list[float]] = {}
    with pytest.raises(type(failure)):
        fit(_model(), dataset, _settings(), record=record, interrupted=_never, history=history)
    assert [len(history[name]) for name in ("loss", "val_accuracy", "learning_rate", "seconds")] == [2, 2, 2, 2]


@pytest.mark.parametrize("metric", ["val_f1", "seconds", "learning_rate"])  # the last two are ours
def test_a_metric_that_the_model_lacks_is_named_with_those_it_has(metric: str, dataset: Dataset) -> None:
    """It is the study that is wrong, not the trial."""
    start_fresh(0, "float32")
    history: dict[str, list[float]] = {}
    with pytest.raises(StudyError, match=rf"'{metric}' is not among .*: accuracy, loss, val_accuracy, val_loss\."):
        fit(_model(), dataset, _settings(metric=metric), record=_go_on, interrupted=_never, history=history)
    assert len(history["val_loss"]) == 1


@pytest.mark.parametrize("model", ["unbuilt", "optimizer-built"])
def test_a_model_built_later_or_further_fits(model: str, dataset: Dataset) -> None:
    """The optimizer's variables are made before the fit only where that is possible and not done."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    if model == "optimizer-built":
        layers.insert(0, keras.Input((6, 6, 1)))
    network = keras.Sequential(layers)
    network.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    if model == "optimizer-built":
        network.optimizer.build(network.trainable_variables)
    assert fit(network, dataset, _settings(epochs=1), record=_go_on, interrupted=_never).epochs == 1


class Subclass(keras.Model):
    """A plain one: no ``build``, and a part that has no Input either."""

    def __init__(self) -> None:
        super().__init__()
        self.body = keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Flatten()])
        self.head = keras.layers.Dense(2, activation="softmax")

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        return self.head(self.body(images))


@pytest.mark.parametrize("marked", [False, True], ids=["unbuilt", "marked-as-built"])
def test_a_subclass_without_build_is_built(marked: bool) -> None:
    """Also one of which `keras.Model.build` says that it is."""
    model = Subclass()
    if marked:
        with pytest.warns(UserWarning, match="does not have a `build"):
            model.build((None, 6, 6, 1))
    build_layers(model, (6, 6, 1))
    assert model.count_params() == 74


def test_a_subclass_without_build_goes_on_from_its_checkpoint(dataset: Dataset, tmp_path: Path) -> None:
    """As any model: with its weights and its optimizer."""

    def subclass() -> keras.Model:
        model = Subclass()
        model.compile(keras.optimizers.Adam(0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        build_layers(model, dataset.input_shape)
        return model

    start_fresh(0, "float32")
    with pytest.raises(_Killed):
        fit(
            subclass(), dataset, _settings(epochs=3), record=_killed_at(3, []), interrupted=_never,
            checkpoints=Checkpoints(tmp_path, attempt=1),
        )  # fmt: skip
    resumed: list[int] = []
    done = fit(
        subclass(), dataset, _settings(epochs=3), record=_go_on, interrupted=_never,
        checkpoints=Checkpoints(tmp_path, attempt=2), resumed=resumed.append,
    )  # fmt: skip
    assert (done.epochs, resumed, done.best_value) == (3, [2], 1.0)


def test_a_model_of_another_shape_is_invalid(dataset: Dataset) -> None:
    """A configuration that cannot train fails with its own type, and with what a model is given."""
    images = keras.Input((9, 9, 1))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(images)))
    model.compile("sgd", loss="mse")
    with pytest.raises(
        InvalidModel, match=r"9, 9.* \(images are uint8 of shape \(n, 6, 6, 1\); labels are integers: use"
    ):
        fit(model, dataset, _settings(metric="val_loss"), record=_go_on, interrupted=_never)


def test_memory_errors_have_a_type_of_their_own(dataset: Dataset) -> None:
    """Each backend raises its own class; they are told by what they say."""

    def hungry(inputs: object, training: bool = False, mask: object = None) -> object:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.")

    images = keras.Input((6, 6, 1))
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(images)))
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    model.call = hungry  # a model that fits on no device
    with pytest.raises(OutOfMemory, match="too little memory"):
        fit(model, dataset, _settings(metric="val_loss"), record=_go_on, interrupted=_never)


def test_one_seed_gives_the_same_fit_twice(dataset: Dataset) -> None:
    """Weights, batches and dropout come from the trial's seed."""
    losses = []
    for seed in (3, 3, 4):
        start_fresh(seed, "float32")
        losses.append(fit(_model(), dataset, _settings(), record=_go_on, interrupted=_never).history["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_refit_trains_an_epoch_at_each_learning_rate(dataset: Dataset) -> None:
    """A rate of zero leaves the weights as they are; another does not."""
    start_fresh(0, "float32")
    model = _model()
    before = model.get_weights()
    refit(model, dataset.train, learning_rates=[0.0, 0.0], batch_size=32)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    refit(model, dataset.train, learning_rates=[0.0, 0.5], batch_size=32)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_describe_counts_parameters() -> None:
    """36 pixels to two classes: 36 x 2 weights and 2 biases."""
    start_fresh(0, "float32")
    expected = ModelRecord(parameters=74, precision="float32", backend=keras.backend.backend())
    assert describe(_model()) == expected


class _Killed(BaseException):
    """What a SIGKILL is to the code that runs."""


def _killed_at(epoch: int, reports: list[int]) -> Record:
    def record(_value: float, reported: int) -> None:
        reports.append(reported)
        if reported == epoch:
            raise _Killed

    return record


def test_a_killed_fit_goes_on_after_its_last_epoch(dataset: Dataset, tmp_path: Path) -> None:
    """Its curve is whole, recorded again from the first epoch, and no finished epoch is trained twice."""
    reports: list[int] = []
    with pytest.raises(_Killed):
        fit(
            _model(), dataset, _settings(epochs=5), record=_killed_at(3, reports), interrupted=_never,
            checkpoints=Checkpoints(tmp_path, attempt=1),
        )  # fmt: skip
    start_fresh(0, "float32")
    again: list[int] = []
    second = Checkpoints(tmp_path, attempt=2)
    before = second.latest()
    assert before is not None
    done = fit(
        _model(), dataset, _settings(epochs=5), record=_killed_at(0, again), interrupted=_never, checkpoints=second
    )
    assert (reports, again) == ([1, 2, 3], [1, 2, 3, 4, 5])
    assert (done.epochs, done.stop_reason) == (5, "completed")
    for name, values in before.state["history"].items():
        assert done.history[name][:2] == values
    assert done.best_value == max(done.history["val_accuracy"])


def test_a_resumed_fit_has_the_weights_and_the_learning_rate_it_had(dataset: Dataset, tmp_path: Path) -> None:
    """With a learning rate of 0 nothing moves: the loss of each epoch to come is that of the last one before."""
    settings = _settings(epochs=3, stopping=Stopping(patience=None, reduce_lr_patience=1))
    with pytest.raises(_Killed):
        fit(
            _model(learning_rate=1e-12), dataset, settings, record=_killed_at(3, []), interrupted=_never,
            checkpoints=Checkpoints(tmp_path, attempt=1),
        )  # fmt: skip
    start_fresh(7, "float32")  # other weights, which must not be seen
    done = fit(
        _model(learning_rate=0.5), dataset, settings, record=_go_on, interrupted=_never,
        checkpoints=Checkpoints(tmp_path, attempt=2),
    )  # fmt: skip
    assert done.history["val_loss"] == pytest.approx([done.history["val_loss"][0]] * 3)
    assert done.history["learning_rate"] == pytest.approx([1e-12, 1e-12, 0.5e-12])


@pytest.mark.parametrize("reason", ["early_stopping", "pruned", "time_budget", "completed"])
def test_a_fit_that_had_ended_is_not_trained_further(reason: str, dataset: Dataset, tmp_path: Path) -> None:
    """Killed between its last epoch and its result, it has that result, with its best weights."""
    settings = {
        "early_stopping": _settings(epochs=9, stopping=Stopping(patience=2, reduce_lr_patience=None)),
        "time_budget": _settings(epochs=9, seconds=1e-9),
    }.get(reason, _settings(epochs=3))
    learning_rate = 0.0 if reason == "early_stopping" else 0.1
    first = fit(
        _model(learning_rate), dataset, settings, record=_pruned_at(2) if reason == "pruned" else _go_on,
        interrupted=_never, checkpoints=Checkpoints(tmp_path, attempt=1),
    )  # fmt: skip
    model = _model(learning_rate)
    second = fit(
        model, dataset, settings, record=_go_on, interrupted=_never, checkpoints=Checkpoints(tmp_path, attempt=2)
    )
    assert first.stop_reason == second.stop_reason == reason
    assert second.history == first.history
    assert model.evaluate(dataset.validation.images, dataset.validation.labels, verbose=0, return_dict=True)[
        "accuracy"
    ] == pytest.approx(first.best_value)


def test_an_interrupted_fit_keeps_the_epoch_it_is_in(dataset: Dataset, tmp_path: Path) -> None:
    """Asked to stop within the second epoch, it ends with it; the next attempt begins with the third."""
    checkpoints = Checkpoints(tmp_path, attempt=1)
    epochs: list[int] = []
    asked = iter(range(1, 1000))
    with pytest.raises(TrialInterrupted):
        fit(
            _model(), dataset, _settings(epochs=50, finish_seconds=8),
            record=lambda _, epoch: epochs.append(epoch),
            # Asked after each of an epoch's four batches and after the epoch: the second batch of the second.
            interrupted=lambda: next(asked) >= 7, checkpoints=checkpoints,
        )  # fmt: skip
    found = checkpoints.latest()
    assert found is not None
    assert (found.epoch, epochs) == (2, [1, 2])


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_halves_of_batches_train_as_the_batches_do(precision: str, dataset: Dataset) -> None:
    """To the same weights, but for rounding; also where the precision wraps the optimizer."""
    weights = []
    for parts in (1, 2):
        start_fresh(0, precision)
        model = _model()
        split_batches(model, parts)
        train = dataset.train
        model.fit(train.images, train.labels, batch_size=32 // parts, shuffle=False, epochs=4, verbose=0)
        weights.append(model.get_weights())
    for whole, halved in zip(*weights, strict=True):
        assert halved == pytest.approx(whole, abs=1e-5 if precision == "float32" else 2e-3)
    start_fresh(0, precision)
    assert not np.allclose(_model().get_weights()[0], weights[0][0], atol=0.008)


def test_halves_do_not_follow_a_schedule(dataset: Dataset) -> None:
    """It would count them as steps: nothing trains rather than something else."""
    model = _model()
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)), loss="mse")
    with pytest.raises(OutOfMemory, match="with its learning-rate schedule no batch can be halved"):
        split_batches(model, 2)


def test_a_checkpoint_of_another_model_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    """The study's code was edited between two attempts: the trial begins anew."""
    fit(
        _model(), dataset, _settings(epochs=2), record=_go_on, interrupted=_never,
        checkpoints=Checkpoints(tmp_path, attempt=1),
    )  # fmt: skip
    for model in (_model(classes=3), _model()):
        if model.count_params() == _model().count_params():
            model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        resumed: list[int] = []
        done = fit(
            model, dataset, _settings(epochs=2), record=_go_on, interrupted=_never,
            checkpoints=Checkpoints(tmp_path, attempt=1), resumed=resumed.append,
        )  # fmt: skip
        assert (done.epochs, resumed) == (2, [])


def test_a_model_without_an_input_shape_begins_anew(dataset: Dataset, tmp_path: Path) -> None:
    """It has no weights yet that could be set; its epochs count from the first."""

    def unbuilt() -> keras.Model:
        model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
        model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    with pytest.raises(_Killed):
        fit(
            unbuilt(), dataset, _settings(epochs=3), record=_killed_at(3, []), interrupted=_never,
            checkpoints=Checkpoints(tmp_path, attempt=1),
        )  # fmt: skip
    reports: list[int] = []
    done = fit(
        unbuilt(), dataset, _settings(epochs=3), record=_killed_at(0, reports), interrupted=_never,
        checkpoints=Checkpoints(tmp_path, attempt=2),
    )  # fmt: skip
    assert (done.epochs, reports) == (3, [1, 2, 3])
