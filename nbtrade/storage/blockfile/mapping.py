"""A file mapped once, read-only, over more address space than it will ever fill: a reader never has to map again.

Pages behind the file's end may be mapped but not touched (SIGBUS): only extents that blocks/checks.py found inside the file are looked
at, and a block file never shrinks. Weak case: another program that makes it shorter while it is mapped kills the process at the next
look at its end. Nothing that maps files can prevent that: replace a file by renaming a new one over it, never in place.
Views keep the mapping alive; it is unmapped when the last one is gone, so that closing a file under a live array is harmless.
Weak case: a disk that cannot read a page kills the process; `scan` and `verify` use positional reads, which raise instead.
"""

import ctypes
import errno
import mmap
import os
import weakref

RESERVED = 1 << 40  # 1 TiB of the 128 that a process has
MIN_RESERVED = 1 << 34

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_MAP_NORESERVE = 0x4000
_FAILED = ctypes.c_void_p(-1).value


def map_ahead(fd: int, n_bytes: int = RESERVED) -> "ctypes.Array[ctypes.c_char]":
    """The file as characters, to read; indices behind its end are for what it will grow to.

    A slice of it is `bytes`, copied in one step: two thirds of the time that a slice of a memoryview takes for 256 bytes.
    Takes less address space when the process is limited (ulimit -v), down to 16 GiB. Raises OSError.
    """
    while True:
        address = _libc.mmap(None, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_NORESERVE, fd, 0)
        if address != _FAILED:
            mapped = (ctypes.c_char * n_bytes).from_address(address)
            weakref.finalize(mapped, _libc.munmap, address, n_bytes)
            return mapped
        code = ctypes.get_errno()
        if code != errno.ENOMEM or n_bytes <= MIN_RESERVED:
            raise OSError(code, f"{os.strerror(code)}: {n_bytes >> 30} GiB of address space for a mapping (see ulimit -v)")
        n_bytes >>= 1
