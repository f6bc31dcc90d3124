"""One run of the engine: its arrays, and the loop that feeds it rows, drains its logs and grows what is full.

The kernel stops by itself with a status; nothing in it allocates. Rows come as views of a tape, or in pieces from a source that is
being decoded: both clocks' passes keep their place in the rows at hand.
"""

import numpy as np

from nbtrade._jit import attributes
from nbtrade.errors import CapacityError, StrategyError
from nbtrade.kernels import account as accounts
from nbtrade.kernels import engine as engines
from nbtrade.kernels import market, match, memory
from nbtrade.seam import Strategy

LOG_ROWS = 1 << 14
RING = 1 << 12


def _records(dtype: np.dtype, n: int = 1) -> np.ndarray:
    return attributes(np.zeros(n, dtype))


def _copy(array: np.ndarray) -> np.ndarray:
    """A plain copy; as bytes, because NumPy copies padded records field by field (20 times slower)."""
    return array.view(np.uint8).copy().view(array.dtype).view(np.ndarray)


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()


def shares_book(strategy: Strategy, feed: int) -> bool:
    """True when one book serves both clocks: few rows are on their way to us compared with those between two wakes."""
    return strategy.wakes == market.TIMER and 2 * feed < strategy.interval


class Simulation:
    """Arrays of one run over one instrument with k accounts.

    states  : STATE[k] initial state records      book : Book before the first row, for prices px_min..px_max
    latency : (feed, entry, response) ns          sample : ns between samples, 0 for none
    orders  : order slots of an account           keep_log : keep fills and orders
    """

    def __init__(
        self,
        strategy: Strategy,
        states: np.ndarray,
        book: memory.Book,
        latency: tuple[int, int, int],
        sample: int,
        orders: int,
        keep_log: bool,
    ) -> None:
        k = len(states)
        self.strategy = strategy
        self.states = states.copy()
        self.one_book = shares_book(strategy, latency[0])
        self.exchange_book = book
        self.local_book = book if self.one_book else memory.copied(book)
        self.own_bits = (np.zeros_like(book.words), np.zeros_like(book.tree), book.sides.copy())
        self.own_bits[2]["best"], self.own_bits[2]["n_levels"] = memory.NO_KEY, 0
        self.n_slots = k * orders
        self.orders = _records(accounts.OWN, self.n_slots + 1024)
        self.accounts = _records(accounts.ACCOUNT, k)
        self.messages = _records(accounts.MESSAGE, _power_of_two(2 * self.n_slots + 2))
        self.reports = _records(accounts.REPORT, RING)
        self.fills, self.done = _records(match.FILL, LOG_ROWS), _records(accounts.OWN, LOG_ROWS)
        self.samples = _records(engines.SAMPLE, max(LOG_ROWS, 2 * k))
        self.market, self.features = _records(market.MARKET), np.zeros(1)
        self.logs: dict[str, list[np.ndarray]] = {"fills": [], "done": [], "samples": []}
        self.wire = self._new_wire(latency[1])
        self.exchange = self._new_exchange(latency[2], keep_log)
        self.engine = self._new_engine(latency[0], sample)
        self._set_accounts(orders)

    # --- setting up --------------------------------------------------------------------------------
    def _new_wire(self, entry: int) -> np.ndarray:
        wire = _records(accounts.WIRE)
        wire["entry"], wire["mask"], wire["messages_at"] = entry, len(self.messages) - 1, self.messages.ctypes.data
        return wire

    def _new_exchange(self, response: int, keep_log: bool) -> np.ndarray:
        ex = _records(match.EXCHANGE)
        ex["response"], ex["keep_log"] = response, keep_log
        ex["free_taken"], ex["taken_capacity"] = self.n_slots, len(self.orders) - self.n_slots
        self.orders["next"][self.n_slots :] = np.arange(self.n_slots + 1, len(self.orders) + 1)
        return ex

    def _new_engine(self, feed: int, sample: int) -> np.ndarray:
        engine = _records(engines.ENGINE)
        engine["wakes"], engine["interval"] = self.strategy.wakes, self.strategy.interval
        engine["feed"], engine["sample"], engine["one_book"] = feed, sample, self.one_book
        engine["strategy_at"] = self.strategy.address
        engine["market_at"], engine["features_at"] = self.market.ctypes.data, self.features.ctypes.data
        engine["accounts_at"], engine["account_bytes"] = self.accounts.ctypes.data, accounts.ACCOUNT.itemsize
        engine["states_at"], engine["state_bytes"] = self.states.ctypes.data, self.states.dtype.itemsize
        for name in ("last_px", "bid_px", "ask_px"):
            self.market[name] = 2**63 - 1
        self.market["last_side"] = -1
        return engine

    def _set_accounts(self, slots: int) -> None:
        k = len(self.accounts)
        a = self.accounts
        a["index"] = np.arange(k)
        a["first"] = np.arange(k) * slots
        a["capacity"] = slots
        a["orders_at"] = self.orders.ctypes.data + a["first"] * accounts.OWN.itemsize
        a["wire_at"] = self.wire.ctypes.data
        a["quote_bid"] = a["quote_ask"] = a["seen_row"] = -1
        chain = np.arange(1, slots + 1)
        chain[-1] = -1
        self.orders["next"][: self.n_slots] = np.tile(chain, k)
        self.orders["account"][: self.n_slots] = np.repeat(np.arange(k), slots)

    # --- running -----------------------------------------------------------------------------------
    def feed(self, events: np.ndarray, ts_event: np.ndarray, ts_recv: np.ndarray, base_row: int, final: bool) -> int:
        """Run as far as these rows tell; returns how many of them neither clock needs any more.

        events : EVENT[n], ts_event, ts_recv : i8[n]; the first is tape row `base_row`, and they begin with the first row that the
        last call's answer left over. Call with `final` at the end. Raises StrategyError, CapacityError.
        """
        shift = base_row - int(self.engine["base_row"][0])
        self.engine["base_row"] += shift
        self.engine["x"] -= shift
        self.engine["l"] -= shift
        self.engine["seen"] -= shift
        rows = (events, ts_event, ts_recv)
        while True:
            status = self._call(engines.run, rows, final)
            if status == engines.NEED_ROOM:
                self._make_room()
            elif status == engines.STRATEGY_FAILED:
                self._explain_failure()
            else:
                break
        if final:
            while self._finish(rows) != engines.DONE:
                self._make_room()
            self._drain()
        return int(min(self.engine["x"][0], self.engine["l"][0]))

    def _call(self, kernel, rows, final: bool) -> int:
        return kernel(
            *rows, final, self.engine, self.market, *self.exchange_book, *self.own_bits, *self.local_book,
            self.exchange, self.accounts, self.orders, self.wire, self.messages, self.reports, self.fills, self.done, self.samples,
        )  # fmt: skip

    def _finish(self, rows) -> int:
        return engines.finish(
            rows[0], rows[1], self.engine, *self.exchange_book, *self.own_bits,
            self.exchange, self.accounts, self.orders, self.wire, self.messages, self.reports, self.fills, self.done,
        )  # fmt: skip

    def _explain_failure(self) -> None:
        """Say which wake and account the strategy raised at, and the state it had."""
        k, ts = int(self.engine["failed_account"][0]), int(self.market["ts"][0])
        when = np.datetime64(ts, "ns")
        raise StrategyError(
            f"strategy {self.strategy.name} raised at {when} UTC (wake {int(self.engine['n_wakes'][0]):,}, account {k}). "
            f"State then: {dict(zip(self.states.dtype.names, self.states[k].tolist(), strict=True))}. "
            "Most likely a division by zero or an index out of range; run with NUMBA_DISABLE_JIT=1 to see the line."
        )

    # --- room --------------------------------------------------------------------------------------
    def _drain(self) -> None:
        for name, array, counts, counter in (
            ("fills", self.fills, self.exchange, "n_fills"),
            ("done", self.done, self.exchange, "n_done"),
            ("samples", self.samples, self.engine, "n_samples"),
        ):
            n = int(counts[counter][0])
            if n:
                self.logs[name].append(_copy(array[:n]))
                counts[counter] = 0

    def _make_room(self) -> None:
        """Drain the logs, then grow whatever could still not take the most that one row may cause."""
        self._drain()
        ex, sides = self.exchange, self.exchange_book.sides
        most = 2 * int(ex["n_resting"][0]) + int(sides["n_levels"].sum()) + 8
        if most > len(self.fills):
            self.fills, self.done = _records(match.FILL, 4 * most), _records(accounts.OWN, 4 * most)
        pending = int(ex["tail"][0] - ex["head"][0])
        if pending + most > len(self.reports):
            self._grow_reports(_power_of_two(2 * (pending + most)))
        if int(ex["n_taken"][0]) + most > int(ex["taken_capacity"][0]):
            self._grow_taken(2 * (int(ex["n_taken"][0]) + most))
        while int(self.exchange_book.sides["n_free"][0]) < max(2, int(self.engine["pages_needed"][0])):
            self._grow_exchange_book()
        if not self.one_book and int(self.local_book.sides["n_free"][0]) == 0:
            self.local_book = memory.grown(self.local_book)

    def _grow_reports(self, n: int) -> None:
        old, head, tail = self.reports, int(self.exchange["head"][0]), int(self.exchange["tail"][0])
        self.reports = _records(accounts.REPORT, n)
        at = np.arange(head, tail)
        self.reports[at & (n - 1)] = old[at & (len(old) - 1)]

    def _grow_taken(self, n: int) -> None:
        if self.n_slots + n > 2**31 - 2:
            raise CapacityError(f"{n:,} levels with liquidity taken by our orders do not fit. Use fewer accounts in one run.")
        old, self.orders = self.orders, _records(accounts.OWN, self.n_slots + n)
        self.orders[: len(old)] = old
        self.orders["next"][len(old) :] = np.arange(len(old) + 1, len(self.orders) + 1)
        # the free list's last entry of old pointed one past the end: exactly at the first new one
        self.exchange["taken_capacity"] = n
        self.accounts["orders_at"] = self.orders.ctypes.data + self.accounts["first"] * accounts.OWN.itemsize

    def widen(self, px_min: int, px_max: int) -> None:
        """Make the books take prices px_min..px_max."""
        words, _, sides = self.own_bits
        own = memory.widened(self.exchange_book._replace(words=words, sides=sides), px_min, px_max)
        self.exchange_book = memory.widened(self.exchange_book, px_min, px_max)
        self.local_book = self.exchange_book if self.one_book else memory.widened(self.local_book, px_min, px_max)
        self.own_bits = (words, own.tree, own.sides)

    def _grow_exchange_book(self) -> None:
        self.exchange_book = memory.grown(self.exchange_book)
        if self.one_book:
            self.local_book = self.exchange_book
        words, tree, sides = self.own_bits
        larger = np.zeros_like(self.exchange_book.words)
        larger[: len(words)] = words
        self.own_bits = (larger, tree, sides)

    # --- results -----------------------------------------------------------------------------------
    def log(self, name: str) -> np.ndarray:
        """One log as an array: "fills" FILL[], "done" OWN[], "samples" SAMPLE[]."""
        dtype = {"fills": match.FILL, "done": accounts.OWN, "samples": engines.SAMPLE}[name]
        parts = [np.zeros(0, np.uint8), *(array.view(np.uint8) for array in self.logs[name])]  # as bytes: see _copy
        return np.concatenate(parts).view(dtype)

    def open_orders(self) -> np.ndarray:
        """Orders neither filled, cancelled nor rejected at the end: OWN[]."""
        own = self.orders[: self.n_slots]
        return own[np.flatnonzero((own["state"] == accounts.SENT) | (own["state"] == accounts.WORKING))].view(np.ndarray)
