"""One run of the engine: its records, and the loop that feeds it rows, drains its logs and grows full arrays.

The kernel allocates nothing: it returns a status when it needs more rows or room. Rows are views of a tape, or batches from a source that
is being decoded; each clock has a cursor into the buffered rows.
"""

from collections.abc import Callable, Sequence

import numpy as np

from nbtrade import schema
from nbtrade._numba import traceback
from nbtrade._numba.pointers import array_address
from nbtrade.book.kernels import arrays
from nbtrade.engine import diagnostics
from nbtrade.engine.declaration import HIDDEN
from nbtrade.engine.instrument_state import LOG_ROWS, Delays, InstrumentState, concatenated, hand_over, new_log, new_records
from nbtrade.engine.kernels import event_loop, market, order_entry, records
from nbtrade.engine.recording import Recording
from nbtrade.engine.strategy import Strategy
from nbtrade.errors import CapacityError, StrategyError

MOST_CLOSED = 2**31 - 1  # lots of an own order are an i4


def shares_book(strategy: Strategy, feed: int) -> bool:
    """True when both clocks can share one book: only timers and reports wake, and the feed latency is under half of the interval."""
    return strategy.wakes & records.BY_MARKET == 0 and 2 * feed < strategy.interval


class Simulation:
    """Records of one run of k accounts over one or more instruments.

    params   : PARAMS[k], one record per account   books    : for each instrument the Book before its first row
    delays   : latencies                           sample   : ns between samples, 0 for none
    slots    : order slots per account             keep_log : keep fills and orders
    limits   : ACCOUNT fields -> values, scalar or [k]: fill rule, lot, risk limits
    recorded : bool[k], accounts whose recorded rows are kept; None: all
    """

    def __init__(
        self,
        strategy: Strategy,
        params: np.ndarray,
        books: Sequence[arrays.Book],
        delays: Delays,
        sample: int,
        slots: int,
        keep_log: bool,
        limits: dict[str, int | np.ndarray] | None = None,
        recorded: np.ndarray | None = None,
    ) -> None:
        self.strategy, self.n_accounts = strategy, len(params)
        self.params, self.states = params.copy(), strategy.states(len(params))
        self.given_params = self.params.tobytes()
        self.one_book = shares_book(strategy, delays.feed)
        self.accounts = new_records(records.ACCOUNT, len(books) * self.n_accounts)
        self.market = new_records(market.MARKET, len(books))
        self.instrument_records = new_records(records.INSTRUMENT_STATE, len(books))
        self.samples = new_log(schema.SAMPLE, max(LOG_ROWS, 2 * len(self.accounts)))
        self.sample_log: list[np.ndarray] = []
        self.no_features = np.full(4096, np.nan)  # for a strategy that reads columns although no matrix was passed
        self._set_accounts(limits or {})
        self.instruments = [
            InstrumentState(self.instrument_records[v : v + 1], self.accounts_of(v), book, slots, delays, self.one_book, keep_log)
            for v, book in enumerate(books)
        ]
        self.instrument_records["all_fifo"] = not self.accounts["rule"].any()
        self._set_market()
        self.run = self._new_run(sample)
        self.recording = Recording(self.run, strategy.recorded, self.n_accounts, recorded)

    def accounts_of(self, v: int) -> np.ndarray:
        """ACCOUNT[k] on instrument v."""
        return self.accounts[v * self.n_accounts : (v + 1) * self.n_accounts]

    # --- setting up --------------------------------------------------------------------------------
    def _set_accounts(self, limits: dict[str, int | np.ndarray]) -> None:
        a, at = self.accounts, array_address(self.accounts)
        n = np.arange(len(a))
        a["index"], a["instrument"] = n % self.n_accounts, n // self.n_accounts
        a["self_at"] = at + n * records.ACCOUNT_BYTES
        a["n_instruments"] = len(self.instrument_records)
        a["stride"] = self.n_accounts * records.ACCOUNT_BYTES
        a["instrument_at"] = array_address(self.instrument_records) + a["instrument"] * records.INSTRUMENT_STATE.itemsize
        a["quote_bid"] = a["quote_ask"] = a["shared_row"] = -1
        a["lot"] = a["rate_interval"] = 1
        for name, value in limits.items():
            a[name] = np.resize(value, len(a))
        a["has_limits"] = (a["lot"] > 1) | sum(a[name] > 0 for name in ("max_order", "max_position", "max_open", "max_loss", "max_rate"))

    def _set_market(self) -> None:
        m = self.market
        for name in ("last_px", "bid_px", "ask_px"):
            m[name] = 2**63 - 1
        m["last_side"], m["n_features"] = -1, len(self.no_features)
        m["index"], m["n_instruments"] = np.arange(len(m)), len(m)
        m["self_at"] = array_address(m) + m["index"] * market.MARKET_BYTES
        m["instrument_at"] = self.instrument_records.ctypes.data + m["index"] * records.INSTRUMENT_STATE.itemsize
        self.instrument_records["market_at"] = m["self_at"]

    def _new_run(self, sample: int) -> np.ndarray:
        run = new_records(records.RUN)
        s = self.strategy
        run["wakes"], run["interval"], run["one_book"], run["reads_trades"] = s.wakes, s.interval, self.one_book, s.reads_trades
        run["strategy_at"] = s.address
        run["sample"], run["samples_at"], run["samples_capacity"] = sample, array_address(self.samples), len(self.samples)
        run["n_accounts"], run["n_instruments"] = self.n_accounts, len(self.instruments)
        run["instruments_at"], run["accounts_at"], run["market_at"] = (
            array_address(self.instrument_records),
            array_address(self.accounts),
            array_address(self.market),
        )
        run["no_features_at"] = array_address(self.no_features)
        run["params_at"], run["params_bytes"] = array_address(self.params), self.params.dtype.itemsize
        run["states_at"], run["state_bytes"] = array_address(self.states), self.states.dtype.itemsize
        run["end_ts"] = records.NEVER
        return run

    def set_features(self, ts: np.ndarray, matrix: np.ndarray) -> None:
        """Set the feature matrix f8[n, m]; row i becomes known at local time ts[i]. ts : i8[n], ns"""
        self.features = np.ascontiguousarray(ts, np.int64), np.ascontiguousarray(matrix, np.float64)
        run = self.run
        self.no_features = np.full(self.features[1].shape[1], np.nan)
        run["no_features_at"], self.market["n_features"] = array_address(self.no_features), len(self.no_features)
        run["feature_ts_at"], run["feature_matrix_at"] = array_address(self.features[0]), array_address(self.features[1])
        run["n_features"], run["feature_width"], run["feature_row"] = *self.features[1].shape, 0

    # --- running -----------------------------------------------------------------------------------
    def go(self, final: bool, advance: Callable[[int], object] = lambda rows: None) -> None:
        """Advance until the buffered rows are exhausted; `final=True` ends the run. Raises StrategyError, CapacityError."""
        while True:
            before = self.n_rows()
            status = event_loop.run(self.run, final)
            advance(self.n_rows() - before)
            if status == event_loop.NEED_ROOM:
                self._make_room()
            elif status == event_loop.STRATEGY_FAILED:
                self._raise_strategy_error()
            elif status != event_loop.PAUSED:
                break
        if final:
            self.drain()
            self._check_params()

    def n_rows(self) -> int:
        """Rows that the exchanges' clocks have passed."""
        return sum(instrument.n_rows() for instrument in self.instruments)

    def feed(self, events: np.ndarray, ts_event: np.ndarray, ts_recv: np.ndarray, base_row: int, final: bool) -> int:
        """Run on the next rows of a single instrument; returns how many of them neither clock needs any more.

        events : EVENT[n], ts_event, ts_recv : i8[n]; the first is tape row `base_row`: the first row that the previous call still
        needed. Pass `final=True` with the last batch.
        """
        self.instruments[0].feed(events, ts_event, ts_recv, base_row)
        self.go(final)
        return self.instruments[0].n_passed()

    def close_session(self, flatten: bool) -> None:
        """Expire DAY orders; with `flatten` also close positions. Raises CapacityError for a position that one order cannot close."""
        if flatten:
            self._check_positions()
        end = int(self.run["end_ts"][0])  # NEVER when the session had no row: then no order is working and no position is open
        for instrument in self.instruments:
            closed = self.n_accounts if flatten else 0
            step = 0
            while step < instrument.n_slots + closed:
                instrument.make_room()
                step = order_entry.close_session(instrument.records, step, instrument.n_slots, closed, end)
        self.drain()

    def _check_positions(self) -> None:
        positions = np.abs(self.accounts["true_position"])
        if positions.max(initial=0) > MOST_CLOSED:
            k = int(positions.argmax())
            raise CapacityError(
                f"account {k % self.n_accounts} has {int(positions[k]):,} lots at the session's end: one order closes at most "
                f"{MOST_CLOSED:,}. Close the position in the strategy, leave it open, or choose a larger lot."
            )

    def next_session(self, books: Sequence[arrays.Book], first_ts: int) -> None:
        """Continue with the next session's tapes: open orders are sent again, to the back of the queue.

        They arrive when we receive the row captured at `first_ts`. Reports in flight arrive now, and wake no account.
        """
        self._note_remaining_trades()
        self.run["started"] = self.run["ended"] = 0
        self.run["end_ts"] = records.NEVER
        self.market["bid_px"] = self.market["ask_px"] = 2**63 - 1
        for instrument, book in zip(self.instruments, books, strict=True):
            instrument.start_session(book)
            instrument.resend_orders(first_ts + instrument.delays.feed)
        self.accounts["shared_row"], self.accounts["wake_bits"] = -1, 0  # row numbers start again at 0

    def _check_params(self) -> None:
        if self.params.tobytes() != self.given_params:
            given = np.frombuffer(self.given_params, self.params.dtype)
            k = next(k for k in range(self.n_accounts) if given[k].tobytes() != self.params[k].tobytes())
            before, after = (self.strategy.params.values(rows[k]) for rows in (given, self.params))
            raise StrategyError(
                f"strategy {self.strategy.name} changed its params (account {k}): {before} became {after}. Params are read-only; a pointer "
                "was used to write to them. Use a field of state for values that change."
            )

    def _note_remaining_trades(self) -> None:
        """Count the trades and events after the session's last wake as well."""
        for instrument in self.instruments:
            market.note_remaining_trades(instrument.records)

    def _raise_strategy_error(self) -> None:
        """Raise a StrategyError with the strategy's exception, line, wake, account and state."""
        k, ts = int(self.run["failed_account"][0]), int(self.market["ts"][0])
        state = dict(zip(self.states.dtype.names, self.states[k].tolist(), strict=True))
        what, line = traceback.exception_of(state[HIDDEN])
        when = f"At {np.datetime64(ts, 'ns')} UTC (wake {int(self.run['n_wakes'][0]):,}, account {k})"
        function = self.strategy.function
        raise diagnostics.runtime_error(function, what, function.__code__.co_firstlineno + line, when, state)

    # --- capacity ----------------------------------------------------------------------------------
    def drain(self) -> None:
        """Move the contents of all logs to Python, so that kernels write from the start again."""
        for instrument in self.instruments:
            instrument.drain()
        n = int(self.run["n_samples"][0])
        if n:
            part, self.samples = hand_over(self.samples, n, schema.SAMPLE)
            self.sample_log.append(part)
            self.run["n_samples"], self.run["samples_at"] = 0, array_address(self.samples)
        self.recording.drain()

    def _make_room(self) -> None:
        self.drain()
        for instrument in self.instruments:
            instrument.make_room()

    # --- results -----------------------------------------------------------------------------------
    def all_samples(self) -> np.ndarray:
        """SAMPLE[] of all accounts and instruments, by time."""
        return concatenated(self.sample_log, schema.SAMPLE)
