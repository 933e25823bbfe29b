"""New configurations to choose from."""

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.search.encoding import Encoding
from hpo.search.proposals import Proposals, key_of
from hpo.study.space import Params, Space


def _proposals(space: Space, **hints: object) -> Proposals:
    return Proposals(space, Encoding(space, hints), seed=0, hints=hints)


def test_a_finite_space_is_listed_once_and_ends() -> None:
    """Each configuration comes once, whatever draws; then there are none."""
    space = Space({"a": IntDistribution(1, 4), "b": CategoricalDistribution(["x", "y", "z"])})
    proposals, known = _proposals(space), set()
    while (params := proposals.next_of_sequence(np.random.default_rng(len(known)), known)) is not None:
        known.add(key_of(params))
    assert known == set(map(key_of, space.configurations()))


def test_the_sequence_spreads_better_than_chance() -> None:
    """Of 16 points in 16 cells of a plane, a quasi-random sequence has nearly one in each."""
    space = Space({"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)})
    proposals, known, cells = _proposals(space), set(), set()
    for _ in range(16):
        params: Params | None = proposals.next_of_sequence(np.random.default_rng(0), known)
        assert params is not None
        known.add(key_of(params))
        cells.add((int(params["a"] * 4), int(params["b"] * 4)))
    assert len(cells) >= 14


def test_a_hint_draws_less_and_less() -> None:
    """At first twice as many candidates lie near it as chance would put there; later hardly more than chance."""
    space = Space({"rate": FloatDistribution(0, 1)})
    proposals = _proposals(space, rate=0.5)
    first, later = (
        np.mean(np.abs(proposals.candidates([], np.random.default_rng(0), begun)[:, 0] - 0.5) < 0.1)
        for begun in (0, 400)
    )
    assert first > 0.26
    assert later < 0.23
