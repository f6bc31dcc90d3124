"""The record of floats that features read, updated at every event's end of a pass over a tape.

    MARKET_SNAPSHOT   clock | flows of the event | last trade, last quote | touch | 10 levels a side | order-flow imbalance | scans

All fields are f8, so a feature's formula loads a number without conversion: prices in ticks, sizes in lots, times in ns since the
start of the pass (`PASS_STATE.t0`), exact up to 104 days. An empty level has a NaN price and zeros. The pass uses the same memory as an
array of f8 (feature/kernels/event_loop.py) and locates fields by the positions below; a user-defined feature sees a record with names.

Why floats: twenty formulas with integer inputs spent 20 conversions an event; counts and lots are exact in f8 up to 2**53.
"""

import ctypes

import numpy as np

from nbtrade._numba.jit import JIT
from nbtrade._numba.pointers import pointer_to
from nbtrade._numba.records import floats_at, record_at, record_type
from nbtrade.book.kernels.pointers import BOOK_FIELDS

LEVELS = 10  # most levels a side that can be tracked
WIDTH = 16  # floats of a side's prices, sizes or counts: those beyond the tracked levels stay empty
N_SCANS = 16
COLUMN_FIELDS = ("events_at", "ts_event_at", "ts_recv_at", "order_id_at", "first_seen_at")

MARKET_SNAPSHOT = np.dtype(
    [
        ("now", "f8"),  # ns: end of the last event
        ("n_events", "f8"),  # event ends so far
        ("volume", "f8"),  # lots traded so far
        # flows of this event: reset to zero before the next
        ("buy_qty", "f8"),  # lots traded by aggressive buyers
        ("sell_qty", "f8"),
        ("unsigned_qty", "f8"),  # lots of trades without a side
        ("trade_value", "f8"),  # sum of px * lots
        ("signed_value", "f8"),  # the same with sellers' negative, without trades that have no side
        ("n_trades", "f8"),
        ("bid_adds", "f8"),  # orders that joined; snapshots and clears never count
        ("ask_adds", "f8"),
        ("bid_cancels", "f8"),  # orders cancelled
        ("ask_cancels", "f8"),
        ("bid_modifies", "f8"),  # orders moved, enlarged or reduced
        ("ask_modifies", "f8"),
        ("bid_refills", "f8"),  # executed orders that returned at their price in the same event: icebergs
        ("ask_refills", "f8"),
        ("bid_refilled", "f8"),  # their lots
        ("ask_refilled", "f8"),
        ("bid_swept", "f8"),  # levels emptied by executions
        ("ask_swept", "f8"),
        # values that persist until they change
        ("bid_sweep", "f8"),  # levels emptied at the last ts_event that had executions
        ("ask_sweep", "f8"),
        ("last_px", "f8"),
        ("last_qty", "f8"),
        ("last_sign", "f8"),  # 1 bought, -1 sold; NaN before the first trade with a side
        ("run", "f8"),  # consecutive trades of one side, signed
        ("last_trade", "f8"),  # ns of the last trade; NaN before it
        ("last_quote", "f8"),  # ns of the last change of a best price or its size; NaN before it
        ("mid_before", "f8"),  # mid at the end of the previous event
        ("bid_since", "f8"),  # sum of the arrival times of the orders at the touch, ns
        ("ask_since", "f8"),
        # the book's best levels
        ("bid_px", "f8", (WIDTH,)),
        ("ask_px", "f8", (WIDTH,)),
        ("bid_qty", "f8", (WIDTH,)),
        ("ask_qty", "f8", (WIDTH,)),
        ("bid_orders", "f8", (WIDTH,)),
        ("ask_orders", "f8", (WIDTH,)),
        ("old_bid_px", "f8", (WIDTH,)),  # the same at the end of the previous event
        ("old_ask_px", "f8", (WIDTH,)),
        ("old_bid_qty", "f8", (WIDTH,)),
        ("old_ask_qty", "f8", (WIDTH,)),
        ("ofi", "f8", (WIDTH,)),  # the event's order-flow imbalance at each level
        ("scans", "f8", (N_SCANS,)),  # results of walks over the book (SCAN)
    ],
    align=True,
)


def at(name: str, k: int = 0) -> int:
    """Position of a field (item `k` of it) among the floats."""
    assert MARKET_SNAPSHOT.fields is not None
    return int(MARKET_SNAPSHOT.fields[name][1]) // 8 + k


NOW, N_EVENTS, VOLUME = at("now"), at("n_events"), at("volume")
BUY_QTY, SELL_QTY, UNSIGNED_QTY, TRADE_VALUE, SIGNED_VALUE, N_TRADES = (at("buy_qty") + k for k in range(6))
# one for each side, the bids' first
ADDS, CANCELS, MODIFIES, REFILLS, REFILLED, SWEPT = (at("bid_adds") + 2 * k for k in range(6))
SWEEP, SINCE = at("bid_sweep"), at("bid_since")
FLOWS, FLOWS_END = at("buy_qty"), at("bid_sweep")
LAST_PX, LAST_QTY, LAST_SIGN, RUN, LAST_TRADE, LAST_QUOTE = (at("last_px") + k for k in range(6))
MID_BEFORE = at("mid_before")
# for index e = side * WIDTH + k: the k-th best level of a side
PX, QTY, ORDERS, OLD_PX, OLD_QTY = at("bid_px"), at("bid_qty"), at("bid_orders"), at("old_bid_px"), at("old_bid_qty")
OFI, SCANS = at("ofi"), at("scans")

# One walk over the book, repeated when a side of it has changed.
SCAN = np.dtype(
    [
        ("kind", "i8"),  # WITHIN or COST
        ("side", "i8"),
        ("amount", "f8"),  # ticks from the best price, or lots to fill
        ("always", "i8"),  # 1: at every event end; 0: only at samples
        ("seen", "i8"),  # the side's change count at the last walk
    ],
    align=True,
)
WITHIN, COST = 0, 1

# The state of one pass, besides the floats, and the addresses of its arrays: a kernel receives this record and nothing else.
PASS_STATE = np.dtype(
    [
        ("t0", "i8"),  # ns since the epoch: the origin of all times
        ("status", "i8"),
        ("event_bits", "i8"),  # facts about an event that is not complete yet (feature/kernels/event_loop.py)
        ("prev_kind", "i8"),  # kind, id, side of the event's previous row
        ("prev_id", "i8"),
        ("prev_side", "i8"),
        ("exec_id", "i8"),  # id, px, side of the event's last execution
        ("exec_px", "i8"),
        ("exec_side", "i8"),
        ("sweep_ts", "i8"),  # ts_event of the last execution
        ("changes", "i8", (2,)),  # of each side
        # configuration
        ("n_levels", "i8"),  # levels tracked: 1..10
        ("n_ofi", "i8"),
        ("n_scans", "i8"),
        ("stateful", "i8"),  # 1: the set absorbs every event; 0: it is called for samples only
        ("follow_orders", "i8"),  # 1: track adds, cancels, refills, sweeps
        ("follow_sweeps", "i8"),  # 1: track sweeps
        ("follow_quotes", "i8"),  # 1: track changes at the touch
        ("follow_ages", "i8"),  # 1: track ages at the touch
        ("follow_more", "i8"),  # 1: track ages or scans
        ("follows_touch", "i8"),  # 1: track quotes or ages
        # samples
        ("mode", "i8"),  # SAMPLE_*
        ("every", "i8"),  # events, or ns
        ("count", "i8"),  # events since the last sample
        ("amount", "f8"),  # lots or value between samples
        ("done", "f8"),  # lots or value since the last sample
        ("next_time", "i8"),  # ns since t0 of the next sample on the time grid
        ("next_index", "i8"),  # its index among the given times
        ("n_times", "i8"),
        ("capacity", "i8"),  # rows of the matrix
        ("n_out", "i8"),  # rows written
        ("out_at", "i8"),  # the matrix, see feature/kernels/streaming_stores.py
        ("stage_at", "i8"),
        ("unloaded", "i8"),  # bytes of the stage already in the matrix
        ("staged", "i8"),  # bytes of the stage already written
        ("stage_bytes", "i8"),  # bytes at which it is full
        ("row_bytes", "i8"),
        ("evaluate_at", "i8"),  # function pointer
        # addresses: the tape's columns starting at the current rows, first_seen (ts_recv of the whole tape, the numbering of `prio`), ...
        *(
            (name, "i8")
            for name in (*COLUMN_FIELDS, *BOOK_FIELDS, "snapshot_at", "plan_at", "scans_at", "times_at", "out_ts_at", "since_at")
        ),
    ],
    align=True,
)
SAMPLE_EVENTS, SAMPLE_TIME, SAMPLE_TIMES, SAMPLE_TRADES, SAMPLE_VOLUME, SAMPLE_VALUE, SAMPLE_QUOTES = range(7)
DONE, OUT_FULL, PAGES_FULL, RINGS_FULL, FAILED = range(5)
NO_NEXT_TIME = 2**62  # no next time

# Memory of a compiled feature set: addresses of MARKET_SNAPSHOT, f8 state and constants, WINDOW, PAIRS, user-defined records, f8 rings.
PLAN = np.dtype([(name, "i8") for name in ("snapshot", "state", "constants", "windows", "pairs", "own", "rings", "full")], align=True)
ADVANCE, ABSORB, WRITE = 1, 2, 4  # requests to a compiled feature set


def _python_floats(address: int) -> np.ndarray:
    """An array that starts at `address`, with a practically unlimited length, like a pointer."""
    return np.frombuffer((ctypes.c_char * (1 << 30)).from_address(int(address)), np.float64)


# (address) -> an object whose items are f8
floats = floats_at() if JIT else _python_floats
# (address) -> the record, and (address) -> an object whose items are records
pass_state_at, plan_of = (record_at(dtype, record_type(dtype)) for dtype in (PASS_STATE, PLAN))
scans_at = pointer_to(SCAN)
