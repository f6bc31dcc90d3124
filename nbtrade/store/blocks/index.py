"""Names to rows: what changed since the base was written, over the base, with a bounded cache of what was looked up there.

    overlay   dict name -> number of a row of the table; 0: deleted        from journal records
    table     ROW[n], in the order in which they were committed            one cache line each
    metas     dict number -> metadata, for rows that have any
    places    list number -> place, or None until the row is first read
    base      mapped, see base.py; its rows have the numbers -1, -2, ...
    recent    the cache: name -> place; least recently used names of the base go first

A place is all that reading plain bytes takes: unpacking it from the table at every read was a third of the reading of 256 bytes, and making
all at every commit a tenth of that. Weak case: 230 bytes of memory for a row that was read.

An Index is replaced as a whole when the base is; its cache cannot go stale, because a base never changes. A look-up takes no lock:
dicts change in one step under the interpreter's lock, the overlay is asked first, and a row is in the table before its name is
in the overlay.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from nbtrade.store.blocks.base import Base
from nbtrade.store.blocks.layout import BYTES, ROW, ROW_STRUCT, ZSTD, Entry, entry_of

CACHED = 100_000  # names of the base kept
ROW_SIZE = ROW.itemsize

Place = tuple[int, int, int, int]  # offset, end and checksum of plain bytes; number of the row
NOT_PLAIN = 1  # the checksum in the places of other blocks, which end where they start: no bytes' there, an empty block's is another
NOWHERE: Place = (0, 0, NOT_PLAIN, 0)
MISSING = 1 << 62  # no row's number


class Index:
    """base : Base or none;  cached : most names in the cache."""

    def __init__(self, base: Base | None = None, n_blocks: int = 0, cached: int = CACHED) -> None:
        self.base = base or Base()
        self.overlay: dict[str, int] = {}
        self.places: list[Place | None] = [NOWHERE]
        self.metas: dict[int, bytes] = {}
        self.recent: OrderedDict[str, Place] = OrderedDict()
        self.cached = cached
        self.n_blocks = n_blocks
        self.n = 1  # rows of the table; number 0 says deleted
        self._set_table(bytearray(256 * ROW_SIZE))

    def _set_table(self, buffer: bytearray) -> None:
        self.words = np.frombuffer(buffer, np.uint64).reshape(-1, ROW_SIZE // 8)
        self.rows_written = np.frombuffer(buffer, ROW)
        self.table = memoryview(buffer)

    # --- looking up -----------------------------------------------------------------------------------
    def place(self, name: str) -> Place:
        """The place of a name; NOWHERE when there is none."""
        number = self.overlay.get(name)
        if number is not None:
            return self.places[number] or self._place_of(number)
        try:
            place = self.recent[name]
            self.recent.move_to_end(name)
        except KeyError:  # never looked up, or just dropped by another thread
            return self._place_in_base(name)
        return place

    def _place_of(self, number: int) -> Place:
        place = self.places[number] = _place(ROW_STRUCT.unpack_from(self.table, number * ROW_SIZE), number)
        return place

    def _place_in_base(self, name: str) -> Place:
        row = self.base.row_of(name.encode())
        if row < 0:
            return NOWHERE
        place = self.recent[name] = _place(self.base.fields(row), -1 - row)
        while len(self.recent) > self.cached:
            try:
                self.recent.popitem(last=False)
            except KeyError:  # other threads have dropped the rest
                break
        return place

    def places_of(self, names: Sequence[str]) -> Sequence[Place]:
        """The places of many names."""
        numbers = list(map(self.overlay.get, names))
        if None not in numbers:
            places = list(map(self.places.__getitem__, numbers))  # type: ignore[arg-type]
            if None not in places:
                return places  # type: ignore[return-value]
        return list(map(self.place, names))

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """i8[n], the numbers of many names' rows; 0 when there is none."""
        try:
            return np.fromiter(map(self.overlay.__getitem__, names), np.int64, len(names))
        except KeyError:  # some are in the base, or nowhere
            numbers = np.array([self.overlay.get(name, MISSING) for name in names], np.int64)
            missing = np.flatnonzero(numbers == MISSING)
            numbers[missing] = -1 - self.base.rows_of([names[i].encode() for i in missing.tolist()])
            return numbers

    def entry(self, number: int) -> Entry | None:
        """The entry of a row; None of row 0."""
        if number <= 0:
            return self.base.entry(-1 - number) if number else None
        return entry_of(ROW_STRUCT.unpack_from(self.table, number * ROW_SIZE), self.metas.get(number, b""))

    def find(self, name: str) -> Entry | None:
        """The entry of a name, or None."""
        return self.entry(self.place(name)[3])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """ROW[n] of these numbers, a copy; all zeros of row 0."""
        if not self.base.n:
            return self.rows_written.take(numbers)
        found = self.words.take(np.maximum(numbers, 0), 0)
        of_base = np.flatnonzero(numbers < 0)
        if len(of_base):
            words = np.frombuffer(self.base.data, np.uint64, self.base.n * found.shape[1], self.base.rows_at).reshape(-1, found.shape[1])
            found[of_base] = words[-1 - numbers[of_base]]
        return found.view(ROW).reshape(-1)

    # --- changing -------------------------------------------------------------------------------------
    def apply(self, names: Sequence[str], rows: np.ndarray, metas: Sequence[bytes] | None, n_added: int) -> None:
        """One group's changes. rows : ROW[n];  metas : of each, or None when there are none."""
        start, stop = self.n, self.n + len(names)
        if stop > len(self.words):
            buffer = bytearray(max(stop, 2 * len(self.words)) * ROW_SIZE)
            buffer[: start * ROW_SIZE] = self.table[: start * ROW_SIZE]
            self._set_table(buffer)
        self.words[start:stop] = np.ascontiguousarray(rows).view(np.uint64).reshape(len(names), -1)
        self.places += [None] * len(names)
        if metas:
            self.metas.update((start + i, meta) for i, meta in enumerate(metas) if meta)
        self.n = stop
        numbers = range(start, stop) if rows["kind"].all() else np.where(rows["kind"], np.arange(start, stop), 0).tolist()
        self.overlay.update(zip(names, numbers, strict=True))
        self.n_blocks += n_added

    # --- all of it ------------------------------------------------------------------------------------
    def names(self, prefix: str = "") -> list[str]:
        """All names that start with `prefix`, ascending."""
        overlay = self.overlay.copy()
        found = [name for name in self.base.with_prefix(prefix.encode()) if name not in overlay] if self.base.n else []
        found += [name for name, number in overlay.items() if number and name.startswith(prefix)]
        found.sort()
        return found

    def items(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """(name, entry) of all names that start with `prefix`, in no order, as they are when it starts."""
        overlay = self.overlay.copy()
        for item in self.base.items(prefix.encode()):
            if item[0] not in overlay:
                yield item
        for name, number in overlay.items():
            if number and name.startswith(prefix):
                yield name, entry_of(ROW_STRUCT.unpack_from(self.table, number * ROW_SIZE), self.metas.get(number, b""))

    def live_rows(self) -> np.ndarray:
        """ROW[n] of all blocks, in no order."""
        hidden = self.base.rows_of([name.encode() for name in self.overlay]) if self.base.n else np.zeros(0, np.int64)
        live = [number for number in self.overlay.values() if number]
        return np.concatenate([np.delete(self.base.rows, hidden[hidden >= 0]), self.rows(np.array(live, np.int64))])


def _place(fields: tuple[int, ...], number: int) -> Place:
    """The place that one unpacked ROW says."""
    _, offset, stored, _, check, _, _, _, _, kind, how = fields
    return (offset, offset + stored, check, number) if kind == BYTES and not how & ZSTD else (offset, offset, NOT_PLAIN, number)
