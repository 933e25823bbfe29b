"""Configurations as rows, and back."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo import When
from hpo.search.encoding import Encoding
from hpo.study.space import Space

SPACE = Space(
    {
        "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
        "momentum": When("optimizer", ["sgd"], FloatDistribution(0.0, 0.99)),
        "rate": FloatDistribution(1e-5, 1e-1, log=True),
        "step": FloatDistribution(0.1, 0.6, step=0.1),
        "units": IntDistribution(8, 128, log=True),
        "layers": IntDistribution(1, 9, step=2),
        "extra": When("layers", [9], CategoricalDistribution(["a", "b"])),
        "pinned": IntDistribution(3, 3),
    }
)


def _rows(count: int, hints: dict[str, object] | None = None, near: bool = False) -> tuple[Encoding, np.ndarray]:
    encoding = Encoding(SPACE, hints or {})
    units = np.random.default_rng(0).random((count, len(encoding)))
    return encoding, encoding.rows(units, np.full(count, near))


def test_every_row_is_a_configuration_of_the_space_and_comes_back() -> None:
    """With its conditions, steps and ranges; the row of its parameters is the row."""
    encoding, rows = _rows(500)
    for row in rows:
        params = encoding.params(row)
        assert SPACE.point(params) == params
        assert ("momentum" in params) == (params["optimizer"] == "sgd")
        assert ("extra" in params) == (params["layers"] == 9)
        assert encoding.row(params) == pytest.approx(row)


def test_the_largest_value_of_a_parameter_is_set_where_it_exists() -> None:
    """A number's upper bound, or the largest choice; what is no number stays."""
    encoding, rows = _rows(200)
    for name, largest in (("layers", 9), ("units", 128)):
        assert encoding.largest(name) == largest
        assert {encoding.params(row)[name] for row in encoding.with_largest(name, rows)} == {largest}
    choices = Encoding(Space({"epochs": CategoricalDistribution([5, 20, 10])}), {})
    assert choices.params(choices.with_largest("epochs", np.zeros((1, 1)))[0]) == {"epochs": 20}
    assert encoding.largest("optimizer") is encoding.largest("unknown") is None
    assert (encoding.with_largest("optimizer", rows) == rows).all()
    momenta = [encoding.params(row).get("momentum") for row in encoding.with_largest("momentum", rows)]
    assert set(momenta) == {None, 0.99}


def test_rows_cover_the_space() -> None:
    """Every choice and whole number, both ends of a range."""
    encoding, rows = _rows(2000)
    found = [encoding.params(row) for row in rows]
    assert {params["optimizer"] for params in found} == {"adam", "sgd", "rmsprop"}
    assert {params["layers"] for params in found} == {1, 3, 5, 7, 9}
    assert {params["step"] for params in found} == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6}
    rates = [params["rate"] for params in found]
    assert min(rates) < 1.2e-5
    assert max(rates) > 8e-2


def test_neighbours_are_near_and_of_the_space() -> None:
    """Most of them differ in few parameters; what did not exist before lies anywhere."""
    encoding, rows = _rows(1)
    neighbours = encoding.neighbours(np.repeat(rows, 300, axis=0), np.random.default_rng(1), np.full(300, 0.05))
    own = encoding.params(rows[0])
    changed = []
    for row in neighbours:
        params = encoding.params(row)
        assert SPACE.point(params) == params
        changed.append(sum(params.get(name) != own.get(name) for name in SPACE.parameters))
    assert 1 <= np.mean(changed) <= 4


@pytest.mark.parametrize("name", ["rate", "units", "optimizer"])
def test_rows_near_a_hint_are_nearer_to_it(name: str) -> None:
    """A number lies within a quarter of its range; a choice is the hinted one at least half of the time."""
    hints = {"rate": 1e-3, "units": 64, "optimizer": "rmsprop"}
    encoding, rows = _rows(400, hints, near=True)
    column = list(SPACE.parameters).index(name)
    hint = encoding.row({"optimizer": "rmsprop", "rate": 1e-3, "units": 64})[column]
    if name == "optimizer":
        assert np.mean(rows[:, column] == hint) > 0.5
    else:
        assert np.abs(rows[:, column] - hint).max() < 0.28


def test_what_another_space_had_is_left_out() -> None:
    """A study may have been amended since: a choice that is gone is one that does not exist."""
    row = Encoding(SPACE, {}).row({"optimizer": "adadelta", "unknown": 1, "rate": 1e-3})
    assert row[0] == -1.0
