"""All blocks in file order, by large positional reads, the next ones under way while the last are checked.

    entries by offset  | b1 b2 b3 ... | b7 |........| b9 b12 |      windows of up to 1 MiB; larger blocks have one of their own
                         checked        being read by a thread, DEPTH ahead, into rented buffers

Without read-ahead each block is read when it is its turn.

Weak case: what was put in another order lies in another order, so a scan by prefix may read little of each window. Gaps of
up to 64 KiB are read and dropped. Speed: see BlockFile.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from nbtrade.store.blocks.file import PagedFile
from nbtrade.store.blocks.layout import Entry
from nbtrade.store.blocks.pool import Pool

WINDOW = 1 << 20  # fits the second-level cache: 4 MiB windows are 1.6 times slower
GAP = 64 << 10
DEPTH = 2  # windows being read ahead, by one thread: two take turns with the one that checks

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
    if not read_ahead:
        for window in windows(items, 0):
            with pool.buffer(window.stop - window.start) as view:
                file.read_into(window.start, view)
                yield window, view
        return
    with ThreadPoolExecutor(1, "nbtrade-scan") as executor:
        yield from _ahead(windows(items, WINDOW), pool, lambda window, buffer: executor.submit(_fill, file, window, buffer))


def _fill(file: PagedFile, window: Window, buffer: bytearray) -> None:
    with memoryview(buffer) as whole, whole[: window.stop - window.start] as view:
        file.read_into(window.start, view)


def _ahead(
    rest: Iterator[Window], pool: Pool, submit: Callable[[Window, bytearray], "Future[None]"]
) -> Iterator[tuple[Window, memoryview]]:
    under_way: deque[tuple[Window, bytearray, Future[None]]] = deque()

    def start_one() -> None:
        window = next(rest, None)
        if window is not None:
            buffer = pool.rent(window.stop - window.start)
            under_way.append((window, buffer, submit(window, buffer)))

    try:
        for _ in range(DEPTH):
            start_one()
        while under_way:
            window, buffer, reading = under_way[0]
            reading.result()
            with memoryview(buffer) as whole, whole[: window.stop - window.start] as view:
                yield window, view
            under_way.popleft()
            pool.give_back(buffer)
            start_one()
    finally:  # left early, or a read failed: nobody may write into a buffer that is given back
        for _, buffer, reading in under_way:
            reading.exception()
            pool.give_back(buffer)
