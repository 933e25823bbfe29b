"""What a study checks when it is written, what its budget makes of it, and what a launch may change."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from definitions import SPACE, called_search, trained, trained_comparison, trained_search
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, PartialFixedSampler, TPESampler

from hpo import Budget, Search, Setting, Stopping, Train, When, vary
from hpo.errors import SpaceError, StudyError
from hpo.files.run_dir import RunDir
from hpo.study.space import Space


@pytest.mark.parametrize(
    ("metric", "direction"),
    [("val_loss", "minimize"), ("val_head_loss", "minimize"), ("val_auc_1", "maximize"), ("val_accuracy", "maximize")],
)
def test_the_direction_follows_from_the_metric(metric: str, direction: str) -> None:
    """Else a search for the smallest loss would find the largest; one that is given counts."""
    definition = trained_search(metric=metric)
    assert definition.search_direction == definition.as_json()["direction"] == direction
    other = "minimize" if direction == "maximize" else "maximize"
    assert trained_search(metric=metric, direction=other).search_direction == other


def test_a_study_of_another_metric_has_its_direction() -> None:
    """Study files make one study from another with ``dataclasses.replace``: the direction is not left behind."""
    assert dataclasses.replace(trained_search(), task=trained(metric="val_loss")).search_direction == "minimize"
    assert trained_search().overridden({"trials": 5}).search_direction == "maximize"


def test_a_direction_that_no_name_says_must_be_given() -> None:
    """Optuna would minimize, others maximize: whichever is assumed, half of the studies would find their worst."""
    way_out = 'Write direction="maximize" or direction="minimize".'
    message = (
        f"Study 's': `direction` must be given, because the metric 'val_quality' has no name that says it. {way_out}"
    )
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        trained_search(metric="val_quality")
    message = f"Study 's': `direction` must be given, because a function has no metric that says it. {way_out}"
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        called_search(direction=None)
    assert called_search(direction="minimize").search_direction == "minimize"


@pytest.mark.parametrize("task", [3, "cnn", None, Search], ids=["number", "name", "none", "class"])
def test_a_task_that_is_none_is_refused(task: object) -> None:
    """A study trains a model or calls a function."""
    with pytest.raises(
        StudyError, match=r"^Study 's': `task` must be hpo\.Train\(data=.* or a function \(params, trial\)"
    ):
        called_search(task=task)


ONE_OBJECTIVE = "A study has one: a pruner cannot rank trials by two. Combine them into one number."
ONE_METRIC = "A study has one: a pruner cannot rank trials by two. Combine them into one."


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        pytest.param("description", 3, r"a text\.", id="description-as-number"),
        pytest.param("remarks", ["a", "b"], r"a text\.", id="remarks-as-list"),
        pytest.param("model", "cnn", r"a function \(params, dataset\) -> compiled model\.", id="model-by-name"),
        pytest.param("data", 5, "a data set's name or a file's path.", id="dataset-as-number"),
        pytest.param("budget", 40, r"a Budget, such as Budget\(trials=40\)\.", id="budget-as-number"),
        pytest.param("stopping", 6, r"a Stopping, such as Stopping\(patience=6\), or None\.", id="stopping-as-number"),
        pytest.param("direction", "max", f"'maximize' or 'minimize'. {ONE_OBJECTIVE}", id="direction-max"),
        pytest.param("direction", ["maximize", "minimize"], f"'maximize' or 'minimize'. {ONE_OBJECTIVE}",
                     id="two-directions"),
        pytest.param("metric", ["val_accuracy", "size"], f"the name of one metric. {ONE_METRIC}", id="two-metrics"),
        pytest.param("metric", "", "the name of one metric.", id="no-metric"),
        pytest.param("sampler", "tpe", r"a sampler from optuna\.samplers, or None\.", id="sampler-by-name"),
        pytest.param("sampler", TPESampler, r"a sampler from optuna\.samplers, or None\.", id="sampler-as-class"),
        pytest.param("pruner", "median", r"a pruner from optuna\.pruners, or None\.", id="pruner-by-name"),
        pytest.param("hints", ["x"], "a dictionary of values", id="hints-without-values"),
        pytest.param("seed", -1, "a whole number of at least 0.", id="negative-seed"),
        pytest.param("seed", 0.5, "a whole number of at least 0.", id="half-a-seed"),
        pytest.param("seed", None, "a whole number of at least 0.", id="no-seed"),
        pytest.param("seed", 2**32, "a whole number of at least 0 and at most 4294967295.", id="seed-of-33-bits"),
        pytest.param("validation", 0, "between 0 and 1.", id="nothing-to-validate-on"),
        pytest.param("validation", 1.0, "between 0 and 1.", id="nothing-to-train-on"),
        pytest.param("validation", 20, "between 0 and 1.", id="percent"),
        pytest.param("validation", float("nan"), "between 0 and 1.", id="nan-fraction"),
        pytest.param("validation", "0.1", "between 0 and 1.", id="fraction-as-text"),
        pytest.param("precision", "float8", "one of auto, float32, mixed_bfloat16, mixed_float16.",
                     id="unknown-precision"),
        pytest.param("subset", 0, "a whole number of at least 1, or None for all.", id="empty-subset"),
        pytest.param("subset", 0.1, "a whole number of at least 1, or None for all.", id="subset-as-fraction"),
        pytest.param("merge", 5, r"groups of old labels, such as \(\(0, 1\), \(2, 3\)\)\.", id="merge-into-a-number"),
        pytest.param("merge", [0, 1], "groups of old labels", id="merge-without-groups"),
        pytest.param("merge", [["a", "b"]], "groups of old labels", id="merge-by-name"),
        pytest.param("warm_starts", {"units": 32}, "a list of dictionaries of parameters.", id="one-warm-start"),
        pytest.param("warm_starts", [32], "a list of dictionaries of parameters.", id="warm-start-without-name"),
        pytest.param("warm_starts", None, "a list of dictionaries of parameters.", id="no-warm-starts"),
        pytest.param("settings", Setting({"units": 16}), r"a list of Setting, such as grid\(\{\.\.\.\}\)\.",
                     id="one-setting"),
        pytest.param("settings", [{"units": 16}], "a list of Setting", id="setting-as-dictionary"),
        pytest.param("settings", None, "a list of Setting", id="no-settings"),
        pytest.param("repeats", 0, "a whole number of at least 1.", id="no-repeat"),
        pytest.param("repeats", 2.0, "a whole number of at least 1.", id="repeats-as-float"),
        pytest.param("base", None, "a dictionary of parameters that JSON can hold.", id="no-base"),
        pytest.param("base", [("units", 16)], "a dictionary of parameters that JSON can hold.", id="base-as-list"),
        pytest.param("base", {1: 2}, "a dictionary of parameters that JSON can hold.", id="base-without-names"),
        pytest.param("base", {"activation": max}, "a dictionary of parameters that JSON can hold.",
                     id="function-in-the-base"),
        pytest.param("base", {"clip": float("inf")}, "a dictionary of parameters that JSON can hold.",
                     id="infinity-in-the-base"),
        pytest.param("prepare", "copies", r"a function \(params, split, seed\) -> split\.", id="prepare-by-name"),
    ],
)  # fmt: skip
def test_a_bad_field_is_refused(field: str, value: Any, rule: str) -> None:
    """On one line that names the study, if the field is the study's, the field, its rule and the value."""
    of_task = field in {each.name for each in dataclasses.fields(Train)}
    study = "" if of_task else "Study 's': "
    with pytest.raises(StudyError, match=rf"^{study}`{field}` must be {rule}") as refused:
        (trained_comparison if field in ("settings", "repeats") else trained_search)(**{field: value})
    assert str(refused.value).endswith(f" It is {value!r}.")
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_sampler_that_unpickles_is_refused(*, wrapped: bool) -> None:
    """Also inside of another: Optuna keeps its state in the storage, as a pickle."""
    sampler: BaseSampler = CmaEsSampler()
    if wrapped:
        sampler = PartialFixedSampler({"units": 32}, sampler)
    with pytest.raises(StudyError, match="`sampler` must be another than CmaEsSampler: it unpickles"):
        trained_search(sampler=sampler)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"space": {}}, "Study 's': A search space must be .* at least one", id="empty-space"),
        pytest.param({"space": None}, "Study 's': A search space must be a dictionary .*but got None", id="no-space"),
        pytest.param({"space": {"x": (0, 1)}}, "Study 's': Parameter 'x' must be an Optuna distribution", id="tuple"),
        pytest.param(
            {"warm_starts": [{"units": 32}, {"units": 65}]},
            "Study 's': units=65 lies outside of IntDistribution.* Widen it or change the value",
            id="warm-start-outside",
        ),
        pytest.param({"warm_starts": [{"unit": 32}]}, "Study 's': 'unit' is not a parameter", id="warm-start-unknown"),
        pytest.param({"warm_starts": [{"momentum": 1.5}]}, "Study 's': momentum=1.5 lies outside", id="conditional"),
    ],
)
def test_a_bad_space_or_warm_start_names_the_study(fields: dict[str, Any], message: str) -> None:
    """It stays a SpaceError: the kind of an error is not lost with the name it gains."""
    with pytest.raises(SpaceError, match=message):
        trained_search(**fields)


def test_a_bad_name_is_refused() -> None:
    """Before anything else, as all other errors name the study by it."""
    with pytest.raises(StudyError, match=r"but got '\.\./s'\. Choose another with --name"):
        trained_search(name="../s", space={})


def test_a_study_keeps_its_own_copies() -> None:
    """A study file that changes its dictionaries afterwards does not change a study that was checked."""
    space: dict[str, Any] = {"x": IntDistribution(1, 2)}
    warm_start: dict[str, Any] = {"x": 1}
    definition = trained_search(space=space, warm_starts=[warm_start])
    space["y"], warm_start["x"] = "not a distribution", 3
    assert definition.space == {"x": IntDistribution(1, 2)}
    assert list(definition.warm_starts) == [{"x": 1}]


def test_automatic_resource_of_hyperband_becomes_the_budget() -> None:
    """Each process would resolve "auto" by itself; everything else about the pruner stays."""
    pruner = HyperbandPruner(min_resource=2, reduction_factor=4)
    resolved = trained_search(pruner=pruner, space={"units": SPACE["units"]}, budget=Budget(trials=3, max_epochs=17))
    resolved = resolved.explicit_pruner()
    assert isinstance(resolved, HyperbandPruner)
    assert resolved._max_resource == 17
    assert (resolved._min_resource, resolved._reduction_factor) == (2, 4)
    assert pruner._max_resource == "auto"


@pytest.mark.parametrize(
    "pruner", [NopPruner(), MedianPruner(), HyperbandPruner(max_resource=9)], ids=["none", "median", "hyperband"]
)
def test_other_pruners_stay_as_they_were_written(pruner: Any) -> None:
    """An explicit resource is a choice; the copy keeps its own notes of the trials it has seen."""
    definition = trained_search(pruner=pruner)
    explicit = definition.explicit_pruner()
    assert definition.pruner is pruner
    assert explicit is not pruner
    assert (type(explicit), vars(explicit)) == (type(pruner), vars(pruner))


def test_automatic_resource_of_hyperband_follows_another_budget() -> None:
    """With ``--max-epochs 5``, brackets made for 50 epochs would prune nothing."""
    definition = trained_search(pruner=HyperbandPruner(), budget=Budget(trials=3, max_epochs=50))
    assert definition.overridden({"max_epochs": 5}).explicit_pruner()._max_resource == 5  # type: ignore[attr-defined]
    assert definition.explicit_pruner()._max_resource == 50  # type: ignore[attr-defined]


def test_space_and_warm_starts_keep_to_the_epochs_of_the_budget() -> None:
    """A warm start written for a large budget still fits a small one; the definition itself stays as it was written."""
    written = [{"units": 32, "epochs": 20}, {"epochs": 2}, {"units": 16}]
    definition = trained_search(warm_starts=written)
    short = definition.overridden({"max_epochs": 5})
    assert short.budget.max_epochs == 5
    assert short.search_space == Space({**SPACE, "epochs": IntDistribution(1, 5, log=True)})
    assert list(short.warm_starts) == [{"units": 32, "epochs": 5}, {"epochs": 2}, {"units": 16}]
    for unlimited in (definition, definition.overridden({"max_epochs": 50})):
        assert (unlimited.space, list(unlimited.warm_starts)) == (SPACE, written)
        assert unlimited.search_space == Space(SPACE)


@pytest.mark.parametrize(
    ("space", "warm_start", "first"),
    [
        pytest.param({"epochs": IntDistribution(1, 50, step=7)}, {"epochs": 15}, {"epochs": 8}, id="in-steps"),
        pytest.param({"epochs": IntDistribution(20, 50)}, {"epochs": 30}, {"epochs": 10}, id="wholly-above"),
        pytest.param(
            {
                "optimizer": CategoricalDistribution(["adam", "sgd"]),
                "epochs": When("optimizer", ["sgd"], IntDistribution(1, 50)),
            },
            {"optimizer": "sgd", "epochs": 50},
            {"optimizer": "sgd", "epochs": 10},
            id="conditional",
        ),
        pytest.param(
            {"pooling": CategoricalDistribution([None, "max"])},
            {"pooling": None},
            {"pooling": None},
            id="none-as-value",
        ),
        pytest.param(
            {"epochs": CategoricalDistribution([5, 20, 50])}, {"epochs": 50}, {"epochs": 10}, id="one-of-a-list"
        ),
        pytest.param(
            {"epochs": IntDistribution(1, 50), "cooldown": When("epochs", [50], IntDistribution(1, 3))},
            {"epochs": 50, "cooldown": 2},
            {"epochs": 10},
            id="what-depends-on-more-epochs",
        ),
    ],
)
def test_a_limited_warm_start_is_a_point_of_the_limited_space(
    space: dict[str, Any], warm_start: dict[str, Any], first: dict[str, Any]
) -> None:
    """Optuna would else replace it by another."""
    definition = trained_search(space=space, warm_starts=[warm_start]).overridden({"max_epochs": 10})
    assert list(definition.warm_starts) == [first]
    assert definition.search_space.point(first) == first


def test_a_launch_with_fewer_epochs_records_what_is_trained() -> None:
    """Also of a base and of settings; the definition itself stays as it was written."""
    comparison = trained_comparison(settings=vary("epochs", {5: {}, 20: {}}), base={"filters": 8})
    short = comparison.overridden({"max_epochs": 10})
    assert [planned.params for planned in short.plan()] == [{"epochs": 5}, {"epochs": 10}]
    assert short.search_space == Space({"epochs": CategoricalDistribution([5, 10])})
    assert [setting["params"] for setting in short.as_json()["settings"]] == [{"epochs": 5}, {"epochs": 10}]
    assert comparison.plan() == comparison.overridden({"max_epochs": 50}).plan()
    search = trained_search(space={"units": SPACE["units"]}, base={"epochs": 20}).overridden({"max_epochs": 10})
    assert search.whole_params({"units": 16}) == {"epochs": 10, "units": 16}
    assert search.as_json()["base"] == {"epochs": 10}


AT_LEAST = "a whole number of at least 1, but the space has"


@pytest.mark.parametrize(
    ("name", "parameter", "message"),
    [
        pytest.param("epochs", IntDistribution(1, 60), "at most the budget's 50, but the space has 60. "
                     "Write budget=Budget(trials=3, max_epochs=60).", id="above-the-budget-in-part"),
        pytest.param("epochs", IntDistribution(60, 80), "at most the budget's 50, but the space has 80. "
                     "Write budget=Budget(trials=3, max_epochs=80).", id="above-the-budget"),
        pytest.param("epochs", CategoricalDistribution([10, 60, 20]), "at most the budget's 50, but the space has 60. "
                     "Write budget=Budget(trials=3, max_epochs=60).", id="a-choice-above-the-budget"),
        pytest.param("epochs", When("optimizer", ["sgd"], IntDistribution(1, 60)), "at most the budget's 50, "
                     "but the space has 60. Write budget=Budget(trials=3, max_epochs=60).",
                     id="above-under-a-condition"),
        pytest.param("epochs", CategoricalDistribution(["10", "20"]), f"{AT_LEAST} '10'.",
                     id="epochs-as-text"),
        pytest.param("epochs", IntDistribution(0, 10), f"{AT_LEAST} 0.", id="no-epoch"),
        pytest.param("epochs", CategoricalDistribution([10, None]), f"{AT_LEAST} None.",
                     id="epochs-as-none"),
        pytest.param("batch_size", CategoricalDistribution([32, 64.0]), f"{AT_LEAST} 64.0.",
                     id="batch-size-as-float"),
        pytest.param("batch_size", FloatDistribution(16, 64, step=16), f"{AT_LEAST} FloatDistribution(high=64.0, "
                     "log=False, low=16.0, step=16.0). Use an IntDistribution.",
                     id="batch-size-as-range-of-floats"),
        pytest.param("batch_size", IntDistribution(-8, 8), f"{AT_LEAST} -8.",
                     id="negative-batch-size"),
        pytest.param("patience", CategoricalDistribution([None, True]), f"{AT_LEAST} True.",
                     id="patience-as-truth"),
        pytest.param("patience", IntDistribution(0, 3), f"{AT_LEAST} 0.",
                     id="no-patience"),
    ],
)  # fmt: skip
def test_a_space_of_no_training_is_refused(name: str, parameter: Any, message: str) -> None:
    """It would fail in the middle of the search, or a trial be recorded with more epochs than it trained."""
    whole = f"Study 's': `{name}` must be {message}"
    with pytest.raises(StudyError, match=f"^{re.escape(whole)}$"):
        trained_search(space={"optimizer": SPACE["optimizer"], name: parameter})


def test_a_space_may_search_for_patience_and_none_of_it() -> None:
    """None trains to the end."""
    patience = CategoricalDistribution([None, 2, 5])
    assert trained_search(space={"patience": patience}).search_space == Space({"patience": patience})


def test_an_objective_names_its_own_parameters() -> None:
    """Its epochs are limited by nothing but a launch that asks for it; its batches may be what they like."""
    definition = called_search(
        space={"epochs": IntDistribution(10, 100), "batch_size": CategoricalDistribution(["small", "large"])},
        budget=Budget(trials=3),
    )
    assert definition.search_space.distribution("epochs") == IntDistribution(10, 100)
    short = definition.overridden({"max_epochs": 5})
    assert short.search_space.distribution("epochs") == IntDistribution(5, 5)


@pytest.mark.parametrize(
    ("warm_start", "message"),
    [
        pytest.param({"epochs": 0}, "epochs=0 lies outside of IntDistribution", id="no-epoch"),
        pytest.param({"epochs": "10"}, "epochs='10' lies outside of IntDistribution", id="text"),
        pytest.param({"epochs": 2.5}, "epochs=2.5 lies outside of IntDistribution", id="half-an-epoch"),
        pytest.param({"epochs": True}, "epochs=True lies outside of IntDistribution", id="truth"),
        pytest.param({"epochs": 10**400}, "epochs=1000.* lies outside of IntDistribution", id="no-float"),
        pytest.param({"momentum": "0.5"}, "momentum='0.5' lies outside of FloatDistribution", id="text-for-a-float"),
    ],
)
def test_a_warm_start_of_another_kind_is_refused(warm_start: dict[str, Any], message: str) -> None:
    """Optuna takes a text for the number that it names, and would hand the text to the model."""
    with pytest.raises(SpaceError, match=f"^Study 's': {message}"):
        trained_search(warm_starts=[warm_start])


def test_a_warm_start_has_the_values_of_the_space() -> None:
    """Else its trial would be recorded, and trained, with others than all trials after it."""
    [kept] = trained_search(warm_starts=[{"units": 32.0, "momentum": 0, "epochs": np.int32(5)}]).warm_starts
    assert [(name, value, type(value)) for name, value in kept.items()] == [
        ("units", 32, int),
        ("momentum", 0.0, float),
        ("epochs", 5, int),
    ]


def test_one_word_turns_off_what_ends_and_slows_a_trial() -> None:
    """Both are on otherwise, so that a constant learning rate does not stay constant."""
    off = Stopping(patience=None, reduce_lr_patience=None)
    assert trained(stopping=None).trial_stopping == off
    assert trained_search(stopping=None).fingerprint == trained_search(stopping=off).fingerprint
    assert trained().trial_stopping == Stopping(patience=6, reduce_lr_patience=2)


def test_overrides_set_what_was_given_and_nothing_else() -> None:
    """Everything else stays as it was written."""
    definition = trained_search(subset=500, budget=Budget(trials=3, max_epochs=29, trial_seconds=60), seed=4)
    changed = definition.overridden({"trials": 7, "subset": 100}, name="t")
    assert changed == trained_search(
        name="t", subset=100, budget=Budget(trials=7, max_epochs=29, trial_seconds=60), seed=4,
        sampler=definition.sampler, pruner=definition.pruner,
    )  # fmt: skip
    assert definition.overridden({}) is definition


def test_the_task_of_a_function_has_no_images_to_take_a_subset_of() -> None:
    """It would be recorded, and nothing would be done by it."""
    with pytest.raises(StudyError, match=r"--subset must be of the images .* but the task of 's' is a function"):
        called_search().overridden({"subset": 100})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param({"trials": 0}, "trials must be a whole number of at least 1, but got 0", id="no-trials"),
        pytest.param({"max_epochs": 0}, "max_epochs must be a whole number of at least 1", id="no-epochs"),
        pytest.param({"subset": 0}, "`subset` must be a whole number of at least 1", id="empty-subset"),
        pytest.param({"name": "../t"}, r"name must start with .* but got '\.\./t'", id="name-out-of-the-folder"),
        pytest.param({"name": ""}, "name must start with .* but got ''", id="empty-name"),
    ],
)
def test_overrides_are_checked_as_the_study_was(overrides: dict[str, Any], message: str) -> None:
    """What comes from the command line is no better than what stands in a file."""
    with pytest.raises(StudyError, match=message):
        trained_search().overridden({k: v for k, v in overrides.items() if k != "name"}, overrides.get("name"))


def test_dataset_is_loaded_by_the_rules_of_the_study(run_dir: RunDir) -> None:
    """Its subset, its validation fraction, its classes and its seed."""
    fields: dict[str, Any] = {"subset": 200, "validation": 0.25, "merge": (range(7), range(7, 10))}
    dataset = trained_search(**fields).load_dataset(run_dir)
    assert dataset is not None
    assert (len(dataset.train.labels), len(dataset.validation.labels), dataset.num_classes) == (150, 50, 2)
    other = trained_search(**fields, seed=1).load_dataset(run_dir)
    assert other is not None
    assert not np.array_equal(other.train.images, dataset.train.images)


def test_a_study_with_an_objective_has_no_dataset(run_dir: RunDir) -> None:
    """Its objective looks after its own data."""
    assert called_search().load_dataset(run_dir) is None
