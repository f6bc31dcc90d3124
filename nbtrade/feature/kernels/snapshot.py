"""What a pass over a tape shows to features: one record of floats, brought up to date at every event's end.

    MARKET_SNAPSHOT   clock | flows of the event | last trade, last quote | touch | 10 levels a side | order-flow imbalance | scans

All fields are f8, so a feature's formula loads a number and nothing is converted: prices in ticks, sizes in lots, times in ns since the
pass began (`PASS_STATE.t0`), exact up to 104 days. An empty level has a NaN price and zeros. The same memory is an array of f8 in the pass
(feature/kernels/event_loop.py), which finds fields by the positions below, and a record with names in a user's own feature.

Why floats: twenty formulas with integer inputs spent 20 conversions an event; counts and lots are exact in f8 up to 2**53.
"""

import ctypes

import numpy as np

from nbtrade._numba.jit import JIT
from nbtrade._numba.pointers import pointer_to
from nbtrade._numba.records import floats_at, record_at, record_type
from nbtrade.book.kernels.pointers import BOOK_FIELDS

LEVELS = 10  # levels a side that can be followed
WIDTH = 16  # floats of a side's prices, sizes or counts: those beyond the levels followed stay empty
N_SCANS = 16
COLUMN_FIELDS = ("events_at", "ts_event_at", "ts_recv_at", "order_id_at", "first_seen_at")

MARKET_SNAPSHOT = np.dtype(
    [
        ("now", "f8"),  # ns: of the last event's end
        ("n_events", "f8"),  # event ends so far
        ("volume", "f8"),  # lots traded so far
        # the event's own flows: zero again before the next
        ("buy_qty", "f8"),  # lots traded by aggressive buyers
        ("sell_qty", "f8"),
        ("unsigned_qty", "f8"),  # lots of trades without a side
        ("trade_value", "f8"),  # sum of px * lots
        ("signed_value", "f8"),  # the same, sellers' negative, without those that have no side
        ("n_trades", "f8"),
        ("bid_adds", "f8"),  # orders that joined; snapshots and clears never count
        ("ask_adds", "f8"),
        ("bid_cancels", "f8"),  # orders withdrawn
        ("ask_cancels", "f8"),
        ("bid_modifies", "f8"),  # orders moved, made larger, or reduced
        ("ask_modifies", "f8"),
        ("bid_refills", "f8"),  # executed orders that came back at their price in the same event: icebergs
        ("ask_refills", "f8"),
        ("bid_refilled", "f8"),  # their lots
        ("ask_refilled", "f8"),
        ("bid_swept", "f8"),  # levels that executions emptied
        ("ask_swept", "f8"),
        # what stays until it changes
        ("bid_sweep", "f8"),  # levels emptied at the last ts_event that had executions
        ("ask_sweep", "f8"),
        ("last_px", "f8"),
        ("last_qty", "f8"),
        ("last_sign", "f8"),  # 1 bought, -1 sold; NaN before the first trade with a side
        ("run", "f8"),  # trades in a row of one side, with its sign
        ("last_trade", "f8"),  # ns of the last trade; NaN before it
        ("last_quote", "f8"),  # ns of the last change of a best price or its size; NaN before it
        ("mid_before", "f8"),  # mid at the end of the event before
        ("bid_since", "f8"),  # sum of the arrival times of the orders at the touch, ns
        ("ask_since", "f8"),
        # the book's best levels
        ("bid_px", "f8", (WIDTH,)),
        ("ask_px", "f8", (WIDTH,)),
        ("bid_qty", "f8", (WIDTH,)),
        ("ask_qty", "f8", (WIDTH,)),
        ("bid_orders", "f8", (WIDTH,)),
        ("ask_orders", "f8", (WIDTH,)),
        ("old_bid_px", "f8", (WIDTH,)),  # the same at the end of the event before
        ("old_ask_px", "f8", (WIDTH,)),
        ("old_bid_qty", "f8", (WIDTH,)),
        ("old_ask_qty", "f8", (WIDTH,)),
        ("ofi", "f8", (WIDTH,)),  # the event's order-flow imbalance at each level
        ("scans", "f8", (N_SCANS,)),  # answers of walks over the book (SCAN)
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
# of place e = side * WIDTH + k: the k-th best level of a side
PX, QTY, ORDERS, OLD_PX, OLD_QTY = at("bid_px"), at("bid_qty"), at("bid_orders"), at("old_bid_px"), at("old_bid_qty")
OFI, SCANS = at("ofi"), at("scans")

# One walk over the book, done anew when a side of it changed.
SCAN = np.dtype(
    [
        ("kind", "i8"),  # WITHIN or COST
        ("side", "i8"),
        ("amount", "f8"),  # ticks from the best price, or lots to fill
        ("always", "i8"),  # 1: at every event end; 0: only where a sample is taken
        ("seen", "i8"),  # changes of the side when it was last done
    ],
    align=True,
)
WITHIN, COST = 0, 1

# What one pass must remember, besides the floats, and where its arrays are: a kernel gets this record and nothing else.
PASS_STATE = np.dtype(
    [
        ("t0", "i8"),  # ns since the epoch: times are counted from here
        ("status", "i8"),
        ("event_bits", "i8"),  # what is known of an event that is not dealt with to its end (feature/kernels/event_loop.py)
        ("prev_kind", "i8"),  # kind, id, side of the event's row before
        ("prev_id", "i8"),
        ("prev_side", "i8"),
        ("exec_id", "i8"),  # id, px, side of the event's last execution
        ("exec_px", "i8"),
        ("exec_side", "i8"),
        ("sweep_ts", "i8"),  # ts_event of the last execution
        ("changes", "i8", (2,)),  # of each side
        # what is wanted
        ("n_levels", "i8"),  # levels followed: 1..10
        ("n_ofi", "i8"),
        ("n_scans", "i8"),
        ("stateful", "i8"),  # 1: the set takes in every event; 0: it is called for samples only
        ("follow_orders", "i8"),  # 1: adds, cancels, refills, sweeps are wanted
        ("follow_sweeps", "i8"),  # 1: sweeps are
        ("follow_quotes", "i8"),  # 1: changes at the touch are wanted
        ("follow_ages", "i8"),  # 1: ages at the touch are wanted
        ("follow_more", "i8"),  # 1: ages or scans are
        ("follows_touch", "i8"),  # 1: quotes or ages are
        # samples
        ("mode", "i8"),  # SAMPLE_*
        ("every", "i8"),  # events, or ns
        ("count", "i8"),  # events since the last sample
        ("amount", "f8"),  # lots or value between samples
        ("done", "f8"),  # of them since the last sample
        ("next_time", "i8"),  # ns since t0 of the next sample in time
        ("next_index", "i8"),  # of it among the given times
        ("n_times", "i8"),
        ("capacity", "i8"),  # rows of the matrix
        ("n_out", "i8"),  # rows written
        ("out_at", "i8"),  # the matrix, see feature/kernels/streaming_stores.py
        ("stage_at", "i8"),
        ("unloaded", "i8"),  # bytes of the stage that are in the matrix
        ("staged", "i8"),  # bytes of the stage that are written
        ("stage_bytes", "i8"),  # where it is full
        ("row_bytes", "i8"),
        ("evaluate_at", "i8"),  # function pointer
        # addresses: the tape's columns from the rows at hand on, first_seen (ts_recv of the whole tape, which `prio` counts in), ...
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

# Where a compiled feature set finds its memory: addresses of MARKET_SNAPSHOT, f8 state and constants, WINDOW, PAIRS, own records, f8 rings.
PLAN = np.dtype([(name, "i8") for name in ("snapshot", "state", "constants", "windows", "pairs", "own", "rings", "full")], align=True)
ADVANCE, ABSORB, WRITE = 1, 2, 4  # what a compiled feature set is asked to do


def _python_floats(address: int) -> np.ndarray:
    """An array that begins at `address` and has no end to speak of, as a pointer has none."""
    return np.frombuffer((ctypes.c_char * (1 << 30)).from_address(int(address)), np.float64)


# (address) -> something to index that gives f8
floats = floats_at() if JIT else _python_floats
# (address) -> the record, and (address) -> something to index that gives records
pass_state_at, plan_of = (record_at(dtype, record_type(dtype)) for dtype in (PASS_STATE, PLAN))
scans_at = pointer_to(SCAN)
