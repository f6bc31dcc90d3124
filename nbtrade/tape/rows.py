"""The rows of a tape: memory-mapped columns, the manifest, and search by time.

`Tape` adds what is computed from them (books, audits, frames).
"""

from pathlib import Path
from typing import Any, Self

import numpy as np

from nbtrade.prices import TickSize
from nbtrade.schema import LOT_SCALE, ROW_COLUMNS
from nbtrade.storage.search import search
from nbtrade.times import all_to_ns, to_ns


class TapeRows:
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
    def lot(self) -> float:
        """Size of one lot in units of the asset (shares, contracts, coins)."""
        return self.lot_units / LOT_SCALE

    @property
    def lot_units(self) -> int:
        """Size of one lot in 1e-9 units of the asset, exact."""
        return int(self.manifest["instrument"]["lot_units"])

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

    def between(self, start: Any = None, end: Any = None) -> Self:
        """The events with start <= ts_recv < end, as a tape that shares this one's memory (None: open end).

        Rows of an event have the same clocks, so an event is never cut.
        """
        first = 0 if start is None else self.lower_bound(start)
        last = len(self) if end is None else self.lower_bound(end)
        if last < first:
            raise ValueError(f"between: end {end} is before start {start}")
        return type(self)(self.path, self.manifest, self.whole, self.start + first, self.start + last)
