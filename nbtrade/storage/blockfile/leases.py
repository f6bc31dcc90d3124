"""Leases: the extents over which arrays still exist, whose pages must not be recycled.

    live   lease number -> (extent, weak reference to the array)     of this process
    locks  shared locks on the bytes of all leased pages             of other processes (see locks.py)

In the writer's process, taking a lease stores one dict entry and dropping it is a weak reference's callback: no lock. A reader in another
process also takes a file lock, under a mutex that only the readers of its process share. The order makes this safe: take the lease
first, then look the block up again. If the entry has not changed, no commit has retired its pages, and a commit that retires them later
checks the leases afterwards.
"""

import itertools
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from nbtrade.storage.blockfile import locks
from nbtrade.storage.blockfile.allocator import Extent

ALL_PAGES = 1 << 50


class Leases:
    """Leases of this open file. fd : its descriptor;  shared : other processes must see them, because the writer is another process."""

    def __init__(self, fd: int, shared: bool) -> None:
        self.fd = fd
        self.shared = shared
        self.live: dict[int, tuple[Extent, weakref.ref[np.ndarray]]] = {}
        self.numbers = itertools.count()
        self.dropped: deque[Extent] = deque()  # whose file locks are still to be released
        self.locked: Counter[Extent] = Counter()
        self.mutex = threading.Lock()
        self.at_end: Callable[[], None] | None = None

    def take(self, extent: Extent, array: np.ndarray) -> int:
        """Keep the extent while `array` or a view of it exists, or until `drop`. Returns the lease's number."""
        number = next(self.numbers)
        self.live[number] = (extent, weakref.ref(array, lambda _: self.drop(number)))
        if self.shared:
            with self.mutex:
                self._unlock_dropped()
                if not self.locked[extent]:
                    self._lock(extent)
                self.locked[extent] += 1
        return number

    def drop(self, number: int) -> None:
        """End a lease. Also called by the garbage collector, at any moment, so it must not wait."""
        lease = self.live.pop(number, None)
        if lease is not None and self.shared:
            self.dropped.append(lease[0])
            if self.mutex.acquire(blocking=False):
                try:
                    self._unlock_dropped()
                finally:
                    self.mutex.release()

    def _unlock_dropped(self) -> None:
        while self.dropped:
            extent = self.dropped.popleft()
            self.locked[extent] -= 1
            if not self.locked[extent]:
                del self.locked[extent]
                locks.unlock(self.fd, locks.PAGES_AT + extent[0], extent[1])
        if self.at_end and not self.live and not self.locked:
            at_end, self.at_end = self.at_end, None
            at_end()

    def outlive(self, at_end: Callable[[], None]) -> None:
        """Call `at_end`, which closes the descriptor, when the last array over the file is gone. Called while the file is being closed.

        Until then every lease is a file lock, visible to the next writer.
        """
        with self.mutex:
            self._unlock_dropped()
            if not self.shared:
                self.shared = True
                for extent in self._extents():
                    self.locked[extent] += 1
                for extent in self.locked:
                    self._lock(extent)
            self.at_end = at_end
            self._unlock_dropped()

    def _lock(self, extent: Extent) -> None:
        locks.try_lock(self.fd, locks.PAGES_AT + extent[0], extent[1], shared=True)

    def _extents(self) -> list[Extent]:
        """The extents leased in this process, one per lease."""
        while True:
            try:
                return [extent for extent, _ in list(self.live.values())]
            except RuntimeError:  # another thread took or dropped a lease
                continue

    def foreign(self) -> list[Extent]:
        """Pages that others have leased."""
        return [(at - locks.PAGES_AT, n) for at, n in locks.locked(self.fd, locks.PAGES_AT, ALL_PAGES)]

    def split(self, extents: list[Extent]) -> tuple[list[Extent], list[Extent]]:
        """Split retired extents into (free, still leased)."""
        mine = set(self._extents())
        foreign = locks.is_locked(self.fd, locks.PAGES_AT, ALL_PAGES)
        if not mine and not foreign:
            return extents, []
        held = [one for one in extents if one in mine or (foreign and locks.is_locked(self.fd, locks.PAGES_AT + one[0], one[1]))]
        kept = set(held)
        return [one for one in extents if one not in kept], held
