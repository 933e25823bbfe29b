"""The code of a study that was made in this process."""

from functools import partial
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from hpo import Budget, Search, Train
from hpo.models import build_mlp
from hpo.study.live import found_live

SCALE = 2.0


def scaled(x: float) -> float:
    """What the function below uses."""
    return SCALE * x


class Shift:
    """A class that it uses."""

    amount = 1.0

    def __call__(self, x: float) -> float:
        return x + self.amount


def score(params: dict[str, Any], trial: Any) -> float:
    """A task."""
    return Shift()(scaled(params["x"]))


def _code(task: Any) -> dict[str, str]:
    study = Search(
        name="s", task=task, direction="maximize", space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=1)
    )
    return dict(found_live(study).code)


def test_the_code_is_what_the_function_uses_by_name() -> None:
    """Functions, classes and constants, from one to the next; nothing of Python's and of packages."""
    assert _code(score).keys() == {"score", "scaled", "Shift", "SCALE"}
    assert _code(partial(score, trial=None)).keys() == _code(score).keys()


def test_a_constant_that_changes_changes_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that part."""
    before = _code(score)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    after = _code(score)
    assert [name for name in before if before[name] != after[name]] == ["SCALE"]


def test_what_a_cell_encloses_counts() -> None:
    """Two functions made by one call differ by what they enclose; one whose variable has no value yet is no error."""

    def made(factor: float) -> Any:
        return lambda params, trial: factor * params["x"]

    assert _code(made(1.0)) != _code(made(2.0))
    assert _code(made(1.0)) == _code(made(1.0))

    def late(params: dict[str, Any], trial: Any) -> float:
        return later

    assert "late" in " ".join(_code(late))
    later = 1.0


def test_a_stock_builder_is_pinned_to_its_code() -> None:
    """As in a file."""
    study = Search(
        name="s",
        task=Train(data="digits", model=build_mlp),
        space={"units": FloatDistribution(8, 16)},
        budget=Budget(trials=1),
    )
    assert "hpo/models/mlp.py" in found_live(study).code
