"""Names to rows: what changed since the base was written, over the base, with a bounded cache of what was looked up there.

    overlay   dict name -> place         from journal records; NOWHERE: deleted
    table     ROW[n], in the order in which they were committed            one cache line each
    metas     dict number -> metadata, for rows that have any
    base      mapped, see base.py; its rows have the numbers -1, -2, ...
    recent    the cache: name -> place; least recently used names of the base go first

A place is all that reading plain bytes takes, so that one look-up does: a struct unpacked from the table at every read took a third of the
reading of 256 bytes. Weak case: 220 bytes of memory for a name in the overlay.

An Index is replaced as a whole when the base is; its cache cannot go stale, because a base never changes. A look-up takes no lock:
dicts change in one step under the interpreter's lock, the overlay is asked first, and a row is in the table before its name is
in the overlay.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np

from nbtrade.store.blocks.base import Base
from nbtrade.store.blocks.layout import BYTES, ROW, ROW_STRUCT, ZSTD, Entry, entry_of

CACHED = 100_000  # names of the base kept
ROW_SIZE = ROW.itemsize

Place = tuple[int, int, int, int]  # offset, end and checksum of plain bytes; number of the row
NOT_PLAIN = 1  # the checksum in the places of other blocks, which end where they start: no bytes' there, an empty block's is another
NOWHERE: Place = (0, 0, NOT_PLAIN, 0)
_number = itemgetter(3)


class Index:
    """base : Base or none;  cached : most names in the cache."""

    def __init__(self, base: Base | None = None, n_blocks: int = 0, cached: int = CACHED) -> None:
        self.base = base or Base()
        self.overlay: dict[str, Place] = {}
        self.metas: dict[int, bytes] = {}
        self.recent: OrderedDict[str, Place] = OrderedDict()
        self.cached = cached
        self.n_blocks = n_blocks
        self.n = 1  # rows of the table; number 0 says deleted
        self._set_table(bytearray(256 * ROW_SIZE))

    def _set_table(self, buffer: bytearray) -> None:
        self.words = np.frombuffer(buffer, np.uint64).reshape(-1, ROW_SIZE // 8)
        self.table = memoryview(buffer)

    # --- looking up -----------------------------------------------------------------------------------
    def place(self, name: str) -> Place:
        """The place of a name; NOWHERE when there is none."""
        place = self.overlay.get(name)
        if place is not None:
            return place
        try:
            place = self.recent[name]
            self.recent.move_to_end(name)
        except KeyError:  # never looked up, or just dropped by another thread
            return self._place_in_base(name)
        return place

    def _place_in_base(self, name: str) -> Place:
        row = self.base.row_of(name.encode())
        if row < 0:
            return NOWHERE
        entry = self.base.entry(row)
        plain = entry.kind == BYTES and not entry.how & ZSTD
        place = (entry.offset, entry.end, entry.check, -1 - row) if plain else (entry.offset, entry.offset, NOT_PLAIN, -1 - row)
        self.recent[name] = place
        while len(self.recent) > self.cached:
            try:
                self.recent.popitem(last=False)
            except KeyError:  # other threads have dropped the rest
                break
        return place

    def places(self, names: Sequence[str]) -> list[Place]:
        """The places of many names."""
        places = list(map(self.overlay.get, names))
        return places if None not in places else list(map(self.place, names))  # type: ignore[return-value]

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """i8[n], the numbers of many names' rows; 0 when there is none."""
        return np.fromiter(map(_number, self.places(names)), np.int64, len(names))

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
        found = self.words.take(np.maximum(numbers, 0), 0)
        of_base = np.flatnonzero(numbers < 0)
        if len(of_base):
            words = np.frombuffer(self.base.data, np.uint64, self.base.n * found.shape[1], self.base.rows_at).reshape(-1, found.shape[1])
            found[of_base] = words[-1 - numbers[of_base]]
        return found.view(ROW).reshape(-1)

    # --- changing -------------------------------------------------------------------------------------
    def stage(self, names: Sequence[str], rows: np.ndarray, metas: Sequence[bytes] | None) -> dict[str, Place]:
        """Put one group's rows in the table, where nobody sees them yet. rows : ROW[n];  metas : of each, or None when there are none.

        Returns what `publish` takes.
        """
        start, stop = self.n, self.n + len(names)
        if stop > len(self.words):
            buffer = bytearray(max(stop, 2 * len(self.words)) * ROW_SIZE)
            buffer[: start * ROW_SIZE] = self.table[: start * ROW_SIZE]
            self._set_table(buffer)
        self.words[start:stop] = np.ascontiguousarray(rows).view(np.uint64).reshape(len(names), -1)
        if metas:
            self.metas.update((start + i, meta) for i, meta in enumerate(metas) if meta)
        return dict(zip(names, _places(rows, start), strict=True))

    def publish(self, places: dict[str, Place], n_added: int) -> None:
        """Let look-ups see what was staged last."""
        self.n += len(places)
        self.overlay.update(places)
        self.n_blocks += n_added

    # --- all of it ------------------------------------------------------------------------------------
    def names(self, prefix: str = "") -> list[str]:
        """All names that start with `prefix`, ascending."""
        overlay = self.overlay.copy()
        found = [name for name in self.base.with_prefix(prefix.encode()) if name not in overlay] if self.base.n else []
        found += [name for name, place in overlay.items() if place[3] and name.startswith(prefix)]
        found.sort()
        return found

    def items(self) -> Iterator[tuple[str, Entry]]:
        """All (name, entry), in no order."""
        overlay = self.overlay.copy()
        for row in range(self.base.n):
            name = self.base.name(row).decode()
            if name not in overlay:
                yield name, self.base.entry(row)
        for name, place in overlay.items():
            entry = self.entry(place[3])
            if entry is not None:
                yield name, entry

    def live_rows(self) -> np.ndarray:
        """ROW[n] of all blocks, in no order."""
        hidden = [row for name in self.overlay if (row := self.base.row_of(name.encode())) >= 0] if self.base.n else []
        live = [number for number in map(_number, self.overlay.values()) if number]
        return np.concatenate([np.delete(self.base.rows, hidden), self.rows(np.array(live, np.int64))])


def _places(rows: np.ndarray, start: int) -> Iterator[Place]:
    """The places of ROW[n] whose numbers are start, start + 1, ..."""
    offset, stored, check, numbers = rows["offset"], rows["stored"], rows["check"], range(start, start + len(rows))
    plain = (rows["kind"] == BYTES) & (rows["how"] & ZSTD == 0)
    if not plain.all():
        stored, check = np.where(plain, stored, 0), np.where(plain, check, np.uint64(NOT_PLAIN))
        numbers = np.where(rows["kind"], np.arange(start, start + len(rows)), 0).tolist()  # type: ignore[assignment]
    return zip(offset.tolist(), (offset + stored).tolist(), check.tolist(), numbers, strict=True)
