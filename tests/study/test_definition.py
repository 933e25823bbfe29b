"""What a study checks when it is written, what its budget makes of it, and what a launch may change."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from definitions import define
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, PartialFixedSampler, TPESampler

from hpo import Budget, Search, Setting, Stopping, Train, When, vary
from hpo.errors import SpaceError, StudyError
from hpo.files.run_dir import RunDir
from hpo.models import build_cnn
from hpo.study.comparison_settings import Planned
from hpo.study.found import Study
from hpo.study.space import Space

SPACE = {
    "units": IntDistribution(16, 64),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
    "momentum": When("optimizer", ["sgd"], FloatDistribution(0.0, 0.9)),
    "epochs": IntDistribution(1, 20, log=True),
}


def score(params: dict[str, Any], trial: Any) -> float:
    return 0.5


def _definition(**fields: Any) -> Study:
    """A study with a model; a field set to ``...`` is left out."""
    given = {"name": "s", "data": "digits", "model": build_cnn, "space": SPACE, "budget": Budget(trials=3), **fields}
    return define(**{name: value for name, value in given.items() if value is not ...})


def _task(**fields: Any) -> Train:
    return Train(data="digits", model=build_cnn, **fields)


def _with_function(**fields: Any) -> Study:
    return _definition(**{"data": ..., "model": ..., "task": score, "direction": "maximize", **fields})


def _comparison(**fields: Any) -> Study:
    """A study of three settings with a model; a field set to ``...`` is left out."""
    settings = vary("filters", {8: {}, 16: {}, 32: {}})
    return _definition(**{"space": ..., "settings": settings, "budget": Budget(), **fields})


@pytest.mark.parametrize(
    ("metric", "direction"),
    [("val_loss", "minimize"), ("val_head_loss", "minimize"), ("val_auc_1", "maximize"), ("val_accuracy", "maximize")],
)
def test_the_direction_follows_from_the_metric(metric: str, direction: str) -> None:
    """Else a search for the smallest loss would find the largest; one that is given counts."""
    definition = _definition(metric=metric)
    assert definition.search_direction == definition.as_json()["direction"] == direction
    other = "minimize" if direction == "maximize" else "maximize"
    assert _definition(metric=metric, direction=other).search_direction == other


def test_a_study_of_another_metric_has_its_direction() -> None:
    """Study files make one study from another with ``dataclasses.replace``: the direction is not left behind."""
    assert dataclasses.replace(_definition(), task=_task(metric="val_loss")).search_direction == "minimize"
    assert _definition().overridden({"trials": 5}).search_direction == "maximize"


def test_a_direction_that_no_name_says_must_be_given() -> None:
    """Optuna would minimize, others maximize: whichever is assumed, half of the studies would find their worst."""
    way_out = 'Write direction="maximize" or direction="minimize".'
    message = (
        f"Study 's': `direction` must be given, because the metric 'val_quality' has no name that says it. {way_out}"
    )
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        _definition(metric="val_quality")
    message = f"Study 's': `direction` must be given, because a function has no metric that says it. {way_out}"
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        _with_function(direction=None)
    assert _with_function(direction="minimize").search_direction == "minimize"


@pytest.mark.parametrize("task", [3, "cnn", None, Search], ids=["number", "name", "none", "class"])
def test_a_task_that_is_none_is_refused(task: object) -> None:
    """A study trains a model or calls a function."""
    with pytest.raises(
        StudyError, match=r"^Study 's': `task` must be hpo\.Train\(data=.* or a function \(params, trial\)"
    ):
        _with_function(task=task)


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
        pytest.param("sampler", "tpe", r"a sampler from optuna\.samplers\.", id="sampler-by-name"),
        pytest.param("sampler", TPESampler, r"a sampler from optuna\.samplers\.", id="sampler-as-class"),
        pytest.param("pruner", "median", r"a pruner from optuna\.pruners\.", id="pruner-by-name"),
        pytest.param("pruner", None, r"a pruner from optuna\.pruners\.", id="no-pruner"),
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
        (_comparison if field in ("settings", "repeats") else _definition)(**{field: value})
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
        _definition(sampler=sampler)


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
        _definition(**fields)


def test_a_bad_name_is_refused() -> None:
    """Before anything else, as all other errors name the study by it."""
    with pytest.raises(StudyError, match=r"but got '\.\./s'\. Choose another with --name"):
        _definition(name="../s", space={})


def test_a_study_keeps_its_own_copies() -> None:
    """A study file that changes its dictionaries afterwards does not change a study that was checked."""
    space: dict[str, Any] = {"x": IntDistribution(1, 2)}
    warm_start: dict[str, Any] = {"x": 1}
    definition = _definition(space=space, warm_starts=[warm_start])
    space["y"], warm_start["x"] = "not a distribution", 3
    assert definition.space == {"x": IntDistribution(1, 2)}
    assert list(definition.warm_starts) == [{"x": 1}]


def test_automatic_resource_of_hyperband_becomes_the_budget() -> None:
    """Each process would resolve "auto" by itself; everything else about the pruner stays."""
    pruner = HyperbandPruner(min_resource=2, reduction_factor=4)
    resolved = _definition(pruner=pruner, space={"units": SPACE["units"]}, budget=Budget(trials=3, max_epochs=17))
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
    definition = _definition(pruner=pruner)
    explicit = definition.explicit_pruner()
    assert definition.pruner is pruner
    assert explicit is not pruner
    assert (type(explicit), vars(explicit)) == (type(pruner), vars(pruner))


def test_automatic_resource_of_hyperband_follows_another_budget() -> None:
    """With ``--max-epochs 5``, brackets made for 50 epochs would prune nothing."""
    definition = _definition(pruner=HyperbandPruner(), budget=Budget(trials=3, max_epochs=50))
    assert definition.overridden({"max_epochs": 5}).explicit_pruner()._max_resource == 5  # type: ignore[attr-defined]
    assert definition.explicit_pruner()._max_resource == 50  # type: ignore[attr-defined]


def test_space_and_warm_starts_keep_to_the_epochs_of_the_budget() -> None:
    """A warm start written for a large budget still fits a small one; the definition itself stays as it was written."""
    written = [{"units": 32, "epochs": 20}, {"epochs": 2}, {"units": 16}]
    definition = _definition(warm_starts=written)
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
    definition = _definition(space=space, warm_starts=[warm_start]).overridden({"max_epochs": 10})
    assert list(definition.warm_starts) == [first]
    assert definition.search_space.point(first) == first


def test_a_launch_with_fewer_epochs_records_what_is_trained() -> None:
    """Also of a base and of settings; the definition itself stays as it was written."""
    comparison = _comparison(settings=vary("epochs", {5: {}, 20: {}}), base={"filters": 8})
    short = comparison.overridden({"max_epochs": 10})
    assert [planned.params for planned in short.plan()] == [{"epochs": 5}, {"epochs": 10}]
    assert short.search_space == Space({"epochs": CategoricalDistribution([5, 10])})
    assert [setting["params"] for setting in short.as_json()["settings"]] == [{"epochs": 5}, {"epochs": 10}]
    assert comparison.plan() == comparison.overridden({"max_epochs": 50}).plan()
    search = _definition(space={"units": SPACE["units"]}, base={"epochs": 20}).overridden({"max_epochs": 10})
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
        _definition(space={"optimizer": SPACE["optimizer"], name: parameter})


def test_a_space_may_search_for_patience_and_none_of_it() -> None:
    """None trains to the end."""
    patience = CategoricalDistribution([None, 2, 5])
    assert _definition(space={"patience": patience}).search_space == Space({"patience": patience})


def test_an_objective_names_its_own_parameters() -> None:
    """Its epochs are limited by nothing but a launch that asks for it; its batches may be what they like."""
    definition = _with_function(
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
        _definition(warm_starts=[warm_start])


def test_a_warm_start_has_the_values_of_the_space() -> None:
    """Else its trial would be recorded, and trained, with others than all trials after it."""
    [kept] = _definition(warm_starts=[{"units": 32.0, "momentum": 0, "epochs": np.int32(5)}]).warm_starts
    assert [(name, value, type(value)) for name, value in kept.items()] == [
        ("units", 32, int),
        ("momentum", 0.0, float),
        ("epochs", 5, int),
    ]


def test_one_word_turns_off_what_ends_and_slows_a_trial() -> None:
    """Both are on otherwise, so that a constant learning rate does not stay constant."""
    off = Stopping(patience=None, reduce_lr_patience=None)
    assert _task(stopping=None).trial_stopping == off
    assert _definition(stopping=None).fingerprint == _definition(stopping=off).fingerprint
    assert _task().trial_stopping == Stopping(patience=6, reduce_lr_patience=2)


def test_overrides_set_what_was_given_and_nothing_else() -> None:
    """Everything else stays as it was written."""
    definition = _definition(subset=500, budget=Budget(trials=3, max_epochs=29, trial_seconds=60), seed=4)
    changed = definition.overridden({"trials": 7, "subset": 100}, name="t")
    assert changed == _definition(
        name="t", subset=100, budget=Budget(trials=7, max_epochs=29, trial_seconds=60), seed=4,
        sampler=definition.sampler, pruner=definition.pruner,
    )  # fmt: skip
    assert definition.overridden({}) is definition


def test_the_task_of_a_function_has_no_images_to_take_a_subset_of() -> None:
    """It would be recorded, and nothing would be done by it."""
    with pytest.raises(StudyError, match=r"--subset must be of the images .* but the task of 's' is a function"):
        _with_function().overridden({"subset": 100})


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
        _definition().overridden({k: v for k, v in overrides.items() if k != "name"}, overrides.get("name"))


def test_dataset_is_loaded_by_the_rules_of_the_study(run_dir: RunDir) -> None:
    """Its subset, its validation fraction, its classes and its seed."""
    fields: dict[str, Any] = {"subset": 200, "validation": 0.25, "merge": (range(7), range(7, 10))}
    dataset = _definition(**fields).load_dataset(run_dir)
    assert dataset is not None
    assert (len(dataset.train.labels), len(dataset.validation.labels), dataset.num_classes) == (150, 50, 2)
    other = _definition(**fields, seed=1).load_dataset(run_dir)
    assert other is not None
    assert not np.array_equal(other.train.images, dataset.train.images)


def test_a_study_with_an_objective_has_no_dataset(run_dir: RunDir) -> None:
    """Its objective looks after its own data."""
    assert _with_function().load_dataset(run_dir) is None


# Comparisons


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"settings": [Setting({"x": 1, "y": 2}), Setting({"x": 2}), Setting({"y": 2, "x": 1}, name="again")]},
            "each setting must be there once, but {'x': 1, 'y': 2} is there twice. `repeats` runs it again.",
            id="a-setting-twice",
        ),
        pytest.param(
            {"settings": [Setting({"x": True, "y": 1}), Setting({"x": 1, "y": 2})]},
            "The values of 'x' in the settings must differ, but True and 1 are equal. Write them as one type.",
            id="true-and-1",
        ),
        pytest.param(
            {"repeats": 2, "budget": Budget(trials=7)},
            "the comparison has 3 settings with 2 repeats, so at most 6 trials, but its budget is 7.",
            id="more-trials-than-settings",
        ),
        pytest.param(
            {"base": {"epochs": "ten"}},
            "`epochs` must be a whole number of at least 1, but `base` has 'ten'.",
            id="epochs-as-text",
        ),
        pytest.param(
            {"settings": [Setting({"batch_size": 0})]},
            "`batch_size` must be a whole number of at least 1, but a setting has 0.",
            id="empty-batches",
        ),
        pytest.param(
            {"settings": [Setting({"patience": None}), Setting({"patience": 2.5})]},
            "`patience` must be a whole number of at least 1, but a setting has 2.5.",
            id="patience-of-half-epochs",
        ),
        pytest.param(
            {"settings": vary("epochs", {10: {}, 60: {}})},
            "`epochs` must be at most the budget's 50, but a setting has 60. Write budget=Budget(max_epochs=60).",
            id="more-epochs-than-the-budget",
        ),
    ],
)
def test_a_comparison_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    """It compares what is listed, each of it once a repeat, and nothing else."""
    whole = re.escape(f"Study 's': {message}")
    with pytest.raises(StudyError, match=f"^{whole}$"):
        _comparison(**fields)


def test_a_launch_cannot_give_a_comparison_more_trials_than_it_lists() -> None:
    """There would be nothing to run; fewer are a part of it."""
    comparison = _comparison(repeats=2)
    assert comparison.overridden({"trials": 4}).trials == 4
    with pytest.raises(StudyError, match=r"^Study 's': the comparison has 3 settings .* but its budget is 9\.$"):
        comparison.overridden({"trials": 9})


def test_a_launch_may_shorten_a_comparison_but_not_make_its_settings_the_same() -> None:
    """A table would show one training as two settings."""
    comparison = _comparison(base={"epochs": 20})
    assert comparison.overridden({"max_epochs": 2}).trials == 3
    epochs = _comparison(settings=vary("epochs", {1: {}, 5: {}, 10: {}}))
    assert epochs.overridden({"max_epochs": 6}).trials == 3
    message = (
        "Study 's': each setting must differ, but with at most 5 epochs two are {'epochs': 5}. "
        "Raise --max-epochs, or the budget's max_epochs."
    )
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        epochs.overridden({"max_epochs": 5})


def test_what_an_objective_calls_epochs_is_its_own() -> None:
    """Only of a model's training hpo knows what they are."""
    assert _with_function(base={"epochs": "ten"}).base == {"epochs": "ten"}


def test_a_search_has_a_number_of_trials() -> None:
    """Nothing else ends it."""
    message = "Study 's': a search must have a number of trials. Write budget=Budget(trials=40)."
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        _definition(budget=Budget())


def test_the_budget_of_a_comparison_is_all_of_its_trials() -> None:
    """Unless it is written otherwise; that of a search is always written."""
    assert _comparison().trials == 3
    assert _comparison(repeats=4).trials == 12
    assert _comparison(repeats=4, budget=Budget(trials=5)).trials == 5
    assert _definition().trials == 3


def test_every_setting_is_planned_once_before_any_is_again() -> None:
    """A comparison that is stopped early has compared all its settings."""
    comparison = _comparison(settings=[Setting({"x": 1}), Setting({"y": 2, "x": 2})], repeats=2)
    assert comparison.plan() == [
        Planned({"setting": 0, "repeat": 0}, {"x": 1}),
        Planned({"setting": 1, "repeat": 0}, {"y": 2, "x": 2}),
        Planned({"setting": 0, "repeat": 1}, {"x": 1}),
        Planned({"setting": 1, "repeat": 1}, {"y": 2, "x": 2}),
    ]


def test_a_search_plans_its_warm_starts() -> None:
    """Limited to its budget; what else it runs is sampled."""
    search = _definition(warm_starts=[{"units": 32}, {"epochs": 20}]).overridden({"max_epochs": 5})
    assert search.plan() == [Planned({"warm_start": 0}, {"units": 32}), Planned({"warm_start": 1}, {"epochs": 5})]
    assert _definition().plan() == []


def test_a_trial_is_asked_for_the_parameters_of_its_setting() -> None:
    """Each with all the values it has anywhere: Optuna wants the choices of a parameter to stay the same."""
    settings = [Setting({"x": 1}), Setting({"kind": "b", "x": 2}), Setting({"kind": "a"})]
    comparison = _comparison(settings=settings)
    x, kind = CategoricalDistribution([1, 2]), CategoricalDistribution(["b", "a"])
    assert comparison.search_space == Space({"x": x, "kind": kind})
    assert [comparison.space_of({"setting": index, "repeat": 0}) for index in range(3)] == [
        Space({"x": x}),
        Space({"x": x, "kind": kind}),
        Space({"kind": kind}),
    ]


@pytest.mark.parametrize("origin", [{}, {"warm_start": 0}], ids=["sampled", "warm-start"])
def test_a_trial_of_a_search_is_asked_for_all_of_the_space(origin: dict[str, int]) -> None:
    """Limited to the budget, as ever."""
    search = _definition(warm_starts=[{"units": 32}]).overridden({"max_epochs": 5})
    assert search.space_of(origin) == search.search_space
    assert search.search_space.distribution("epochs") == IntDistribution(1, 5, log=True)


def test_a_comparison_can_be_varied() -> None:
    """Study files write one comparison and replace what the next does otherwise."""
    filters = _comparison(repeats=2, base={"epochs": 2})
    dropout = dataclasses.replace(filters, name="t", settings=vary("dropout", {0.0: {}, 0.5: {}}))
    assert (dropout.trials, dropout.repeats, dropout.base) == (4, 2, {"epochs": 2})
    assert list(dropout.search_space.parameters) == ["dropout"]


def test_a_comparison_keeps_its_own_copies() -> None:
    """As a search keeps those of its space; numbers of NumPy become those of Python, which JSON knows."""
    settings = [Setting({"x": 1})]
    base: dict[str, Any] = {"units": np.int64(32)}
    comparison = _comparison(settings=settings, base=base)
    settings.append(Setting({"x": 2}))
    base["units"] = max
    assert (comparison.settings, comparison.base) == ((Setting({"x": 1}),), {"units": 32})
    assert type(comparison.base["units"]) is int
