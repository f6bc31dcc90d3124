"""Names to rows: what changed since the base was written, over the base, with a bounded cache of what was looked up there.

    overlay   dict name -> number of a row of the table; 0: deleted        from journal records
    table     ROW[n], in the order in which they were committed            one cache line each
    metas     dict number -> metadata, for rows that have any
    base      mapped, see base.py; its rows have the numbers -1, -2, ...
    recent    the cache: name -> number; least recently used names of the base go first

An Index is replaced as a whole when the base is; its cache cannot go stale, because a base never changes. A look-up takes no lock:
dicts change in one step under the interpreter's lock, the overlay is asked first, and a row is in the table before its name is
in the overlay.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from nbtrade.store.blocks.base import Base
from nbtrade.store.blocks.layout import PLACE_STRUCT, ROW, ROW_STRUCT, Entry, entry_of

CACHED = 100_000  # names of the base kept
ROW_SIZE = ROW.itemsize


class Index:
    """base : Base or none;  cached : most names in the cache."""

    def __init__(self, base: Base | None = None, n_blocks: int = 0, cached: int = CACHED) -> None:
        self.base = base or Base()
        self.overlay: dict[str, int] = {}
        self.find_overlay = self.overlay.get
        self.metas: dict[int, bytes] = {}
        self.recent: OrderedDict[str, int] = OrderedDict()
        self.cached = cached
        self.n_blocks = n_blocks
        self.n = 1  # rows of the table; number 0 says deleted
        self._set_table(bytearray(256 * ROW_SIZE))

    def _set_table(self, buffer: bytearray) -> None:
        self.words = np.frombuffer(buffer, np.uint64).reshape(-1, ROW_SIZE // 8)
        self.table = memoryview(buffer)

    # --- looking up -----------------------------------------------------------------------------------
    def number(self, name: str) -> int:
        """The number of a name's row; 0 when there is none."""
        number = self.find_overlay(name)
        if number is not None:
            return number
        try:
            number = self.recent[name]
            self.recent.move_to_end(name)
        except KeyError:  # never looked up, or just dropped by another thread
            return self._number_in_base(name)
        return number

    def _number_in_base(self, name: str) -> int:
        number = -1 - self.base.row_of(name.encode())
        if number:
            self.recent[name] = number
            while len(self.recent) > self.cached:
                try:
                    self.recent.popitem(last=False)
                except KeyError:  # other threads have dropped the rest
                    break
        return number

    def entry(self, number: int) -> Entry | None:
        """The entry of a row; None of row 0."""
        if number <= 0:
            return self.base.entry(-1 - number) if number else None
        return entry_of(ROW_STRUCT.unpack_from(self.table, number * ROW_SIZE), self.metas.get(number, b""))

    def place(self, name: str) -> tuple[int, ...]:
        """(offset, stored bytes, checksum, kind, how) of a name; kind 0 when there is none."""
        number = self.number(name)
        if number >= 0:
            return PLACE_STRUCT.unpack_from(self.table, number * ROW_SIZE)
        return PLACE_STRUCT.unpack_from(self.base.data, self.base.rows_at + (-1 - number) * ROW_SIZE)

    def find(self, name: str) -> Entry | None:
        """The entry of a name, or None."""
        return self.entry(self.number(name))

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """i8[n], the numbers of many names."""
        found = list(map(self.find_overlay, names))
        if None in found:
            found = [self.number(name) if number is None else number for name, number in zip(names, found, strict=True)]
        return np.array(found, np.int64)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """ROW[n] of these numbers, a copy; all zeros of row 0."""
        found = self.words[np.maximum(numbers, 0)]
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

    def items(self) -> Iterator[tuple[str, Entry]]:
        """All (name, entry), in no order."""
        overlay = self.overlay.copy()
        for row in range(self.base.n):
            name = self.base.name(row).decode()
            if name not in overlay:
                yield name, self.base.entry(row)
        for name, number in overlay.items():
            entry = self.entry(number)
            if entry is not None:
                yield name, entry

    def live_rows(self) -> np.ndarray:
        """ROW[n] of all blocks, in no order."""
        hidden = [row for name in self.overlay if (row := self.base.row_of(name.encode())) >= 0] if self.base.n else []
        live = [number for number in self.overlay.values() if number]
        return np.concatenate([np.delete(self.base.rows, hidden), self.rows(np.array(live, np.int64))])
