"""An open block file: for writing (one at a time) or for reading (any number), including recovery of an interrupted write.

    write   lock, slots, base + journal, tail of a crash -> sync, slot; compute the free pages
    read    slots, base + journal; then poll the slots' sequence for commits of the writer

Both look names up with `find`, which takes no lock and starts over if the base was replaced in the meantime.
"""

import os
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from nbtrade.errors import BlockFileError, BlockFileUnfinished, CorruptBlock
from nbtrade.storage.blockfile import create, locks
from nbtrade.storage.blockfile.catalog import Catalog, check_version, newest, slots_of
from nbtrade.storage.blockfile.checks import slot_fault
from nbtrade.storage.blockfile.commit import Committer
from nbtrade.storage.blockfile.file import PagedFile
from nbtrade.storage.blockfile.index import Index
from nbtrade.storage.blockfile.layout import FIRST_PAGE, HAS_MIRROR, MAGIC, MOVED, OWNER_AT, PAGE, RECORD_MAGIC, Entry, Slot, pages_of
from nbtrade.storage.blockfile.leases import Leases
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.disk import Disk

T = TypeVar("T")
COPIED = 8 << 20  # bytes per write to a new mirror


class Session:
    """File, catalog and leases; `committer` if opened for writing."""

    def __init__(self, file: PagedFile, catalog: Catalog, leases: Leases, committer: Committer | None = None) -> None:
        self.file = file
        self.catalog = catalog
        self.leases = leases
        self.committer = committer
        self.view, self.mapped = file.view, file.mapped

    def ask(self, look: Callable[[Index], T]) -> T:
        """look(index), repeated if the index, and with it the base, was replaced in the meantime. Raises CorruptBlock."""
        catalog = self.catalog
        while True:
            index = catalog.index
            try:
                answer = look(index)
            except UnicodeEncodeError:  # an argument of the user
                raise
            except (ValueError, IndexError, struct.error, MemoryError) as error:  # the pages of the old base were overwritten
                if catalog.index is not index:
                    continue
                if isinstance(error, MemoryError):
                    raise
                raise CorruptBlock(
                    f"{self.file.path}: the catalog's base is inconsistent ({error}). Restore the file from a backup.", "catalog"
                ) from error
            if catalog.index is index:
                return answer

    def find(self, name: str) -> Entry | None:
        """The last committed entry of a name, or None."""
        return self.ask(lambda index: index.find(name))

    def place(self, name: str) -> bytes:
        """Offset, end and checksum of a block of plain bytes, packed; NOWHERE for anything else."""
        return self.ask(lambda index: index.place(name))

    def places(self, names: Sequence[str]) -> list[bytes]:
        """`place` of at least two names."""
        return self.ask(lambda index: index.places_of(names))

    def names(self, prefix: str) -> list[str]:
        """Names that start with `prefix`, ascending."""
        return self.ask(lambda index: index.names(prefix))

    def entries(self, prefix: str) -> list[tuple[str, Entry]]:
        """(name, entry) of all names that start with `prefix`, unordered."""
        return self.ask(lambda index: list(index.items(prefix)))

    def refresh(self) -> bool:
        """Whether the name still refers to this file. Readers apply the commits since the last call."""
        return True

    def close(self) -> None:
        """Close everything but the descriptor, which stays open until the last array over the mapping is gone."""
        if self.committer:
            self.committer.sync_worker.close()
            locks.unlock(self.file.fd, locks.WRITER_AT)
        self.leases.outlive(self.file.close)


class Follower(Session):
    """A session opened for reading: follows the commits of a writer in any process."""

    def __init__(self, file: PagedFile, catalog: Catalog, leases: Leases) -> None:
        super().__init__(file, catalog, leases)
        self.seen = -1  # sequence of the slots when they were last read
        self.mutex = threading.Lock()  # one thread reads new records; taken only if there are new ones
        self.base = (0, 0)  # its pages, locked so that the writer does not recycle them

    def refresh(self) -> bool:
        """Apply the commits since the last call. Returns False if a vacuum has replaced the file."""
        if self.catalog.sequence() == self.seen:
            return True
        with self.mutex:
            return self._follow()

    def _follow(self) -> bool:
        while True:
            sequence = self.catalog.sequence()
            slot = read_slot(self.file, self.catalog)
            if slot.features & MOVED:
                return False
            if not self._pin(slot):
                continue
            try:
                self.catalog.catch_up(slot) if self.seen >= 0 else self.catalog.load(slot)
            except CorruptBlock:
                if self.catalog.sequence() == sequence:
                    raise
                continue  # those records were recycled: a new base exists
            self._unpin(slot)
            if self.seen < 0 and not locks.is_locked(self.file.fd, locks.WRITER_AT):
                self.catalog.take_tail()
            self.seen = sequence
            return True

    def _pin(self, slot: Slot) -> bool:
        """Lock the slot's base; returns whether it still was the base afterwards."""
        at, n = slot.base_at // PAGE, pages_of(slot.base_size)
        if (at, n) == self.base or not n:
            return True
        locks.try_lock(self.file.fd, locks.PAGES_AT + at, n, shared=True)
        if read_slot(self.file, self.catalog).base_at == slot.base_at:
            return True
        locks.unlock(self.file.fd, locks.PAGES_AT + at, n)
        return False

    def _unpin(self, slot: Slot) -> None:
        """Release the previous base after the slot's has been read."""
        base = (slot.base_at // PAGE, pages_of(slot.base_size))
        if self.base[1] and self.base != base:
            locks.unlock(self.file.fd, locks.PAGES_AT + self.base[0], self.base[1])
        self.base = base


def read_slot(file: PagedFile, catalog: Catalog) -> Slot:
    """The file's newest slot. Raises BlockFileError if it is not a block file, is damaged or too new."""
    slot = catalog.read_slot()
    if slot is None:
        head = file.read(0, PAGE)
        if not any(head) and not any(file.read(PAGE, PAGE)):
            raise BlockFileUnfinished(f"{file.path} is not a block file yet: {_unfinished(file)}")
        if head[: len(MAGIC)] == MAGIC or file.read(PAGE, len(MAGIC)) == MAGIC:
            raise CorruptBlock(f"{file.path}: both superblock slots are damaged, and no mirror is valid. Restore it.", "superblock", 0)
        raise BlockFileError(f"{file.path} is not a block file: it starts with {head[:8]!r}. Is the name right?")
    check_version(slot, file.path)
    fault = slot_fault(slot, os.fstat(file.fd).st_size)
    if fault:
        raise CorruptBlock(f"{file.path}: {fault}. Restore the file from a copy.", "superblock", 0)
    return slot


def _unfinished(file: PagedFile) -> str:
    n = os.fstat(file.fd).st_size
    what = f"its first pages of {n:,} bytes are zero" if n else "it is empty"
    return f"{what}. The program that creates it has not started or was interrupted: open it with mode='a' to create it, or remove it."


def _check_length(file: PagedFile) -> None:
    """Raise BlockFileError for a file too short for the pages that a reader maps: reading beyond the end kills the process."""
    n = os.fstat(file.fd).st_size
    if n >= FIRST_PAGE * PAGE:
        return
    head = file.read(0, n)
    if not any(head):
        raise BlockFileUnfinished(f"{file.path} is not a block file yet: {_unfinished(file)}")
    if head.startswith(MAGIC):
        raise CorruptBlock(f"{file.path} has {n:,} bytes: its end is missing. Restore the file from a copy.", "superblock", 0)
    raise BlockFileError(f"{file.path} is not a block file: it starts with {head[:8]!r}. Is the name right?")


def open_to_read(path: Path, disk: Disk, pool: Pool, cached: int) -> Follower:
    """Open a block file for reading. Raises FileNotFoundError, BlockFileError, CorruptBlock."""
    file = PagedFile(path, disk, readonly=True, pool=pool)
    try:
        _check_length(file)
        file.open_mirror(create=False)
        follower = Follower(file, Catalog(file, cached), Leases(file.fd, shared=True))
        follower.refresh()
    except BaseException:
        file.close()
        raise
    return follower


def open_to_write(path: Path, disk: Disk, pool: Pool, cached: int, step: int, mirror: bool | None) -> Session:
    """Open a block file as its writer; create it if missing. Raises BlockFileLocked, BlockFileError, CorruptBlock, OSError."""
    file = create.open_locked(path, disk, pool, step)
    try:
        catalog = Catalog(file, cached)
        mirrored = file.open_mirror(create=bool(mirror)) if mirror is not False else False
        slot = read_slot(file, catalog)
        if mirrored:
            _match_mirror(file, slot)
        catalog.load(slot)
        session = Session(file, catalog, Leases(file.fd, shared=False))
        tail = catalog.take_tail()
        file.reach(max(segment.stop for segment in catalog.segments))
        for at, n in tail if mirrored else ():
            file.write(at, [file.read(at, n)])
        _forget_torn(file, catalog)
        session.committer = Committer(file, catalog, session.leases)
        session.committer.begin(HAS_MIRROR if mirrored else 0)
        file.write(OWNER_AT, [f"{os.getpid()}\n".encode().ljust(64, b"\0")])
    except BaseException:
        file.close()
        raise
    return session


def _match_mirror(file: PagedFile, slot: Slot) -> None:
    """Copy the file to its mirror, unless the mirror is current up to the last commit: after a crash only the tail may differ."""
    head = file.read_mirror(0, 2 * PAGE) or b""
    theirs = newest(slots_of(head))
    assert file.mirror_fd is not None
    if theirs is not None and theirs.file_id == slot.file_id and theirs.group >= slot.group - 1:
        return
    file.disk.fallocate(file.mirror_fd, 0, file.n_bytes)
    for at in range(0, file.n_bytes, COPIED):
        file.disk.pwrite(file.mirror_fd, file.read(at, min(COPIED, file.n_bytes - at)), at)
    file.disk.fdatasync(file.mirror_fd)


def _forget_torn(file: PagedFile, catalog: Catalog) -> None:
    """Wipe the remains of a torn group from the location of the next record, which reuses its number."""
    at = catalog.position.at
    if file.read(at, len(RECORD_MAGIC)) == RECORD_MAGIC:
        file.write(at, [bytes(PAGE)])
