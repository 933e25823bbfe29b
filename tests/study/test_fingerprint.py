"""What identifies a study, how two of them differ, and which differences leave their trials comparable."""

import dataclasses
import json
import re
from typing import Any

import numpy as np
import optuna
import pytest
from definitions import define
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, PatientPruner
from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler

from hpo import Budget, Search, Setting, Stopping, Train, When, vary
from hpo.models import build_cnn
from hpo.study.fingerprint import changes, fingerprint, may_amend
from hpo.study.found import Study

SPACE = {
    "units": IntDistribution(16, 64),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
    "momentum": When("optimizer", ["sgd"], FloatDistribution(0.0, 0.9)),
    "epochs": IntDistribution(1, 20, log=True),
}


def score(params: dict[str, Any], trial: Any) -> float:
    return 0.5


def other_score(params: dict[str, Any], trial: Any) -> float:
    return 0.25


def other_model(params: dict[str, Any], dataset: Any) -> Any:
    return None


def copies(params: dict[str, Any], split: Any, seed: int) -> Any:
    return split


def _definition(**fields: Any) -> Study:
    given = {"name": "s", "data": "digits", "model": build_cnn, "space": SPACE, "budget": Budget(trials=3), **fields}
    return define(**given)


def _comparison(**fields: Any) -> Study:
    """Two settings of a network, each twice."""
    given = {
        "data": "digits",
        "model": build_cnn,
        "name": "s",
        "settings": vary("units", {16: {}, 32: {}}),
        "repeats": 2,
        "budget": Budget(),
        **fields,
    }
    return define(**given)


def _stored(definition: Study) -> dict[str, Any]:
    """The study as a storage gives it back."""
    form: dict[str, Any] = json.loads(json.dumps(definition.as_json()))
    return form


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param(_definition(budget=Budget(trials=99)), id="more-trials"),
        pytest.param(_definition().overridden({"trials": 99}), id="more-trials-by-the-launch"),
        pytest.param(_definition(description="Another line for the list"), id="description"),
        pytest.param(_definition(remarks="What explains a difference."), id="remarks"),
        pytest.param(_definition().overridden({"trials": 3}), id="overrides-that-change-nothing"),
        pytest.param(_definition(space=dict(SPACE)), id="nothing"),
    ],
)
def test_fingerprint_does_not_depend_on(definition: Study) -> None:
    """What two launches of one study may differ in."""
    assert definition.fingerprint == _definition().fingerprint
    assert changes(_stored(_definition()), definition.as_json()) == []


CHANGES = [
    pytest.param({"name": "t"}, id="name"),
    pytest.param({"data": "mnist"}, id="dataset"),
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
    pytest.param({"hints": {"units": 32}}, id="hints"),
    pytest.param({"pruner": MedianPruner()}, id="pruner"),
    pytest.param({"warm_starts": [{"units": 32}]}, id="warm_starts"),
    pytest.param({"metric": "val_loss"}, id="metric"),
    pytest.param({"direction": "minimize"}, id="direction"),
    pytest.param({"stopping": Stopping(patience=7)}, id="stopping-patience"),
    pytest.param({"stopping": Stopping(reduce_lr_patience=None)}, id="stopping-reduce_lr_patience"),
    pytest.param({"stopping": Stopping(reduce_lr_factor=0.2)}, id="stopping-reduce_lr_factor"),
    pytest.param({"validation": 0.2}, id="validation_fraction"),
    pytest.param({"subset": 1000}, id="subset"),
    pytest.param({"merge": ((0, 1), (2, 3))}, id="merge"),
    pytest.param({"precision": "float32"}, id="precision"),
    pytest.param({"prepare": copies}, id="prepare"),
    pytest.param({"base": {"dense_units": 32}}, id="base"),
]


@pytest.mark.parametrize("fields", CHANGES)
def test_fingerprint_depends_on(fields: dict[str, Any]) -> None:
    """Everything that decides what a trial means or which trials are run; and the difference can be shown."""
    definition, changed = _definition(), _definition(**fields)
    assert changed.fingerprint != definition.fingerprint
    assert changes(definition.as_json(), changed.as_json())


def test_fingerprint_depends_on_the_objective() -> None:
    """As on the model of a study that has one."""
    one, other = (
        define(name="s", task=function, direction="maximize", space=SPACE, budget=Budget(trials=3))
        for function in (score, other_score)
    )
    assert one.fingerprint != other.fingerprint


def test_no_field_is_forgotten_above() -> None:
    """A field that is new here has to be named in `as_json`, or among those that may differ."""
    covered = {field for case in CHANGES for field in case.values[0]}  # type: ignore[union-attr, attr-defined]
    fields = {field.name for kind in (Search, Train) for field in dataclasses.fields(kind)}
    assert fields == covered | {"task", "description", "remarks"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"sampler": TPESampler()}, {"sampler": TPESampler(n_startup_trials=99)}, id="sampler"),
        pytest.param(
            {"pruner": HyperbandPruner(max_resource=9)}, {"pruner": HyperbandPruner(max_resource=27)}, id="pruner"
        ),
        pytest.param({"pruner": MedianPruner()}, {"pruner": MedianPruner(n_startup_trials=9)}, id="pruner-that-waits"),
    ],
)
def test_fingerprint_depends_on_the_settings_of(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Else workers that prune by different rules join one study."""
    assert _definition(**one).fingerprint != _definition(**other).fingerprint


# Optuna has called both comparisonal since 2020.
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_fingerprint_depends_on_what_a_sampler_or_a_pruner_contains() -> None:
    """The inner one decides as well."""
    samplers = [PartialFixedSampler({}, inner) for inner in (RandomSampler(), TPESampler())]
    pruners = [PatientPruner(inner, 5) for inner in (None, MedianPruner(), MedianPruner(n_startup_trials=9))]
    assert len({_definition(sampler=sampler).fingerprint for sampler in samplers}) == 2
    assert len({_definition(pruner=pruner).fingerprint for pruner in pruners}) == 3


def test_fingerprint_does_not_depend_on_the_seed_of_the_sampler() -> None:
    """Each trial's stream is seeded anew, by the study's own seed."""
    assert _definition(sampler=TPESampler(seed=1)).fingerprint == _definition(sampler=TPESampler()).fingerprint


def test_fingerprint_does_not_depend_on_what_a_search_leaves_behind() -> None:
    """A sampler and a pruner keep notes of the trials they have seen."""
    definition = _definition(pruner=HyperbandPruner(min_resource=1, reduction_factor=2))
    before = definition.fingerprint
    study = optuna.create_study(sampler=definition.sampler, pruner=definition.explicit_pruner())
    for _ in range(15):
        trial = study.ask()
        units = definition.search_space.suggest(trial)["units"]
        trial.report(units, 1)
        trial.should_prune()
        study.tell(trial, units)
    assert definition.fingerprint == before


def test_fingerprint_survives_the_storage() -> None:
    """Which keeps it as JSON: tuples come back as lists."""
    definition = _definition(
        merge=((0, 1), (2, 3)), warm_starts=({"units": 32, "momentum": 0.1},), stopping=Stopping(patience=None)
    )
    assert fingerprint(_stored(definition)) == definition.fingerprint
    assert changes(_stored(definition), definition.as_json()) == []
    assert re.fullmatch("[0-9a-f]{64}", definition.fingerprint)


def test_numbers_of_numpy_are_recorded_as_those_of_python() -> None:
    """A warm start may come out of somebody's calculation."""
    calculated = _definition(warm_starts=[{"units": np.int64(32), "momentum": np.float32(0.5)}])
    assert calculated.fingerprint == _definition(warm_starts=[{"units": 32, "momentum": 0.5}]).fingerprint


def test_what_a_launch_makes_of_a_study_is_recorded() -> None:
    """The space, the warm starts and the pruner as they are searched with, not as they were written."""
    definition = _definition(warm_starts=[{"epochs": 20}], pruner=HyperbandPruner())
    form = definition.overridden({"max_epochs": 7}).as_json()
    assert form["space"]["epochs"]["attributes"]["high"] == 7
    assert form["warm_starts"] == [{"epochs": 7}]
    assert form["pruner"]["max_resource"] == 7


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
    assert changes(old.as_json(), new.as_json()) == [
        "budget.trial_seconds: null -> 60",
        'direction: "maximize" -> "minimize"',
        "seed: 0 -> 7",
        "space.momentum.attributes.high: 0.9 -> absent",
        "space.momentum.attributes.log: false -> absent",
        "space.momentum.attributes.low: 0.0 -> absent",
        "space.momentum.attributes.step: null -> absent",
        'space.momentum.name: "FloatDistribution" -> absent',
        'space.momentum.when.parameter: "optimizer" -> absent',
        'space.momentum.when.values: ["sgd"] -> absent',
        "space.units.attributes.high: 64 -> 128",
        'task.metric: "val_accuracy" -> "val_loss"',
        'warm_starts: [] -> [{"units": 32}]',
    ]


def test_changes_show_the_settings_of_a_pruner() -> None:
    """By their names in Optuna."""
    old, new = (_definition(pruner=HyperbandPruner(max_resource=most)) for most in (9, 27))
    assert changes(old.as_json(), new.as_json()) == ["pruner.max_resource: 9 -> 27"]


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"description": "new"}, True, id="description"),
        pytest.param({"remarks": "new", "sampler": RandomSampler()}, True, id="remarks"),
        pytest.param({"budget": Budget(trials=9, max_epochs=99, trial_seconds=5)}, True, id="budget"),
        pytest.param({"sampler": RandomSampler()}, True, id="sampler"),
        pytest.param({"pruner": MedianPruner()}, True, id="pruner"),
        pytest.param({"warm_starts": [{"units": 20}]}, True, id="warm-starts"),
        pytest.param({"space": {**SPACE, "units": IntDistribution(8, 256)}}, True, id="wider-range"),
        pytest.param({"space": {**SPACE, "blocks": IntDistribution(1, 3)}}, True, id="one-more-parameter"),
        pytest.param({"space": {**SPACE, "units": FloatDistribution(16, 64)}}, False, id="other-kind-of-parameter"),
        pytest.param({"space": {**SPACE, "optimizer": CategoricalDistribution(["adam", "sgd", "nadam"])}}, False,
                     id="other-choices"),
        pytest.param({"name": "t"}, False, id="name"),
        pytest.param({"data": "mnist"}, False, id="dataset"),
        pytest.param({"model": other_model}, False, id="model"),
        pytest.param({"seed": 1}, False, id="seed"),
        pytest.param({"metric": "val_loss"}, False, id="metric"),
        pytest.param({"direction": "minimize"}, False, id="direction"),
        pytest.param({"stopping": Stopping(patience=1)}, False, id="stopping"),
        pytest.param({"validation": 0.2}, False, id="validation-fraction"),
        pytest.param({"subset": 100}, False, id="subset"),
        pytest.param({"merge": ((0, 1), (2, 3))}, False, id="merge"),
        pytest.param({"precision": "float32"}, False, id="precision"),
        pytest.param({"prepare": copies}, False, id="prepare"),
        pytest.param({"base": {"dense_units": 32}}, False, id="base"),
        pytest.param({"sampler": RandomSampler(), "seed": 1}, False, id="safe-and-unsafe"),
    ],
)  # fmt: skip
def test_an_amended_study_must_stay_comparable(fields: dict[str, Any], *, may: bool) -> None:
    """How the search goes on may change; what its past trials mean may not."""
    assert may_amend(_stored(_definition()), _stored(_definition(**fields))) is may


def test_a_launch_may_limit_the_epochs_of_an_amended_study() -> None:
    """Its space is narrower then, and the trials before stay comparable."""
    assert may_amend(_stored(_definition()), _stored(_definition().overridden({"max_epochs": 5})))


# Comparisons


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param(
            _comparison(settings=vary("units", {16: {"test_accuracy": 0.9, "seconds": 68}, 32: {}})), id="figures"
        ),
        pytest.param(
            _comparison(settings=[Setting({"units": 16}, name="small"), Setting({"units": 32}, name="large")]),
            id="names",
        ),
        pytest.param(_comparison(remarks="Theirs had no early stopping."), id="remarks"),
        pytest.param(_comparison(description="Another line for the list"), id="description"),
        pytest.param(_comparison(budget=Budget(trials=3)), id="fewer-trials"),
    ],
)
def test_fingerprint_of_an_comparison_does_not_depend_on(definition: Study) -> None:
    """What others measured and what people read: a figure corrected later costs no trial."""
    assert definition.fingerprint == _comparison().fingerprint
    assert changes(_stored(_comparison()), definition.as_json()) == []
    assert may_amend(_stored(_comparison()), _stored(definition))


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        pytest.param(
            {"settings": vary("units", {16: {"test_accuracy": 0.9}, 64: {}})},
            ["settings.1.units: 32 -> 64"],
            id="a-setting",
        ),
        pytest.param(
            {"settings": vary("units", {32: {}, 16: {}})},
            [
                "settings.0.units: 16 -> 32",
                "settings.1.units: 32 -> 16",
            ],
            id="their-order",
        ),
        pytest.param({"repeats": 3}, ["repeats: 2 -> 3"], id="repeats"),
        pytest.param({"base": {"epochs": 5}}, ["base.epochs: absent -> 5"], id="base"),
        pytest.param({"prepare": copies}, ['task.prepare: null -> "copies"'], id="prepare"),
    ],
)
def test_fingerprint_of_an_comparison_depends_on(fields: dict[str, Any], lines: list[str]) -> None:
    """What its trials are, setting by setting; the difference shows no more, and nobody can accept it."""
    changed = _comparison(**fields)
    assert changed.fingerprint != _comparison().fingerprint
    assert changes(_stored(_comparison()), changed.as_json()) == lines
    assert not may_amend(_stored(_comparison()), _stored(changed))


def test_fingerprint_of_an_comparison_survives_the_storage() -> None:
    """Which keeps it as JSON."""
    settings = [Setting({"units": 16, "pooling": None}, {"val_loss": 0.2}, "small"), Setting({"norm": True})]
    comparison = _comparison(settings=settings, base={"rates": (0.1, 0.2), "units": np.int64(8)})
    assert fingerprint(_stored(comparison)) == comparison.fingerprint
    assert changes(_stored(comparison), comparison.as_json()) == []


@pytest.mark.parametrize("launching", [{"trials": 9}, {"trial_timeout": 60.0}, {"max_retries": 0}], ids=str)
def test_how_a_search_is_watched_is_no_change_of_it(launching: dict[str, Any]) -> None:
    """Two launches may differ in it, and a study that was recorded before there was such a thing stays what it is."""
    before, after = _definition(), _definition(budget=Budget(**{"trials": 3, **launching}))
    assert before.fingerprint == after.fingerprint
    stored = _stored(before)
    assert changes(stored, _stored(after)) == []
    older = {
        **stored,
        "budget": {"trials": 3, **{key: stored["budget"][key] for key in ("max_epochs", "trial_seconds")}},
    }
    assert fingerprint(older) == before.fingerprint
