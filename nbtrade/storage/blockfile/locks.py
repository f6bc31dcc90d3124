"""Locks on bytes far beyond a file's end: who writes, and which pages readers hold.

    2**61             the writer
    2**61 + 1 + page  each page of an extent that a reader has arrays over

They belong to the open file description (F_OFD_*): the kernel frees them when its last descriptor and mapping are gone, however the process
ends, so there are no stale locks. They need no bytes in the file and no write permission for readers (shared locks), and another
process can ask for one without taking it. Weak case: a forked child keeps its parent's descriptor, hence the lock, until it
exits or closes it; network file systems without byte-range locks.
"""

import fcntl
import struct

WRITER_AT = 1 << 61
PAGES_AT = WRITER_AT + 1
_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid


def _request(kind: int, start: int, n: int) -> bytes:
    return _FLOCK.pack(kind, 0, start, n, 0)


def try_lock(fd: int, start: int, n: int = 1, shared: bool = False) -> bool:
    """Take the lock of n bytes, at once or not at all; `shared` needs a readable descriptor only."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, start, n))
    except BlockingIOError:
        return False
    except PermissionError:  # what POSIX allows instead of EAGAIN
        return False
    return True


def unlock(fd: int, start: int, n: int = 1) -> None:
    """Give the lock of n bytes back."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_UNLCK, start, n))


def unlock_all(fd: int) -> None:
    """Give all locks back. Closing the descriptor is not enough: a mapping of the file keeps its description, hence the locks."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_UNLCK, WRITER_AT, 0))


def conflict(fd: int, start: int, n: int) -> tuple[int, int] | None:
    """(start, n) of a lock on these bytes by another open file description, cut to them; None when there is none."""
    kind, _, at, length, _ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK, start, n)))
    if kind == fcntl.F_UNLCK:
        return None
    stop = min(at + length, start + n) if length else start + n
    return max(at, start), stop - max(at, start)


def is_locked(fd: int, start: int, n: int = 1) -> bool:
    """Whether any other open file description holds a lock on these bytes."""
    return conflict(fd, start, n) is not None


def locked(fd: int, start: int, n: int) -> list[tuple[int, int]]:
    """All (start, n) among these bytes that others hold locks on."""
    found = conflict(fd, start, n)
    if found is None:
        return []
    at, length = found
    left = locked(fd, start, at - start) if at > start else []
    right = locked(fd, at + length, start + n - at - length) if at + length < start + n else []
    return [*left, found, *right]
