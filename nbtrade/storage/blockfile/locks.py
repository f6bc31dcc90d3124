"""Locks on bytes far beyond the end of a block file: one for the writer, one for each page that a reader uses.

    2**61             the writer
    2**61 + 1 + page  each page of an extent that a reader has arrays over

The system releases them when the last descriptor and mapping of an opening are gone, however the process ends, so there are no
stale locks. They need no bytes in the file and, for readers (shared locks), no write permission, and another process can test for one
without taking it. Weak case: a forked child shares its parent's locks until it exits or closes the descriptor; network file systems
without byte-range locks.
"""

from nbtrade.storage.system import locked_by_others, try_lock_range, unlock_range

WRITER_AT = 1 << 61
PAGES_AT = WRITER_AT + 1


def try_lock(fd: int, start: int, n: int = 1, shared: bool = False) -> bool:
    """Lock `n` bytes without waiting; returns whether that succeeded. A shared lock needs only a readable descriptor."""
    return try_lock_range(fd, start, n, shared=shared)


def unlock(fd: int, start: int, n: int = 1) -> None:
    """Release the lock on `n` bytes."""
    unlock_range(fd, start, n)


def unlock_all(fd: int) -> None:
    """Release all locks. Closing the descriptor does not suffice: a mapping keeps the opening alive, and with it the locks."""
    unlock_range(fd, WRITER_AT, 0)


def is_locked(fd: int, start: int, n: int = 1) -> bool:
    """Whether any other opening of the file holds a lock on these bytes."""
    return locked_by_others(fd, start, n) is not None


def locked(fd: int, start: int, n: int) -> list[tuple[int, int]]:
    """All (start, n) within these bytes that others hold locks on."""
    found = locked_by_others(fd, start, n)
    if found is None:
        return []
    at, length = found
    left = locked(fd, start, at - start) if at > start else []
    right = locked(fd, at + length, start + n - at - length) if at + length < start + n else []
    return [*left, found, *right]
