"""Upgrade of a compact column: rewrites its integers in another width to a new file, while readers continue.

    NAME             old width, locked by its writer; existing arrays of readers refer to it as long as they exist
    NAME.upgrading   new header, all rows in the new width, epoch + 1; locked
        │  written in chunks of 65,536 values, which stay in cache: unpack ──> pack ──> pwrite
        v  fsync
    rename over NAME ──> sync folder ──> readers see `moving`, check the name, and open the new file

100 M values u16 to u32, durable: 0.35 s, 1.26 times a chunked np.copyto and fsync of the same bytes; to u24 0.37 s (AMD EPYC, Zen
3, 2 shared virtual cores, 2026-11-21, python benchmarks/columns.py --only upgrade). Concurrent searches in another process have
1.6 times the p99 latency of an idle machine.

Any error before the rename (a full disk, Ctrl-C, an exception of `progress`) leaves NAME unchanged and no NAME.upgrading; a
killed process leaves NAME.upgrading behind, which the next holder of NAME's lock removes. `moving` is set before the rename, and
cleared if that fails: while it is set, a reader compares inodes at each access (1 us), so no crash between two steps makes a reader
follow an orphaned file indefinitely.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from nbtrade.storage import lock
from nbtrade.storage.columns import column_file
from nbtrade.storage.columns.column_file import WritableFile
from nbtrade.storage.columns.header import ROWS, Slot
from nbtrade.storage.columns.kernels import packed

CHUNK = 1 << 16  # values: 512 KiB as int64

Progress = Callable[[int, int], None]
Adopt = Callable[[WritableFile], None]


class Packed(NamedTuple):
    """Integers in their stored form, for kernels: `packed.value_at(data, bits, signed, i)`."""

    data: np.ndarray  # read-only uint8[n_bytes], at least 8
    bits: int
    signed: bool
    n: int  # values

    @property
    def native(self) -> np.ndarray | None:
        """The values as a NumPy array, zero-copy; None if NumPy has no type of that width."""
        dtype = native_dtype(self.bits, self.signed)
        return None if dtype is None else np.ndarray(self.n, dtype, self.data)


@cache
def native_dtype(bits: int, signed: bool) -> np.dtype | None:
    """NumPy's type of a width, or None."""
    return np.dtype(f"<{'i' if signed else 'u'}{bits // 8}") if bits in (8, 16, 32, 64) else None


def word_dtype(bits: int, signed: bool) -> type:
    """The 64-bit type to which values of a width are decoded."""
    return np.uint64 if bits == 64 and not signed else np.int64


def unpacked(values: Packed, start: int, out: np.ndarray) -> None:
    """Decode k values starting at `start` into out. out : int64[k], or uint64[k] for unsigned 64 bits; changed"""
    native = values.native
    if native is not None:
        np.copyto(out, native[start : start + len(out)], casting="same_kind")
    else:
        packed.unpack(values.data, values.bits, values.signed, start, out.view(np.int64))


def parts(values: Packed) -> Iterator[tuple[int, np.ndarray]]:
    """(start, values) of successive chunks: views of the file, or decoded into a buffer that is reused."""
    native = values.native
    words: np.ndarray = np.empty(CHUNK, word_dtype(values.bits, values.signed))
    for start in range(0, values.n, CHUNK):
        n = min(CHUNK, values.n - start)
        if native is not None:
            yield start, native[start : start + n]
        else:
            unpacked(values, start, words[:n])
            yield start, words[:n]


def extremes(values: Packed) -> tuple[int, int]:
    """The minimum and maximum of at least one value."""
    low, high = [], []
    for _, part in parts(values):
        low.append(int(part.min()))
        high.append(int(part.max()))
    return min(low), max(high)


class Packer:
    """Encodes arrays of up to CHUNK integers as bytes of a width. Each call reuses the buffers."""

    def __init__(self, bits: int, signed: bool) -> None:
        self.width = (bits, signed)
        self.bits = bits
        self.dtype = native_dtype(bits, signed)
        self.bytes = np.empty(CHUNK * 8 + 1, np.uint8)
        self.words = np.empty(CHUNK, np.int64)
        self.words_to_read = self.words.view()
        self.words_to_read.flags.writeable = False

    def __call__(self, values: np.ndarray, bit: int = 0, before: int = 0) -> memoryview:
        """The bytes of values, all of which must fit the width.

        bit, before : for a width of 1 bit, the number of used bits in the first byte, and that byte
        """
        out = self.bytes[: column_file.n_bytes(len(values) + bit, self.bits)]
        if self.dtype is not None:
            np.copyto(out.view(self.dtype), values, casting="unsafe")
            return out.data
        np.copyto(self.words[: len(values)], values, casting="unsafe")
        words = self.words_to_read[: len(values)]
        if self.bits > 1:
            packed.pack(words, self.bits, out)
        elif len(words):
            out[0] = before
            packed.pack_bits(words, bit, out)
        return out.data


def _write_rows(file: WritableFile, fd: int, values: Packed, bits: int, signed: bool, progress: Progress | None) -> None:
    pack = Packer(bits, signed)
    for start, part in parts(values):
        file.disk.pwrite(fd, pack(part), ROWS + column_file.n_bytes(start, bits))
        if progress is not None:
            progress(start + len(part), values.n)


def rewrite(file: WritableFile, values: Packed, bits: int, signed: bool, progress: Progress | None, adopt: Adopt) -> None:
    """Write `values`, all rows of `file`, to a new file of another width; pass it, locked, to `adopt` once it has the name.

    Raises StoreWriteError, or the exception of `progress`; then the old file is unchanged.
    """
    side = file.path + ".upgrading"
    fd = -1
    try:
        fd = file.disk.open(side, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        lock.acquire(fd, side)
        column_file.write_new(file.disk, fd, {"bits": bits, "signed": signed}, Slot(2, values.n, file.epoch + 1))
        n_bytes = column_file.n_bytes(values.n, bits)
        if n_bytes >= column_file.RESERVE:
            file.disk.fallocate(fd, ROWS, n_bytes)
        _write_rows(file, fd, values, bits, signed, progress)
        file.disk.fsync(fd)
        file.set_moving(True)
        file.disk.rename(side, file.path)
    except BaseException as error:
        if fd >= 0 and lock.is_named(fd, file.path):  # interrupted after the rename
            adopt(WritableFile(fd, file.path, file.disk))
        else:
            _give_up(file, fd, side)
        if isinstance(error, OSError) and error.errno is not None:
            raise file.refused(error, f"rewriting {values.n:,} rows in {bits} bits", "The rows are unchanged.") from error
        raise
    adopt(WritableFile(fd, file.path, file.disk))


def _give_up(file: WritableFile, fd: int, side: str) -> None:
    file.set_moving(False)
    if fd >= 0:
        file.disk.close(fd)
    with contextlib.suppress(OSError):
        file.disk.unlink(side)
