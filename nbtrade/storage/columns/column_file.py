"""One column's file, rows of any number of bits: how many there are, where they are, and how more are added so that nothing can go wrong.

    append     (fallocate) pwrite rows behind the last ──> store the count (release)         readers have them
    commit     fdatasync ──> pwrite the older slot ──> fdatasync                            a crash keeps them
    truncate   epoch + 1, lower count ──> commit                                            the file keeps its length
    create     NAME.creating: locked, written, synced ──> rename to NAME ──> sync folder    whole or not there

Rows are overwritten only when no slot counts them any more, so that what a commit said stays true whatever happens later. When the
sync of rows fails nobody knows which of them reached the disk, and asking again would be told they had: the count goes back to the
last commit. When a slot's write fails, both outcomes are possible; the same slot is written again next time, never the other.
"""

import contextlib
import os
from typing import Any

import numpy as np

from nbtrade._numba.atomics import store_release
from nbtrade.errors import StoreBusy, StoreDamaged, StoreWriteError
from nbtrade.storage import lock, system
from nbtrade.storage.columns import header
from nbtrade.storage.columns.header import LIVE, PAGE, ROWS, Slot
from nbtrade.storage.columns.kernels.live_page import BOOT, COUNT, DAMAGED, EPOCH, MOVING, NOT_LIVE, live, live_word
from nbtrade.storage.disk import DISK, Disk

N_WORDS = PAGE // 8
RESERVED = 16 << 30  # least bytes of address space for a file; 47 bits hold 8,192 of these
RESERVE = 1 << 20  # bytes of one write from which space is reserved first: 1.35 times as fast on ext4, and a full disk is known before
LEFT_OVERS = (".creating", ".upgrading")  # what an interrupted writer may leave beside a file


def n_bytes(rows: int, bits: int) -> int:
    """Bytes that `rows` rows of `bits` bits take."""
    return (rows * bits + 7) >> 3


def map_growing(fd: int) -> np.ndarray:
    """Map a file read-only, as uint8, over 16 GiB or four times its size, so that rows appended later appear without mapping again.

    Address space costs nothing until it is used; under a limit (ulimit -v) the mapping is smaller, but at least as long as the file.
    Reading beyond the end of the file kills the process (SIGBUS), so readers stay below the published count, which is checked against the
    length before anything is mapped; and files never shrink. Weak case: another program that truncates a mapped file. Replace files by
    renaming new ones over them, never in place. Raises OSError.
    """
    size = os.fstat(fd).st_size
    return system.map_array(fd, max(RESERVED, size * 4), size + 1)


class ColumnFile:
    """An open column's file, to read: what it holds, how many rows, and their bytes.

    fd   : open for reading, not locked (a mapping would keep the lock); may be closed afterwards
    path : absolute

    Raises StoreDamaged.
    """

    def __init__(self, fd: int, path: str, disk: Disk = DISK) -> None:
        self.path = path
        status = header.check_regular(fd, path)
        self.inode = (status.st_dev, status.st_ino)
        head = disk.pread(fd, ROWS, 0)
        self.what, self.identity = header.read_what(head, path)
        self.slot = header.read_slot(head, self.identity, path)
        self.bits: int = self.what["bits"]
        self.boot = disk.boot()
        self._check(0, status.st_size)
        self.mapped = map_growing(fd)
        self.words = self.mapped[LIVE:ROWS].view(np.int64)
        count = self._live(COUNT, self.slot.rows)
        self._check(count, os.fstat(fd).st_size)  # in this order: it may be growing

    def _check(self, count: int, size: int) -> None:
        least = ROWS + n_bytes(count, self.bits)
        if least > size:
            raise StoreDamaged(
                f"{self.path} says {count:,} rows, {least:,} bytes, and has {size:,}: its end is cut off. Restore it from a copy."
            )

    @property
    def count(self) -> int:
        """Published rows, now."""
        return self._live(COUNT, self.slot.rows)

    @property
    def epoch(self) -> int:
        """Raised whenever rows that were published may change."""
        return self._live(EPOCH, self.slot.epoch)

    def _live(self, which: int, durable: int) -> int:
        n = live(self.words, self.boot, which)
        if n >= 0:
            return n
        if n == DAMAGED:
            raise StoreDamaged(
                f"{self.path}: the live page (byte {LIVE}) is damaged. A restart of the machine goes back to the last commit."
            )
        return durable

    @property
    def moving(self) -> bool:
        """Whether another file is taking over the name, or has: look whether it has."""
        return bool(self.words[MOVING]) and live(self.words, self.boot, COUNT) != NOT_LIVE

    def replaced(self) -> bool:
        """Whether the name is another file's by now."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self.inode

    def data(self, count: int) -> np.ndarray:
        """The bytes of the first `count` rows (`count` published before): read-only uint8, no copy.

        Seldom another mapping: when the file has outgrown the address space taken for it.
        """
        stop = ROWS + n_bytes(count, self.bits)
        if stop > len(self.mapped):
            self._map_again()
        return self.mapped[ROWS:stop]

    def _map_again(self) -> None:
        fd = system.open_file(self.path, system.READ_ONLY)
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != self.inode:
                raise StoreDamaged(f"{self.path} was replaced while it outgrew its mapping. Open it again.")
            self.mapped = map_growing(fd)
            self.words = self.mapped[LIVE:ROWS].view(np.int64)
        finally:
            os.close(fd)


class WritableFile(ColumnFile):
    """The same, by its only writer: `fd` is open for both and locked; `path` is its name."""

    def __init__(self, fd: int, path: str, disk: Disk = DISK) -> None:
        unlocked = system.open_file(path, system.READ_WRITE)
        try:
            super().__init__(unlocked, path, disk)
            self.shared = system.map_words(unlocked, LIVE, N_WORDS)
        finally:
            os.close(unlocked)
        self.fd, self.disk = fd, disk
        self.bound = self.slot.rows  # rows that a slot may count: not to be overwritten
        self.folder_synced = True
        self._count = self._store(COUNT, super().count)
        self._epoch = self._store(EPOCH, self.epoch)
        self.shared[MOVING] = 0
        store_release(self.shared, BOOT, self.boot)  # last: it vouches for the others
        lock.held_by(self)

    def _store(self, which: int, n: int) -> int:
        store_release(self.shared, which, live_word(n))
        return n

    @property
    def count(self) -> int:
        """Published rows; once closed, those of whoever writes now."""
        return self._count if self.fd >= 0 else super().count

    def write(self, data: memoryview | bytes, row: int, offset: int) -> None:
        """Write the bytes of rows from `row` on at `offset` of the rows' bytes. Not published yet.

        Raises StoreWriteError; the rows published so far are as before.
        """
        if row < self.bound:
            self.commit()
        try:
            if len(data) >= RESERVE:
                self.disk.fallocate(self.fd, ROWS + offset, len(data))
            self.disk.pwrite(self.fd, data, ROWS + offset)
        except OSError as error:
            raise self.refused(error, f"appending to {self._count:,} rows", "They are intact; free some space and append again.") from error

    def publish(self, count: int) -> None:
        """Let readers have the rows below `count`, all written."""
        self._count = count
        store_release(self.shared, COUNT, live_word(count))

    def truncate(self, count: int) -> None:
        """Go back to `count` rows. Arrays that readers have stay readable; their rows above may change."""
        self._epoch = self._store(EPOCH, self._epoch + 1)
        self.publish(count)
        self.commit()

    def commit(self) -> None:
        """Make the published rows durable. Raises StoreWriteError; what was durable still is."""
        if (self.slot.rows, self.slot.epoch) == (self._count, self._epoch) and self.folder_synced and self.bound == self.slot.rows:
            return
        if not self.folder_synced:  # after an upgrade
            self.sync_name()
        try:
            self.disk.fdatasync(self.fd)
        except OSError as error:
            raise self._went_back(error) from error
        slot = Slot(self.slot.sequence + 1, self._count, self._epoch)
        self.bound = max(self.bound, self._count)
        try:
            self.disk.pwrite(self.fd, header.slot_page(slot, self.identity), header.SLOTS[slot.sequence & 1])
            self.disk.fdatasync(self.fd)
        except OSError as error:
            raise self.refused(error, f"committing {self._count:,} rows", "They are readable but not durable; sync again.") from error
        self.slot, self.bound = slot, self._count

    def _went_back(self, error: OSError) -> StoreWriteError:
        """Drop the rows that the disk may not have."""
        count = self._count
        if count <= self.slot.rows:
            return self.refused(error, f"syncing {count:,} rows", "All were durable before; sync again.")
        self._epoch = self._store(EPOCH, self._epoch + 1)
        self.publish(self.slot.rows)
        return self.refused(error, f"syncing {count:,} rows", f"Back at the {self._count:,} that are durable; append the others again.")

    def refused(self, error: OSError, doing: str, then: str) -> StoreWriteError:
        return StoreWriteError(error.errno, f"{self.path}: {os.strerror(error.errno or 0)} while {doing}. {then}")

    def sync_name(self) -> None:
        """Make the file's name durable; tried again by each commit until it is."""
        self.folder_synced = False
        try:
            self.disk.sync_folder(os.path.dirname(self.path))
        except OSError as error:
            raise self.refused(error, "making its name durable", "All rows are there; sync again.") from error
        self.folder_synced = True

    def set_moving(self, moving: bool) -> None:
        """Tell readers to look whether the name has another file."""
        store_release(self.shared, MOVING, int(moving))

    def close(self) -> None:
        """Give up the lock. Commits nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            lock.release(fd)
            self.disk.close(fd)

    def lose(self) -> None:
        """In a forked child: the file and its lock are the parent's."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def closed(self) -> bool:
        return self.fd < 0


def create(disk: Disk, path: str, what: dict[str, Any]) -> None:
    """Make an empty column's file unless there is one. Raises StoreBusy while another process is at it, StoreWriteError."""
    creating = path + ".creating"
    fd = -1
    try:
        fd = lock.open_locked(disk, creating, os.O_RDWR | os.O_CREAT)
        if os.path.exists(path):  # made while we waited for the lock
            with contextlib.suppress(FileNotFoundError):  # its writer tidies up too
                disk.unlink(creating)
            return
        write_new(disk, fd, what, Slot(2, 0, 0))
        disk.rename(creating, path)
        disk.sync_folder(os.path.dirname(path))
    except (StoreBusy, FileNotFoundError, PermissionError):  # nothing to do with space or the disk's health
        raise
    except OSError as error:
        if fd >= 0:
            with contextlib.suppress(OSError):
                disk.unlink(creating)
        raise StoreWriteError(
            error.errno, f"{path}: {os.strerror(error.errno or 0)} while creating it. Nothing was lost; try again."
        ) from error
    finally:
        if fd >= 0:
            disk.close(fd)


def write_new(disk: Disk, fd: int, what: dict[str, Any], slot: Slot) -> None:
    """The four pages of a new file, durable."""
    disk.ftruncate(fd, 0)
    disk.pwrite(fd, header.new_head(what, slot), 0)
    disk.fsync(fd)


def open_to_write(disk: Disk, path: str, what: dict[str, Any] | None) -> WritableFile:
    """Lock and open a column's file; made as `what` when there is none. Removes what an interrupted writer left beside it.

    Raises StoreBusy, StoreDamaged, StoreWriteError; FileNotFoundError when there is none and `what` is None.
    """
    while True:
        try:
            fd = lock.open_locked(disk, path, os.O_RDWR)
            break
        except FileNotFoundError:
            if what is None:
                raise
            create(disk, path, what)
    try:
        for ending in LEFT_OVERS:
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(path + ending)
        disk.sync_folder(os.path.dirname(path))  # whoever made the file may have died before
        return WritableFile(fd, path, disk)
    except OSError as error:
        disk.close(fd)
        raise StoreWriteError(
            error.errno, f"{path}: {os.strerror(error.errno or 0)} while opening it to write. Nothing was lost; try again."
        ) from error
    except BaseException:
        disk.close(fd)
        raise


def open_to_read(path: str, disk: Disk = DISK) -> ColumnFile:
    """Open a column's file as it is now. Raises FileNotFoundError, StoreDamaged."""
    fd = disk.open(path, system.READ_ONLY)  # a pipe is refused, not waited for
    try:
        return ColumnFile(fd, path, disk)
    finally:
        disk.close(fd)
