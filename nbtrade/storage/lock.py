"""One writer for each file: `flock` on the file itself, for as long as it has its name.

    open NAME -> flock -> is this still NAME's file? -> yes: ours
                  │            └ no (replaced while we waited): again
                  └ taken: StoreBusy, with the holder's pid

The system frees the lock when its process ends, however it ends: there is no stale lock and no pid file, and after `kill -9` the
next one wins at once. A file that takes over a name (an upgrade, a new file) is locked before it gets it, so that there is never an
unlocked moment. The lock belongs to the opening, not to the descriptor: a forked child would hold its parent's (what it inherits is
closed in it), and so would a mapping made from it, in the child too (files are opened a second time to be mapped). Weak case:
network file systems, where flock may mean nothing.
"""

import fcntl
import os
import time
import weakref
from pathlib import Path
from typing import Protocol

from nbtrade.errors import StoreBusy
from nbtrade.storage.disk import Disk, StrPath

ATTEMPTS = 5  # to lock a file that is locked, by nobody as far as can be seen


class Forkable(Protocol):
    """Something that holds locked descriptors."""

    def lose(self) -> None:
        """Close them without a word: this process is a child, they are its parent's."""


_held: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def _lose_all() -> None:
    for holder in list(_held):
        holder.lose()


os.register_at_fork(after_in_child=_lose_all)


def held_by(holder: Forkable) -> None:
    """Have `holder.lose` called in forked children."""
    _held.add(holder)


def acquire(fd: int, path: StrPath) -> bool:
    """Lock an open file; False when `path` has become another file or none: open it again.

    Raises StoreBusy, naming the holder, when it is locked; the descriptor stays open in any case.
    """
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return is_named(fd, path)
        except BlockingIOError:
            holder = _holder(fd)
            if holder is not None:
                break
            time.sleep(0.001)  # it was given up in between, as by one who has just made the file
    raise StoreBusy(f"{path} is being written by {holder or 'another process'}. Wait for it, stop it, or open the file to read.")


def release(fd: int) -> None:
    """Give the lock up, whoever else may have inherited the descriptor."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_named(fd: int, path: StrPath) -> bool:
    """Whether `path` is the open file's name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(fd: int) -> str | None:
    """The process that holds the flock, as the kernel's table of locks has it; None when it has none (or hides another container's)."""
    status = os.fstat(fd)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        rows = []
    pids = [row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == file]
    if not pids:
        return None
    return "another object of this process" if int(pids[0]) == os.getpid() else f"process {pids[0]}"


def open_locked(disk: Disk, path: StrPath, flags: int) -> int:
    """Open `path` and lock it. Raises StoreBusy, or OSError of the opening (FileNotFoundError without O_CREAT)."""
    while True:
        fd = disk.open(path, flags)
        try:
            if acquire(fd, path):
                return fd
        except BaseException:
            disk.close(fd)
            raise
        disk.close(fd)
