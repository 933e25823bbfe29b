"""Streams of random numbers that are the same in every process."""

from hpo.study.seeds import derive_seed


def test_seeds_differ_by_purpose_and_number_and_stay() -> None:
    """What was drawn for a trial once is drawn for it again, in any version."""
    assert derive_seed(0, "trial", 0) == derive_seed(0, "trial", 0)
    seeds = {derive_seed(seed, purpose, number) for seed in (0, 1) for purpose in "ab" for number in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)
