"""The state and output of a resolve: live orders, counters, and the only functions that make tape rows.

    ORDER[power of two]   live orders, hashed by id (tape/kernels/order_table.py)
    PENDING[power of two] fills announced by F records, hashed by order id (tape/kernels/pending_fills.py)
    STATE[1]              state of the current event, counters, clocks, faults with their first record numbers
    out                   (EVENT[m], order ids i8[m], sequences u4[m], chains): pending rows; whether changes may be chains

Every row passes through `write_row`; orders change only in `take_lots` and `add`, each of which writes its row, so rows and orders cannot
disagree. The rules are in tape/kernels/resolve.py. Lots are int64 throughout; only `write_row` knows that a
row holds MAX_ROW_LOTS, and writes a larger change as several rows (`put_chain`, out of line). `chains` is a constant of the kernel: the
kernel for ordinary sizes contains no code for chains.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade.schema import ADD, BID, CANCEL, CLEARED, CONTINUED, LAST, MARK, MAX_ROW_LOTS
from nbtrade.tape.kernels.order_table import delete, find
from nbtrade.tape.kernels.pending_fills import forget_fills

# A live order; the slot is free when qty is 0. 32 bytes: two to a cache line.
ORDER = np.dtype(
    [
        ("order_id", "i8"),
        ("qty", "i8"),  # lots left
        ("px", "i4"),  # ticks
        ("prio", "i4"),  # row that put it at the back of its level
        ("side", "i8"),
    ],
    align=True,
)

FAULTS = (
    "duplicate_add",
    "zero_size",
    "over_cancel",
    "unknown_cancel",
    "unknown_fill",
    "unknown_modify",
    "fill_without_change",
    "off_tick_trade",
    "clock_backwards",
    "gap",
    "no_level",
    "other_rtype",
    "no_size",
)
(
    DUPLICATE_ADD,
    ZERO_SIZE,
    OVER_CANCEL,
    UNKNOWN_CANCEL,
    UNKNOWN_FILL,
    UNKNOWN_MODIFY,
    FILL_WITHOUT_CHANGE,
    OFF_TICK_TRADE,
    CLOCK_BACKWARDS,
    GAP_SEEN,
    NO_LEVEL,
    OTHER_RTYPE,
    NO_SIZE,
) = range(len(FAULTS))
PLACES = 5  # record numbers kept of each fault
HALF_ROW_LOTS = 1 << 30  # a power of two: the division is a shift

STATE = np.dtype(
    [
        ("instrument_id", "i8"),
        ("publisher_id", "i8"),  # -1: any
        ("tick", "i8"),  # price units (1e-9) of one tick
        ("inverse", "f8"),  # 1 / tick
        ("base_row", "i8"),  # tape row of out[0]
        ("n_out", "i8"),  # rows in the out arrays
        ("event_start", "i8"),  # out index of the first row of the open event
        ("n_records", "i8"),  # records of this instrument taken, in all calls
        ("n_skipped", "i8"),  # records of other instruments
        ("n_events", "i8"),  # events ended
        ("n_live", "i8"),
        ("most_live", "i8"),
        ("n_pending", "i8"),  # F records whose C or M has not come
        ("n_pending_slots", "i8"),  # slots of PENDING used at this moment
        ("in_snapshot", "i8"),
        ("moment", "i8"),  # counts the ts_event at which events begin
        ("last_ts", "i8"),  # ts_event of the previous record
        ("event_open", "i8"),
        ("trade_id", "i8"),  # order id and side of the last T of this moment
        ("trade_side", "i8"),
        ("ts_event", "i8"),  # clocks so far
        ("ts_recv", "i8"),
        ("px_min", "i8"),
        ("px_max", "i8"),
        ("next_checkpoint", "i8"),  # row
        ("undef_size", "i8"),  # the source's code for "no size"
        ("most_lots", "i8"),  # largest change so far, at least MAX_ROW_LOTS
        ("room", "i8"),  # rows that the record which returned OUT_FULL may need
        ("faults", "i8", (len(FAULTS),)),
        ("places", "i8", (len(FAULTS), PLACES)),  # record numbers
    ],
    align=True,
)


@helper
def count_fault(st, kind):
    """Count a fault at the current record; keep the record number if it is among the first PLACES."""
    n = st.faults[kind]
    if n < PLACES:
        st.places[kind, n] = st.n_records
    st.faults[kind] = n + 1


@helper
def write_row(out, st, px, qty, prio, kind, side, d_orders, order_id, flags, sequence):
    """Write a change of `qty` lots as one row or a chain. A `prio` of -2 means the row's own number. Returns the first row's number."""
    if out[3] and abs(qty) > MAX_ROW_LOTS:
        return put_chain(out, st, px, qty, prio, kind, side, d_orders, order_id, flags, sequence)
    return put_row(out, st, px, qty, prio, kind, side, d_orders, order_id, flags, sequence)


@kernel
def put_chain(out, st, px, qty, prio, kind, side, d_orders, order_id, flags, sequence):
    """Write a change of more than MAX_ROW_LOTS lots: full rows, then the remainder. The caller has made room. Out of line: rare."""
    noinline()
    st.most_lots = max(st.most_lots, abs(qty))
    most = np.int64(MAX_ROW_LOTS if qty > 0 else -MAX_ROW_LOTS)
    first = put_row(out, st, px, most, prio, kind, side, d_orders, order_id, flags, sequence)
    prio = first if prio == -2 else prio
    left = qty - most
    while left != 0:
        lots = most if abs(left) > MAX_ROW_LOTS else left
        put_row(out, st, px, lots, prio, kind, side, 0, order_id, flags | CONTINUED, sequence)
        left -= lots
    return first


@helper
def put_row(out, st, px, qty, prio, kind, side, d_orders, order_id, flags, sequence):
    """Write one row."""
    events, ids, sequences, _ = out
    n = st.n_out
    row = st.base_row + n
    events[n].px = px
    events[n].qty = qty
    events[n].prio = row if prio == -2 else prio
    events[n].kind = kind
    events[n].side = side
    events[n]["flags"] = flags
    events[n].d_orders = d_orders
    ids[n] = order_id
    sequences[n] = sequence
    st.n_out = n + 1
    return row


@helper
def take_lots(out, st, orders, i, qty, kind, flags, sequence):
    """Take `qty` lots off the order in slot `i`; free the slot when nothing is left."""
    left = orders[i].qty - qty
    write_row(
        out, st, orders[i].px, -qty, orders[i].prio, kind, orders[i].side, -1 if left == 0 else 0, orders[i].order_id, flags, sequence
    )
    orders[i].qty = left
    if left == 0:
        st.n_live -= 1
        delete(orders, i)


@helper
def add(out, st, orders, pending, i, order_id, side, px, qty, flags, sequence):
    """Put an order at the back of its level; `i` is its free slot, from `find`."""
    if st.n_pending != 0:
        forget_fills(st, pending, order_id)
    row = write_row(out, st, px, qty, -2, ADD, side, 1, order_id, flags, sequence)
    orders[i].order_id = order_id
    orders[i].px = px
    orders[i].qty = qty
    orders[i].prio = row
    orders[i].side = side
    st.n_live += 1
    st.most_live = max(st.most_live, st.n_live)


@kernel
def clear(out, st, orders, side, flags, sequence):
    """Remove every order of `side` (both when -1). The caller has made room for the rows."""
    # A delete moves later slots back, so each slot is checked until it is free or its order stays. A run that
    # wraps around the end of the table requires a second pass.
    for _ in range(2):
        for i in range(len(orders)):
            while orders[i].qty != 0 and (side < 0 or orders[i].side == side):
                take_lots(out, st, orders, i, orders[i].qty, CANCEL, flags | CLEARED, sequence)


@helper
def rows_of_chains(st, orders, size, clears_all):
    """Upper bound for the rows beyond one per change that a record may need when its size, or an order's so far, exceeds one row."""
    n = (2 * st.most_lots + max(size, 0)) // HALF_ROW_LOTS
    return n + (rows_of_all_chains(orders) if clears_all else 0)


@kernel
def rows_of_all_chains(orders):
    """Rows beyond one per order that the removal of all orders needs. Out of line: rare."""
    noinline()
    n = 0
    for i in range(len(orders)):
        n += orders[i].qty // HALF_ROW_LOTS
    return n


@helper
def close_event(out, st, ts_event, ts_recv):
    """End the open event: flag its last row, give all its rows the same clocks.

    An event without rows (for example, one with unknown ids only) gets a MARK, so the tape has every event of the source.
    """
    if st.n_out == st.event_start:
        write_row(out, st, 0, 0, -1, MARK, BID, 0, 0, 0, 0)
    out[0][st.n_out - 1]["flags"] |= LAST
    for i in range(st.event_start, st.n_out):
        ts_event[i] = st.ts_event
        ts_recv[i] = st.ts_recv
    st.event_start = st.n_out
    st.n_events += 1
    st.event_open = 0


@kernel
def rehash(old, new):
    """Move all live orders into the larger, empty table `new`."""
    for i in range(len(old)):
        if old[i].qty != 0:
            new[find(new, old[i].order_id)] = old[i]


@kernel
def live_orders(orders, out):
    """Write every live order to `out` (LIVE[n_live]), in arbitrary order; returns the count."""
    n = 0
    for i in range(len(orders)):
        if orders[i].qty != 0:
            out[n].prio = orders[i].prio
            out[n].qty = orders[i].qty
            out[n].px = orders[i].px
            out[n].side = orders[i].side
            n += 1
    return n
