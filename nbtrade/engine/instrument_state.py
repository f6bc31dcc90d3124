"""One instrument in a run: the arrays behind an INSTRUMENT_STATE record, and the methods that fill, drain and grow them.

Kernels reach all arrays through the addresses in the record, so code that replaces an array must update its address: `_set_address`.
"""

from dataclasses import dataclass

import numpy as np

from nbtrade import schema
from nbtrade._numba.bits import WORD
from nbtrade._numba.jit import as_record_array
from nbtrade._numba.pointers import array_address
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels.pointers import BOOK_FIELDS
from nbtrade.engine.kernels import gateway, records
from nbtrade.engine.kernels.match import AFTER_ALL_ROWS
from nbtrade.engine.kernels.row_batch import BATCH_ROWS, BEST_KEYS, N_FILTER
from nbtrade.errors import CapacityError

LOG_ROWS = 1 << 14
LOGS = {"fills": schema.FILL, "done": records.OWN}
RING = 1 << 12


def new_records(dtype: np.dtype, n: int = 1) -> np.ndarray:
    """Zeroed records in the form that kernels accept."""
    return as_record_array(np.zeros(n, dtype))


def own_records(n: int) -> np.ndarray:
    """OWN[1 + n]: entry 0 means "no order" and compares as behind every row; n orders follow."""
    entries = new_records(records.OWN, 1 + n)
    entries[0]["next"], entries[0]["stamp"], entries[0]["joined"] = -1, AFTER_ALL_ROWS, AFTER_ALL_ROWS
    return entries


def new_log(dtype: np.dtype, n: int) -> np.ndarray:
    """Uninitialised memory for n records: kernels write each in full before it is read (the dtypes have no gaps)."""
    return as_record_array(np.empty(n, dtype))


def hand_over(array: np.ndarray, n: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """(the n records of a log as a plain array, the log to write to next).

    A log at least a quarter full is handed over as is; otherwise its records are copied. A copy goes to fresh memory: 2 us a page.
    """
    if 4 * n < len(array):
        return copy_of(array[:n]), array
    return array[:n].view(np.ndarray), new_log(dtype, len(array))


def concatenated(parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Concatenate arrays of one dtype, as bytes (see copy_of); a single array is returned without a copy."""
    if len(parts) == 1:
        return parts[0].view(np.ndarray)
    return np.concatenate([np.zeros(0, np.uint8), *(part.view(np.uint8) for part in parts)]).view(dtype)


def copy_of(array: np.ndarray) -> np.ndarray:
    """A plain copy; as bytes, because NumPy copies padded records field by field (20 times slower)."""
    return array.view(np.uint8).copy().view(array.dtype).view(np.ndarray)


def power_of_two(n: int) -> int:
    """The smallest power of two >= n, at least 2."""
    return 1 << max(n - 1, 1).bit_length()


@dataclass(frozen=True)
class Delays:
    """Latencies in the kernels' form, ns.

    kind : CONSTANT, RANDOM (`entries` and `responses` are N_QUANTILES quantiles), or MEASURED (sampled at `times`)
    """

    feed: int = 0
    entry: int = 0
    response: int = 0
    kind: int = records.CONSTANT
    seed: int = 0
    times: np.ndarray | None = None
    entries: np.ndarray | None = None
    responses: np.ndarray | None = None


class InstrumentState:
    """The arrays of one instrument with k accounts.

    one      : INSTRUMENT_STATE[1], part of the run's array    accounts : ACCOUNT[k] on this instrument
    book     : Book before the first row                       slots    : order slots per account; one more closes its position
    """

    def __init__(
        self, one: np.ndarray, accounts: np.ndarray, book: arrays.Book, slots: int, delays: Delays, one_book: bool, keep_log: bool
    ) -> None:
        self.records, self.record = one, one[0]
        self.accounts, self.slots, self.one_book, self.delays = accounts, slots, one_book, delays
        self.n_slots = len(accounts) * (slots + 1)
        self.entries = own_records(self.n_slots + 1024)
        self.messages = new_records(records.MESSAGE, power_of_two(4 * self.n_slots + 2))
        self.logs: dict[str, list[np.ndarray]] = {"fills": [], "done": []}
        self.record["keep_log"] = keep_log
        self.batch_buffers = np.zeros(BATCH_ROWS, np.int32), np.zeros(BATCH_ROWS, np.int64)
        self._set_address("i_levels_at", self.batch_buffers[0])
        self._set_address("changes_at", self.batch_buffers[1])
        self.rows_before = self.first_row = 0  # rows of earlier sessions; the first row's number in the tape
        self._set_orders()
        self._set_delays()
        for name, dtype in LOGS.items():
            self._set_log(name, new_log(dtype, LOG_ROWS))
        self._set_reports(new_records(records.REPORT, RING))
        self._set_address("messages_at", self.messages)
        self.record["m_mask"] = len(self.messages) - 1
        self.start_session(book)

    def _set_address(self, name: str, array: np.ndarray) -> None:
        self.record[name] = array_address(array)

    # --- setting up --------------------------------------------------------------------------------
    def start_session(self, book: arrays.Book) -> None:
        """Start at the first row of a new tape; `book` is the book before that row."""
        self.rows_before, self.first_row = self.n_rows(), 0
        self.exchange_book = book
        self.local_book = book if self.one_book else arrays.copied(book)
        self.own_bits = (np.zeros_like(book.words), np.zeros_like(book.tree), book.sides.copy())
        self.own_bits[2]["best"], self.own_bits[2]["n_levels"] = arrays.NO_KEY, 0
        self.own_filter, self.own_filter_counts = np.zeros(N_FILTER, np.int64), np.zeros(BEST_KEYS * WORD, np.int32)
        r = self.record
        for name in (
            "base_row",
            "exchange_row",
            "exchange_phase",
            "local_row",
            "scan_row",
            "scan_bits",
            "n_resting",
            "top_bid_qty",
            "top_ask_qty",
        ):
            r[name] = 0
        r["top_bid"] = r["top_ask"] = arrays.NO_KEY  # so that the first top counts as a change
        r["candidate"] = records.NEVER
        self._set_book_addresses()

    def _set_book_addresses(self) -> None:
        for names, book in ((BOOK_FIELDS, self.exchange_book), (records.LOCAL_FIELDS, self.local_book)):
            for name, array in zip(names, book, strict=True):
                self._set_address(name, array)
        for name, array in zip(("own_words_at", "own_tree_at", "own_sides_at"), self.own_bits, strict=True):
            self._set_address(name, array)
        self._set_address("own_filter_at", self.own_filter)
        self._set_address("own_filter_counts_at", self.own_filter_counts)
        self.record["n_pages_table"] = len(self.exchange_book.pages)

    @property
    def orders(self) -> np.ndarray:
        """OWN[]: the slots of all accounts, then TAKEN entries."""
        return self.entries[1:]

    def _set_order_addresses(self) -> None:
        self._set_address("entries_at", self.entries)
        self._set_address("orders_at", self.orders)
        self.accounts["orders_at"] = self.record["orders_at"] + self.accounts["first"] * records.OWN_BYTES

    def _set_orders(self) -> None:
        k, a, slots = len(self.accounts), self.accounts, self.slots
        self._set_address("accounts_at", a)
        a["first"] = np.arange(k) * (slots + 1)
        self._set_order_addresses()
        a["capacity"] = slots
        chain = np.append(np.arange(1, slots), (-1, -1))  # the last slot is for closing a position
        self.orders["next"][: self.n_slots] = np.tile(chain, k)
        self.orders["account"][: self.n_slots] = np.repeat(np.arange(k), slots + 1)
        self.record["free_taken"], self.record["taken_capacity"] = self.n_slots, len(self.orders) - self.n_slots
        self.orders["next"][self.n_slots :] = np.arange(self.n_slots + 1, len(self.orders) + 1)

    def _set_delays(self) -> None:
        d, r = self.delays, self.record
        r["feed"], r["entry"], r["response"], r["latency"], r["seed"] = d.feed, d.entry, d.response, d.kind, d.seed
        for name, array in (("sample_ts_at", d.times), ("sample_entry_at", d.entries), ("sample_response_at", d.responses)):
            if array is not None:
                self._set_address(name, array)
                r["n_latencies"] = len(array)

    def _set_log(self, name: str, array: np.ndarray) -> None:
        setattr(self, name, array)
        self._set_address(f"{name}_at", array)
        self.record[f"{name}_capacity"] = len(array)

    def _set_reports(self, reports: np.ndarray) -> None:
        self.reports = reports
        self._set_address("reports_at", reports)
        self.record["r_mask"] = len(reports) - 1

    # --- rows --------------------------------------------------------------------------------------
    def feed(self, events: np.ndarray, ts_event: np.ndarray, ts_recv: np.ndarray, base_row: int) -> None:
        """Set the buffered rows: the first is tape row `base_row`, the first row that either clock still needs."""
        r = self.record
        shift = base_row - int(r["base_row"])
        for name in ("exchange_row", "local_row", "scan_row"):
            r[name] -= shift
        r["base_row"], r["n"] = base_row, len(events)
        self.rows = events, ts_event, ts_recv
        for name, array in zip(("events_at", "ts_event_at", "ts_recv_at"), self.rows, strict=True):
            self._set_address(name, array)

    def resend_orders(self, ts: int) -> None:
        """At the start of a session: resend working orders as new orders that arrive at `ts`, ahead of the messages in flight."""
        gateway.deliver_all(self.records)
        r, own = self.record, self.orders
        r["n_taken"], r["free_taken"] = 0, self.n_slots
        own["next"][self.n_slots :] = np.arange(self.n_slots + 1, len(own) + 1)
        under_way = self.messages[np.arange(int(r["m_head"]), int(r["m_tail"])) & (len(self.messages) - 1)].copy()
        under_way["arrive"] = np.maximum(under_way["arrive"], ts)
        working = np.flatnonzero(own["state"][: self.n_slots] == records.WORKING)
        working = working[np.argsort(own["id"][working], kind="stable")]
        again = new_records(records.MESSAGE, len(working))
        again["arrive"], again["order"], again["what"] = ts, working, records.NEW
        own["state"][working] = records.SENT
        own["in_flight"][working] += 1
        np.add.at(self.accounts["in_flight"], own["account"][working], 1)
        n = len(working) + len(under_way)
        self.messages[:n] = np.concatenate((again, under_way))
        r["m_head"], r["m_tail"] = 0, n

    def n_rows(self) -> int:
        """Rows that the exchange's clock has passed, over all sessions."""
        return self.rows_before + int(self.record["base_row"] + self.record["exchange_row"]) - self.first_row

    def n_passed(self) -> int:
        """Buffered rows that neither clock needs any more."""
        return int(
            min(
                self.record["exchange_row"],
                self.record["local_row"],
                self.record["exchange_row"] if self.one_book else self.record["scan_row"],
            )
        )

    # --- capacity ----------------------------------------------------------------------------------
    def drain(self) -> None:
        """Move the contents of the logs to Python, so that kernels write from the start again."""
        for name, dtype in LOGS.items():
            n = int(self.record[f"n_{name}"])
            if n:
                part, log = hand_over(getattr(self, name), n, dtype)
                self.logs[name].append(part)
                self.record[f"n_{name}"] = 0
                self._set_log(name, log)

    def make_room(self) -> None:
        """Drain the logs, then grow every array too small for the worst case of a single row."""
        self.drain()
        r, sides = self.record, self.exchange_book.sides
        worst_case = 2 * int(r["n_resting"]) + int(sides["n_levels"].sum()) + 8
        for name, dtype in LOGS.items():
            if worst_case > len(getattr(self, name)):
                self._set_log(name, new_log(dtype, 4 * worst_case))
        pending = int(r["r_tail"] - r["r_head"])
        if pending + worst_case > len(self.reports):
            self._grow_reports(power_of_two(2 * (pending + worst_case)))
        if int(r["n_taken"]) + worst_case > int(r["taken_capacity"]):
            self._grow_taken(2 * (int(r["n_taken"]) + worst_case))
        needed = max(2, int(r["pages_needed"]))
        while int(self.exchange_book.sides["n_free"][0]) < needed:
            self._grow_exchange_book()
        while int(self.local_book.sides["n_free"][0]) < needed:
            self.local_book = arrays.grown(self.local_book)
        self._set_book_addresses()

    def _grow_reports(self, n: int) -> None:
        old, at = self.reports, np.arange(int(self.record["r_head"]), int(self.record["r_tail"]))
        new = new_records(records.REPORT, n)
        new[at & (n - 1)] = old[at & (len(old) - 1)]
        self._set_reports(new)

    def _grow_taken(self, n: int) -> None:
        if self.n_slots + n > 2**31 - 2:
            raise CapacityError(f"{n:,} levels with liquidity taken by our orders do not fit. Use fewer accounts in one run.")
        old, self.entries = self.orders, own_records(self.n_slots + n)
        self.orders[: len(old)] = old
        self.orders["next"][len(old) :] = np.arange(len(old) + 1, len(self.orders) + 1)
        # the last entry of the old free list points one past its end: that is the first new entry
        self.record["taken_capacity"] = n
        self._set_order_addresses()

    def widen(self, px_min: int, px_max: int) -> None:
        """Widen the books to prices px_min..px_max."""
        words, _, sides = self.own_bits
        own = arrays.widened(self.exchange_book._replace(words=words, sides=sides), px_min, px_max)
        self.exchange_book = arrays.widened(self.exchange_book, px_min, px_max)
        self.local_book = self.exchange_book if self.one_book else arrays.widened(self.local_book, px_min, px_max)
        self.own_bits = (words, own.tree, own.sides)
        self._set_book_addresses()

    def _grow_exchange_book(self) -> None:
        self.exchange_book = arrays.grown(self.exchange_book)
        if self.one_book:
            self.local_book = self.exchange_book
        words, tree, sides = self.own_bits
        larger = np.zeros_like(self.exchange_book.words)
        larger[: len(words)] = words
        self.own_bits = (larger, tree, sides)

    # --- results -----------------------------------------------------------------------------------
    def log(self, name: str) -> np.ndarray:
        """One log as an array: "fills" is FILL[], "done" is OWN[]."""
        return concatenated(self.logs[name], LOGS[name])

    def open_orders(self) -> np.ndarray:
        """Orders that are not filled, cancelled or rejected: OWN[]."""
        own = self.orders[: self.n_slots]
        return own[np.flatnonzero((own["state"] == records.SENT) | (own["state"] == records.WORKING))].view(np.ndarray)
