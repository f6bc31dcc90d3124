"""Scan: all blocks in file order, with large positional reads, while the system loads the next ones.

    entries by offset  | b1 b2 b3 ... | b7 |........| b9 b12 |      windows of up to 1 MiB; larger blocks have a separate one
                         copied, checked   requested from the system, DEPTH ahead: it loads them into its cache

There is no reading thread: it would need the interpreter's lock between two reads, and a second free core. It was as fast (1.1 GB/s
cold) with a free core, and dropped to 0.74 without one. Without read-ahead each block is read separately.

Weak case: blocks are in the order in which they were put, so a scan by prefix may use little of each window. Gaps of
up to 64 KiB are read and dropped. Speed: see BlockFile.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from nbtrade.storage.blockfile.file import PagedFile
from nbtrade.storage.blockfile.layout import Entry
from nbtrade.storage.blockfile.pool import Pool

WINDOW = 1 << 20  # fits the second-level cache: 4 MiB windows take 1.6 times as long
GAP = 64 << 10
DEPTH = 4  # windows to read ahead; 2 and 8 are equally fast

Item = tuple[str, Entry]


class Window(NamedTuple):
    """Blocks read in one call: bytes start to stop of the file."""

    start: int
    stop: int
    items: list[Item]


def windows(items: list[Item], most: int) -> Iterator[Window]:
    """Entries in file order, cut into windows of at most `most` bytes, or one block."""
    start = stop = 0
    held: list[Item] = []
    for item in sorted(items, key=lambda item: item[1].offset):
        entry = item[1]
        if held and (entry.offset > stop + GAP or max(stop, entry.end) - start > most):
            yield Window(start, stop, held)
            held = []
        if not held:
            start = stop = entry.offset
        held.append(item)
        stop = max(stop, entry.end)
    if held:
        yield Window(start, stop, held)


def read_windows(file: PagedFile, pool: Pool, items: list[Item], read_ahead: bool) -> Iterator[tuple[Window, memoryview]]:
    """Each window with its bytes, which are valid until the next iteration. Raises OSError."""
    ahead: deque[Window] = deque()
    for window in windows(items, WINDOW if read_ahead else 0):
        if read_ahead:
            file.begin_reading(window.start, window.stop - window.start)
        ahead.append(window)
        if len(ahead) > (DEPTH if read_ahead else 0):
            yield from _read(file, pool, ahead.popleft())
    for window in ahead:
        yield from _read(file, pool, window)


def _read(file: PagedFile, pool: Pool, window: Window) -> Iterator[tuple[Window, memoryview]]:
    with pool.buffer(window.stop - window.start) as view:
        file.read_into(window.start, view)
        yield window, view
