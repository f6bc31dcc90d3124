"""Readers of compact columns, and the names of the widths."""

import operator
from typing import Any

import numpy as np

from nbtrade.errors import StoreDamaged
from nbtrade.storage.columns import column_file
from nbtrade.storage.columns.base import ColumnBase
from nbtrade.storage.columns.kernels import packed
from nbtrade.storage.columns.upgrade import Packed, unpacked, word_dtype
from nbtrade.storage.disk import DISK, Disk
from nbtrade.storage.system import StrPath

WIDTHS = {"bit": (1, False)} | {f"{kind}{bits}": (bits, kind == "i") for bits in packed.WIDTHS[1:] for kind in "ui"}
_NAMES = {value: name for name, value in WIDTHS.items()}


def checked(file: column_file.ColumnFile) -> column_file.ColumnFile:
    """The file, if it holds integers. Raises StoreDamaged."""
    if "signed" not in file.what:
        raise StoreDamaged(f"{file.path} holds rows of a fixed dtype: open it with Column.")
    return file


def packed_of(file: column_file.ColumnFile) -> Packed:
    """All published values of a file."""
    n = file.count
    return Packed(packed.padded(file.data(n)), file.bits, file.what["signed"], n)


class CompactReader(ColumnBase):
    """A compact column opened for reading by `CompactColumn.open(path)`. It follows the writer through appends and upgrades.

    Attributes
    ----------
    path : str
        Absolute path of the file.
    width : str
        `bit`, or `u` or `i` and the bits per value: `u24`.
    array : numpy.ndarray
        All values published so far.
    epoch, n_durable : int
        As in `ColumnReader`.
    """

    def __init__(self, path: StrPath, disk: Disk = DISK) -> None:
        super().__init__(path, disk)
        self._file = checked(column_file.open_to_read(self.path, disk))

    def _now(self) -> column_file.ColumnFile:
        file = self._file
        while file.moving and file.replaced():
            file = self._file = checked(column_file.open_to_read(self.path, self._disk))
        return file

    def packed(self) -> Packed:
        """All values published so far in their stored form, for kernels.

        Returns
        -------
        Packed
            `data` (read-only uint8 view of the file, zero-copy), `bits`, `signed` and `n`. It remains valid after upgrades and `close`.

        Examples
        --------
        >>> from nbtrade import CompactColumn
        >>> with CompactColumn("packed.col") as column:
        ...     column.extend([1, -300])
        ...     values = column.packed()
        >>> values.bits, values.signed, values.n
        (16, True, 2)
        """
        return packed_of(self._now())

    def decode(self, start: int = 0, stop: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Decode values to 64-bit integers.

        Parameters
        ----------
        start, stop : int, optional
            As in a slice.
        out : numpy.ndarray, optional
            Destination of exactly that length, int64 (uint64 for width `u64`).

        Returns
        -------
        numpy.ndarray
            int64, or uint64 if the width is `u64`.

        Examples
        --------
        >>> from nbtrade import CompactColumn
        >>> with CompactColumn("decoded.col") as column:
        ...     column.extend([70_000, 5, 9])
        ...     column.width, column.decode(1)
        ('u24', array([5, 9]))
        """
        values = self.packed()
        start, stop, _ = slice(start, stop).indices(values.n)
        if out is None:
            out = np.empty(max(stop - start, 0), word_dtype(values.bits, values.signed))
        unpacked(values, start, out)
        return out

    @property
    def array(self) -> np.ndarray:
        """All values published so far: a read-only view of the file for widths that NumPy has (8, 16, 32, 64 bits), else a decoded copy."""
        native = self.packed().native
        return self.decode() if native is None else native

    def __getitem__(self, key: Any) -> Any:
        """An int for an index, a decoded array for a slice."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self.decode(start, stop)
            return self.decode()[key]
        values = self.packed()
        i = operator.index(key)
        if not -values.n <= i < values.n:
            raise IndexError(f"{self.path} has {values.n:,} values: index {i:,} is out of range")
        return _value(values, i % values.n)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Support `np.asarray(column)`."""
        return np.array(self.array, dtype, copy=copy)

    @property
    def width(self) -> str:
        """`bit`, or `u` or `i` and the bits per value: `u24`."""
        file = self._now()
        return _NAMES[file.bits, file.what["signed"]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {self.width}, {len(self):,} values)"


def _value(values: Packed, i: int) -> int:
    """One value, in plain Python: faster than dispatching a kernel."""
    if values.bits == 1:
        return int(values.data[i >> 3]) >> (i & 7) & 1
    n = values.bits >> 3
    return int.from_bytes(values.data[i * n : (i + 1) * n].tobytes(), "little", signed=values.signed)
