"""Files mapped to read, longer than they are: rows appended later appear in place, nobody has to map again.

    |<------------------ address space, taken once: 16 GiB or four times the file ------------------>|
    |<-- file -->|<-- grows into it -->                                                                |
    |<- read: rows below the published count, always inside the file ->|

Address space costs nothing until it is touched. Reading past the end of a file would kill the process (SIGBUS), so nothing here
does: what a file says of its length is compared with its real one before anything is mapped (`regular`), a count is published
after its rows are in the file, and files are never made shorter. Python's own `mmap` refuses a length beyond the end, hence the
system's. A mapping lives as long as an array into it, and goes with the last one.

Weak case: another program that makes a file shorter while it is mapped. The next look at its end kills the process; nothing that
maps files can prevent it. Replace files by renaming new ones over them, never in place.
"""

import ctypes
import errno
import mmap
import os
import stat

import numpy as np

from nbtrade.errors import StoreDamaged

LEAST = 16 << 30  # bytes of address space for a file; 47 bits hold 8,192 of these

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


class _Mapping:
    """Owns the address space; NumPy keeps it alive as the base of the arrays into it."""

    def __init__(self, fd: int, n: int) -> None:
        self.address = None
        address = _libc.mmap(None, n, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, f"{os.strerror(code)}: mapping {n:,} bytes")
        self.address, self.n = address, n
        self.__array_interface__ = {"shape": (n,), "typestr": "|u1", "data": (address, True), "version": 3}

    def __del__(self, munmap=_libc.munmap) -> None:  # type: ignore[no-untyped-def]
        if self.address is not None:
            munmap(self.address, self.n)


def regular(fd: int, path: object) -> os.stat_result:
    """The status of an open file. Raises StoreDamaged for a folder, a pipe or a device, which have no bytes to map."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise StoreDamaged(f"{path} is {kind}, not a file. Is the name right?")
    return status


def map_file(fd: int, n: int = 0) -> np.ndarray:
    """Read-only uint8[n] of a file, n beyond its end unless given: only what is known to be in the file may be touched.

    Takes less where address space is limited (RLIMIT_AS). Raises OSError when there is none for the file as it is.
    """
    size = os.fstat(fd).st_size
    if n:
        return np.asarray(_Mapping(fd, n))
    n = max(LEAST, size * 4) & -mmap.ALLOCATIONGRANULARITY
    while True:
        try:
            return np.asarray(_Mapping(fd, n))
        except OSError as error:
            if error.errno != errno.ENOMEM or n // 2 < size + mmap.ALLOCATIONGRANULARITY:
                raise
            n = n // 2 & -mmap.ALLOCATIONGRANULARITY


def map_words(fd: int, offset: int, n: int) -> np.ndarray:
    """i8[n] at byte `offset` of a file, to write: shared with every process that maps it. The file must be that long."""
    shared = mmap.mmap(fd, offset + n * 8, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(shared, np.int64, n, offset)
