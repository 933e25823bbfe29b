"""One seed for a study, and from it one for everything else."""

import hashlib


def derive_seed(seed: int, purpose: str, number: int) -> int:
    """A seed (31 bits) for one purpose of one trial, the same on every machine and in every process."""
    digest = hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1
