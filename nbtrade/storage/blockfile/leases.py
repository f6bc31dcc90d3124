"""Which extents somebody still has an array over: their pages are not recycled.

    live   lease number -> (extent, weak reference to the array)     this process's
    locks  shared locks on the bytes of all leased pages             other processes' (see locks.py)

Taking a lease is writing one dict entry, losing it a weak reference's callback: no lock, in the writer's process. A reader in another
process also takes a file lock, under a mutex that only such readers of its own process share. The order that makes it safe: lease
first, then look the block up again. If its entry is still the same, no commit has retired its pages, and the one that
will looks at the leases afterwards.
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
    """Leases by this open file. fd : its descriptor;  shared : other processes must see them, because the writer is one."""

    def __init__(self, fd: int, shared: bool) -> None:
        self.fd = fd
        self.shared = shared
        self.live: dict[int, tuple[Extent, weakref.ref[np.ndarray]]] = {}
        self.numbers = itertools.count()
        self.dropped: deque[Extent] = deque()  # whose file locks wait to be given back
        self.locked: Counter[Extent] = Counter()
        self.mutex = threading.Lock()
        self.at_end: Callable[[], None] | None = None

    def take(self, extent: Extent, array: np.ndarray) -> int:
        """Keep the extent for as long as `array` lives (any view of it keeps it alive), or until `drop`."""
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
        """Give a lease back. Called by the garbage collector too, at any moment: it must not wait."""
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
        """The file is being closed: call `at_end`, which closes the descriptor, when the last array over it is gone.

        Until then every lease is a file lock, for whoever writes next.
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
        """Those leased in this process, once for each lease."""
        while True:
            try:
                return [extent for extent, _ in list(self.live.values())]
            except RuntimeError:  # another thread's lease came or went
                continue

    def foreign(self) -> list[Extent]:
        """Pages that others hold."""
        return [(at - locks.PAGES_AT, n) for at, n in locks.locked(self.fd, locks.PAGES_AT, ALL_PAGES)]

    def split(self, extents: list[Extent]) -> tuple[list[Extent], list[Extent]]:
        """(free, held) of retired extents, as of now."""
        mine = set(self._extents())
        foreign = locks.is_locked(self.fd, locks.PAGES_AT, ALL_PAGES)
        if not mine and not foreign:
            return extents, []
        held = [one for one in extents if one in mine or (foreign and locks.is_locked(self.fd, locks.PAGES_AT + one[0], one[1]))]
        kept = set(held)
        return [one for one in extents if one not in kept], held
