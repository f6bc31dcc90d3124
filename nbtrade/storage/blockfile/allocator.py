"""Page allocation: free extents, blocks per packed page, and extents that will become free.

    free      FreeExtents, in pages
    packed    u2 per page of the file: how many live small blocks touch it; at 0 the page is retired
    waiting   extents retired by the group being committed; free after the next commit
    held      retired extents over which a reader still has an array

A page that holds bytes of a committed block is never overwritten before it has passed through `waiting`.
"""

from collections.abc import Iterable

import numpy as np

from nbtrade.storage.blockfile.file import PagedFile
from nbtrade.storage.blockfile.free_extents import FreeExtents
from nbtrade.storage.blockfile.layout import FIRST_PAGE, OWN_PAGES, PAGE

SMALLEST_PIECE = 16  # pages: while the file can grow, groups are not spread over smaller free extents
ONE = np.uint16(1)

Extent = tuple[int, int]  # first page, pages


def touched(offset: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Pages that packed blocks occupy, one per block and page; a block has up to 5. offset, end : i8[n]."""
    first, last = offset >> 12, (end - 1) >> 12  # an empty block at the start of a page: none
    steps = range(1, int((last - first).max(initial=0)) + 1)
    return np.concatenate([first[first <= last], *(first[first + step <= last] + step for step in steps)])


def runs(pages: np.ndarray) -> list[Extent]:
    """Ascending pages, with or without repetitions, as extents."""
    if not len(pages):
        return []
    cuts = np.flatnonzero(pages[1:] - pages[:-1] > 1)
    firsts = [int(pages[0]), *pages[cuts + 1].tolist()]
    lasts = [*pages[cuts].tolist(), int(pages[-1])]
    return [(first, last + 1 - first) for first, last in zip(firsts, lasts, strict=True)]


class Allocator:
    """The pages of `file`."""

    def __init__(self, file: PagedFile) -> None:
        self.file = file
        self.free = FreeExtents()
        self.packed = np.zeros(file.n_bytes // PAGE, np.uint16)
        self.waiting: list[Extent] = []
        self.held: list[Extent] = []

    # --- at open --------------------------------------------------------------------------------------
    def load(self, rows: np.ndarray, catalog: Iterable[Extent], foreign: Iterable[Extent]) -> None:
        """Compute the free pages. rows : ROW[n] of all blocks;  catalog : its extents;  foreign : pages leased by other processes."""
        offset = rows["offset"].astype(np.int64)
        end = offset + rows["stored"].astype(np.int64)
        own = rows["how"] & OWN_PAGES != 0
        n_pages = self.file.n_bytes // PAGE
        self._fit_counts()
        self.count(offset[~own], end[~own])
        edges = np.zeros(n_pages + 1, np.int64)
        used = own & (end > offset)
        np.add.at(edges, offset[used] // PAGE, 1)
        np.add.at(edges, -(-end[used] // PAGE), -1)
        for start, n in [(0, FIRST_PAGE), *catalog]:
            edges[start] += 1
            edges[start + n] -= 1
        empty = (np.cumsum(edges)[:-1] == 0) & (self.packed[:n_pages] == 0)
        taken = np.zeros(n_pages, bool)
        for start, n in foreign:
            taken[start : start + n] = True
        self.held = runs(np.flatnonzero(empty & taken))
        for start, n in runs(np.flatnonzero(empty & ~taken)):
            self.free.add(start, n)

    def _fit_counts(self) -> None:
        n_pages = self.file.n_bytes // PAGE
        if n_pages > len(self.packed):
            grown = np.zeros(max(n_pages, len(self.packed) * 5 // 4), np.uint16)
            grown[: len(self.packed)] = self.packed
            self.packed = grown

    # --- taking ---------------------------------------------------------------------------------------
    def take(self, n: int) -> int:
        """First of n contiguous pages; the file grows if no free extent has them."""
        while (start := self.free.take(n)) is None:
            self._extend(n)
        return start

    def take_some(self, n: int, least: int) -> Extent:
        """n pages, or fewer (but at least `least`) if no free extent has n but one is large."""
        start = self.free.take(n)
        if start is not None:
            return start, n
        if self.free.largest >= max(SMALLEST_PIECE, least, n // 8):
            piece = self.free.take_largest(n)
            assert piece
            return piece
        return self.take(n), n

    def _extend(self, n: int) -> None:
        at, grown = self.file.extend(n * PAGE)
        self.free.add(at // PAGE, grown // PAGE)
        self._fit_counts()

    # --- freeing --------------------------------------------------------------------------------------
    def retire(self, gone: np.ndarray, linked: "np.ndarray | tuple[()]") -> list[Extent]:
        """The extents to recycle after rows were replaced.

        gone : ROW[n] of replaced blocks, all zeros where there was none;  linked : offsets of blocks that stay, under another name
        """
        if len(linked):
            gone = gone[~np.isin(gone["offset"], linked)]
        offset = gone["offset"].astype(np.int64)
        end = offset + gone["stored"].astype(np.int64)
        own = gone["how"] & OWN_PAGES != 0
        retired = []
        if own.any():
            firsts = offset[own] // PAGE
            retired = list(zip(firsts.tolist(), (-(-end[own] // PAGE) - firsts).tolist(), strict=True))
            offset, end = offset[~own], end[~own]
        pages = touched(offset, end)
        np.subtract.at(self.packed, pages, ONE)
        empty = pages[self.packed[pages] == 0]
        empty.sort()
        return retired + runs(empty)

    def count(self, offset: np.ndarray, end: np.ndarray) -> None:
        """Count packed blocks that were just written."""
        if len(offset):
            np.add.at(self.packed, touched(offset, end), ONE)
