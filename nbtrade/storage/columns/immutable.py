"""Columns written once, front to back, and never again: what a tape is made of. The files are those of storage/columns/column.py.

    append   rows behind the last ──> pwrite, hash, hand a long run to the disk        NewColumn, while the tape is made
    seal     the four pages in front of them ──> fsync                                   only then is the file a column
    open_immutable                                                                          the rows, mapped; `Column.open` reads it too

A `Column` makes each commit durable for itself, and its name: two syncs a file at the start and two at the end. Here the folder around
gets its name when all is synced, so that one sync at the end is enough; until then the file has no first page and is no column. And
the mapping is as long as the file: it will not grow, and a thousand tapes fit the address space.

Writing back is started after each SYNC_BYTES: the last sync then has little left to wait for (2 instead of 200 ms for 430 MB). Weak
case: a disk slower than the ingest makes it wait here instead of at the end.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from nbtrade.errors import StoreDamaged
from nbtrade.storage import dtypes, system
from nbtrade.storage.columns import header
from nbtrade.storage.disk import DISK, Disk

SYNC_BYTES = 4 << 20  # start writing back after so many new bytes
RESERVE_FROM = 4 << 20  # bytes of a column from which space is reserved ahead: a quarter of what it has,
RESERVE_MAX = 16 << 20  # at most. Small instruments of a file with thousands reserve nothing
CHUNK = 1 << 18  # rows of a rewrite at a time


class NewColumn:
    """A column's file being written. Every method raises OSError as the disk gives it.

    path : not there, or to be overwritten;  dtype : of a row
    """

    def __init__(self, path: Path, dtype: np.dtype, disk: Disk = DISK) -> None:
        self.dtype, self.disk = dtype, disk
        self.hash = xxhash.xxh3_128()  # of the rows
        self.n_bytes = 0  # of the rows
        self.n_started = 0  # of these, handed to the disk
        self.n_reserved = 0  # of the file
        self.fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    @property
    def n_rows(self) -> int:
        """Rows so far."""
        return self.n_bytes // self.dtype.itemsize

    def append(self, rows: np.ndarray) -> None:
        """Add rows of exactly its dtype."""
        data = memoryview(np.ascontiguousarray(rows).view(np.uint8).reshape(-1))
        self.hash.update(data)
        self._reserve(header.ROWS + self.n_bytes + len(data))
        self.disk.pwrite(self.fd, data, header.ROWS + self.n_bytes)
        self.n_bytes += len(data)
        if self.n_bytes - self.n_started >= SYNC_BYTES:
            self.disk.start_sync(self.fd, header.ROWS + self.n_started, self.n_bytes - self.n_started)
            self.n_started = self.n_bytes

    def _reserve(self, end: int) -> None:
        """See to it that a large file's next bytes have their place on the disk: writing into it is cheaper than making it, row by row."""
        if self.n_bytes >= RESERVE_FROM and end > self.n_reserved:
            start = max(self.n_reserved, header.ROWS + self.n_bytes)
            n = max(end - start, min(RESERVE_MAX, self.n_bytes // 4))
            self.disk.fallocate(self.fd, start, n)
            self.n_reserved = start + n

    def rewrite(self, change: Callable[[np.ndarray, int], None]) -> None:
        """Have `change(rows, number of the first)` change all rows, some at a time, in place."""
        self.hash = xxhash.xxh3_128()
        for first in range(0, self.n_rows, CHUNK):
            at = header.ROWS + first * self.dtype.itemsize
            n = min(CHUNK, self.n_rows - first)
            rows = np.frombuffer(bytearray(self.disk.pread(self.fd, n * self.dtype.itemsize, at)), self.dtype)
            change(rows, first)
            self.hash.update(rows.view(np.uint8))
            self.disk.pwrite(self.fd, memoryview(rows.view(np.uint8)), at)

    def seal(self) -> None:
        """Make it a column, durable but for its name. Appending ends with this."""
        if self.n_reserved:
            self.disk.ftruncate(self.fd, header.ROWS + self.n_bytes)
        what = {"dtype": dtypes.to_json(self.dtype), "bits": self.dtype.itemsize * 8}
        self.disk.pwrite(self.fd, header.new_head(what, header.Slot(2, self.n_rows, 0)), 0)
        self.disk.fsync(self.fd)

    def close(self) -> None:
        """Let go of the file."""
        self.disk.close(self.fd)


def open_immutable(path: Path, dtype: np.dtype, disk: Disk = DISK) -> np.ndarray:
    """Map the rows of a sealed column: read-only dtype[n], zero-copy, plain bytes viewed as exactly `dtype`.

    Raises FileNotFoundError, and StoreDamaged when it is no column of such rows, or not as long as it says.
    """
    fd = disk.open(path, system.READ_ONLY)  # a pipe is refused, not waited for
    try:
        n_bytes = header.check_regular(fd, path).st_size
        head = disk.pread(fd, header.ROWS, 0)
        what, identity = header.read_what(head, path)
        n = header.read_slot(head, identity, path).rows
        if what.get("dtype") != dtype:
            raise StoreDamaged(f"{path} has rows of {what.get('dtype', 'integers')}, not {dtype}.")
        if n_bytes != header.ROWS + n * dtype.itemsize:
            raise StoreDamaged(
                f"{path} has {n_bytes:,} bytes; {n:,} rows of {dtype.itemsize} bytes take {header.ROWS + n * dtype.itemsize:,}."
            )
        return np.ndarray(n, dtype, buffer=system.map_array(fd, n_bytes), offset=header.ROWS)
    finally:
        disk.close(fd)
