"""New configurations to choose from: spread over the space, near hints, near the best, or all that are left."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.search.encoding import Encoding, Rows
from hpo.study.seeds import derive_seed
from hpo.study.space import Params, Space

Key = frozenset[tuple[str, Any]]

_ANYWHERE, _NEIGHBOURS = 600, 12  # drawn over all of the space; near each of the best, at each distance
_DISTANCES = (0.05, 0.1, 0.2)  # of a neighbour, as parts of a parameter's range
_HINTED = 0.5  # of the first draws lie near the hints; later, fewer do: results say more
_HINT_LASTS = 20  # configurations, after which half as many do
_LONGEST_LIST = 100_000  # of a finite space's configurations, among which those are looked for that are left


class Proposals:
    """Configurations that have not run.

    Args:
        hints: values that are likely to be good, by parameter.
    """

    def __init__(self, space: Space, encoding: Encoding, *, seed: int, hints: Mapping[str, Any]) -> None:
        self._space = space
        self._encoding = encoding
        self._seed = derive_seed(seed, "quasi-random", 0)
        self._has_hints = bool(hints)

    def next_of_sequence(self, random: np.random.Generator, known: set[Key]) -> Params | None:
        """The next point of a quasi-random sequence, or another if that has run; None if all have."""
        from scipy.stats import qmc  # takes half a second, which a launcher need not wait for

        sequence = qmc.Sobol(len(self._encoding), seed=self._seed)
        if known:
            sequence.fast_forward(len(known))
        for units in (sequence.random(1), random.random((_ANYWHERE, len(self._encoding)))):
            for row in self._anywhere(units, random, len(known)):
                params = self._encoding.params(row)
                if key_of(params) not in known:
                    return params
        return self._any_left(random, known)

    def candidates(self, best: Sequence[Params], random: np.random.Generator, begun: int) -> Rows:
        """Many rows: from all over the space, and near the best; some may have run.

        Args:
            begun: how many configurations have begun.
        """
        units = random.random((_ANYWHERE, len(self._encoding)))
        anywhere = self._anywhere(units, random, begun)
        if not best:
            return anywhere
        each = np.repeat([self._encoding.row(params) for params in best], _NEIGHBOURS * len(_DISTANCES), axis=0)
        near = self._encoding.neighbours(each, random, np.resize(_DISTANCES, len(each)))
        return np.concatenate([anywhere, near])

    def _anywhere(self, units: NDArray[np.float64], random: np.random.Generator, begun: int) -> Rows:
        share = _HINTED / (1 + begun / _HINT_LASTS) if self._has_hints else 0.0
        return self._encoding.rows(units, random.random(len(units)) < share)

    def _any_left(self, random: np.random.Generator, known: set[Key]) -> Params | None:
        """Any configuration of a finite space that has not run; None if all have."""
        untried = []
        if self._space.is_finite:
            for count, params in enumerate(self._space.configurations()):
                if key_of(params) not in known:
                    untried.append(params)
                if count >= _LONGEST_LIST and untried:
                    break
        return untried[random.integers(len(untried))] if untried else None


def key_of(params: Params) -> Key:
    """What two configurations have in common if, and only if, they are the same."""
    return frozenset(params.items())
