"""How long processes have to end."""

from hpo.workers import shutdown


def test_each_limit_lies_before_the_next() -> None:
    """A launcher that kills at the moment at which a worker exits by itself would lose what it gives back."""
    assert (
        shutdown.FINISH_EPOCH_SECONDS
        < shutdown.GIVE_UP_SECONDS
        < shutdown.GIVE_UP_SECONDS + shutdown.EXIT_SECONDS
        < shutdown.KILL_SECONDS
    )
