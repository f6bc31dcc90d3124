"""Buffers that are rented and given back, so that a steady state allocates nothing.

    idle[k]   stack of idle buffers of 2**k bytes, k from 12 to 28
    out       buffers that are rented, by identity: empty when nobody works

What does not fit into `limit` bytes of idle buffers of its size is left to the allocator. Weak case: a rent of a size never
seen before allocates. Deques and dicts change in one step under the interpreter's lock: renting takes no lock.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SMALLEST = 12  # log2 of 4 KiB
LARGEST = 28  # 256 MiB: larger ones are not kept


class Pool:
    """limit : bytes of idle buffers kept of each size (0: none, every rent allocates);  allocate : makes a buffer of n bytes."""

    def __init__(self, limit: int = 64 << 20, allocate: Callable[[int], bytearray] = bytearray) -> None:
        self.limit = limit
        self.allocate = allocate
        self.idle: dict[int, deque[bytearray]] = {k: deque() for k in range(SMALLEST, LARGEST + 1)}
        self.out: dict[int, bytearray] = {}
        self.allocated_bytes = 0

    @property
    def rented(self) -> int:
        """Buffers that are out."""
        return len(self.out)

    def rent(self, n: int) -> bytearray:
        """A buffer of n bytes or more, contents undefined. Give it back with `give_back`."""
        k = max(SMALLEST, (n - 1).bit_length())
        try:
            buffer = self.idle[k].pop()
        except IndexError:
            buffer = self._new(1 << k)
        except KeyError:
            buffer = self._new(n)
        self.out[id(buffer)] = buffer
        return buffer

    def _new(self, n: int) -> bytearray:
        self.allocated_bytes += n
        return self.allocate(n)

    def give_back(self, buffer: bytearray) -> None:
        """The buffer may be rented again: nothing may look at it any more. Raises ValueError when it is not out."""
        if self.out.pop(id(buffer), None) is None:
            raise ValueError(f"a buffer of {len(buffer):,} bytes was given back that is not rented: twice, or not from this pool")
        k = len(buffer).bit_length() - 1
        idle = self.idle.get(k)
        if idle is not None and len(buffer) == 1 << k and (len(idle) + 1) << k <= self.limit:
            idle.append(buffer)

    @contextmanager
    def buffer(self, n: int) -> Iterator[memoryview]:
        """A view of n rented bytes, given back on every path."""
        buffer = self.rent(n)
        try:
            with memoryview(buffer) as whole, whole[:n] as view:
                yield view
        finally:
            self.give_back(buffer)
