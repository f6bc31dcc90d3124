"""Drive the resolve kernel: takes one instrument's records, emits whole events, grows the buffers.

feed(records) ──> resolve kernel ──> sink.rows(...)         rows of whole events (views, valid during the call)
└──> sink.checkpoint(...)    the orders live at a row, every CHECKPOINT_ROWS
"""

import math
from typing import Any, Protocol

import numpy as np

from nbtrade._numba.jit import as_record_array
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels.book import MAX_LOTS
from nbtrade.errors import CapacityError, SourceError
from nbtrade.schema import CHECKPOINT_ROWS, EVENT, LIVE, MAX_ROW_LOTS, MAX_ROWS, PRICE_SCALE
from nbtrade.tape import off_tick_trades, ticks, turn_flags
from nbtrade.tape.kernels import pending_fills, tape_rows
from nbtrade.tape.kernels import resolve as kernels

FIRST_ROWS = 1 << 16
FIRST_ORDERS = 1 << 12
FIRST_PENDING = 1 << 8
N_OUT = 2  # sets of out buffers, used alternately: rows that a sink leaves over stay in place while they are offered again


class Sink(Protocol):
    """Receives the rows of a resolver."""

    def rows(self, events: np.ndarray, ts_event: np.ndarray, ts_recv: np.ndarray, order_id: np.ndarray, sequence: np.ndarray) -> int:
        """Take rows of whole events: EVENT[n], i8[n] three times, u4[n]. Returns the number taken; the others are offered again, with more.

        The arrays remain unchanged until the next call.
        """

    def checkpoint(self, row: int, live: np.ndarray) -> None:
        """Take the orders (LIVE[n], in arbitrary order) that are live before `row`."""

    def rescale(self, factor: int) -> None:
        """The tick proved to be `factor` times finer: multiply every px taken so far."""


def _out(n: int) -> list[np.ndarray]:
    return [as_record_array(np.empty(n, dtype)) for dtype in (EVENT, *_PLAIN)]


_PLAIN = (np.dtype("i8"), np.dtype("i8"), np.dtype("i8"), np.dtype("u4"))


class Resolver:
    """The state of one instrument's resolve.

    tick      : 1e-9 units; 0 to infer it from the first records that have prices
    tick_from : "given", "looked up", ...: shown in errors and stored in the manifest
    """

    def __init__(self, name: str, instrument_id: int, publisher_id: int, sink: Sink, tick: int, tick_from: str) -> None:
        self.name = name
        self.sink = sink
        self.tick_from = tick_from
        self.outs = [_out(FIRST_ROWS) for _ in range(N_OUT)]
        self.i_out = 0
        self.resolve = kernels.resolve  # until a size requires the other kernel
        self.orders = as_record_array(np.zeros(FIRST_ORDERS, tape_rows.ORDER))
        self.pending = as_record_array(np.zeros(FIRST_PENDING, pending_fills.PENDING))
        self.state = as_record_array(np.zeros(1, tape_rows.STATE))
        self.state["instrument_id"], self.state["publisher_id"] = instrument_id, publisher_id
        self.state["px_min"], self.state["px_max"] = 2**62, -(2**62)
        self.state["next_checkpoint"], self.state["most_lots"] = CHECKPOINT_ROWS, MAX_ROW_LOTS
        self.state["moment"] = 1  # 0 marks unused slots
        self.book: arrays.Book | None = None  # after the rows that already have TURN flags
        self.n_flagged = 0  # of the out rows
        self.waiting: list[np.ndarray] = []  # RECORD[n]s from before the first resting price
        self.off_tick_trades = np.empty(0, off_tick_trades.OFF_TICK_ROW)
        self._set_tick(tick)

    @property
    def out(self) -> list[np.ndarray]:
        """The arrays that the kernel writes to: events, ts_event, ts_recv, order_id, sequence."""
        return self.outs[self.i_out]

    def get(self, name: str) -> int:
        """A counter of the kernel's STATE."""
        return int(self.state[name][0])

    @property
    def tick(self) -> int:
        """1e-9 units; 0 while unknown."""
        return self.get("tick")

    def _set_tick(self, tick: int) -> None:
        self.state["tick"] = tick
        self.state["inverse"] = 1.0 / tick if tick else 0.0

    def feed(self, records: np.ndarray) -> None:
        """Resolve RECORD[n], or the same with sizes as i8; pass all whole events to the sink.

        Raises SourceError for a price off the given tick, or beyond 2**31 ticks; CapacityError for more lots than a level can hold.
        """
        self.state["undef_size"] = ticks.undef_size(records)
        if self.tick == 0:
            records = self._wait_for_tick(records)
        at = 0
        while at < len(records):
            before = at, self.get("n_records"), self.get("n_out"), self.get("base_row"), self._n_off_tick()
            status, at = self.resolve(records, at, self.orders, self.pending, self.state, *self.out)
            self._note_off_tick_trades(records, at, *before)
            self._flush()
            if status == kernels.CHECKPOINT_DUE:
                self._checkpoint()
            elif status == kernels.TABLE_FULL:
                self._grow_tables()
            elif status == kernels.UNUSUAL_SIZE:
                self.resolve = kernels.resolve_any_size
            elif status == kernels.OUT_FULL:
                self._make_room()
            elif status != kernels.DONE:
                self._refuse_or_refine(status, records, at)

    def finish(self) -> bool:
        """Close the event in which the data ended. Returns True if there was one."""
        if self.waiting:
            self._set_tick(ticks.of_trades(np.concatenate(self.waiting)) or 1)
            self.feed(self._all_waiting(self.waiting[0][:0]))
        broke_off = kernels.end_of_data(self.state, *self.out)
        self._flush()
        return bool(broke_off)

    def faults(self) -> dict[str, Any]:
        """Faults so far: kind -> count and the first record numbers (counting this instrument's records)."""
        counts, places = self.state["faults"][0], self.state["places"][0]
        return {
            name: {"count": int(counts[k]), "first": [int(p) for p in places[k][: counts[k]]]}
            for k, name in enumerate(tape_rows.FAULTS)
            if counts[k]
        }

    def _mine(self, records: np.ndarray) -> np.ndarray:
        mine = records["instrument_id"] == self.get("instrument_id")
        if self.get("publisher_id") >= 0:
            mine &= records["publisher_id"] == self.get("publisher_id")
        return records[mine]

    def _wait_for_tick(self, records: np.ndarray) -> np.ndarray:
        """Return all records so far once a resting price determines a tick; until then return none and keep `records`.

        An instrument's first batch may be a lone R or a trade between ticks: a tick guessed from those would have to be revised.
        """
        tick = ticks.inferred(self._mine(records))
        self._set_tick(tick)
        if tick == 0:
            self.waiting.append(records.copy())
            return records[:0]
        return self._all_waiting(records)

    def _all_waiting(self, records: np.ndarray) -> np.ndarray:
        waiting, self.waiting = self.waiting, []
        return as_record_array(np.concatenate((*waiting, records))) if waiting else records

    def _n_off_tick(self) -> int:
        return int(self.state["faults"][0, tape_rows.OFF_TICK_TRADE])

    def _note_off_tick_trades(
        self, records: np.ndarray, stop: int, start: int, first_record: int, n_out: int, row: int, n_off_tick: int
    ) -> None:
        """Remember the off-tick trades of records[start:stop], in case the tick proves to be finer."""
        if self._n_off_tick() == n_off_tick or self.tick_from == "given":
            return
        events = self.out[0][n_out : self.get("n_out")]
        new = off_tick_trades.find(records[start:stop], self.state, first_record, events, row + n_out)
        self.off_tick_trades = np.concatenate((self.off_tick_trades, new))

    def _flush(self) -> None:
        n, closed = self.get("n_out"), self.get("event_start")
        if closed == 0:
            return
        if self.get("base_row") + n > MAX_ROWS:
            raise SourceError(f"{self.name}: more than {MAX_ROWS:,} rows do not fit in one tape. Split the source by session.")
        self._flag_turns(self.out[0][self.n_flagged : closed])
        events, ts_event, ts_recv, order_id, sequence = (array[:closed] for array in self.out)
        taken = self.sink.rows(events, ts_event, ts_recv, order_id, sequence)
        if taken == 0:
            return
        used = self.out
        self.i_out = (self.i_out + 1) % N_OUT
        if len(self.out[0]) < len(used[0]):
            self.outs[self.i_out] = _out(len(used[0]))
        for old, new in zip(used, self.out, strict=True):
            new[: n - taken] = old[taken:n]
        self.state["base_row"] += taken
        self.state["n_out"], self.state["event_start"] = n - taken, closed - taken
        self.n_flagged = closed - taken

    def _flag_turns(self, events: np.ndarray) -> None:
        """Set the TURN flags in rows of whole events, using a book with the market's orders only."""
        low, high = self.px_range()
        if self.book is None:
            self.book = arrays.new_book(low, high, 64)
        elif not arrays.covers(self.book, low, high):
            self.book = arrays.widened(self.book, low - arrays.MARGIN, high + arrays.MARGIN)
        self.book = turn_flags.flag_turns(events, self.book)

    def px_range(self) -> tuple[int, int]:
        """(lowest, highest) px so far; zeros before the first."""
        low, high = self.get("px_min"), self.get("px_max")
        return (low, high) if low <= high else (0, 0)

    def _checkpoint(self) -> None:
        live = as_record_array(np.empty(self.get("n_live"), LIVE))
        tape_rows.live_orders(self.orders, live)
        row = self.get("base_row") + self.get("event_start")
        self.sink.checkpoint(row, live)
        self.state["next_checkpoint"] = row + CHECKPOINT_ROWS

    def _grow_tables(self) -> None:
        if 4 * (self.get("n_live") + 1) > len(self.orders):
            larger = as_record_array(np.zeros(len(self.orders) * 4, tape_rows.ORDER))
            tape_rows.rehash(self.orders, larger)
            self.orders = larger
        if 4 * (self.get("n_pending_slots") + 1) > len(self.pending):
            more = as_record_array(np.zeros(len(self.pending) * 4, pending_fills.PENDING))
            pending_fills.rehash(self.pending, more, self.get("moment"))
            self.pending = more

    def _make_room(self) -> None:
        """Grow the buffers: flushing does not free enough, because an event, or the removals of one R, exceed them."""
        needed = self.get("n_out") + self.get("room") + FIRST_ROWS
        if needed > len(self.out[0]):
            larger = _out(2 * needed)
            for old, new in zip(self.out, larger, strict=True):
                new[: len(old)] = old
            self.outs[self.i_out] = larger

    def _refuse_or_refine(self, status: int, records: np.ndarray, at: int) -> None:
        price = int(records["price"][at])
        where = f"{self.name}: record {self.get('n_records'):,} (sequence {records['sequence'][at]}, order {records['order_id'][at]})"
        if status == kernels.BAD_LENGTH:
            raise SourceError(f"{where}: its length is {records['length'][at] * 4} bytes, an MBO record has 56. The file is damaged.")
        if status == kernels.TOO_FINE:
            raise SourceError(
                f"{where}: price {price / PRICE_SCALE} is {price / self.tick:.3g} ticks of {self.tick / PRICE_SCALE:g}, more than "
                "2**31. The price is damaged, or the tick is too fine: pass a coarser tick=."
            )
        if status == kernels.TOO_LARGE:
            raise CapacityError(
                f"{where}: {records['size'][at]:,} lots exceed the {MAX_LOTS:,} that one price level can hold. Most likely the size is "
                "damaged; if it is correct, choose a larger lot."
            )
        if self.tick_from == "given":
            raise SourceError(
                f"{where}: price {price / PRICE_SCALE} is not a multiple of the tick {self.tick / PRICE_SCALE:g}. "
                "Pass the right tick=, or omit it to have it inferred."
            )
        finer = ticks.inferred(self._mine(records[at:]), math.gcd(self.tick, price))
        self._rescale(self.tick // finer)
        self.tick_from = "inferred"
        self._set_tick(finer)

    def _rescale(self, factor: int) -> None:
        top = max(abs(self.get("px_min")), abs(self.get("px_max")))
        if top < 2**61 and top * factor > kernels.PX_LIMIT:
            raise SourceError(f"{self.name}: a tick of {self.tick / factor / PRICE_SCALE:g} needs more than 2**31 ticks. Pass tick=.")
        self.orders["px"] *= factor
        self.out[0]["px"][: self.get("n_out")] *= factor
        if top < 2**61:
            self.state["px_min"] *= factor
            self.state["px_max"] *= factor
            if len(self.off_tick_trades):
                self.state["px_max"] = max(self.get("px_max"), int(self.off_tick_trades["price"].max()) // (self.tick // factor))
        if self.book is not None:
            rows_so_far = turn_flags.rows_of(self.book)
            rows_so_far["px"] *= factor
            self.book = turn_flags.flag_turns(rows_so_far, arrays.new_book(*self.px_range(), 64))
        self.sink.rescale(factor)
        off_tick_trades.correct(self.out[0][: self.get("n_out")], self.get("base_row"), self.off_tick_trades, self.tick // factor)
        self.off_tick_trades = off_tick_trades.still_off_tick(self.off_tick_trades, self.state, self.tick // factor)
