"""New configurations to choose from."""

from itertools import combinations

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import qmc

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
    """Its first 16 points cover each pair of 13 parameters twice as evenly as random points, by the discrepancy."""
    names = [f"p{index}" for index in range(13)]
    proposals, known, points = _proposals(Space(dict.fromkeys(names, FloatDistribution(0, 1)))), set(), []
    for _ in range(16):
        params: Params | None = proposals.next_of_sequence(np.random.default_rng(0), known)
        assert params is not None
        known.add(key_of(params))
        points.append([params[name] for name in names])
    drawn = np.random.default_rng(0).random((16, 13))
    ours, chance = (
        np.mean([qmc.discrepancy(sample[:, pair]) for pair in combinations(range(13), 2)])
        for sample in (np.array(points), drawn)
    )
    assert ours < chance / 2


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
