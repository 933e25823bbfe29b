"""Whether an exception says that memory or a disk is exhausted, whichever library raised it."""

import errno


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory is too little, the device's or the machine's."""
    # By name: each of Keras's backends has its own classes, and this module imports none of them.
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or "ResourceExhausted" in text or "RESOURCE_EXHAUSTED" in text


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error`` says that a disk, or this user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
