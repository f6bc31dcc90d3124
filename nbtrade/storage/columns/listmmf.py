"""Import ListMmf files (BruSoftware's memory-mapped lists for .NET) as columns.

    byte 0   int32   version (not interpreted)
    byte 4   int32   data type, 0 .. 21
    byte 8   int64   count
    byte 16  data    count values, little-endian, no padding; the file may be longer
    Bit:     byte 8 counts the int32 words, byte 16 has an int64 count of bits, words start at byte 24, bit i is bit i & 31 of word i >> 5

    0 AnyStruct   1 Bit      2 SByte    3 Byte     4 Int16    5 UInt16   6 Int32    7 UInt32   8 Int64    9 UInt64
    10 Single     11 Double  12 DateTime (int64 ticks: 100 ns since the year 1)     13 UnixSeconds (int32)
    14 Int24      15 Int40   16 Int48   17 Int56   18 UInt24  19 UInt40  20 UInt48  21 UInt56

The layout and the order of the types are those of its public sources (github.com/dalebrubaker/ListMmf, DataType.cs, ListMmfBase.cs,
ListMmfBitArray.cs, read in November 2026). Integers go into a CompactColumn of the same width, numbers and times into a Column
(times as datetime64[ns], UTC assumed). AnyStruct does not describe its rows: pass their dtype. A time before 1677 or after 2262
does not fit into nanoseconds and raises ValueError.
"""

import os
import struct
from typing import NamedTuple

import numpy as np

from nbtrade.errors import StoreDamaged
from nbtrade.storage import dtypes
from nbtrade.storage.columns.column import Column, ColumnReader
from nbtrade.storage.columns.compact import CompactColumn
from nbtrade.storage.columns.compact_reader import WIDTHS, CompactReader
from nbtrade.storage.columns.header import check_regular
from nbtrade.storage.columns.kernels import packed
from nbtrade.storage.columns.upgrade import Packed, parts
from nbtrade.storage.system import READ_ONLY, StrPath

_HEADER = struct.Struct("<iiq")
_UNIX_EPOCH = 621_355_968_000_000_000  # ticks from the year 1 to 1970
_NS_PER_TICK = 100

ANY, BIT, DATE_TIME, UNIX_SECONDS = 0, 1, 12, 13
# fmt: off
NAMES = [
    "AnyStruct", "Bit", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Single", "Double", "DateTime",
    "UnixSeconds", "Int24AsInt64", "Int40AsInt64", "Int48AsInt64", "Int56AsInt64", "UInt24AsInt64",
    "UInt40AsInt64", "UInt48AsInt64", "UInt56AsInt64",
]
_INTEGERS = {
    1: "bit", 2: "i8", 3: "u8", 4: "i16", 5: "u16", 6: "i32", 7: "u32", 8: "i64", 9: "u64",
    14: "i24", 15: "i40", 16: "i48", 17: "i56", 18: "u24", 19: "u40", 20: "u48", 21: "u56",
}
# fmt: on
_FLOATS = {10: "<f4", 11: "<f8"}


class ListMmf(NamedTuple):
    """The header of a ListMmf file."""

    version: int
    kind: int  # of the 22 types; NAMES[kind]
    n: int  # values
    start: int  # byte of the first


def read_header(path: StrPath) -> ListMmf:
    """Read the header of a ListMmf file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    ListMmf
        Version, data type, number of values, and the byte offset of the first one.

    Raises
    ------
    StoreDamaged
        If the header is impossible.

    Examples
    --------
    >>> import struct
    >>> from pathlib import Path
    >>> from nbtrade.storage.columns.listmmf import NAMES, read_header
    >>> _ = Path("px.bt").write_bytes(struct.pack("<iiq3i", 0, 6, 3, 100, 101, 99))
    >>> header = read_header("px.bt")
    >>> NAMES[header.kind], header.n
    ('Int32', 3)
    """
    fd = os.open(path, READ_ONLY)  # a pipe is refused, not waited for
    try:
        check_regular(fd, path)
        head = os.read(fd, 24)
    finally:
        os.close(fd)
    if len(head) < _HEADER.size:
        raise StoreDamaged(
            f"{path} has {len(head)} bytes: a ListMmf file starts with a header of 16. It is cut off, or another kind of file."
        )
    version, kind, n = _HEADER.unpack_from(head)
    if not 0 <= kind < len(NAMES) or n < 0:
        raise StoreDamaged(f"{path} has data type {kind} and count {n:,} in its header: types are 0 to 21. It is not a ListMmf file.")
    if kind != BIT:
        return ListMmf(version, kind, n, _HEADER.size)
    if len(head) < 24:
        raise StoreDamaged(f"{path} has {len(head)} bytes: a ListMmf file of bits starts with a header of 24. It is cut off.")
    bits = int.from_bytes(head[16:24], "little", signed=True)
    if not 0 <= bits <= n * 32:
        raise StoreDamaged(f"{path} claims {bits:,} bits in {n:,} words of 32. Its header is damaged.")
    return ListMmf(version, kind, bits, 24)


def _data(path: StrPath, header: ListMmf, bits: int) -> np.ndarray:
    """The bytes of the values, mapped: read-only uint8."""
    n = (header.n * bits + 7) // 8
    size = os.path.getsize(path)
    if header.start + n > size:
        raise StoreDamaged(
            f"{path} claims {header.n:,} values of {NAMES[header.kind]} ({header.start + n:,} bytes) but has {size:,} bytes. It is cut off."
        )
    return np.memmap(path, np.uint8, "r", header.start, (n,)) if n else np.empty(0, np.uint8)


def import_listmmf(path: StrPath, target: StrPath, dtype: np.dtype | None = None) -> ColumnReader | CompactReader:
    """Copy a ListMmf file to a new column, durably.

    Parameters
    ----------
    path : str or os.PathLike
        The ListMmf file.
    target : str or os.PathLike
        The column's file; must not exist.
    dtype : dtype_like, optional
        Of the rows of an AnyStruct file; not accepted for other types.

    Returns
    -------
    ColumnReader or CompactReader
        The new column, opened for reading. Integers become a CompactColumn of the same width, everything else a Column.

    Raises
    ------
    StoreDamaged
        If the file is not a complete ListMmf file.
    FileExistsError
        If `target` exists.
    ValueError
        For times outside the range of datetime64[ns], 1677 to 2262.
    TypeError
        If a dtype is missing, unexpected, or has Python objects.

    References
    ----------
    https://github.com/dalebrubaker/ListMmf

    Examples
    --------
    >>> import struct
    >>> from pathlib import Path
    >>> from nbtrade.storage.columns.listmmf import import_listmmf
    >>> _ = Path("prices.bt").write_bytes(struct.pack("<iiq3i", 0, 6, 3, 100, 101, 99))
    >>> import_listmmf("prices.bt", "prices.col").array
    array([100, 101,  99], dtype=int32)
    """
    header = read_header(path)
    if (dtype is None) == (header.kind == ANY):
        raise TypeError(
            f"{path} has values of {NAMES[header.kind]}: {'pass the dtype of its rows' if dtype is None else 'a dtype is not accepted'}"
        )
    if os.path.exists(target):
        raise FileExistsError(f"{target} already exists. Choose another name.")
    if header.kind in _INTEGERS:
        return _import_integers(path, header, target)
    return _import_rows(path, header, target, None if dtype is None else np.dtype(dtype))


def _import_integers(path: StrPath, header: ListMmf, target: StrPath) -> CompactReader:
    width = _INTEGERS[header.kind]
    bits, signed = WIDTHS[width]
    values = Packed(packed.padded(_data(path, header, bits)), bits, signed, header.n)
    with CompactColumn(target, width) as column:
        for _, part in parts(values):
            column.extend(part)
    return CompactColumn.open(target)


def _import_rows(path: StrPath, header: ListMmf, target: StrPath, dtype: np.dtype | None) -> ColumnReader:
    stored = dtype or np.dtype({DATE_TIME: "<i8", UNIX_SECONDS: "<i4", **_FLOATS}[header.kind])
    dtypes.to_json(stored)  # the file's bytes must not become Python objects
    data = _data(path, header, stored.itemsize * 8)
    rows = np.ndarray(header.n, stored, data)
    if header.kind in (DATE_TIME, UNIX_SECONDS):
        rows = _times(rows, header.kind, path)
    with Column(target, rows.dtype) as column:
        column.extend(rows)
    return Column.open(target)


def _times(rows: np.ndarray, kind: int, path: StrPath) -> np.ndarray:
    """Ticks or seconds as datetime64[ns]."""
    if kind == UNIX_SECONDS:
        return (rows.astype(np.int64) * 1_000_000_000).view("M8[ns]")
    since = rows - _UNIX_EPOCH
    most = 2**63 // _NS_PER_TICK
    wrong = np.flatnonzero((rows < _UNIX_EPOCH - most) | (since >= most))
    if len(wrong):
        raise ValueError(f"{path}: value {wrong[0]:,} is {rows[wrong[0]]:,} ticks, outside the range of datetime64[ns] (1677 to 2262).")
    return (since * _NS_PER_TICK).view("M8[ns]")
