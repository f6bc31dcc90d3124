"""A list in a file: rows of one fixed dtype, appended by one writer, read in place by any number of readers while it grows.

    with Column("px.col", "i4") as px:            column = Column.open("px.col")         # any process, any time
        px.extend(prices)                         column.array      zero-copy, as long as the column is now
        px.append(7)                              len(column)       a moment later: longer
        px.sync()       # survives a crash        column.array[-1]

The file is four pages (header.py) and the rows. `array` is the file itself, mapped (mapping.py): asking for it costs
about 2 us and touches no row. Rows are in readers' hands as soon as `append` or `extend` returns, survive `kill -9` from then on,
and a crash of the machine once `sync` or `close` has returned. A row already there changes only by `truncate` and what is appended
afterwards: then `epoch` is raised, and what was read since an `epoch` that still stands is right.

`extend` of 160 MB runs at 5.0 GB/s, 0.99 of ndarray.tofile (AMD EPYC, Zen 3, 2 shared virtual cores, 2026-11-21,
python benchmarks/columns.py --only extend).

Weak cases: `append` of single rows is a system call each, 4 us; collect rows and `extend`. One thread writes at a time. Arrays must
not be used after somebody else (not nbtrade) has made the file shorter: the system kills the process.
"""

from typing import Any

import numpy as np

from nbtrade._numba.jit import as_record_array
from nbtrade.errors import StoreDamaged
from nbtrade.storage import dtypes
from nbtrade.storage.columns import column_file
from nbtrade.storage.columns.base import ColumnBase, WritableColumn
from nbtrade.storage.disk import DISK, Disk
from nbtrade.storage.system import StrPath


class ColumnReader(ColumnBase):
    """A column, to read: `Column.open(path)`. It follows what its writer appends, from any process and thread."""

    def __init__(self, path: StrPath, disk: Disk = DISK) -> None:
        super().__init__(path, disk)
        self._file = column_file.open_to_read(self.path, disk)
        self.dtype = _dtype(self._file)

    @property
    def array(self) -> np.ndarray:
        """All rows, now: a read-only view of the file, dtype[n]. It stays as long as it is, and valid after `close`."""
        n = self._file.count
        return as_record_array(np.ndarray(n, self.dtype, self._file.data(n)))

    def __getitem__(self, key: Any) -> Any:
        """As `array[key]`."""
        return self.array[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """For np.asarray(column)."""
        return np.array(self.array, dtype, copy=copy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {self.dtype}, {len(self):,} rows)"


class Column(WritableColumn, ColumnReader):
    """A column, to write (and read): made when it is not there.

    path  : its file;  dtype : of a row, fixed: integers, floats, datetimes, structured; None: as the file has it

    Raises StoreBusy when another has it open to write, StoreDamaged when the file is no column of this dtype, FileNotFoundError when it is
    not there and no dtype is given, StoreWriteError.
    """

    def __init__(self, path: StrPath, dtype: Any = None, *, disk: Disk = DISK) -> None:
        ColumnBase.__init__(self, path, disk)
        wanted = None if dtype is None else np.dtype(dtype)
        what = None if wanted is None else {"dtype": dtypes.to_json(wanted), "bits": wanted.itemsize * 8}
        self._file = column_file.open_to_write(disk, self.path, what)
        try:
            self.dtype = _dtype(self._file, wanted)
        except StoreDamaged:
            self._file.close()
            raise
        self._one = np.zeros(1, self.dtype)

    @staticmethod
    def open(path: StrPath, *, disk: Disk = DISK) -> ColumnReader:
        """Open a column to read; its writer may go on. Raises FileNotFoundError, StoreDamaged."""
        return ColumnReader(path, disk)

    def append(self, row: Any) -> None:
        """Add one row: a scalar, or a tuple for a structured dtype. Raises as `extend`."""
        kind = type(row)
        if (kind is tuple and self.dtype.names) or (kind is int and self.dtype.kind in "iuf") or (kind is float and self.dtype.kind == "f"):
            self._one[0] = row
            self._add(self._one)
        else:
            self.extend([row])

    def extend(self, rows: Any) -> None:
        """Add many rows at once: an array, or what NumPy makes one of; readers get all of them or none.

        Raises OverflowError when an integer does not fit (none is added), TypeError when the kinds differ, StoreWriteError when the disk
        is full or failing (the rows before are intact).
        """
        self._add(_converted(rows, self.dtype))

    def _add(self, rows: np.ndarray) -> None:
        file = self._open_file()
        n = file.count
        file.write(memoryview(_raw(rows)), n, n * self.dtype.itemsize)
        file.publish(n + len(rows))


def _dtype(file: column_file.ColumnFile, wanted: np.dtype | None = None) -> np.dtype:
    """What the rows of a file are, when it is what is wanted."""
    if "dtype" not in file.what:
        raise StoreDamaged(f"{file.path} holds integers of {file.bits} bits: open it with CompactColumn.")
    dtype: np.dtype = file.what["dtype"]
    if wanted is not None and wanted != dtype:
        raise StoreDamaged(f"{file.path} has rows of {dtype}, not {wanted}. Open it without a dtype, or choose another name.")
    return dtype


def _raw(rows: np.ndarray) -> np.ndarray:
    """The bytes of contiguous rows, no copy."""
    return rows.view(np.uint8) if len(rows) else np.empty(0, np.uint8)


def _converted(rows: Any, dtype: np.dtype) -> np.ndarray:
    """Rows as a contiguous array of `dtype`, 1-d; exact, or an error."""
    array = np.asarray(rows) if dtype.names is None or isinstance(rows, np.ndarray) else _structured(rows, dtype)
    if array.ndim != 1:
        raise ValueError(f"rows come as one list; this one has the shape {array.shape}")
    if array.dtype != dtype:
        array = _cast(array, dtype)
    if not array.flags.c_contiguous:  # as bytes: NumPy copies structured rows field by field
        array = np.ascontiguousarray(array.view(np.dtype((np.void, dtype.itemsize)))).view(dtype)
    return array


def _structured(rows: Any, dtype: np.dtype) -> np.ndarray:
    """Tuples as rows; what is between the fields is zero."""
    rows = list(rows)
    array = np.zeros(len(rows), dtype)
    array[:] = rows
    return array


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if len(array) == 0 or np.can_cast(array.dtype, dtype, "safe"):
        return array.astype(dtype)
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        _check_fit(array, dtype)
        return array.astype(dtype)
    if array.dtype.kind in "fM" and np.can_cast(array.dtype, dtype, "same_kind"):
        return array.astype(dtype)
    if array.dtype == object:  # integers beyond 64 bits, or no numbers at all: NumPy says which
        return np.array(array.tolist(), dtype)
    raise TypeError(f"rows of {array.dtype} do not go into a column of {dtype} without loss. Convert them first, with astype.")


def _check_fit(array: np.ndarray, dtype: np.dtype) -> None:
    least, greatest = np.iinfo(dtype).min, np.iinfo(dtype).max
    wrong = [i for i in (int(array.argmin()), int(array.argmax())) if not least <= int(array[i]) <= greatest]
    if wrong:
        raise OverflowError(
            f"row {wrong[0]:,} is {array[wrong[0]]}: a column of {dtype} holds {least:,} to {greatest:,}. Nothing was added."
        )
