"""Every operating-system service the package uses beyond plain file reads: each function states what it guarantees, not how.

    Disk (disk.py) ──> positional reads and writes, sync, allocation, rename         tests replace Disk to inject faults
    lock.py, blockfile/locks.py ──> whole-file lock, byte-range locks
    columns, blockfile ──> read-only mappings with room to grow, shared words, read-ahead
    tape, results ──> exchange of two folders

Nothing else in the package imports `fcntl` or `mmap`, or calls the C library for file access (test_storage_system.py), so a port to
another operating system changes this file only. Functions raise OSError unchanged unless documented otherwise; the caller knows the
file's name and what to advise.

Hints (`start_writeback`, `read_ahead`, `drop_cached`, `lower_thread_priority`) promise nothing: a system that has no such call ignores
them. Weak case: Linux with glibc is the only system supported so far.
"""

import ctypes
import errno
import fcntl
import gc
import mmap
import os
import struct
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

StrPath = str | os.PathLike[str]
Data = bytes | bytearray | memoryview
MappedBytes = mmap.mmap

READ_ONLY = os.O_RDONLY | os.O_NONBLOCK  # opening a pipe fails or returns at once instead of waiting for its other end
READ_WRITE = os.O_RDWR
CREATE = os.O_CREAT
MAX_BUFFERS = 1024  # per `write_vector_once`; IOV_MAX of Linux

_libc = ctypes.CDLL(None, use_errno=True)


def _raise_last(what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{os.strerror(code)}: {what}")


# --- reading and writing ---------------------------------------------------------------------------------


def open_file(path: StrPath, flags: int, mode: int = 0o644) -> int:
    """Open a file and return its descriptor. flags : READ_ONLY, READ_WRITE, CREATE or any of os.O_*"""
    return os.open(path, flags, mode)


def read_once(fd: int, n: int, offset: int) -> bytes:
    """Up to `n` bytes at `offset`, without moving a file position; possibly fewer, and none only at the end of the file."""
    return os.pread(fd, n, offset)


def read_into_once(fd: int, buffer: memoryview, offset: int) -> int:
    """Read at `offset` into `buffer`; returns the number of bytes read, which is 0 only at the end of the file."""
    return os.preadv(fd, [buffer], offset)


def write_once(fd: int, data: Data, offset: int) -> int:
    """Write at `offset`; returns the number of bytes written, possibly fewer than `data` has."""
    return os.pwrite(fd, data, offset)


def write_vector_once(fd: int, buffers: Sequence[Data], offset: int) -> int:
    """Write up to MAX_BUFFERS buffers one after the other at `offset`; returns the number of bytes written, possibly fewer."""
    return os.pwritev(fd, buffers, offset)


# --- durability ------------------------------------------------------------------------------------------


def sync_data(fd: int) -> None:
    """Return when the bytes and length of a file survive a power failure."""
    os.fdatasync(fd)


def sync_file(fd: int) -> None:
    """Return when the bytes, length and times of a file survive a power failure. Its name needs `sync_folder`."""
    os.fsync(fd)


def sync_folder(path: StrPath) -> None:
    """Return when the names in a folder (created, renamed, removed) survive a power failure."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_START_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_sync_file_range = getattr(_libc, "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


def start_writeback(fd: int, offset: int, n: int) -> None:
    """Hint: start writing `n` bytes at `offset` to the disk without waiting. Makes nothing durable; errors surface at the next sync."""
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, n, _START_WRITE)


@cache
def boot_number() -> int:
    """A number from 1 to 2**63 - 1 that is the same for all processes until the machine restarts, and then changes."""
    text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return xxhash.xxh3_64_intdigest(text) >> 1 | 1


# --- space, names and permissions ------------------------------------------------------------------------


def allocate(fd: int, offset: int, n: int) -> None:
    """Reserve disk space, so that later writes there cannot fail for lack of it.

    Afterwards the file is at least offset + n bytes long, with zeros where nothing was written. Raises OSError if the disk is full.
    """
    os.posix_fallocate(fd, offset, n)


def truncate(fd: int, n: int) -> None:
    """Set the length of a file."""
    os.ftruncate(fd, n)


def rename(old: StrPath, new: StrPath) -> None:
    """Rename atomically; a file `new` is replaced. Raises OSError if `new` is a folder with entries."""
    os.rename(old, new)


_EXCHANGE, _CURRENT_FOLDER = 2, -100


def exchange(a: StrPath, b: StrPath) -> bool:
    """Swap two names atomically: at every moment both exist. Returns False, with nothing changed, if the system cannot do that."""
    if not hasattr(_libc, "renameat2"):  # glibc before 2.28
        return False
    if _libc.renameat2(_CURRENT_FOLDER, os.fsencode(a), _CURRENT_FOLDER, os.fsencode(b), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), os.fspath(b))


def set_mode(fd: int, mode: int) -> None:
    """Set the permission bits of an open file."""
    os.fchmod(fd, mode)


# --- mappings --------------------------------------------------------------------------------------------

_RESERVE_ONLY = 0x4000  # MAP_NORESERVE
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


def _mapped(fd: int, n: int, least: int) -> tuple[int, int]:
    """(address, bytes) of a new read-only mapping, halved until address space suffices but never below `least`. Raises OSError."""
    is_collected = False
    while True:
        address = _libc.mmap(None, n, mmap.PROT_READ, mmap.MAP_SHARED | _RESERVE_ONLY, fd, 0)
        if address != _FAILED:
            return address, n
        if ctypes.get_errno() == errno.ENOMEM and not is_collected:
            gc.collect()  # closed files in reference cycles hold a TiB each: the collector does not know how large they are
            is_collected = True
            continue
        half = n // 2 & -mmap.ALLOCATIONGRANULARITY
        if ctypes.get_errno() != errno.ENOMEM or half < least:
            _raise_last(f"mapping {n:,} bytes (see ulimit -v)")
        n = half


class _Mapping:
    """Owns a mapping; NumPy keeps it alive as the base of the arrays into it."""

    def __init__(self, fd: int, n: int, least: int) -> None:
        self.address, self.n = None, 0
        self.address, self.n = _mapped(fd, n, least)
        self.__array_interface__ = {"shape": (self.n,), "typestr": "|u1", "data": (self.address, True), "version": 3}

    def __del__(self, munmap=_libc.munmap) -> None:  # type: ignore[no-untyped-def]  # weakref.finalize takes 4 us more
        if self.address is not None:
            munmap(self.address, self.n)


def map_array(fd: int, n: int, least: int | None = None) -> np.ndarray:
    """Map a file as read-only uint8[m], least <= m <= n: all of `n` if address space allows.

    The mapping may extend beyond the end of the file: bytes appended later appear in it. Reading beyond the end kills the process, as does
    reading a part that another program has cut off. It lives as long as any view of the array, even after the file is closed.
    least : bytes to settle for; n by default. Raises OSError if there is less address space.
    """
    return np.asarray(_Mapping(fd, n, n if least is None else least))


def map_characters(fd: int, n: int, least: int) -> "ctypes.Array[ctypes.c_char]":
    """As `map_array`, as a ctypes array: a slice is a `bytes` copy, in two thirds of the time of a memoryview's for 256 bytes."""
    address, n = _mapped(fd, n, least)
    characters = (ctypes.c_char * n).from_address(address)
    weakref.finalize(characters, _libc.munmap, address, n).atexit = False  # views may be in use until the process ends
    return characters


def map_words(fd: int, offset: int, n: int) -> np.ndarray:
    """Map int64[n] at byte `offset` of a file for reading and writing, shared with every process that maps it.

    The file must be at least offset + 8 * n bytes long. An aligned store of one word is seen whole or not at all.
    """
    shared = mmap.mmap(fd, offset + n * 8, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(shared, np.int64, n, offset)


def map_whole(file: BinaryIO) -> MappedBytes:
    """Map a whole open file for reading; use it in a `with`. Raises ValueError for an empty file."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_ahead(fd: int, offset: int, n: int) -> None:
    """Hint: load `n` bytes at `offset` into the system's cache without waiting."""
    os.posix_fadvise(fd, offset, n, os.POSIX_FADV_WILLNEED)


def drop_cached(fd: int, offset: int, n: int) -> None:
    """Hint: drop the cached copy of `n` synced bytes at `offset`, so that the next read comes from the disk."""
    os.posix_fadvise(fd, offset, n, os.POSIX_FADV_DONTNEED)


# --- locks -----------------------------------------------------------------------------------------------
# All belong to the open file, not the process: they are released when the last descriptor and mapping of that opening are gone, however
# the process ends. A forked child shares its parent's. Network file systems may ignore them.


def try_lock_file(fd: int) -> bool:
    """Lock a whole file exclusively without waiting; False if another opening has it locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock_file(fd: int) -> None:
    """Release the whole-file lock, even if other processes have inherited the descriptor."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def lock_owner(fd: int) -> int | None:
    """The id of the process that holds the whole-file lock; None if none does or the system hides it (other containers)."""
    status = os.fstat(fd)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == file:
                return int(words[4])
    return None


_RANGE = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid


def _range_call(fd: int, command: int, kind: int, start: int, n: int) -> tuple[Any, ...]:
    return _RANGE.unpack(fcntl.fcntl(fd, command, _RANGE.pack(kind, 0, start, n, 0)))


def try_lock_range(fd: int, start: int, n: int, *, shared: bool) -> bool:
    """Lock `n` bytes from `start` without waiting; False if another opening holds a conflicting lock.

    The bytes need not exist. shared : any number of holders, and a descriptor open for reading suffices.
    """
    try:
        _range_call(fd, fcntl.F_OFD_SETLK, fcntl.F_RDLCK if shared else fcntl.F_WRLCK, start, n)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True


def unlock_range(fd: int, start: int, n: int) -> None:
    """Release the locks that this opening holds on `n` bytes from `start`; n = 0 means all bytes from there."""
    _range_call(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, start, n)


def locked_by_others(fd: int, start: int, n: int) -> tuple[int, int] | None:
    """(first byte, bytes) of a lock that another opening holds within `n` bytes from `start`; None if there is none."""
    kind, _, at, length, _ = _range_call(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, start, n)
    if kind == fcntl.F_UNLCK:
        return None
    stop = min(at + length, start + n) if length else start + n
    return max(at, start), stop - max(at, start)


# --- processes and threads -------------------------------------------------------------------------------


def call_in_forked_children(function: Callable[[], None]) -> None:
    """Call `function` in every child that this process forks, before anything else runs there."""
    os.register_at_fork(after_in_child=function)


def lower_thread_priority(steps: int) -> None:
    """Hint: lower the scheduling priority of the calling thread, and of no other, by `steps` (1 to 19)."""
    with suppress(OSError):
        os.nice(steps)  # Linux applies it to the thread
