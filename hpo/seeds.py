"""One seed for a study, and from it one for everything else."""

import hashlib

from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState


def derive_seed(seed: int, purpose: str, number: int) -> int:
    """A seed (31 bits) for one purpose of one trial, the same on every machine and in every process."""
    digest = hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Restart every random stream inside ``sampler`` from ``seed``.

    Optuna's own ``reseed_rng`` takes entropy from the system: no search would be repeatable.
    """
    for value in vars(sampler).values():
        if isinstance(value, LazyRandomState):
            value.rng.seed(seed)
        elif isinstance(value, BaseSampler):
            reseed(value, seed)
