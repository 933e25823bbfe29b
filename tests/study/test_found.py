"""A study as it was found: what was written stays apart from what a launch sets."""

import pytest
from definitions import found
from optuna.distributions import IntDistribution

from hpo import Budget
from hpo.errors import StudyError
from hpo.models import build_cnn
from hpo.study.found import FoundStudy


def _found() -> FoundStudy:
    space = {"filters": IntDistribution(8, 16)}
    return found(name="s", data="digits", model=build_cnn, space=space, budget=Budget(trials=3))


def test_without_overrides_it_is_what_was_written() -> None:
    """None stands for an option that was not given."""
    study = _found()
    for same in (study, study.with_overrides(), study.with_overrides(name=None, trials=None, subset=None)):
        assert same == study
        assert same.definition is same.written is study.written
        assert same.name == "s"


def test_later_overrides_join_earlier_ones() -> None:
    """Those of one option replace each other; the name is not among those that later launches take over."""
    changed = _found().with_overrides(trials=7, subset=100).with_overrides(name="t", trials=9, max_epochs=2)
    assert changed.overrides == {"trials": 9, "subset": 100, "max_epochs": 2}
    assert changed.definition.budget == Budget(trials=9, max_epochs=2)
    assert changed.definition.task.subset == 100  # type: ignore[union-attr]
    assert (changed.name, changed.definition.name, changed.written.name) == ("t", "t", "s")
    assert changed.written.budget == Budget(trials=3)


def test_overrides_are_checked_when_they_are_given() -> None:
    """And not when a worker reads them."""
    with pytest.raises(StudyError, match="trials must be a whole number of at least 1, but got 0"):
        _found().with_overrides(trials=0)
    with pytest.raises(StudyError, match=r"name must start with .* but got '\.\./t'"):
        _found().with_overrides(name="../t")
