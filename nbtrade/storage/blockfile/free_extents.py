"""Free pages of a block file, as extents: best fit, coalesced, lowest offset first among equals.

    start -> n pages      every free extent, for its right neighbour
    end   -> start        the same, for its left neighbour
    sizes [1, 3, 17, 90]  the distinct sizes, ascending: bisect finds the best fit
    starts of a size      a heap of offsets; entries of merged extents are skipped when they are reached

`take` and `add` cost O(log n): a bisect over the distinct sizes and one heap operation. Distinct sizes are few: p free pages have at
most sqrt(2 p) of them (2,900 in 16 GiB). Weak case: best fit leaves small remainders; those too small for a group
serve smaller groups, and merge again when their neighbours are freed.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush


class FreeExtents:
    """Free extents in pages. They never overlap, and adjacent ones are always merged."""

    def __init__(self) -> None:
        self.n_pages = 0
        self._size_of: dict[int, int] = {}
        self._start_of: dict[int, int] = {}  # by end
        self._sizes: list[int] = []
        self._starts: dict[int, list[int]] = {}  # heaps by size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(start, n) of all free extents, by start."""
        return iter(sorted(self._size_of.items()))

    def __len__(self) -> int:
        return len(self._size_of)

    @property
    def largest(self) -> int:
        """Pages in the largest free extent."""
        self._drop_stale_sizes()
        return self._sizes[-1] if self._sizes else 0

    def add(self, start: int, n: int) -> None:
        """Free pages start .. start + n, which must be in use."""
        if n <= 0:
            raise ValueError(f"an extent of {n} pages at page {start} cannot be freed: it must have at least one page")
        self.n_pages += n
        left = self._start_of.get(start)
        if left is not None:
            n += self._remove(left)
            start = left
        if start + n in self._size_of:
            n += self._remove(start + n)
        self._insert(start, n)

    def take(self, n: int) -> int | None:
        """First of n pages from the smallest extent that has them, or None."""
        at = bisect_left(self._sizes, n)
        while at < len(self._sizes):
            size = self._sizes[at]
            start = self._lowest(size)
            if start is None:
                self._forget_size(at)
                continue
            self._remove(start)
            if size > n:
                self._insert(start + n, size - n)
            self.n_pages -= n
            return start
        return None

    def take_largest(self, at_most: int) -> tuple[int, int] | None:
        """(first page, n) of at most `at_most` pages from the largest extent, or None."""
        n = min(self.largest, at_most)
        start = self.take(n) if n else None
        return None if start is None else (start, n)

    def _insert(self, start: int, n: int) -> None:
        self._size_of[start] = n
        self._start_of[start + n] = start
        heap = self._starts.get(n)
        if heap is None:
            self._starts[n] = [start]
            insort(self._sizes, n)
        else:
            heappush(heap, start)
            if len(heap) > 64 and len(heap) > 2 * len(self._size_of):
                self._starts[n] = heap = [s for s in set(heap) if self._size_of.get(s) == n]
                heapify(heap)

    def _remove(self, start: int) -> int:
        """Remove an extent; its heap entry becomes stale."""
        n = self._size_of.pop(start)
        del self._start_of[start + n]
        return n

    def _lowest(self, size: int) -> int | None:
        heap = self._starts[size]
        while heap:
            if self._size_of.get(heap[0]) == size:
                return heap[0]
            heappop(heap)
        return None

    def _forget_size(self, at: int) -> None:
        del self._starts[self._sizes.pop(at)]

    def _drop_stale_sizes(self) -> None:
        while self._sizes and self._lowest(self._sizes[-1]) is None:
            self._forget_size(len(self._sizes) - 1)
