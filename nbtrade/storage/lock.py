"""One writer per column: a lock on the file itself, held for as long as the file has its name.

    open NAME ──> lock ──> does NAME still refer to this file? ──> yes: locked
                   │            └ no (replaced while we waited): start over
                   └ taken: StoreBusy, with the holder's process id

The system releases the lock when the process ends, however it ends: no stale locks and no pid files; after `kill -9` the next writer
succeeds immediately. A file that takes over a name (an upgrade, a new file) is locked before the rename, so the name is never
unlocked. The lock belongs to the opening, not the descriptor: a forked child would share its parent's (inherited descriptors are closed
in the child), and so would a mapping made from it, in the child too (files are opened a second time for mapping). Weak case:
network file systems, which may ignore locks.
"""

import os
import time
import weakref
from typing import Protocol

from nbtrade.errors import StoreBusy
from nbtrade.storage import system
from nbtrade.storage.disk import Disk
from nbtrade.storage.system import StrPath

ATTEMPTS = 5  # to lock a file that is locked by no visible process


class Forkable(Protocol):
    """An object that holds locked descriptors."""

    def lose(self) -> None:
        """Close them silently: this process is a forked child, and the locks are its parent's."""


_held: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def _lose_all() -> None:
    for holder in list(_held):
        holder.lose()


system.call_in_forked_children(_lose_all)


def held_by(holder: Forkable) -> None:
    """Have `holder.lose` called in forked children."""
    _held.add(holder)


def acquire(fd: int, path: StrPath) -> bool:
    """Lock an open file; False if `path` no longer refers to it: open it again.

    Raises StoreBusy, naming the holder, if it is locked; the descriptor stays open in any case.
    """
    owner = None
    for _ in range(ATTEMPTS):
        if system.try_lock_file(fd):
            return is_named(fd, path)
        owner = system.lock_owner(fd)
        if owner is not None:
            break
        time.sleep(0.001)  # released in between, for example by a process that has just created the file
    holder = {None: "another process", os.getpid(): "another object of this process"}.get(owner, f"process {owner}")
    raise StoreBusy(f"{path} is being written by {holder}. Wait for it, stop it, or open the file for reading.")


def release(fd: int) -> None:
    """Release the lock, even if other processes have inherited the descriptor."""
    system.unlock_file(fd)


def is_named(fd: int, path: StrPath) -> bool:
    """Whether `path` refers to the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def open_locked(disk: Disk, path: StrPath, flags: int) -> int:
    """Open `path` and lock it. Raises StoreBusy, or OSError from opening it (FileNotFoundError without CREATE)."""
    while True:
        fd = disk.open(path, flags)
        try:
            if acquire(fd, path):
                return fd
        except BaseException:
            disk.close(fd)
            raise
        disk.close(fd)
