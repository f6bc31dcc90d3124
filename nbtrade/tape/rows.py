"""The rows of a tape: memory-mapped columns, the manifest, and search by time.

`Tape` adds books, audits and frames.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np

from nbtrade.prices import TickSize
from nbtrade.schema import LOT_SCALE, ROW_COLUMNS
from nbtrade.storage.search import search
from nbtrade.times import all_to_ns, to_ns


class TapeRows:
    """Rows `start`..`stop` of an open tape (all rows, unless the object comes from `between`)."""

    def __init__(self, path: Path, manifest: dict[str, Any], whole: dict[str, np.ndarray], start: int = 0, stop: int | None = None):
        self.path = path
        self.manifest = manifest
        self.whole = whole  # columns over all rows
        self.start = start
        self.stop = len(whole["events"]) if stop is None else stop
        rows = slice(self.start, self.stop)
        # events EVENT[n]; ts_event, ts_recv, order_id i8[n]; sequence u4[n]
        self.events, self.ts_event, self.ts_recv, self.order_id, self.sequence = (whole[name][rows] for name in ROW_COLUMNS)

    # --- description -----------------------------------------------------------------------------
    @property
    def symbol(self) -> str:
        """The instrument's symbol, or its id as text if the source has no symbol.

        Returns
        -------
        str
            Text such as "ESH5".

        Examples
        --------
        >>> tape.symbol
        'SYNTH'
        """
        return str(self.manifest["instrument"]["symbol"])

    @property
    def tick(self) -> float:
        """Price of one tick.

        Returns
        -------
        float
            In currency.

        Examples
        --------
        >>> tape.tick
        0.01
        """
        return float(self._tick_size)

    @property
    def tick_units(self) -> int:
        """Price of one tick, exact.

        Returns
        -------
        int
            In 1e-9 units of the currency.

        Examples
        --------
        >>> tape.tick_units
        10000000
        """
        return int(self.manifest["instrument"]["tick"])

    @property
    def lot(self) -> float:
        """Size of one lot.

        Returns
        -------
        float
            In units of the asset: shares, contracts, coins.

        Examples
        --------
        >>> tape.lot
        1.0
        """
        return self.lot_units / LOT_SCALE

    @property
    def lot_units(self) -> int:
        """Size of one lot, exact.

        Returns
        -------
        int
            In 1e-9 units of the asset.

        Examples
        --------
        >>> tape.lot_units
        1000000000
        """
        return int(self.manifest["instrument"]["lot_units"])

    @property
    def content_hash(self) -> str:
        """xxh3-128 over all columns: tapes with the same content have the same hash.

        Returns
        -------
        str
            32 hexadecimal digits.

        Examples
        --------
        >>> tape.content_hash == nbtrade.open_tape("day.tape").content_hash
        True
        """
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
        """Convert ticks to currency.

        Parameters
        ----------
        px : int, float or array
            Ticks.

        Returns
        -------
        float or f8 array
            Prices, each the float nearest to the exact value.

        Examples
        --------
        >>> tape.price(499_998)
        4999.98
        """
        return self._tick_size.price(px)

    def px(self, price: Any) -> Any:
        """Convert currency to ticks.

        Parameters
        ----------
        price : number, str or array
            Prices in currency.

        Returns
        -------
        int or i8 array
            Ticks.

        Raises
        ------
        OffTick
            A price is not a multiple of the tick.

        Examples
        --------
        >>> tape.px(4999.98)
        499998
        >>> tape.px(np.array([4999.98, 5000.0]))
        array([499998, 500000])
        """
        return self._tick_size.ticks(price)

    @property
    def _tick_size(self) -> TickSize:
        return TickSize.of_units(self.tick_units, self.symbol)

    # --- time ------------------------------------------------------------------------------------
    def lower_bound(self, ts: Any, clock: str = "ts_recv") -> Any:
        """First row with clock >= ts.

        Parameters
        ----------
        ts : int, str, datetime, Timestamp or i8 array
            Time: ns since the epoch, or text in UTC.
        clock : {"ts_recv", "ts_event"}
            The clock to search.

        Returns
        -------
        int or i8 array
            Row numbers within this part of the tape; len(tape) if no row qualifies.

        Examples
        --------
        >>> tape.lower_bound("2025-01-06 14:30:10")
        9358
        """
        return search.lower_bound(self._clock(clock), all_to_ns(ts) if np.ndim(ts) else to_ns(ts))

    def upper_bound(self, ts: Any, clock: str = "ts_recv") -> Any:
        """First row with clock > ts.

        Parameters
        ----------
        ts : int, str, datetime, Timestamp or i8 array
            Time: ns since the epoch, or text in UTC.
        clock : {"ts_recv", "ts_event"}
            The clock to search.

        Returns
        -------
        int or i8 array
            Row numbers within this part of the tape; len(tape) if no row qualifies.

        Examples
        --------
        >>> tape.upper_bound(tape.ts_recv[-1]) == len(tape)
        True
        """
        return search.upper_bound(self._clock(clock), all_to_ns(ts) if np.ndim(ts) else to_ns(ts))

    def _clock(self, clock: str) -> np.ndarray:
        if clock not in ("ts_recv", "ts_event"):
            raise ValueError(f"clock is {clock!r}: pass 'ts_recv' or 'ts_event'")
        return self.ts_recv if clock == "ts_recv" else self.ts_event

    def between(self, start: Any = None, end: Any = None) -> Self:
        """The events with start <= ts_recv < end, as a tape that shares this one's memory.

        Parameters
        ----------
        start, end : int, str, datetime or Timestamp, optional
            Times, ns since the epoch or text in UTC. None: no bound on that side.

        Returns
        -------
        Tape
            A part of the tape. It never splits an event, since all rows of an event have the same clocks.

        Raises
        ------
        ValueError
            `end` is before `start`.

        Examples
        --------
        >>> part = tape.between("2025-01-06 14:30:10", "2025-01-06 14:30:20")
        >>> len(part), part.start
        (5993, 9358)
        """
        first = 0 if start is None else self.lower_bound(start)
        last = len(self) if end is None else self.lower_bound(end)
        if last < first:
            raise ValueError(f"between: end {end} is before start {start}")
        return type(self)(self.path, self.manifest, self.whole, self.start + first, self.start + last)
