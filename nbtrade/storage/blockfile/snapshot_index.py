"""The base of the catalog: all entries as of one moment, written once, mapped and never parsed.

    header   magic, n, heap_size, bits, 0 ...                            64 bytes
    rows     ROW[n], ascending by name (bytes, which is the order of str)
    order    u4[n], row numbers, ascending by hash                       padded to 8 bytes
    starts   u4[2**bits + 1], position in `order` of the first hash with these top bits
    heap     name, metadata, name, metadata, ...

A look-up hashes the name, takes the one or two rows of its bucket, and compares the names, in pages
of a file that may be far larger than memory. Prefixes are found by bisection. A single checksum is verified when the base is opened.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash

from nbtrade.storage.blockfile.checks import row_fits, rows_fit
from nbtrade.storage.blockfile.layout import BASE_MAGIC, ROW, ROW_STRUCT, Entry, entries_of, entry_of

HEADER = struct.Struct("<8sQQQ32x")
PAIR = struct.Struct("<II")
NUMBER = struct.Struct("<I")
ROW_SIZE = ROW.itemsize
BATCH_ROWS = 1 << 13  # rows
_hash = xxhash.xxh3_64_intdigest


class Names(Sequence[bytes]):
    """The names of a base's rows, in order, as a lazy sequence."""

    def __init__(self, base: "SnapshotIndex") -> None:
        self.base = base

    def __len__(self) -> int:
        return self.base.n

    def __getitem__(self, i: int) -> bytes:  # type: ignore[override]
        return self.base.name(i)


class SnapshotIndex:
    """Look-ups in the bytes of a base. data : a view of exactly the base, kept;  at : its offset in the file."""

    def __init__(self, data: "memoryview | bytes" = b"", at: int = 0) -> None:
        self.at = at
        self.data = data
        self.size: int | None = None  # of the file that it was read from; None if this process created it
        self.n = self.heap_size = self.bits = 0
        if data:
            magic, self.n, self.heap_size, self.bits = HEADER.unpack_from(data)
            if magic != BASE_MAGIC or self.bits != max(1, self.n.bit_length()):
                raise ValueError(f"it starts with {magic!r} and claims {self.n:,} rows in 2**{self.bits} buckets")
        self.rows_at = HEADER.size
        self.order_at = HEADER.size + self.n * ROW_SIZE
        self.starts_at = self.order_at + (self.n + 1) // 2 * 8
        self.heap_at = self.starts_at + ((1 << self.bits) + 1) * 4

    def check(self, size: int) -> None:
        """Raise ValueError unless the parts add up to the whole. size : of the file, kept for checking rows when they are used"""
        self.size = size
        if self.heap_at + self.heap_size != len(self.data):
            raise ValueError(f"{self.n:,} rows and {self.heap_size:,} bytes of names do not add up to {len(self.data):,} bytes")
        if not self.n:
            return
        order = np.frombuffer(self.data, "<u4", self.n, self.order_at)
        starts = np.frombuffer(self.data, "<u4", (1 << self.bits) + 1, self.starts_at)
        if order.max() >= self.n or starts.max() > self.n:
            raise ValueError("its hash index points outside of it")

    def check_rows(self) -> None:
        """Raise ValueError unless all blocks are inside the file, and names and metadata fill the heap."""
        if self.size is not None and rows_fit(self.rows, 0, self.size) != self.heap_size:
            raise ValueError("a row points outside the file")

    def place(self, row: int) -> tuple[int, ...]:
        """The unpacked ROW. Raises ValueError if its block is not inside the file."""
        fields = self.fields(row)
        if self.size is not None and not row_fits(fields, self.size):
            raise ValueError(f"row {row:,} points outside the file")
        return fields

    @property
    def rows(self) -> np.ndarray:
        """ROW[n], a view."""
        return np.frombuffer(self.data, ROW, self.n, HEADER.size) if self.n else np.zeros(0, ROW)

    def row_of(self, key: bytes) -> int:
        """The row of a name, or -1."""
        if not self.n:
            return -1
        code = _hash(key)
        start, stop = PAIR.unpack_from(self.data, self.starts_at + 4 * (code >> (64 - self.bits)))
        for i in range(start, stop):
            (row,) = NUMBER.unpack_from(self.data, self.order_at + 4 * i)
            if self.name(row) == key:
                return int(row)
        return -1

    def rows_of(self, keys: Sequence[bytes]) -> np.ndarray:
        """i8[n], the rows of many names, -1 for missing ones: in a fifth of the time of single look-ups."""
        found = np.full(len(keys), -1, np.int64)
        if not self.n:
            return found
        codes = np.fromiter(map(_hash, keys), np.uint64, len(keys))
        order = np.frombuffer(self.data, "<u4", self.n, self.order_at)
        starts = np.frombuffer(self.data, "<u4", (1 << self.bits) + 1, self.starts_at)
        bucket = (codes >> np.uint64(64 - self.bits)).astype(np.int64)
        at, stop, hashes = starts[bucket].astype(np.int64), starts[bucket + 1], self.rows["hash"]
        left = np.flatnonzero(at < stop)
        while len(left):
            row = order[at[left]]
            same = hashes[row] == codes[left]
            found[left[same]] = row[same]
            at[left] += 1
            left = left[~same & (at[left] < stop[left])]
        for i in np.flatnonzero(found >= 0).tolist():
            if self.name(int(found[i])) != keys[i]:  # another name has its hash
                found[i] = self.row_of(keys[i])
        return found

    def fields(self, row: int) -> tuple[int, ...]:
        """The unpacked ROW."""
        return ROW_STRUCT.unpack_from(self.data, HEADER.size + ROW_SIZE * row)

    def name(self, row: int) -> bytes:
        """The name of a row."""
        fields = self.fields(row)
        at = self.heap_at + fields[6]
        return bytes(self.data[at : at + fields[8]])

    def entry(self, row: int) -> Entry:
        """The entry of a row."""
        fields = self.place(row)
        at = self.heap_at + fields[6] + fields[8]
        return entry_of(fields, bytes(self.data[at : at + fields[7]]))

    def _span(self, prefix: bytes) -> tuple[int, int]:
        """Range of rows (first, last + 1) whose names start with `prefix`."""
        start = bisect_left(Names(self), prefix)
        return start, bisect_left(range(self.n), 1, start, key=lambda row: not self.name(row).startswith(prefix))

    def _parts(self, prefix: bytes) -> Iterator[tuple[np.ndarray, bytes, list[int], list[int]]]:
        """ROW[n] whose names start with `prefix`, in batches; their part of the heap, and where names start and end in it."""
        start, stop = self._span(prefix)
        for first in range(start, stop, BATCH_ROWS):
            rows = self.rows[first : min(first + BATCH_ROWS, stop)]
            low = int(rows["name_at"][0])
            if self.size is not None and not low <= rows_fit(rows, low, self.size) <= self.heap_size:
                raise ValueError(f"a row at or after {first:,} points outside the file")
            starts = (rows["name_at"] - np.uint64(low)).astype(np.int64)
            ends = starts + rows["name_size"]
            at = self.heap_at + low
            yield rows, bytes(self.data[at : at + int(ends[-1]) + int(rows["meta_size"][-1])]), starts.tolist(), ends.tolist()

    def with_prefix(self, prefix: bytes) -> Iterator[str]:
        """Names that start with `prefix`, ascending."""
        for _, heap, starts, ends in self._parts(prefix):
            yield from [heap[a:b].decode() for a, b in zip(starts, ends, strict=True)]

    def items(self, prefix: bytes) -> Iterator[tuple[str, Entry]]:
        """(name, entry) of the names that start with `prefix`, ascending."""
        for rows, heap, starts, ends in self._parts(prefix):
            metas = (heap[b : b + n] for b, n in zip(ends, rows["meta_size"].tolist(), strict=True))
            yield from zip((heap[a:b].decode() for a, b in zip(starts, ends, strict=True)), entries_of(rows, metas), strict=True)


def _items(base: SnapshotIndex, keep: np.ndarray) -> tuple[list[bytes], list[bytes]]:
    """Names, and names with metadata, of the rows `keep`."""
    if not len(keep):
        return [], []
    rows = base.rows[keep]
    heap = bytes(base.data[base.heap_at : base.heap_at + base.heap_size])
    starts = rows["name_at"].tolist()
    name_ends = (rows["name_at"] + rows["name_size"]).tolist()
    ends = (rows["name_at"] + rows["name_size"] + rows["meta_size"]).tolist()
    return [heap[a:b] for a, b in zip(starts, name_ends, strict=True)], [heap[a:b] for a, b in zip(starts, ends, strict=True)]


def rows_of(entries: Sequence[Entry]) -> np.ndarray:
    """ROW[n] of entries; locations of names and metadata are not set yet."""
    rows = np.zeros(len(entries), ROW)
    if len(entries):
        offset, end, check, kind, how, raw, group, _ = zip(*entries, strict=True)
        rows["offset"], rows["raw"], rows["check"], rows["group"] = offset, raw, np.array(check, np.uint64), group
        rows["stored"] = np.array(end, np.uint64) - rows["offset"]
        rows["kind"], rows["how"] = kind, how
    return rows


def pack_heap(rows: np.ndarray, names: Sequence[bytes], metas: Sequence[bytes] | None) -> Sequence[bytes]:
    """Set the sizes of names and metadata (None: no metadata). Returns the items of the heap; `set_heap_places` sets their locations."""
    rows["name_size"] = np.fromiter(map(len, names), np.uint16, len(names))
    items = names
    if metas:
        rows["meta_size"] = list(map(len, metas))
        items = [name + meta for name, meta in zip(names, metas, strict=True)]
    return items


def set_heap_places(rows: np.ndarray) -> None:
    """Set `name_at` of consecutive items."""
    sizes = rows["name_size"].astype(np.int64) + rows["meta_size"]
    rows["name_at"] = sizes.cumsum() - sizes


def merged(base: SnapshotIndex, changed: Sequence[str], rows: np.ndarray, metas: Sequence[bytes]) -> list[bytes]:
    """The bytes of a new base, in pieces: `base` with changes applied. changed : distinct names;  rows : ROW[n], kind 0: deleted."""
    keys = [name.encode() for name in changed]
    hidden = base.rows_of(keys)
    keep = np.delete(np.arange(base.n), hidden[hidden >= 0])
    old_names, old_items = _items(base, keep)
    put = sorted(np.flatnonzero(rows["kind"]).tolist(), key=keys.__getitem__)
    new_names = [keys[i] for i in put]
    new_rows = rows[put]
    new_rows["hash"] = np.fromiter(map(_hash, new_names), np.uint64, len(new_names))
    new_items = pack_heap(new_rows, new_names, [metas[i] for i in put])

    names = old_names + new_names
    order = sorted(range(len(names)), key=names.__getitem__)  # two ascending runs: one merge
    all_rows = np.concatenate([base.rows[keep], new_rows])[np.array(order, np.int64)]
    items = [*old_items, *new_items]
    set_heap_places(all_rows)
    return _pieces(all_rows, b"".join([items[i] for i in order]))


def _pieces(rows: np.ndarray, heap: bytes) -> list[bytes]:
    n = len(rows)
    bits = max(1, n.bit_length())
    order = np.argsort(rows["hash"], kind="stable").astype("<u4")
    tops = (rows["hash"][order] >> np.uint64(64 - bits)).astype(np.int64)
    starts = np.searchsorted(tops, np.arange((1 << bits) + 1)).astype("<u4")
    header = HEADER.pack(BASE_MAGIC, n, len(heap), bits)
    return [header, rows.tobytes(), order.tobytes() + bytes(n % 2 * 4), starts.tobytes(), heap]
