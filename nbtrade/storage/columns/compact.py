"""A list of integers in a file, as small as its values: 1 bit, or 1 to 8 bytes each, signed or not.

    with CompactColumn("qty.col") as qty:         reader = CompactColumn.open("qty.col")
        qty.extend([1, 0, 1])      # bit          reader.decode()          int64[n], copied
        qty.append(200)            # u8           reader[-1]               an int
        qty.append(-1)             # i16          reader.packed()          the bytes, for kernels; zero-copy

    widths: bit  u8 i8  u16 i16  u24 i24  u32 i32  u40 i40  u48 i48  u56 i56  u64 i64       two's complement, little-endian

A value that does not fit first rewrites the column in the smallest width that holds all, beside the old file (storage/columns/upgrade.py):
readers read on, and find the new file at their next look; `epoch` then is higher. What a reader took before stays valid. The file,
its writer, its readers and what they may rely on are as in storage/columns/column.py.

Weak cases: values that grow by and by rewrite the column at each of 8 widths (give `width` at the start, or `extend` in bulk); one
huge value widens all. A column of bits has its last byte written again at each append.
"""

import operator
from typing import Any

import numpy as np

from nbtrade.errors import StoreDamaged
from nbtrade.storage.columns import column_file
from nbtrade.storage.columns.base import ColumnBase, WritableColumn
from nbtrade.storage.columns.kernels import packed
from nbtrade.storage.columns.upgrade import CHUNK, Packed, Packer, Progress, extremes, rewrite, unpacked, word_dtype
from nbtrade.storage.disk import DISK, Disk
from nbtrade.storage.system import StrPath

WIDTHS = {"bit": (1, False)} | {f"{kind}{bits}": (bits, kind == "i") for bits in packed.WIDTHS[1:] for kind in "ui"}
_NAMES = {value: name for name, value in WIDTHS.items()}


def _checked(file: column_file.ColumnFile) -> column_file.ColumnFile:
    if "signed" not in file.what:
        raise StoreDamaged(f"{file.path} holds rows of a fixed dtype: open it with Column.")
    return file


def _packed(file: column_file.ColumnFile) -> Packed:
    n = file.count
    return Packed(packed.padded(file.data(n)), file.bits, file.what["signed"], n)


class CompactReader(ColumnBase):
    """A column of integers, to read: `CompactColumn.open(path)`. It follows its writer through appends and upgrades."""

    def __init__(self, path: StrPath, disk: Disk = DISK) -> None:
        super().__init__(path, disk)
        self._file = _checked(column_file.open_to_read(self.path, disk))

    def _now(self) -> column_file.ColumnFile:
        file = self._file
        while file.moving and file.replaced():
            file = self._file = _checked(column_file.open_to_read(self.path, self._disk))
        return file

    def packed(self) -> Packed:
        """All values, now, as they lie in the file: read-only, zero-copy, valid for good. For kernels."""
        return _packed(self._now())

    def decode(self, start: int = 0, stop: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Values start .. stop (as a slice has them) as int64, or as uint64 when the width is u64.

        out : where to put them, of that type and as long
        """
        values = self.packed()
        start, stop, _ = slice(start, stop).indices(values.n)
        if out is None:
            out = np.empty(max(stop - start, 0), word_dtype(values.bits, values.signed))
        unpacked(values, start, out)
        return out

    @property
    def array(self) -> np.ndarray:
        """All values, now: a read-only view of the file where NumPy has the width (8, 16, 32, 64 bits), else decoded."""
        native = self.packed().native
        return self.decode() if native is None else native

    def __getitem__(self, key: Any) -> Any:
        """An int for an index; for a slice its values, decoded."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self.decode(start, stop)
            return self.decode()[key]
        values = self.packed()
        i = operator.index(key)
        if not -values.n <= i < values.n:
            raise IndexError(f"{self.path} has {values.n:,} values: there is no value {i:,}")
        return _value(values, i % values.n)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """For np.asarray(column)."""
        return np.array(self.array, dtype, copy=copy)

    @property
    def width(self) -> str:
        """`bit`, or u or i and the bits of a value: `u24`."""
        file = self._now()
        return _NAMES[file.bits, file.what["signed"]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {self.width}, {len(self):,} values)"


def _value(values: Packed, i: int) -> int:
    """One value, by Python alone: faster than a kernel's dispatch."""
    if values.bits == 1:
        return int(values.data[i >> 3]) >> (i & 7) & 1
    n = values.bits >> 3
    return int.from_bytes(values.data[i * n : (i + 1) * n].tobytes(), "little", signed=values.signed)


class CompactColumn(WritableColumn, CompactReader):
    """A column of integers, to write (and read): made when it is not there.

    path     : its file
    width    : of a new file, if something is known of the values; it widens all the same
    progress : called with (values done, values in all) during upgrades; what it raises cancels them, and the append that needed them

    Raises StoreBusy when another has it open to write, StoreDamaged when the file is no such column, StoreWriteError.
    """

    def __init__(self, path: StrPath, width: str = "bit", *, progress: Progress | None = None, disk: Disk = DISK) -> None:
        ColumnBase.__init__(self, path, disk)
        self.progress = progress
        self._last_packer: Packer | None = None
        bits, signed = _of_name(width)
        self._file = column_file.open_to_write(disk, self.path, {"bits": bits, "signed": signed})
        try:
            _checked(self._file)
        except StoreDamaged:
            self._file.close()
            raise

    @staticmethod
    def open(path: StrPath, *, disk: Disk = DISK) -> CompactReader:
        """Open a column of integers to read; its writer may go on. Raises FileNotFoundError, StoreDamaged."""
        return CompactReader(path, disk)

    def _now(self) -> column_file.WritableFile:
        return self._file

    def append(self, value: Any) -> None:
        """Add one integer. Raises as `extend`."""
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
        """Add many integers at once: an array or any iterable; readers get all of them or none.

        Raises OverflowError when no width holds all, TypeError when they are no integers, StoreWriteError when the disk is full or failing:
        then the values before are intact, and none was added.
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
            end = min(at + CHUNK - (bit if at == 0 else 0), len(array))  # the next chunk begins with a byte
            file.write(pack(array[at:end], bit if at == 0 else 0, before), n + at, (n + at) * bits >> 3)
            at = end
        file.publish(n + len(array))

    def _packer(self, bits: int, signed: bool) -> Packer:
        """Its buffers serve again until the width changes."""
        if self._last_packer is None or self._last_packer.width != (bits, signed):
            self._last_packer = Packer(bits, signed)
        return self._last_packer

    def _make_room(self, low: int, high: int) -> column_file.WritableFile:
        """The file, in a width that holds low .. high as well."""
        file = self._open_file()
        least, greatest = packed.limits(file.bits, file.what["signed"])
        if low < least or high > greatest:
            values = _packed(file)
            if values.n:
                stored = extremes(values)
                low, high = min(low, stored[0]), max(high, stored[1])
            self._rewrite(values, *packed.narrowest(low, high), self.progress)
        return self._file

    def upgrade(self, width: str, progress: Progress | None = None) -> None:
        """Rewrite the column in another width, durably, while readers go on.

        progress : as the class has it; that one by default

        Raises OverflowError when a value does not fit, StoreWriteError, or what `progress` raised: then all is as before.
        """
        bits, signed = _of_name(width)
        values = _packed(self._open_file())
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
        """Rewrite the column in the smallest width that holds its values, if that is smaller. Raises as `upgrade`."""
        values = _packed(self._open_file())
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
        raise ValueError(f"there is no width {width!r}: choose one of {', '.join(WIDTHS)}")
    return WIDTHS[width]


def _integers(values: Any) -> np.ndarray:
    """Values as an array of int64 or uint64 or a smaller integer type, 1-d; exact."""
    if not isinstance(values, np.ndarray):
        values = [operator.index(value) for value in values]
        packed.narrowest(min(values, default=0), max(values, default=0))
        return np.array(values, np.int64 if min(values, default=0) < 0 else np.uint64)
    if values.dtype.kind not in "iub":
        raise TypeError(f"an array of {values.dtype} are no integers. Convert it first, with astype.")
    if values.ndim != 1:
        raise ValueError(f"values come as one list; this one has the shape {values.shape}")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values
