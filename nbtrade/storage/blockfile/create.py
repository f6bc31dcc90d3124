"""The writer's lock on a block file, and the atomic creation of a new one.

    NAME.creating   locked, one slot, an empty journal, synced ──> rename to NAME ──> sync folder

NAME is never seen incomplete: either it is missing, or it is a block file. An empty file or one of zeros (left by an interrupted
program or `touch`) is replaced in the same way. A killed creator leaves NAME.creating, which the next one takes over.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from nbtrade.errors import BlockFileError, BlockFileLocked, CorruptBlock
from nbtrade.storage import system
from nbtrade.storage.blockfile import locks
from nbtrade.storage.blockfile.file import PagedFile
from nbtrade.storage.blockfile.layout import FIRST_PAGE, MAGIC, OWNER_AT, PAGE, SEGMENT, VERSION, Slot, pack_slot, padded
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.disk import Disk
from nbtrade.storage.lock import is_named

NEW_MOST = 1 << 30  # bytes; a larger file of zeros was never a new block file


def side_of(path: Path) -> Path:
    """Temporary name of a block file that is being created."""
    return path.with_name(path.name + ".creating")


def open_locked(path: Path, disk: Disk, pool: Pool, step: int) -> PagedFile:
    """Open the block file at `path` with the writer's lock; create it if missing. Raises BlockFileLocked, BlockFileError, OSError."""
    while True:
        file = _existing(path, disk, pool, step)
        try:
            if file is not None and not _is_new(file):
                _clear_side(path, disk)
                return file
            made = _made(path, file, disk, pool, step)
        except BaseException:
            if file is not None:
                file.close()
            raise
        if file is not None:
            file.close()
        if made is not None:
            return made


def _existing(path: Path, disk: Disk, pool: Pool, step: int) -> PagedFile | None:
    """The existing file, locked; None if there is none."""
    while True:
        try:
            file = PagedFile(path, disk, readonly=False, step=step, pool=pool)
        except FileNotFoundError:
            return None
        try:
            _take_lock(file)
            if is_named(file.fd, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # another file took the name between opening and locking


def _take_lock(file: PagedFile) -> None:
    if not locks.try_lock(file.fd, locks.WRITER_AT):
        pid = file.read(OWNER_AT, 64).strip(b"\0\n").decode(errors="replace") or "unknown"
        raise BlockFileLocked(
            f"{file.path} is open for writing (pid {pid}). One writer at a time: close it there, or read it with BlockFile(path, mode='r')."
        )


def _is_new(file: PagedFile) -> bool:
    """Whether the file is empty or has only zeros, so is not a block file yet. Raises CorruptBlock."""
    if any(file.read(0, FIRST_PAGE * PAGE)):
        return False
    if file.n_bytes > NEW_MOST or any(any(file.read(at, PAGE)) for at in range(0, file.n_bytes, PAGE)):
        raise CorruptBlock(f"{file.path}: the superblock is zero, but data follow it. Restore the file.", "superblock", 0)
    return True


def _made(path: Path, empty: PagedFile | None, disk: Disk, pool: Pool, step: int) -> PagedFile | None:
    """Create a block file named `path`, locked; None if another process created one first: try again.

    empty : the file without content that has the name now, locked
    """
    real = Path(os.path.realpath(path))  # a symbolic link's target is created
    side = side_of(real)
    file = PagedFile(side, disk, readonly=False, step=step, create=True, pool=pool)
    try:
        _take_lock(file)
        if not is_named(file.fd, side):
            file.close()
            return None
        _check_side(file)
        if real.exists() and (empty is None or not is_named(empty.fd, real)):
            disk.unlink(side)
            file.close()
            return None
        _write_new(file, real, empty)
    except BaseException:
        file.close()
        raise
    file.path = path
    return file


def _check_side(file: PagedFile) -> None:
    start = file.read(0, len(MAGIC))
    if any(start) and start != MAGIC:
        raise BlockFileError(f"{file.path} is needed to create a block file, but is some other file. Move it away, or choose another name.")


def _write_new(file: PagedFile, real: Path, empty: PagedFile | None) -> None:
    disk, side = file.disk, file.path
    try:
        _format(file)
        if empty is not None:
            system.set_mode(file.fd, stat.S_IMODE(os.fstat(empty.fd).st_mode))
        disk.rename(side, real)
    except BaseException:
        with suppress(OSError):
            if is_named(file.fd, side):
                disk.unlink(side)
        raise
    disk.sync_folder(real.parent)


def _format(file: PagedFile) -> None:
    """Write an empty block file: one slot, one empty journal segment; durable except for its name."""
    if file.n_bytes:  # left by a killed creator
        file.disk.ftruncate(file.fd, 0)
        file.n_bytes = 0
    file.extend(file.step)
    at = FIRST_PAGE * PAGE
    stop = at + padded(min(SEGMENT, max(4 * PAGE, file.step // 8)))
    slot = Slot(VERSION, 0, secrets.randbits(63), 0, 0, 0, 0, 0, 0, 0, at, stop, at, stop, file.n_bytes)
    file.write(0, [pack_slot(slot)])
    file.sync()


def _clear_side(path: Path, disk: Disk) -> None:
    """Remove the file of a killed creator, if it is one."""
    side = side_of(Path(os.path.realpath(path)))
    with suppress(OSError):
        if stat.S_ISREG(side.lstat().st_mode):
            with open(side, "rb") as file:
                start = file.read(len(MAGIC))
            if start == MAGIC or not any(start):
                disk.unlink(side)
