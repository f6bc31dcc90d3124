"""The file of a column, with rows of any number of bits: counts, locations, and the crash-safe protocol for appending.

    append     (fallocate) pwrite rows after the last ──> store the count (release)          visible to readers
    commit     fdatasync ──> pwrite the older slot ──> fdatasync                            survives a crash
    truncate   epoch + 1, lower count ──> commit                                            the file keeps its length
    create     NAME.creating: locked, written, synced ──> rename to NAME ──> sync folder    complete or missing

Rows are overwritten only when no slot counts them any more, so a commit stays valid regardless of later events. When the
sync of rows fails, it is unknown which of them reached the disk, and a second sync would report success: the count returns to the
last commit. When writing a slot fails, both outcomes are possible; the next attempt writes the same slot, never the other.
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
RESERVE = 1 << 20  # bytes of one write from which space is reserved first: 1.35 times as fast on ext4, and detects a full disk early
LEFT_OVERS = (".creating", ".upgrading")  # files that an interrupted writer may leave next to the column


def n_bytes(rows: int, bits: int) -> int:
    """Bytes of `rows` rows of `bits` bits."""
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
    """A column's file opened for reading: description, number and bytes of its rows.

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
        self._check(count, os.fstat(fd).st_size)  # in this order, because it may be growing

    def _check(self, count: int, size: int) -> None:
        least = ROWS + n_bytes(count, self.bits)
        if least > size:
            raise StoreDamaged(
                f"{self.path} claims {count:,} rows ({least:,} bytes) but has {size:,} bytes: its end is cut off. Restore it from a copy."
            )

    @property
    def count(self) -> int:
        """Number of published rows."""
        return self._live(COUNT, self.slot.rows)

    @property
    def epoch(self) -> int:
        """Increases when published rows may change."""
        return self._live(EPOCH, self.slot.epoch)

    def _live(self, which: int, durable: int) -> int:
        n = live(self.words, self.boot, which)
        if n >= 0:
            return n
        if n == DAMAGED:
            raise StoreDamaged(
                f"{self.path}: the live page (byte {LIVE}) is damaged. After a restart of the machine the last commit is used."
            )
        return durable

    @property
    def moving(self) -> bool:
        """Whether another file is taking over the name or has taken it over: check `replaced`."""
        return bool(self.words[MOVING]) and live(self.words, self.boot, COUNT) != NOT_LIVE

    def replaced(self) -> bool:
        """Whether the name refers to another file now."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self.inode

    def data(self, count: int) -> np.ndarray:
        """The bytes of the first `count` rows, which must be published: read-only uint8, zero-copy.

        Maps the file again if it has outgrown its address space, which is rare.
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
    """A column's file opened by its only writer. fd : open for reading and writing, and locked;  path : its name"""

    def __init__(self, fd: int, path: str, disk: Disk = DISK) -> None:
        unlocked = system.open_file(path, system.READ_WRITE)
        try:
            super().__init__(unlocked, path, disk)
            self.shared = system.map_words(unlocked, LIVE, N_WORDS)
        finally:
            os.close(unlocked)
        self.fd, self.disk = fd, disk
        self.bound = self.slot.rows  # rows that a slot may count and that must not be overwritten
        self.folder_synced = True
        self._count = self._store(COUNT, super().count)
        self._epoch = self._store(EPOCH, self.epoch)
        self.shared[MOVING] = 0
        store_release(self.shared, BOOT, self.boot)  # last: it validates the others
        lock.held_by(self)

    def _store(self, which: int, n: int) -> int:
        store_release(self.shared, which, live_word(n))
        return n

    @property
    def count(self) -> int:
        """Number of published rows; after closing, as published by the current writer."""
        return self._count if self.fd >= 0 else super().count

    def write(self, data: memoryview | bytes, row: int, offset: int) -> None:
        """Write rows starting with row number `row`, at byte `offset` of the rows, without publishing them.

        Raises StoreWriteError; the published rows are unchanged.
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
        """Make the rows below `count`, all written, visible to readers."""
        self._count = count
        store_release(self.shared, COUNT, live_word(count))

    def truncate(self, count: int) -> None:
        """Drop all rows from `count`. Arrays of readers remain readable; their dropped rows may change."""
        self._epoch = self._store(EPOCH, self._epoch + 1)
        self.publish(count)
        self.commit()

    def commit(self) -> None:
        """Make the published rows durable. Raises StoreWriteError; rows that were durable still are."""
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
        """Drop the rows that may not be on the disk; returns the error."""
        count = self._count
        if count <= self.slot.rows:
            return self.refused(error, f"syncing {count:,} rows", "All were durable before; sync again.")
        self._epoch = self._store(EPOCH, self._epoch + 1)
        self.publish(self.slot.rows)
        return self.refused(error, f"syncing {count:,} rows", f"The {self._count:,} durable rows remain; append the others again.")

    def refused(self, error: OSError, doing: str, then: str) -> StoreWriteError:
        return StoreWriteError(error.errno, f"{self.path}: {os.strerror(error.errno or 0)} while {doing}. {then}")

    def sync_name(self) -> None:
        """Make the file's name durable; each commit retries until that succeeds."""
        self.folder_synced = False
        try:
            self.disk.sync_folder(os.path.dirname(self.path))
        except OSError as error:
            raise self.refused(error, "making its name durable", "All rows are intact; sync again.") from error
        self.folder_synced = True

    def set_moving(self, moving: bool) -> None:
        """Tell readers to check whether the name refers to another file."""
        store_release(self.shared, MOVING, int(moving))

    def close(self) -> None:
        """Release the lock, without a commit."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            lock.release(fd)
            self.disk.close(fd)

    def lose(self) -> None:
        """Close silently in a forked child: the file and its lock belong to the parent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def closed(self) -> bool:
        return self.fd < 0


def create(disk: Disk, path: str, what: dict[str, Any]) -> None:
    """Create the file of an empty column unless one exists. Raises StoreBusy while another process creates it, StoreWriteError."""
    creating = path + ".creating"
    fd = -1
    try:
        fd = lock.open_locked(disk, creating, os.O_RDWR | os.O_CREAT)
        if os.path.exists(path):  # another process created it while we waited for the lock
            with contextlib.suppress(FileNotFoundError):  # its writer may have removed it
                disk.unlink(creating)
            return
        write_new(disk, fd, what, Slot(2, 0, 0))
        disk.rename(creating, path)
        disk.sync_folder(os.path.dirname(path))
    except (StoreBusy, FileNotFoundError, PermissionError):  # not caused by the disk
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
    """Write the four pages of a new file, durably."""
    disk.ftruncate(fd, 0)
    disk.pwrite(fd, header.new_head(what, slot), 0)
    disk.fsync(fd)


def open_to_write(disk: Disk, path: str, what: dict[str, Any] | None) -> WritableFile:
    """Lock and open a column's file; create it as described by `what` if it is missing. Removes the leftovers of interrupted writers.

    Raises StoreBusy, StoreDamaged, StoreWriteError; FileNotFoundError if the file is missing and `what` is None.
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
        disk.sync_folder(os.path.dirname(path))  # its creator may have died before doing so
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
    """Open a column's file for reading. Raises FileNotFoundError, StoreDamaged."""
    fd = disk.open(path, system.READ_ONLY)  # a pipe is rejected without waiting
    try:
        return ColumnFile(fd, path, disk)
    finally:
        disk.close(fd)
