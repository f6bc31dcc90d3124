"""Locks on bytes far beyond a file's end: who writes, and which pages readers hold.

    2**61             the writer
    2**61 + 1 + page  readers with arrays over the extent that starts at that page

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


def try_lock(fd: int, start: int, shared: bool = False) -> bool:
    """Take one byte's lock, at once or not at all; `shared` needs a readable descriptor only."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, start, 1))
    except BlockingIOError:
        return False
    except PermissionError:  # what POSIX allows instead of EAGAIN
        return False
    return True


def unlock(fd: int, start: int) -> None:
    """Give one byte's lock back."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_UNLCK, start, 1))


def unlock_all(fd: int) -> None:
    """Give all locks back. Closing the descriptor is not enough: a mapping of the file keeps its description, hence the locks."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_UNLCK, WRITER_AT, 0))


def is_locked(fd: int, start: int, n: int = 1) -> bool:
    """Whether any other open file description holds a lock on these bytes."""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK, start, n))
    return _FLOCK.unpack(answer)[0] != fcntl.F_UNLCK
