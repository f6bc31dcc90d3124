"""Reusable buffers: rented and returned, so that a steady state allocates nothing.

    idle[k]   stack of idle buffers of 2**k bytes, k from 12 to 28
    out       rented buffers, by identity: empty when idle

Per size, up to `limit` bytes of idle buffers are kept; more are freed. Weak case: the first rent of a size allocates. Operations on
deques and dicts are atomic under the interpreter's lock, so renting takes no lock.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SMALLEST = 12  # log2 of 4 KiB
LARGEST = 28  # 256 MiB: larger ones are not kept


class Pool:
    """limit : bytes of idle buffers to keep per size (0: none, every rent allocates);  allocate : creates a buffer of n bytes."""

    def __init__(self, limit: int = 64 << 20, allocate: Callable[[int], bytearray] = bytearray) -> None:
        self.limit = limit
        self.allocate = allocate
        self.idle: dict[int, deque[bytearray]] = {k: deque() for k in range(SMALLEST, LARGEST + 1)}
        self.out: dict[int, bytearray] = {}
        self.allocated_bytes = 0

    @property
    def rented(self) -> int:
        """Number of rented buffers."""
        return len(self.out)

    def rent(self, n: int) -> bytearray:
        """A buffer of at least n bytes, contents undefined. Return it with `give_back`."""
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
        """Return a buffer, which may be rented again: the caller must not use it any more. Raises ValueError if it is not rented."""
        if self.out.pop(id(buffer), None) is None:
            raise ValueError(f"a buffer of {len(buffer):,} bytes was returned that is not rented: returned twice, or not from this pool")
        k = len(buffer).bit_length() - 1
        idle = self.idle.get(k)
        if idle is not None and len(buffer) == 1 << k and (len(idle) + 1) << k <= self.limit:
            idle.append(buffer)

    @contextmanager
    def buffer(self, n: int) -> Iterator[memoryview]:
        """A view of n rented bytes, returned to the pool on every path."""
        buffer = self.rent(n)
        try:
            with memoryview(buffer) as whole, whole[:n] as view:
                yield view
        finally:
            self.give_back(buffer)
