"""The one door to the disk: every write of a Column, a CompactColumn and a BlockFile goes through a `Disk`.

    store ──> Disk.pwrite, fdatasync, rename ... ──> operating system
                 │
                 └── in tests: recorded, counted, or made to fail (tests/crash_kit.py)

So that tests can enumerate what a crash may leave (any prefix of these calls, any part of what was not synced) and
what a full disk does at each of them. Rows are written with `pwrite`, not stored into a mapping: a full disk is then an
OSError and not a SIGBUS, and each change of a file is one recorded call. Weak case: a system call per append, about 1 us.

What a crash of the machine keeps is only what was synced: a file's bytes and length by `fdatasync` or `fsync` of it; names
(created, renamed, unlinked) by `sync_folder`. `boot()` says which life of the machine this is: what a killed *process*
wrote is whole in the page cache, what a crashed *machine* had not synced is not, and files tell the two apart by it.
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import xxhash

StrPath = str | os.PathLike[str]
Data = bytes | bytearray | memoryview

SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux and glibc have it; its failure is the next sync's to tell
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

# IOV_MAX of Linux; os.sysconf asks the system for the same number
MAX_BUFFERS = 1024


class Disk:
    """The operating system's calls, as they are; short writes are continued until all is written.

    Every method raises OSError as the system gives it: what a store makes of it is the store's business.
    """

    def open(self, path: StrPath, flags: int, mode: int = 0o644) -> int:
        """Open `path` (os.O_* flags; O_CREAT makes a name that only `sync_folder` makes durable). Returns the descriptor."""
        return os.open(path, flags, mode)

    def close(self, fd: int) -> None:
        """Close a descriptor. It syncs nothing."""
        os.close(fd)

    def pread(self, fd: int, n: int, offset: int) -> bytes:
        """Up to `n` bytes at `offset`; fewer only at the file's end."""
        parts = []
        while n > 0 and (part := os.pread(fd, n, offset)):
            parts.append(part)
            n -= len(part)
            offset += len(part)
        return b"".join(parts)

    def pwrite(self, fd: int, data: Data, offset: int) -> None:
        """Write all of `data` at `offset`."""
        view = memoryview(data).cast("B")
        while view:
            n = self._pwrite(fd, view, offset)
            if n <= 0:
                raise OSError(errno.EIO, "the system wrote nothing and gave no error")
            offset += n
            view = view[n:]

    def _pwrite(self, fd: int, data: Data, offset: int) -> int:
        """One system call, which may write less than asked."""
        return os.pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all of `buffers`, one after the other, from `offset` on."""
        views = [view for buffer in buffers if (view := memoryview(buffer).cast("B"))]
        while views:
            n = self._pwritev(fd, views[:MAX_BUFFERS], offset)
            if n <= 0:
                raise OSError(errno.EIO, "the system wrote nothing and gave no error")
            offset += n
            while views and n >= len(views[0]):
                n -= len(views.pop(0))
            if n:
                views[0] = views[0][n:]

    def _pwritev(self, fd: int, buffers: Sequence[Data], offset: int) -> int:
        """One system call, which may write less than asked."""
        return os.pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        """Make a file's bytes and length durable."""
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        """Make a file's bytes, length and times durable. Its name needs `sync_folder`."""
        os.fsync(fd)

    def start_sync(self, fd: int, offset: int, n: int) -> None:
        """Hand `n` bytes at `offset` to the disk now, waiting for nothing: a later sync has less left. It makes nothing durable.

        Unlike a background `fdatasync` it commits no journal: ingesting took 0.85 of the time.
        """
        if _sync_file_range is not None:
            _sync_file_range(fd, offset, n, SYNC_FILE_RANGE_WRITE)

    def ftruncate(self, fd: int, n: int) -> None:
        """Set a file's length. Never below what a reader may have mapped: it would die of SIGBUS."""
        os.ftruncate(fd, n)

    def fallocate(self, fd: int, offset: int, n: int) -> None:
        """Reserve space; the file is at least offset + n long afterwards, and zero where it was not written."""
        os.posix_fallocate(fd, offset, n)

    def rename(self, old: StrPath, new: StrPath) -> None:
        """Give `old` the name `new`, in place of what had it."""
        os.rename(old, new)

    def unlink(self, path: StrPath) -> None:
        """Remove a name."""
        os.unlink(path)

    def sync_folder(self, path: StrPath) -> None:
        """Make the names in the folder `path` durable: created, renamed, removed."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def boot(self) -> int:
        """A number for this life of the machine, 1 .. 2**63 - 1."""
        return boot_number()


@cache
def boot_number() -> int:
    """The kernel's boot id as a number."""
    text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return xxhash.xxh3_64_intdigest(text) >> 1 | 1


DISK = Disk()
