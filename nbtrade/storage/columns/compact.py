"""`CompactColumn`: integers in a file, in the smallest width that fits: 1 bit, or 1 to 8 bytes each, signed or unsigned.

    with CompactColumn("qty.col") as qty:         reader = CompactColumn.open("qty.col")
        qty.extend([1, 0, 1])      # bit          reader.decode()          int64[n], copied
        qty.append(200)            # u8           reader[-1]               an int
        qty.append(-1)             # i16          reader.packed()          the bytes, for kernels; zero-copy

    widths: bit  u8 i8  u16 i16  u24 i24  u32 i32  u40 i40  u48 i48  u56 i56  u64 i64       two's complement, little-endian

A value that does not fit triggers an upgrade: the column is rewritten to a new file in the smallest width that holds all values
(storage/columns/upgrade.py). Readers continue, and switch to the new file at their next access; `epoch` increases. Arrays that a reader
took earlier remain valid. File, writer, readers and guarantees are those of storage/columns/column.py.

Weak cases: slowly growing values rewrite the column at each of 8 widths (pass `width` at the start, or `extend` in bulk); a single
huge value widens all of them. A column of bits rewrites its last byte at each append.
"""

import operator
from typing import Any

import numpy as np

from nbtrade.errors import StoreDamaged
from nbtrade.storage.columns import column_file
from nbtrade.storage.columns.base import ColumnBase, WritableColumn
from nbtrade.storage.columns.compact_reader import WIDTHS, CompactReader, checked, packed_of
from nbtrade.storage.columns.kernels import packed
from nbtrade.storage.columns.upgrade import CHUNK, Packed, Packer, Progress, extremes, rewrite
from nbtrade.storage.disk import DISK, Disk
from nbtrade.storage.system import StrPath


class CompactColumn(WritableColumn, CompactReader):
    """A column of integers opened for appending (and reading); created if it does not exist.

    Parameters
    ----------
    path : str or os.PathLike
        Its file.
    width : str, optional
        Initial width of a new file: `bit`, or `u` or `i` and 8 to 64 bits in steps of 8, such as `u24`. It still widens when necessary.
    progress : callable, optional
        Called with (values done, values in total) during upgrades. An exception that it raises cancels the upgrade and the append that
        needed it.
    disk : Disk, optional
        File operations; tests replace it to inject faults.

    Raises
    ------
    StoreBusy
        If another process or object has the column open for writing.
    StoreDamaged
        If the file is not a compact column.
    StoreWriteError
        If the disk is full or failing.

    See Also
    --------
    Column : rows of any fixed dtype.

    Examples
    --------
    >>> from nbtrade import CompactColumn
    >>> with CompactColumn("qty.col") as qty:
    ...     qty.extend([1, 0, 1])
    ...     print(qty.width)
    ...     qty.append(-200)
    ...     print(qty.width)
    bit
    i16
    >>> CompactColumn.open("qty.col").decode()
    array([   1,    0,    1, -200])
    """

    def __init__(self, path: StrPath, width: str = "bit", *, progress: Progress | None = None, disk: Disk = DISK) -> None:
        ColumnBase.__init__(self, path, disk)
        self.progress = progress
        self._last_packer: Packer | None = None
        bits, signed = _of_name(width)
        self._file = column_file.open_to_write(disk, self.path, {"bits": bits, "signed": signed})
        try:
            checked(self._file)
        except StoreDamaged:
            self._file.close()
            raise

    @staticmethod
    def open(path: StrPath, *, disk: Disk = DISK) -> CompactReader:
        """Open a compact column for reading, whether or not it is being written.

        Parameters
        ----------
        path : str or os.PathLike
            Its file.
        disk : Disk, optional
            File operations.

        Returns
        -------
        CompactReader

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        StoreDamaged
            If it is not a compact column, or is damaged or cut off.

        Examples
        --------
        >>> from nbtrade import CompactColumn
        >>> CompactColumn("none.col", "u40").close()
        >>> reader = CompactColumn.open("none.col")
        >>> reader.width, len(reader)
        ('u40', 0)
        """
        return CompactReader(path, disk)

    def _now(self) -> column_file.WritableFile:
        return self._file

    def append(self, value: Any) -> None:
        """Append one integer.

        Parameters
        ----------
        value : int
            Any integer that fits 64 bits together with the earlier values.

        Raises
        ------
        OverflowError, TypeError, StoreWriteError
            As `extend`.

        Examples
        --------
        >>> from nbtrade import CompactColumn
        >>> with CompactColumn("one.col") as column:
        ...     column.append(200)
        ...     column[0]
        200
        """
        value = operator.index(value)
        file = self._make_room(value, value)
        n, bits = file.count, file.bits
        if bits == 1:
            before = int(file.data(n)[-1]) & ((1 << (n & 7)) - 1) if n & 7 else 0
            data = bytes([before | value << (n & 7)])
        else:
            data = value.to_bytes(bits >> 3, "little", signed=file.what["signed"])
        file.write(data, n, n * bits >> 3)
        file.publish(n + 1)

    def extend(self, values: Any) -> None:
        """Append many integers at once: readers see all of them or none.

        Parameters
        ----------
        values : array_like or iterable of int
            One-dimensional. A value that does not fit widens the column first.

        Raises
        ------
        OverflowError
            If no 64-bit type holds these and the earlier values.
        TypeError
            If they are not integers.
        StoreWriteError
            If the disk is full or failing. In each case earlier values are intact and none is appended.

        Examples
        --------
        >>> from nbtrade import CompactColumn
        >>> with CompactColumn("many.col") as column:
        ...     column.extend(range(1000))
        ...     column.width, len(column)
        ('u16', 1000)
        """
        array = _integers(values)
        if len(array) == 0:
            self._open_file()
            return
        file = self._make_room(int(array.min()), int(array.max()))
        n, bits = file.count, file.bits
        bit = n & 7 if bits == 1 else 0
        before = int(file.data(n)[-1]) & ((1 << bit) - 1) if bit else 0
        pack = self._packer(bits, file.what["signed"])
        at, end = 0, 0
        while at < len(array):
            end = min(at + CHUNK - (bit if at == 0 else 0), len(array))  # the next chunk starts at a byte
            file.write(pack(array[at:end], bit if at == 0 else 0, before), n + at, (n + at) * bits >> 3)
            at = end
        file.publish(n + len(array))

    def _packer(self, bits: int, signed: bool) -> Packer:
        """The packer, whose buffers are reused until the width changes."""
        if self._last_packer is None or self._last_packer.width != (bits, signed):
            self._last_packer = Packer(bits, signed)
        return self._last_packer

    def _make_room(self, low: int, high: int) -> column_file.WritableFile:
        """The file, widened if necessary to hold low .. high."""
        file = self._open_file()
        least, greatest = packed.limits(file.bits, file.what["signed"])
        if low < least or high > greatest:
            values = packed_of(file)
            if values.n:
                stored = extremes(values)
                low, high = min(low, stored[0]), max(high, stored[1])
            self._rewrite(values, *packed.narrowest(low, high), self.progress)
        return self._file

    def upgrade(self, width: str, progress: Progress | None = None) -> None:
        """Rewrite the column in another width, durably, while readers continue.

        Parameters
        ----------
        width : str
            As in the constructor; wider or narrower than now.
        progress : callable, optional
            As in the constructor, whose callback is the default.

        Raises
        ------
        OverflowError
            If a value does not fit.
        StoreWriteError
            If the disk is full or failing. In each case, and if `progress` raises, nothing has changed.

        Examples
        --------
        >>> from nbtrade import CompactColumn
        >>> with CompactColumn("wider.col", "u8") as column:
        ...     column.extend([1, 2])
        ...     column.upgrade("u32")
        ...     column.array
        array([1, 2], dtype=uint32)
        """
        bits, signed = _of_name(width)
        values = packed_of(self._open_file())
        least, greatest = packed.limits(bits, signed)
        now = packed.limits(values.bits, values.signed)
        if values.n and (now[0] < least or now[1] > greatest):
            low, high = extremes(values)
            if low < least or high > greatest:
                raise OverflowError(
                    f"{self.path} has values from {low:,} to {high:,}: {width} holds {least:,} to {greatest:,}. Nothing was changed."
                )
        if (bits, signed) != (values.bits, values.signed):
            self._rewrite(values, bits, signed, progress or self.progress)

    def optimise(self, progress: Progress | None = None) -> None:
        """Rewrite the column in the smallest width that holds its values, if that is narrower than now.

        Parameters
        ----------
        progress : callable, optional
            As in `upgrade`.

        Raises
        ------
        StoreWriteError
            If the disk is full or failing; nothing has changed.

        Examples
        --------
        >>> from nbtrade import CompactColumn
        >>> with CompactColumn("small.col", "u64") as column:
        ...     column.extend([1, 200])
        ...     column.optimise()
        ...     column.width
        'u8'
        """
        values = packed_of(self._open_file())
        bits, signed = packed.narrowest(*(extremes(values) if values.n else (0, 0)))
        if bits < values.bits:
            self._rewrite(values, bits, signed, progress or self.progress)

    def _rewrite(self, values: Packed, bits: int, signed: bool, progress: Progress | None) -> None:
        def adopt(file: column_file.WritableFile) -> None:
            old, self._file = self._file, file
            old.close()

        rewrite(self._file, values, bits, signed, progress, adopt)
        self._file.sync_name()


def _of_name(width: str) -> tuple[int, bool]:
    if width not in WIDTHS:
        raise ValueError(f"{width!r} is not a width: choose one of {', '.join(WIDTHS)}")
    return WIDTHS[width]


def _integers(values: Any) -> np.ndarray:
    """Values as a 1-d array of some integer type, exact. Raises TypeError, OverflowError, ValueError."""
    if not isinstance(values, np.ndarray):
        values = [operator.index(value) for value in values]
        packed.narrowest(min(values, default=0), max(values, default=0))
        return np.array(values, np.int64 if min(values, default=0) < 0 else np.uint64)
    if values.dtype.kind not in "iub":
        raise TypeError(f"an array of {values.dtype} does not hold integers. Convert it first, with astype.")
    if values.ndim != 1:
        raise ValueError(f"values must be one-dimensional; these have the shape {values.shape}")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values
