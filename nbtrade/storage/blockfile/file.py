"""The pages of a block file and, if enabled, its mirror: every write goes to both, at the same offsets.

A mirror is a byte-identical second file, NAME.mirror, from which damaged blocks and damaged parts of the catalog are repaired. It doubles
the cost of every write and sync. All changes go through `disk`, so that tests can record them or make them fail.

The file is mapped once, read-only, over more address space than it will ever fill, so readers never map again. Pages beyond the end
of the file are mapped but must not be accessed (SIGBUS): only extents that checks.py has found to be inside the file are read, and a block
file never shrinks. Views keep the mapping alive, so closing a file under a live array is harmless. Weak cases: another program that
truncates the file, or a disk that cannot read a page, kills the process; `scan` and `verify` use positional reads, which raise instead.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xxhash

from nbtrade.errors import BlockFileError
from nbtrade.storage import system
from nbtrade.storage.blockfile import locks
from nbtrade.storage.blockfile.layout import PAGE, STEP, padded
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.disk import Disk

RESERVED = 1 << 40  # bytes of address space per file: 1 TiB of the 128 that a process has,
MIN_RESERVED = 1 << 34  # or less where it is limited, down to 16 GiB
CHECKED = 8 << 20  # bytes per read of `has`
MANY, COALESCED = 8, 8 << 20  # from more than MANY buffers up to COALESCED bytes are copied into one: a small copy is cheaper
Buffers = Sequence["bytes | bytearray | memoryview"]


def mirror_of(path: Path) -> Path:
    """Path of the mirror of the block file at `path`."""
    return path.with_name(path.name + ".mirror")


class PagedFile:
    """An open block file: descriptors, length, and its mapping as characters (`mapped`) and bytes (`view`).

    readonly : opened for reading;  step : bytes by which it grows, at least
    """

    def __init__(self, path: Path, disk: Disk, readonly: bool, step: int = STEP, create: bool = False, pool: Pool | None = None) -> None:
        self.path = path
        self.pool = pool or Pool()
        self.disk = disk
        self.readonly = readonly
        self.step = padded(step)
        self.fd = disk.open(path, system.READ_ONLY if readonly else os.O_RDWR | (os.O_CREAT if create else 0))
        self.mirror_fd: int | None = None
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            disk.close(self.fd)
            raise BlockFileError(f"{path} is a folder, a pipe or a device, not a block file. Is the name right?")
        self.n_bytes = status.st_size
        self.mapped: Any = system.map_characters(self.fd, RESERVED, MIN_RESERVED)
        self.view = memoryview(self.mapped).cast("B").toreadonly()
        self.n_extended = 0
        self.n_syncs = 0

    def open_mirror(self, create: bool) -> bool:
        """Open the mirror, creating it if `create`. Returns whether it is open."""
        flags = os.O_RDONLY if self.readonly else os.O_RDWR | (os.O_CREAT if create else 0)
        try:
            self.mirror_fd = self.disk.open(mirror_of(self.path), flags)
        except FileNotFoundError:
            return False
        return True

    @property
    def fds(self) -> list[int]:
        """The descriptors of the file and its mirror."""
        return [self.fd] if self.mirror_fd is None else [self.fd, self.mirror_fd]

    def write(self, at: int, buffers: Buffers) -> None:
        """Write consecutive buffers starting at offset `at`, without syncing."""
        if len(buffers) > MANY and (n := sum(map(len, buffers))) <= COALESCED:
            with self.pool.buffer(n) as joined:
                stop = 0
                for one in buffers:
                    start, stop = stop, stop + len(one)
                    joined[start:stop] = one
                for fd in self.fds:
                    self.disk.pwrite(fd, joined, at)
            return
        for fd in self.fds:
            self.disk.pwritev(fd, buffers, at)

    def read(self, at: int, n: int) -> bytes:
        """n bytes from offset `at` by a positional read; fewer at the end of the file."""
        return self.disk.pread(self.fd, n, at)

    def read_into(self, at: int, buffer: memoryview) -> int:
        """Fill `buffer` by positional reads. Returns the bytes read, fewer at the end of the file."""
        done = 0
        while done < len(buffer):
            n = system.read_into_once(self.fd, buffer[done:], at + done)
            if n == 0:
                break
            done += n
        return done

    def begin_reading(self, at: int, n: int) -> None:
        """Have the system load n bytes at offset `at` into its cache, without waiting."""
        system.read_ahead(self.fd, at, n)

    def read_mirror(self, at: int, n: int) -> bytes | None:
        """n bytes of the mirror, or None if there is no mirror."""
        return None if self.mirror_fd is None else self.disk.pread(self.mirror_fd, n, at)

    def is_on_disk(self, start: int, stop: int, check: int) -> bool:
        """Whether the synced bytes on the disk itself have this checksum: the cached copy is dropped first."""
        system.drop_cached(self.fd, start, stop - start)
        return self.has(start, stop, check)

    def has(self, start: int, stop: int, check: int) -> bool:
        """Whether these bytes have this checksum."""
        digest = xxhash.xxh3_64()
        for at in range(start, stop, CHECKED):
            digest.update(self.read(at, min(CHECKED, stop - at)))
        return digest.intdigest() == check

    def start_sync(self, at: int, n: int) -> None:
        """Start writing n bytes at offset `at` to the disk, without waiting: 500 updates of 4 KiB take 0.85 of the time."""
        for fd in self.fds:
            self.disk.start_sync(fd, at, n)

    def sync(self) -> None:
        """Wait until all writes are on the disk."""
        self.n_syncs += 1
        for fd in self.fds:
            self.disk.fdatasync(fd)

    def extend(self, n: int) -> tuple[int, int]:
        """Grow by at least n bytes, in steps. Returns (offset, bytes) of the new part. Raises OSError if the disk is full."""
        at = self.n_bytes
        n = -(-(at + max(self.step, at // 16, n)) // self.step) * self.step - at
        for fd in self.fds:
            self.disk.fallocate(fd, at, n)
        self.n_extended += 1
        self.n_bytes = at + n
        return at, n

    def reach(self, stop: int) -> None:
        """Make the file at least `stop` bytes and whole pages long: a crash may have left it shorter than the durable records."""
        if self.n_bytes < stop or self.n_bytes % PAGE:
            self.extend(max(stop - self.n_bytes, 1))

    def close(self) -> None:
        """Close the descriptors and release all locks. Arrays over the mapping remain valid."""
        locks.unlock_all(self.fd)
        for fd in self.fds:
            self.disk.close(fd)
        self.fd, self.mirror_fd = -1, None
