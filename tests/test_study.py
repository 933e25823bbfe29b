"""What a study checks when it is written, what identifies it, and what a launch may change."""

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import RandomSampler, TPESampler

from hpo import Budget, Stopping, StudyDefinition, When
from hpo.errors import SpaceError, StudyError
from hpo.models import build_cnn
from hpo.run_dir import RunDir
from hpo.study import changes, fingerprint, may_amend

SPACE = {
    "units": IntDistribution(16, 64),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
    "momentum": When("optimizer", ["sgd"], FloatDistribution(0.0, 0.9)),
    "epochs": IntDistribution(1, 20, log=True),
}
UNCHECKED = pytest.mark.xfail(reason="StudyDefinition: this field, or this kind of value, is not checked")


def score(params: dict[str, Any], trial: Any) -> float:
    return 0.5


def other_score(params: dict[str, Any], trial: Any) -> float:
    return 0.25


def other_model(params: dict[str, Any], dataset: Any) -> Any:
    return None


def _definition(**fields: Any) -> StudyDefinition:
    """A study with a model; a field set to ``...`` is left out."""
    given = {"name": "s", "dataset": "digits", "model": build_cnn, "space": SPACE, "budget": Budget(trials=3), **fields}
    return StudyDefinition(**{name: value for name, value in given.items() if value is not ...})


def _with_objective(**fields: Any) -> StudyDefinition:
    return _definition(**{"dataset": ..., "model": ..., "objective": score, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"objective": score}, "either `objective`, or `dataset` and `model`, but got both", id="both"),
        pytest.param({"model": ...}, "must both be given.*dataset='digits', model=None", id="no-model"),
        pytest.param({"dataset": ...}, "must both be given.*dataset=None, model=<function build_cnn", id="no-dataset"),
        pytest.param({"dataset": ..., "model": ...}, "or `objective` instead", id="neither"),
        pytest.param({"model": "cnn"}, "`model` must be callable, but got 'cnn'", id="model-by-name"),
        pytest.param({"dataset": ..., "model": ..., "objective": 3}, "`objective` must be callable, but got 3",
                     id="number-as-objective"),
        pytest.param({"budget": 40}, r"must be a Budget, but got 40. Write Budget\(trials=40\)", id="budget-as-number"),
        pytest.param({"direction": "max"}, "must be 'maximize' or 'minimize', but got 'max'", id="direction-max"),
        pytest.param(
            {"direction": ["maximize", "minimize"], "pruner": MedianPruner()},
            r"got \['maximize', 'minimize'\]. .*a pruner cannot rank trials by two. Combine them into one number",
            id="two-directions-with-a-pruner",
        ),
        pytest.param(
            {"metric": ["val_accuracy", "size"], "pruner": MedianPruner()},
            r"got \['val_accuracy', 'size'\]. .*a pruner cannot rank trials by two. Combine them into one number",
            id="two-metrics-with-a-pruner",
        ),
        pytest.param({"metric": ""}, "must be the name of one metric, but got ''", id="no-metric"),
        pytest.param({"sampler": "tpe"}, "`sampler` must be an Optuna sampler, but got 'tpe'", id="sampler-by-name"),
        pytest.param({"sampler": TPESampler}, "must be an Optuna sampler, but got <class", id="sampler-as-class"),
        pytest.param({"pruner": "median"}, "`pruner` must be an Optuna pruner, but got 'median'", id="pruner-by-name"),
        pytest.param({"seed": -1}, "whole number of at least 0, but got -1", id="negative-seed"),
        pytest.param({"seed": 0.5}, "whole number of at least 0, but got 0.5", id="half-a-seed"),
        pytest.param({"seed": None}, "whole number of at least 0, but got None", id="no-seed"),
        pytest.param({"validation_fraction": 0}, "must lie between 0 and 1, but got 0", id="nothing-to-validate-on"),
        pytest.param({"validation_fraction": 1.0}, "must lie between 0 and 1, but got 1.0", id="nothing-to-train-on"),
        pytest.param({"validation_fraction": 20}, "must lie between 0 and 1, but got 20", id="percent"),
        pytest.param({"validation_fraction": float("nan")}, "between 0 and 1, but got nan", id="nan-fraction"),
        pytest.param({"validation_fraction": "0.1"}, "validation_fraction", id="fraction-as-text", marks=UNCHECKED),
        pytest.param({"precision": "float8"}, "precision", id="unknown-precision", marks=UNCHECKED),
        pytest.param({"stopping": None}, "stopping", id="no-stopping", marks=UNCHECKED),
        pytest.param({"subset": 0}, "subset", id="empty-subset", marks=UNCHECKED),
        pytest.param({"subset": 0.1}, "subset", id="subset-as-fraction", marks=UNCHECKED),
        pytest.param({"merge": 5}, "merge", id="merge-into-a-number", marks=UNCHECKED),
        pytest.param({"dataset": 5}, "dataset", id="dataset-as-number", marks=UNCHECKED),
        pytest.param({"warm_starts": {"units": 32}}, "warm_starts", id="one-warm-start", marks=UNCHECKED),
        pytest.param({"warm_starts": [32]}, "warm_starts", id="warm-start-without-name", marks=UNCHECKED),
    ],
)  # fmt: skip
def test_a_bad_field_is_refused(fields: dict[str, Any], message: str) -> None:
    """On one line that names the study, the rule and the value."""
    with pytest.raises(StudyError, match=message) as refused:
        _definition(**fields)
    assert str(refused.value).startswith("Study 's': ")
    assert "\n" not in str(refused.value)


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"trials": 0}, "trials must be a whole number of at least 1, but got 0", id="no-trials"),
        pytest.param({"trials": 1.5}, "trials must be a whole number of at least 1, but got 1.5", id="half-a-trial"),
        pytest.param({"trials": True}, "trials must be a whole number of at least 1, but got True", id="yes"),
        pytest.param({"trials": "40"}, "trials must be a whole number of at least 1, but got '40'", id="text"),
        pytest.param({"trials": 1, "max_epochs": 0}, "max_epochs must be a whole number.* but got 0", id="no-epochs"),
        pytest.param({"trials": 1, "max_epochs": None}, "max_epochs must be .* but got None", id="endless"),
        pytest.param({"trials": 1, "trial_seconds": 0}, "trial_seconds must be positive, but got 0", id="no-time"),
        pytest.param({"trials": 1, "trial_seconds": -1.0}, "trial_seconds must be positive", id="negative-time"),
        pytest.param(
            {"trials": 1, "trial_seconds": float("nan")}, "trial_seconds must be positive, but got nan", id="nan-time"
        ),
        pytest.param({"trials": 1, "trial_seconds": "60"}, "trial_seconds", id="time-as-text", marks=UNCHECKED),
    ],
)
def test_a_bad_budget_is_refused(settings: dict[str, Any], message: str) -> None:
    """By its own rule, before it is part of a study."""
    with pytest.raises(StudyError, match=f"Budget: {message}"):
        Budget(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"patience": 0}, "patience must be at least 1 or None, but got 0", id="no-patience"),
        pytest.param({"reduce_lr_patience": -1}, "reduce_lr_patience must be at least 1 or None", id="negative"),
        pytest.param({"reduce_lr_factor": 1}, "must lie between 0 and 1, but got 1", id="factor-that-reduces-nothing"),
        pytest.param({"reduce_lr_factor": 0}, "must lie between 0 and 1, but got 0", id="factor-that-stops-learning"),
        pytest.param({"patience": "6"}, "patience", id="text", marks=UNCHECKED),
        pytest.param({"patience": 1.5}, "patience", id="half-an-epoch", marks=UNCHECKED),
    ],
)
def test_bad_stopping_is_refused(settings: dict[str, Any], message: str) -> None:
    """None switches a rule off; nothing else does."""
    assert Stopping(patience=None, reduce_lr_patience=None).patience is None
    with pytest.raises(StudyError, match=f"Stopping: .*{message}"):
        Stopping(**settings)


def test_automatic_resource_of_hyperband_becomes_the_budget() -> None:
    """Each process would resolve "auto" by itself; everything else about the pruner stays."""
    pruner = HyperbandPruner(min_resource=2, reduction_factor=4)
    resolved = _definition(pruner=pruner, budget=Budget(trials=3, max_epochs=17)).pruner
    assert isinstance(resolved, HyperbandPruner)
    assert resolved._max_resource == 17
    assert (resolved._min_resource, resolved._reduction_factor) == (2, 4)


@pytest.mark.parametrize(
    "pruner", [NopPruner(), MedianPruner(), HyperbandPruner(max_resource=9)], ids=["none", "median", "hyperband"]
)
def test_other_pruners_stay_as_they_were_written(pruner: Any) -> None:
    """An explicit resource is a choice."""
    assert _definition(pruner=pruner).pruner is pruner


@pytest.mark.xfail(reason='with_overrides: "auto" was resolved by the first budget and is not known any more')
def test_automatic_resource_of_hyperband_follows_another_budget() -> None:
    """With ``--max-epochs 5``, brackets made for 50 epochs would prune nothing."""
    definition = _definition(pruner=HyperbandPruner(), budget=Budget(trials=3, max_epochs=50))
    assert definition.with_overrides(max_epochs=5).pruner._max_resource == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param(_definition(budget=Budget(trials=99)), id="more-trials"),
        pytest.param(_definition(description="Another line for the list"), id="description"),
        pytest.param(_definition(source="elsewhere/s.py:s"), id="source"),
        pytest.param(_definition(space=dict(SPACE)), id="nothing"),
    ],
)
def test_fingerprint_does_not_depend_on(definition: StudyDefinition) -> None:
    """What two launches of one study may differ in."""
    assert definition.fingerprint == _definition().fingerprint


CHANGES = [
    pytest.param({"name": "t"}, id="name"),
    pytest.param({"dataset": "mnist"}, id="dataset"),
    pytest.param({"model": other_model}, id="model"),
    pytest.param({"space": {**SPACE, "units": IntDistribution(16, 65)}}, id="space-range"),
    pytest.param({"space": {**SPACE, "units": IntDistribution(16, 64, log=True)}}, id="space-scale"),
    pytest.param(
        {"space": {**SPACE, "momentum": When("optimizer", ["sgd", "adam"], FloatDistribution(0.0, 0.9))}},
        id="space-condition",
    ),
    pytest.param({"budget": Budget(trials=3, max_epochs=49)}, id="budget-max_epochs"),
    pytest.param({"budget": Budget(trials=3, trial_seconds=60)}, id="budget-trial_seconds"),
    pytest.param({"seed": 1}, id="seed"),
    pytest.param({"sampler": RandomSampler()}, id="sampler"),
    pytest.param({"pruner": MedianPruner()}, id="pruner"),
    pytest.param({"warm_starts": [{"units": 32}]}, id="warm_starts"),
    pytest.param({"metric": "val_loss"}, id="metric"),
    pytest.param({"direction": "minimize"}, id="direction"),
    pytest.param({"stopping": Stopping(patience=7)}, id="stopping-patience"),
    pytest.param({"stopping": Stopping(reduce_lr_patience=None)}, id="stopping-reduce_lr_patience"),
    pytest.param({"stopping": Stopping(reduce_lr_factor=0.2)}, id="stopping-reduce_lr_factor"),
    pytest.param({"validation_fraction": 0.2}, id="validation_fraction"),
    pytest.param({"subset": 1000}, id="subset"),
    pytest.param({"merge": ((0, 1), (2, 3))}, id="merge"),
    pytest.param({"precision": "float32"}, id="precision"),
]


@pytest.mark.parametrize("fields", CHANGES)
def test_fingerprint_depends_on(fields: dict[str, Any]) -> None:
    """Everything that decides what a trial means or which trials are run; and the difference can be shown."""
    definition, changed = _definition(), _definition(**fields)
    assert changed.fingerprint != definition.fingerprint
    assert changes(definition.canonical(), changed.canonical())


def test_fingerprint_depends_on_the_objective() -> None:
    """As on the model of a study that has one."""
    assert _with_objective().fingerprint != _with_objective(objective=other_score).fingerprint


def test_no_field_is_forgotten_above() -> None:
    """A field that is new here has to be named in the canonical form, or among those that may differ."""
    covered = {field for case in CHANGES for field in case.values[0]}  # type: ignore[union-attr, attr-defined]
    fields = {field.name for field in dataclasses.fields(StudyDefinition)}
    assert fields == covered | {"objective", "description", "source"}


@pytest.mark.xfail(reason="canonical: of a sampler and a pruner only the class is recorded, not its settings")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"sampler": TPESampler()}, {"sampler": TPESampler(n_startup_trials=99)}, id="sampler"),
        pytest.param(
            {"pruner": HyperbandPruner(max_resource=9)}, {"pruner": HyperbandPruner(max_resource=27)}, id="pruner"
        ),
    ],
)
def test_fingerprint_depends_on_the_settings_of(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Else workers that prune by different rules join one study."""
    assert _definition(**one).fingerprint != _definition(**other).fingerprint


def test_fingerprint_survives_the_storage() -> None:
    """Which keeps the canonical form as JSON: tuples come back as lists."""
    definition = _definition(
        merge=((0, 1), (2, 3)), warm_starts=({"units": 32, "momentum": 0.1},), stopping=Stopping(patience=None)
    )
    stored = json.loads(json.dumps(definition.canonical()))
    assert fingerprint(stored) == definition.fingerprint
    assert changes(stored, definition.canonical()) == []
    assert re.fullmatch("[0-9a-f]{64}", definition.fingerprint)


@pytest.mark.xfail(reason="canonical: NumPy's integers are accepted by the space, then are no JSON")
def test_numbers_of_numpy_are_recorded() -> None:
    """A warm start may come out of somebody's calculation."""
    assert _definition(warm_starts=[{"units": np.int64(32)}]).fingerprint


def test_changes_show_old_and_new_values() -> None:
    """One line for each value, by its path; what may differ is left out."""
    old = _definition(description="old")
    new = _definition(
        description="new",
        space={"units": IntDistribution(16, 128), **{name: SPACE[name] for name in ("optimizer", "epochs")}},
        budget=Budget(trials=99, trial_seconds=60),
        seed=7,
        metric="val_loss",
        warm_starts=[{"units": 32}],
    )
    assert changes(old.canonical(), new.canonical()) == [
        "budget.trial_seconds: null -> 60",
        'metric: "val_accuracy" -> "val_loss"',
        "seed: 0 -> 7",
        "space.momentum.attributes.high: 0.9 -> absent",
        "space.momentum.attributes.log: false -> absent",
        "space.momentum.attributes.low: 0.0 -> absent",
        "space.momentum.attributes.step: null -> absent",
        'space.momentum.name: "FloatDistribution" -> absent',
        'space.momentum.when.parameter: "optimizer" -> absent',
        'space.momentum.when.values: ["sgd"] -> absent',
        "space.units.attributes.high: 64 -> 128",
        'warm_starts: [] -> [{"units": 32}]',
    ]


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"description": "new"}, True, id="description"),
        pytest.param({"budget": Budget(trials=9, max_epochs=99, trial_seconds=5)}, True, id="budget"),
        pytest.param({"sampler": RandomSampler()}, True, id="sampler"),
        pytest.param({"pruner": MedianPruner()}, True, id="pruner"),
        pytest.param({"warm_starts": [{"units": 20}]}, True, id="warm-starts"),
        pytest.param({"space": {**SPACE, "units": IntDistribution(8, 256)}}, True, id="wider-range"),
        pytest.param({"space": {**SPACE, "blocks": IntDistribution(1, 3)}}, True, id="one-more-parameter"),
        pytest.param({"space": {**SPACE, "units": FloatDistribution(16, 64)}}, False, id="other-kind-of-parameter"),
        pytest.param({"space": {**SPACE, "optimizer": CategoricalDistribution(["adam", "sgd", "nadam"])}}, False,
                     id="other-choices"),
        pytest.param({"dataset": "mnist"}, False, id="dataset"),
        pytest.param({"model": other_model}, False, id="model"),
        pytest.param({"seed": 1}, False, id="seed"),
        pytest.param({"metric": "val_loss"}, False, id="metric"),
        pytest.param({"direction": "minimize"}, False, id="direction"),
        pytest.param({"stopping": Stopping(patience=1)}, False, id="stopping"),
        pytest.param({"validation_fraction": 0.2}, False, id="validation-fraction"),
        pytest.param({"subset": 100}, False, id="subset"),
        pytest.param({"merge": ((0, 1), (2, 3))}, False, id="merge"),
        pytest.param({"precision": "float32"}, False, id="precision"),
        pytest.param({"sampler": RandomSampler(), "seed": 1}, False, id="safe-and-unsafe"),
    ],
)  # fmt: skip
def test_an_amended_study_must_stay_comparable(fields: dict[str, Any], *, may: bool) -> None:
    """How the search goes on may change; what its past trials mean may not."""
    stored = json.loads(json.dumps(_definition().canonical()))
    assert may_amend(stored, json.loads(json.dumps(_definition(**fields).canonical()))) is may


def test_space_and_warm_starts_keep_to_the_epochs_of_the_budget() -> None:
    """A warm start written for a large budget still fits a small one; the definition it came from stays."""
    definition = _definition(warm_starts=[{"units": 32, "epochs": 20}, {"epochs": 2}, {"units": 16}])
    short = definition.with_overrides(max_epochs=5)
    assert short.budget.max_epochs == 5
    assert short.space["epochs"] == IntDistribution(1, 5, log=True)
    assert list(short.warm_starts) == [{"units": 32, "epochs": 5}, {"epochs": 2}, {"units": 16}]
    assert definition.space["epochs"] == IntDistribution(1, 20, log=True)
    assert definition.warm_starts[0] == {"units": 32, "epochs": 20}


def test_overrides_set_what_was_given_and_nothing_else() -> None:
    """None stands for an option that was not given."""
    definition = _definition(subset=500, budget=Budget(trials=3, max_epochs=9, trial_seconds=60), seed=4)
    changed = definition.with_overrides(name="t", trials=7, subset=100)
    assert changed == dataclasses.replace(
        definition, name="t", subset=100, budget=Budget(trials=7, max_epochs=9, trial_seconds=60)
    )
    assert definition.with_overrides() == definition


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param({"trials": 0}, "trials must be a whole number of at least 1, but got 0", id="no-trials"),
        pytest.param({"max_epochs": 0}, "max_epochs must be a whole number of at least 1", id="no-epochs"),
        pytest.param({"name": "../t"}, r"name must start with .* but got '\.\./t'", id="name-out-of-the-folder"),
        pytest.param(
            {"name": ""},
            "name must start with .* but got ''",
            id="empty-name",
            marks=pytest.mark.xfail(reason="with_overrides: an empty --name is taken for none"),
        ),
    ],
)
def test_overrides_are_checked_as_the_study_was(overrides: dict[str, Any], message: str) -> None:
    """What comes from the command line is no better than what stands in a file."""
    with pytest.raises(StudyError, match=message):
        _definition().with_overrides(**overrides)


def test_dataset_is_loaded_by_the_rules_of_the_study(run_dir: RunDir) -> None:
    """Its subset, its validation fraction, its classes and its seed."""
    fields: dict[str, Any] = {"subset": 200, "validation_fraction": 0.25, "merge": (range(7), range(7, 10))}
    dataset = _definition(**fields).load_dataset(run_dir)
    assert dataset is not None
    assert (len(dataset.train.labels), len(dataset.validation.labels), dataset.num_classes) == (150, 50, 2)
    other = _definition(**fields, seed=1).load_dataset(run_dir)
    assert other is not None
    assert not np.array_equal(other.train.images, dataset.train.images)


def test_a_study_with_an_objective_has_no_dataset(run_dir: RunDir) -> None:
    """Its objective looks after its own data."""
    assert _with_objective().load_dataset(run_dir) is None
