"""All blocks in file order, by large positional reads, while the system reads the next ones.

    entries by offset  | b1 b2 b3 ... | b7 |........| b9 b12 |      windows of up to 1 MiB; larger blocks have one of their own
                         copied, checked   asked of the system, DEPTH ahead: it reads them into its cache meanwhile

No thread: one that reads beside the one that checks needs the interpreter's lock between two reads, and a second core that is free. It was
as fast (1.1 GB/s cold) where it had one, and down to 0.74 where it had not. Without read-ahead each block is read when it is its turn.

Weak case: what was put in another order lies in another order, so a scan by prefix may read little of each window. Gaps of
up to 64 KiB are read and dropped. Speed: see BlockFile.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from nbtrade.storage.blockfile.file import PagedFile
from nbtrade.storage.blockfile.layout import Entry
from nbtrade.storage.blockfile.pool import Pool

WINDOW = 1 << 20  # fits the second-level cache: 4 MiB windows are 1.6 times slower
GAP = 64 << 10
DEPTH = 4  # windows that the system reads ahead; 2 and 8 are equal

Item = tuple[str, Entry]


class Window(NamedTuple):
    """Blocks that are read at once: bytes start to stop of the file."""

    start: int
    stop: int
    items: list[Item]


def windows(items: list[Item], most: int) -> Iterator[Window]:
    """Entries, in file order, cut into windows of at most so many bytes, or one block."""
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
    """Each window with its bytes, which are good until the next one is asked for. Raises OSError."""
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
