"""`Disk`: the operations by which Column, CompactColumn and BlockFile change files, in one object that tests can replace.

    store ──> Disk.pwrite, fdatasync, rename ... ──> system.py ──> operating system
                 │
                 └── in tests: recorded, counted, or made to fail (tests/helpers/crash_kit.py)

Tests enumerate every state that a crash can leave (any prefix of these calls, any subset of the unsynced writes) and a full disk at
each call. Rows are written with positional writes, not stored into a mapping, so a full disk raises OSError instead of killing the
process, and each change of a file is one recorded call. Weak case: one system call per append, about 1 us.

A crash of the machine keeps only synced data: a file's bytes and length after `fdatasync` or `fsync`; names (created, renamed, removed)
after `sync_folder`. `boot()` identifies the time since the machine was started. The writes of a killed *process* are complete in the
page cache; unsynced writes of a crashed *machine* are not. Files compare boot numbers to distinguish the two.
"""

import errno
import os
from collections.abc import Sequence

from nbtrade.storage import system
from nbtrade.storage.system import MAX_BUFFERS, Data, StrPath


class Disk:
    """Calls the operating system; short writes continue until everything is written.

    Every method raises OSError unchanged; the store adds the file and the advice.
    """

    def open(self, path: StrPath, flags: int, mode: int = 0o644) -> int:
        """Open `path` (os.O_* flags) and return the descriptor. The name of a created file is durable after `sync_folder`."""
        return system.open_file(path, flags, mode)

    def close(self, fd: int) -> None:
        """Close a descriptor. Syncs nothing."""
        os.close(fd)

    def pread(self, fd: int, n: int, offset: int) -> bytes:
        """Up to `n` bytes at `offset`; fewer only at the end of the file."""
        parts = []
        while n > 0 and (part := system.read_once(fd, n, offset)):
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
                raise OSError(errno.EIO, "the system wrote nothing and reported no error")
            offset += n
            view = view[n:]

    def _pwrite(self, fd: int, data: Data, offset: int) -> int:
        """One system call, which may write less than requested."""
        return system.write_once(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all of `buffers`, one after the other, starting at `offset`."""
        views = [view for buffer in buffers if (view := memoryview(buffer).cast("B"))]
        while views:
            n = self._pwritev(fd, views[:MAX_BUFFERS], offset)
            if n <= 0:
                raise OSError(errno.EIO, "the system wrote nothing and reported no error")
            offset += n
            while views and n >= len(views[0]):
                n -= len(views.pop(0))
            if n:
                views[0] = views[0][n:]

    def _pwritev(self, fd: int, buffers: Sequence[Data], offset: int) -> int:
        """One system call, which may write less than requested."""
        return system.write_vector_once(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        """Make a file's bytes and length durable."""
        system.sync_data(fd)

    def fsync(self, fd: int) -> None:
        """Make a file's bytes, length and times durable. Its name needs `sync_folder`."""
        system.sync_file(fd)

    def start_sync(self, fd: int, offset: int, n: int) -> None:
        """Start writing `n` bytes at `offset` to the disk without waiting, so that a later sync has less to do. Makes nothing durable.

        Unlike a background `fdatasync` it commits no journal: ingesting took 0.85 of the time.
        """
        system.start_writeback(fd, offset, n)

    def ftruncate(self, fd: int, n: int) -> None:
        """Set a file's length. Never cut off anything that a reader may have mapped: SIGBUS would kill it."""
        system.truncate(fd, n)

    def fallocate(self, fd: int, offset: int, n: int) -> None:
        """Reserve space; afterwards the file is at least offset + n bytes long, with zeros where nothing was written."""
        system.allocate(fd, offset, n)

    def rename(self, old: StrPath, new: StrPath) -> None:
        """Rename `old` to `new` atomically, replacing a file of that name."""
        system.rename(old, new)

    def unlink(self, path: StrPath) -> None:
        """Remove a name."""
        os.unlink(path)

    def sync_folder(self, path: StrPath) -> None:
        """Make the names in the folder `path` durable: created, renamed, removed."""
        system.sync_folder(path)

    def boot(self) -> int:
        """A number, 1 .. 2**63 - 1, that changes when the machine restarts."""
        return system.boot_number()


DISK = Disk()
