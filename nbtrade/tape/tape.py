"""A tape: one instrument, one session, resolved; a folder of memory-mapped columns and a manifest.

    events    EVENT[n]      ts_event, ts_recv  i8[n]      order_id  i8[n]      sequence  u4[n]
    checkpoints             live                          manifest.json

Every array is a zero-copy, read-only map: opening costs the same for any length, and pages not looked at are not read.
`between` gives the same kind of object over fewer rows; `prio` keeps counting in rows of the whole tape.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.errors import StoreDamaged, TapeError
from nbtrade.prices import TickSize
from nbtrade.schema import COLUMNS, ROW_COLUMNS
from nbtrade.storage import atomic
from nbtrade.storage.columns.immutable import open_sealed
from nbtrade.storage.search import search
from nbtrade.tape import manifest as manifests
from nbtrade.times import all_to_ns, to_ns

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.tape.book_snapshot import Audit, BookState


def open_tape(path: str | os.PathLike[str]) -> "Tape":
    """Map the tape in folder `path`.

    Raises TapeError when it is not a tape, is of another format, or a column or the manifest is damaged.
    """
    folder = Path(path)
    try:
        found = manifests.read(folder)
    except (FileNotFoundError, NotADirectoryError):
        hint = "It is a file: make a tape of it with nbtrade.ingest(...)." if folder.is_file() else "Is the name right?"
        raise TapeError(f"{folder} is not a tape: it has no {manifests.NAME}. {hint}") from None
    manifest = manifests.checked(found, folder)
    return Tape(folder, manifest, {name: _column(folder, name, manifest) for name in COLUMNS})


def _column(folder: Path, name: str, manifest: dict[str, Any]) -> np.ndarray:
    path, again = folder / f"{name}.col", "The copy is incomplete or damaged; ingest the source again."
    try:
        rows = open_sealed(path, COLUMNS[name])
    except FileNotFoundError:
        raise TapeError(f"{path} is missing. {again}") from None
    except StoreDamaged as error:
        raise TapeError(f"{error} {again}") from None
    if len(rows) != manifest["columns"][name]["n"]:
        raise TapeError(f"{path} has {len(rows):,} rows, the manifest says {manifest['columns'][name]['n']:,}. {again}")
    return atomic.frozen(rows)


class Tape:
    """Rows `start`..`stop` of an opened tape (all of it, unless it comes from `between`)."""

    def __init__(self, path: Path, manifest: dict[str, Any], whole: dict[str, np.ndarray], start: int = 0, stop: int | None = None):
        self.path = path
        self.manifest = manifest
        self.whole = whole  # columns over all rows
        self.start = start
        self.stop = len(whole["events"]) if stop is None else stop
        rows = slice(self.start, self.stop)
        # events EVENT[n]; ts_event, ts_recv, order_id i8[n]; sequence u4[n]
        self.events, self.ts_event, self.ts_recv, self.order_id, self.sequence = (whole[name][rows] for name in ROW_COLUMNS)

    # --- what it is ------------------------------------------------------------------------------
    @property
    def symbol(self) -> str:
        """The instrument's symbol, or its id as text when the source does not say."""
        return str(self.manifest["instrument"]["symbol"])

    @property
    def tick(self) -> float:
        """Price of one tick in currency."""
        return float(self._tick_size)

    @property
    def tick_units(self) -> int:
        """Price of one tick in 1e-9 units, exact."""
        return int(self.manifest["instrument"]["tick"])

    @property
    def content_hash(self) -> str:
        """xxh3-128 over all columns: equal for equal tapes."""
        return str(self.manifest["content_hash"])

    def __len__(self) -> int:
        return self.stop - self.start

    def __repr__(self) -> str:
        if not len(self):
            return f"<Tape {self.symbol}: no rows>"
        first, last = (np.datetime64(int(self.ts_recv[i]), "ns") for i in (0, -1))
        return f"<Tape {self.symbol}: {len(self):,} rows, {first} to {last} UTC, tick {self.tick:g}>"

    # --- prices ----------------------------------------------------------------------------------
    def price(self, px: Any) -> Any:
        """Currency price(s) of px ticks."""
        return self._tick_size.price(px)

    def px(self, price: Any) -> Any:
        """Ticks of currency price(s). Raises OffTick when one does not lie on a tick."""
        return self._tick_size.ticks(price)

    @property
    def _tick_size(self) -> TickSize:
        return TickSize.of_units(self.tick_units, self.symbol)

    # --- time ------------------------------------------------------------------------------------
    def lower_bound(self, ts: Any, clock: str = "ts_recv") -> Any:
        """First row with clock >= ts (len(self) if none); an i8 array of ns gives an array.

        ts : ns, str, datetime, Timestamp, or i8[...];  clock : "ts_recv" or "ts_event"
        """
        return search.lower_bound(self._clock(clock), all_to_ns(ts) if np.ndim(ts) else to_ns(ts))

    def upper_bound(self, ts: Any, clock: str = "ts_recv") -> Any:
        """First row with clock > ts (len(self) if none); an i8 array of ns gives an array."""
        return search.upper_bound(self._clock(clock), all_to_ns(ts) if np.ndim(ts) else to_ns(ts))

    def _clock(self, clock: str) -> np.ndarray:
        if clock not in ("ts_recv", "ts_event"):
            raise ValueError(f"clock is {clock!r}; it is 'ts_recv' or 'ts_event'")
        return self.ts_recv if clock == "ts_recv" else self.ts_event

    def between(self, start: Any = None, end: Any = None) -> "Tape":
        """The events with start <= ts_recv < end, as a tape that shares this one's memory (None: open end).

        Rows of an event have the same clocks, so an event is never cut.
        """
        first = 0 if start is None else self.lower_bound(start)
        last = len(self) if end is None else self.lower_bound(end)
        if last < first:
            raise ValueError(f"between: end {end} is before start {start}")
        return Tape(self.path, self.manifest, self.whole, self.start + first, self.start + last)

    # --- what it says ----------------------------------------------------------------------------
    def book_at(self, ts: Any, clock: str = "ts_recv") -> "BookState":
        """The book after the last event with clock <= ts: levels and orders in queue order."""
        from nbtrade.tape import book_snapshot

        return book_snapshot.book_before(self, self.start + self.upper_bound(ts, clock))

    def audit(self) -> "Audit":
        """Check all bytes, replay all rows and report crossed event ends and other oddities, besides the source's faults.

        Raises TapeError when a column is not what was written.
        """
        from nbtrade.tape import book_snapshot

        return book_snapshot.audit(self)

    def to_df(self) -> "pd.DataFrame":
        """Rows as a DataFrame indexed by ts_recv (UTC), with the field's names and prices in currency."""
        from nbtrade.tape import book_snapshot

        return book_snapshot.to_df(self)

    def info(self) -> str:
        """What `nbtrade info` prints."""
        from nbtrade.tape import book_snapshot

        return book_snapshot.info(self)
