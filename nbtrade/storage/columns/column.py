"""`Column`: rows of one fixed dtype in a file, appended by one writer and read in place by any number of processes.

    with Column("px.col", "i4") as px:            column = Column.open("px.col")    # in any process, at any time
        px.extend(prices)                         column.array      zero-copy, all rows published so far
        px.append(7)                              len(column)       grows as rows are appended
        px.sync()       # survives a crash        column.array[-1]

The file consists of four pages (header.py) and the rows. `array` is the mapped file itself: it costs about 2 us and
touches no row. Readers see rows as soon as `append` or `extend` returns; from then on the rows survive `kill -9`, and a crash of the
machine once `sync` or `close` has returned. Existing rows change only by `truncate` followed by appends: `epoch` then increases, and
anything read since an epoch that is still current is valid.

`extend` of 160 MB runs at 5.0 GB/s, 0.99 of ndarray.tofile (AMD EPYC, Zen 3, 2 shared virtual cores, 2026-11-21,
python benchmarks/columns.py --only extend).

Weak cases: `append` makes one system call per row, 4 us; collect rows and call `extend`. Only one thread may write at a time. If another
program truncates the file, the system kills every process that uses an array of it.
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
    """A column opened for reading by `Column.open(path)`. It follows the writer, from any process and thread.

    Attributes
    ----------
    path : str
        Absolute path of the file.
    dtype : numpy.dtype
        Of one row.
    array : numpy.ndarray
        All rows published so far.
    epoch : int
        Increases when published rows may have changed.
    n_durable : int
        Rows that were durable when the file was opened.
    """

    def __init__(self, path: StrPath, disk: Disk = DISK) -> None:
        super().__init__(path, disk)
        self._file = column_file.open_to_read(self.path, disk)
        self.dtype = _dtype(self._file)

    @property
    def array(self) -> np.ndarray:
        """All rows published so far: a read-only view of the file, dtype[n], zero-copy.

        The view does not grow; take a new one for later rows. It remains valid after `close`.
        """
        n = self._file.count
        return as_record_array(np.ndarray(n, self.dtype, self._file.data(n)))

    def __getitem__(self, key: Any) -> Any:
        """Same as `array[key]`."""
        return self.array[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Support `np.asarray(column)`."""
        return np.array(self.array, dtype, copy=copy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {self.dtype}, {len(self):,} rows)"


class Column(WritableColumn, ColumnReader):
    """A column opened for appending (and reading); created if it does not exist.

    Parameters
    ----------
    path : str or os.PathLike
        Its file.
    dtype : dtype_like, optional
        Of one row: integers, floats, datetimes, fixed-size strings, or a structure of these. By default that of the existing file.
    disk : Disk, optional
        File operations; tests replace it to inject faults.

    Raises
    ------
    StoreBusy
        If another process or object has the column open for writing.
    StoreDamaged
        If the file is not a column, or has rows of another dtype.
    FileNotFoundError
        If the file does not exist and no dtype was passed.
    StoreWriteError
        If the disk is full or failing.

    See Also
    --------
    CompactColumn : integers in the smallest width that fits.

    Notes
    -----
    Rows are visible to readers, and survive `kill -9`, when `append` or `extend` returns. They survive a power failure when `sync` or
    `close` returns. The file format is documented in `nbtrade.storage.columns.header`.

    Examples
    --------
    >>> from nbtrade import Column
    >>> with Column("px.col", "i4") as px:
    ...     px.extend([100, 101, 99])
    ...     px.append(102)
    >>> reader = Column.open("px.col")
    >>> reader.array
    array([100, 101,  99, 102], dtype=int32)
    >>> with Column("px.col") as px:
    ...     px.append(103)
    >>> len(reader), int(reader[-1])
    (5, 103)
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
        """Open a column for reading, whether or not it is being written.

        Parameters
        ----------
        path : str or os.PathLike
            Its file.
        disk : Disk, optional
            File operations.

        Returns
        -------
        ColumnReader

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        StoreDamaged
            If it is not a column, or is damaged or cut off.

        Examples
        --------
        >>> from nbtrade import Column
        >>> Column("empty.col", [("ts", "i8"), ("px", "f8")]).close()
        >>> Column.open("empty.col").array.dtype.names
        ('ts', 'px')
        """
        return ColumnReader(path, disk)

    def append(self, row: Any) -> None:
        """Append one row.

        Parameters
        ----------
        row : scalar or tuple
            A tuple for a structured dtype.

        Raises
        ------
        OverflowError, TypeError, StoreWriteError
            As `extend`.

        Examples
        --------
        >>> from nbtrade import Column
        >>> with Column("trades.col", [("ts", "i8"), ("px", "i4")]) as trades:
        ...     trades.append((1_000, 250))
        ...     int(trades["px"][0])
        250
        """
        kind = type(row)
        if (kind is tuple and self.dtype.names) or (kind is int and self.dtype.kind in "iuf") or (kind is float and self.dtype.kind == "f"):
            self._one[0] = row
            self._add(self._one)
        else:
            self.extend([row])

    def extend(self, rows: Any) -> None:
        """Append many rows at once: readers see all of them or none.

        Parameters
        ----------
        rows : array_like
            One-dimensional. Integers are converted if all of them fit, floats and datetimes to the column's precision.

        Raises
        ------
        OverflowError
            If an integer does not fit the dtype. Nothing is appended.
        TypeError
            If the conversion would lose information, such as floats to integers. Nothing is appended.
        ValueError
            If `rows` is not one-dimensional, or the column is closed.
        StoreWriteError
            If the disk is full or failing. Earlier rows are intact.

        Examples
        --------
        >>> from nbtrade import Column
        >>> with Column("sizes.col", "u1") as sizes:
        ...     sizes.extend([1, 2, 300])
        Traceback (most recent call last):
        ...
        OverflowError: row 2 is 300: a column of uint8 holds 0 to 255. Nothing was added.
        """
        self._add(_converted(rows, self.dtype))

    def _add(self, rows: np.ndarray) -> None:
        file = self._open_file()
        n = file.count
        file.write(memoryview(_raw(rows)), n, n * self.dtype.itemsize)
        file.publish(n + len(rows))


def _dtype(file: column_file.ColumnFile, wanted: np.dtype | None = None) -> np.dtype:
    """The dtype of a file's rows. Raises StoreDamaged if it differs from `wanted`."""
    if "dtype" not in file.what:
        raise StoreDamaged(f"{file.path} holds integers of {file.bits} bits: open it with CompactColumn.")
    dtype: np.dtype = file.what["dtype"]
    if wanted is not None and wanted != dtype:
        raise StoreDamaged(f"{file.path} has rows of {dtype}, not {wanted}. Open it without a dtype, or choose another name.")
    return dtype


def _raw(rows: np.ndarray) -> np.ndarray:
    """The bytes of contiguous rows, zero-copy."""
    return rows.view(np.uint8) if len(rows) else np.empty(0, np.uint8)


def _converted(rows: Any, dtype: np.dtype) -> np.ndarray:
    """Rows as a contiguous 1-d array of `dtype`. Raises unless the conversion is exact."""
    array = np.asarray(rows) if dtype.names is None or isinstance(rows, np.ndarray) else _structured(rows, dtype)
    if array.ndim != 1:
        raise ValueError(f"rows must be one-dimensional; these have the shape {array.shape}")
    if array.dtype != dtype:
        array = _cast(array, dtype)
    if not array.flags.c_contiguous:  # as bytes: NumPy copies structured rows field by field
        array = np.ascontiguousarray(array.view(np.dtype((np.void, dtype.itemsize)))).view(dtype)
    return array


def _structured(rows: Any, dtype: np.dtype) -> np.ndarray:
    """Tuples as rows, with zeros between the fields."""
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
    if array.dtype == object:  # integers beyond 64 bits, or not numbers at all: NumPy raises for either
        return np.array(array.tolist(), dtype)
    raise TypeError(f"rows of {array.dtype} cannot be stored in a column of {dtype} without loss. Convert them first, with astype.")


def _check_fit(array: np.ndarray, dtype: np.dtype) -> None:
    least, greatest = np.iinfo(dtype).min, np.iinfo(dtype).max
    wrong = [i for i in (int(array.argmin()), int(array.argmax())) if not least <= int(array[i]) <= greatest]
    if wrong:
        raise OverflowError(
            f"row {wrong[0]:,} is {array[wrong[0]]}: a column of {dtype} holds {least:,} to {greatest:,}. Nothing was added."
        )
