"""Immutable columns, written once from front to back: the columns of a tape. The file format is that of storage/columns/column.py.

    append   rows after the last ──> pwrite, hash, start writing back long runs        NewColumn, while the tape is written
    seal     the four pages before them ──> fsync                                        only now the file is a column
    open_immutable                                                                       maps the rows; `Column.open` reads it too

A `Column` makes each commit and its name durable separately: two syncs at the start and two at the end. Here the enclosing folder
is renamed after everything is synced, so one sync at the end suffices; until then the file has no first page and cannot be opened.
The mapping is exactly as long as the file, because it will not grow: a thousand tapes fit into the address space.

Writing back starts every SYNC_BYTES, so the last sync has little left to do (2 instead of 200 ms for 430 MB). Weak
case: with a disk slower than the ingest, the ingest waits here instead of at the end.
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

SYNC_BYTES = 4 << 20  # new bytes after which writing back starts
RESERVE_FROM = 4 << 20  # bytes of a column from which space is reserved ahead: a quarter of its size,
RESERVE_MAX = 16 << 20  # at most. Small columns of a file with thousands of instruments reserve nothing
CHUNK = 1 << 18  # rows per step of a rewrite


class NewColumn:
    """A column's file that is being written. Every method raises OSError unchanged.

    path : of the file, which is overwritten if it exists;  dtype : of a row
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
        """Number of rows so far."""
        return self.n_bytes // self.dtype.itemsize

    def append(self, rows: np.ndarray) -> None:
        """Append rows of exactly its dtype."""
        data = memoryview(np.ascontiguousarray(rows).view(np.uint8).reshape(-1))
        self.hash.update(data)
        self._reserve(header.ROWS + self.n_bytes + len(data))
        self.disk.pwrite(self.fd, data, header.ROWS + self.n_bytes)
        self.n_bytes += len(data)
        if self.n_bytes - self.n_started >= SYNC_BYTES:
            self.disk.start_sync(self.fd, header.ROWS + self.n_started, self.n_bytes - self.n_started)
            self.n_started = self.n_bytes

    def _reserve(self, end: int) -> None:
        """Reserve space for the next bytes of a large file: one large allocation is cheaper than many small ones."""
        if self.n_bytes >= RESERVE_FROM and end > self.n_reserved:
            start = max(self.n_reserved, header.ROWS + self.n_bytes)
            n = max(end - start, min(RESERVE_MAX, self.n_bytes // 4))
            self.disk.fallocate(self.fd, start, n)
            self.n_reserved = start + n

    def rewrite(self, change: Callable[[np.ndarray, int], None]) -> None:
        """Call `change(rows, number of the first)` for successive batches; it changes the rows in place."""
        self.hash = xxhash.xxh3_128()
        for first in range(0, self.n_rows, CHUNK):
            at = header.ROWS + first * self.dtype.itemsize
            n = min(CHUNK, self.n_rows - first)
            rows = np.frombuffer(bytearray(self.disk.pread(self.fd, n * self.dtype.itemsize, at)), self.dtype)
            change(rows, first)
            self.hash.update(rows.view(np.uint8))
            self.disk.pwrite(self.fd, memoryview(rows.view(np.uint8)), at)

    def seal(self) -> None:
        """Complete the file, durable except for its name. Nothing can be appended afterwards."""
        if self.n_reserved:
            self.disk.ftruncate(self.fd, header.ROWS + self.n_bytes)
        what = {"dtype": dtypes.to_json(self.dtype), "bits": self.dtype.itemsize * 8}
        self.disk.pwrite(self.fd, header.new_head(what, header.Slot(2, self.n_rows, 0)), 0)
        self.disk.fsync(self.fd)

    def close(self) -> None:
        """Close the file."""
        self.disk.close(self.fd)


def open_immutable(path: Path, dtype: np.dtype, disk: Disk = DISK) -> np.ndarray:
    """Map the rows of a sealed column: read-only dtype[n], zero-copy, plain bytes viewed as exactly `dtype`.

    Raises FileNotFoundError, or StoreDamaged if the file is not a column with such rows, or has the wrong length.
    """
    fd = disk.open(path, system.READ_ONLY)  # a pipe is rejected without waiting
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
