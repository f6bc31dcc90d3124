"""Resolve raw market-by-order records into tape rows: everything messy about a day, settled once.

    RECORD[n] ──> orders (hash by id: px, side, lots left, priority, lots filled in this event)
              ──> rows out: EVENT, both clocks, order id, sequence

The rules are DESIGN section 3 (Databento MBO on CME and Nasdaq) and are written out, slowly, in tests/model.py:
- T, F and N never change the book. An F marks the next C or M of that order as an execution, until an event begins at another
  ts_event: on CME all are one event; Nasdaq's T, F and C are an event each, at the same ts_event.
- A modify keeps its place only if side and price stay and the new size is at most what the fills of this event left.
- R, a first snapshot record without R, and a top-of-book add become the removals that they mean.
- All rows of an event get the clocks of its last record; both clocks never run backwards.

Rows are written only while all that one record may need fits; else the kernel returns a status and the record's index, and
goes on from there when it is called again: the same bytes for any batch size.

State that one event must remember lies in STATE; FAULTS are counted there with the first places of each.
"""

import numpy as np

from nbtrade._jit import helper, kernel
from nbtrade.kernels.hashing import delete, find
from nbtrade.schema import (
    ADD,
    ASK,
    BID,
    CANCEL,
    CLEARED,
    EXEC,
    F_LAST,
    F_MAYBE_BAD_BOOK,
    F_SNAPSHOT,
    F_TOB,
    GAP,
    LAST,
    MARK,
    NO_SIDE,
    NONE,
    OFF_TICK,
    RTYPE_MBO,
    SNAPSHOT,
    TRADE,
    UNDEF_PRICE,
)

# A live order; the slot is free when qty is 0. 32 bytes: two to a cache line.
ORDER = np.dtype(
    [
        ("order_id", "i8"),
        ("px", "i4"),  # ticks
        ("qty", "i4"),  # lots left
        ("prio", "i4"),  # row that put it at the back of its level
        ("filled", "i4"),  # lots of F records not yet matched by a C or M
        ("moment", "i4"),  # STATE.moment that `filled` belongs to
        ("side", "i4"),
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
) = range(len(FAULTS))
PLACES = 5  # first places kept of each fault

STATE = np.dtype(
    [
        ("instrument_id", "i8"),
        ("publisher_id", "i8"),  # -1: any
        ("tick", "i8"),  # price units (1e-9) of one tick
        ("inverse", "f8"),  # 1 / tick
        ("base_row", "i8"),  # tape row of out[0]
        ("n_out", "i8"),  # rows in the out arrays
        ("event_start", "i8"),  # out index of the first row of the open event
        ("n_records", "i8"),  # records taken, in all calls
        ("n_skipped", "i8"),  # records of other instruments
        ("n_events", "i8"),  # events ended
        ("n_live", "i8"),
        ("most_live", "i8"),
        ("n_pending", "i8"),  # F records whose C or M has not come
        ("in_snapshot", "i8"),
        ("after_clear", "i8"),
        ("moment", "i8"),  # counts the ts_event at which events begin
        ("last_ts", "i8"),  # ts_event of the record before
        ("event_open", "i8"),
        ("trade_id", "i8"),  # order id and side of the last T of this moment
        ("trade_side", "i8"),
        ("ts_event", "i8"),  # clocks so far
        ("ts_recv", "i8"),
        ("px_min", "i8"),
        ("px_max", "i8"),
        ("next_checkpoint", "i8"),  # row
        ("faults", "i8", (len(FAULTS),)),
        ("places", "i8", (len(FAULTS), PLACES)),  # record numbers
    ],
    align=True,
)

DONE, OUT_FULL, ORDERS_FULL, OFF_TICK_PRICE, CHECKPOINT_DUE, TOO_FINE, BAD_LENGTH = 0, 1, 2, 3, 4, 5, 6
RECORD_WORDS = 14
ROWS_PER_RECORD = 4
TOB_ID = -(2**63) + 1  # plus the side: the one order of a top-of-book feed's side
A, C, M, F, T, R = 65, 67, 77, 70, 84, 82  # ASCII actions
PX_LIMIT = 2**31 - 2**22  # leaves room for a book's margin


@helper
def fault(st, kind):
    """Count a fault at the current record; remember the place if it is among the first."""
    n = st.faults[kind]
    if n < PLACES:
        st.places[kind, n] = st.n_records
    st.faults[kind] = n + 1


@helper
def px_of(st, price):
    """(px, exact): ticks of `price`, rounded down, and whether it lies on a tick. No division on a tick."""
    px = np.int64(np.floor(price * st.inverse))
    rest = price - px * st.tick
    if rest != 0:
        px += rest // st.tick  # the float product may be one off; exact from here
        rest = price - px * st.tick
    return px, rest == 0


@helper
def put(out, st, px, qty, prio, kind, side, d_orders, order_id, flags, sequence):
    """Write one row; `prio` -2 stands for this row's own number."""
    events, ids, sequences = out
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
def take(out, st, orders, i, qty, kind, flags, sequence):
    """Take `qty` lots off the order in slot `i`; free the slot when nothing is left."""
    left = orders[i].qty - qty
    put(out, st, orders[i].px, -qty, orders[i].prio, kind, orders[i].side, -1 if left == 0 else 0, orders[i].order_id, flags, sequence)
    orders[i].qty = left
    if left == 0:
        st.n_live -= 1
        delete(orders, i)


@helper
def add(out, st, orders, order_id, side, px, qty, flags, sequence):
    """Put an order at the back of its level."""
    row = put(out, st, px, qty, -2, ADD, side, 1, order_id, flags, sequence)
    i = find(orders, order_id)
    orders[i].order_id = order_id
    orders[i].px = px
    orders[i].qty = qty
    orders[i].prio = row
    orders[i].filled = 0
    orders[i].side = side
    st.n_live += 1
    st.most_live = max(st.most_live, st.n_live)


@kernel
def clear(out, st, orders, side, flags, sequence):
    """Remove every order of `side` (both when -1). Room for n_live rows must be there."""
    # A delete moves later slots back, so a slot is looked at again until it is free or stays; a run that
    # wraps around the end is why it takes a second pass.
    for _ in range(2):
        for i in range(len(orders)):
            while orders[i].qty != 0 and (side < 0 or orders[i].side == side):
                take(out, st, orders, i, orders[i].qty, CANCEL, flags | CLEARED, sequence)


@helper
def fills_of(st, orders, i):
    """Lots of the order in slot `i` that F records of this moment have taken; they count as matched from here."""
    if orders[i].filled == 0 or orders[i].moment != st.moment:
        return 0
    filled = min(orders[i].filled, orders[i].qty)
    orders[i].filled = 0
    st.n_pending -= 1
    return filled


@helper
def cancel(out, st, orders, order_id, size, flags, sequence):
    """C: take `size` lots off; as an execution as far as F records announced it."""
    i = find(orders, order_id)
    if orders[i].qty == 0:
        fault(st, UNKNOWN_CANCEL)
        return
    if size > orders[i].qty:
        fault(st, OVER_CANCEL)
    size = min(size, orders[i].qty)
    filled = min(fills_of(st, orders, i), size)
    if filled > 0:
        take(out, st, orders, i, filled, EXEC, flags, sequence)
    if size > filled:
        take(out, st, orders, i, size - filled, CANCEL, flags, sequence)


@helper
def modify(out, st, orders, order_id, side, px, size, flags, sequence):
    """M: new size, price or side; what F records announced is an execution; priority as the venue keeps it."""
    i = find(orders, order_id)
    if orders[i].qty == 0:
        fault(st, UNKNOWN_MODIFY)
    else:
        side = orders[i].side if side < 0 else side  # a modify without a side keeps it
        same = orders[i].px == px and orders[i].side == side
        filled = fills_of(st, orders, i)
        left = orders[i].qty - filled
        if filled > 0:
            take(out, st, orders, i, filled, EXEC, flags, sequence)
        if same and 0 < size <= left:
            if size < left:
                take(out, st, orders, i, left - size, CANCEL, flags, sequence)
            return
        if left > 0:
            take(out, st, orders, i, left, CANCEL, flags, sequence)
    if size > 0 and side >= 0:
        add(out, st, orders, order_id, side, px, size, flags, sequence)


@helper
def mark_fill(st, orders, record):
    """F: remember the lots for the C or M that follows; an aggressor's own F is skipped."""
    if record.order_id == st.trade_id and record.side == st.trade_side:
        return
    i = find(orders, record.order_id)
    if orders[i].qty == 0:
        fault(st, UNKNOWN_FILL)
        return
    if orders[i].filled == 0 or orders[i].moment != st.moment:
        orders[i].filled = 0
        orders[i].moment = st.moment
        st.n_pending += 1
    orders[i].filled += record["size"]


@helper
def trade(out, st, record, flags):
    """T: a row that does not change the book; a price between ticks is rounded down, flagged and counted."""
    st.trade_id = record.order_id
    st.trade_side = record.side
    if record.price == UNDEF_PRICE:
        return True
    px, exact = px_of(st, record.price)
    if abs(px) > PX_LIMIT:
        return False
    if not exact:
        fault(st, OFF_TICK_TRADE)
        flags |= OFF_TICK
    if record.side == 78:  # N
        flags |= NO_SIDE
    side = ASK if record.side == 65 else BID
    st.px_min = min(st.px_min, px)
    st.px_max = max(st.px_max, px)
    put(out, st, px, np.int64(record["size"]), -1, TRADE, side, 0, record.order_id, flags, record.sequence)
    return True


@helper
def change(out, st, orders, record, px, flags):
    """A or M on a known side and an exact price."""
    side = ASK if record.side == 65 else BID
    size = np.int64(record["size"])
    st.px_min = min(st.px_min, px)
    st.px_max = max(st.px_max, px)
    if record["flags"] & F_TOB:
        clear(out, st, orders, side, flags, record.sequence)
        if size > 0:
            add(out, st, orders, TOB_ID + side, side, px, size, flags, record.sequence)
    elif record.action == M:
        modify(out, st, orders, record.order_id, NONE if record.side == 78 else side, px, size, flags, record.sequence)
    elif size == 0:
        fault(st, ZERO_SIZE)
    else:
        i = find(orders, record.order_id)
        if orders[i].qty != 0:
            fault(st, DUPLICATE_ADD)
            take(out, st, orders, i, orders[i].qty, CANCEL, flags, record.sequence)
        add(out, st, orders, record.order_id, side, px, size, flags, record.sequence)


@helper
def add_or_modify(out, st, orders, record, flags):
    """Check side and price of an A or M, then apply it. Returns DONE or why not."""
    if record["flags"] & F_TOB and record.price == UNDEF_PRICE and record.side != 78:
        clear(out, st, orders, ASK if record.side == 65 else BID, flags, record.sequence)
        return DONE
    if record.price == UNDEF_PRICE or (record.side == 78 and record.action == A):
        fault(st, NO_LEVEL)
        return DONE
    px, exact = px_of(st, record.price)
    if not exact:
        return OFF_TICK_PRICE
    if abs(px) > PX_LIMIT:
        return TOO_FINE
    change(out, st, orders, record, px, flags)
    return DONE


@helper
def clears(st, record):
    """True when this record removes everything, or all of a side: it may need a row for each live order."""
    starts_snapshot = record["flags"] & F_SNAPSHOT != 0 and st.in_snapshot == 0 and st.after_clear == 0
    return record.action == R or starts_snapshot or record["flags"] & F_TOB != 0


@helper
def close_event(out, st, ts_event, ts_recv):
    """End the open event: flag its last row, give all its rows the same clocks.

    An event without a row (only unknown ids, say) gets a MARK, so that the tape has every event of the source.
    """
    if st.n_out == st.event_start:
        put(out, st, 0, 0, -1, MARK, BID, 0, 0, 0, 0)
    out[0][st.n_out - 1]["flags"] |= LAST
    for i in range(st.event_start, st.n_out):
        ts_event[i] = st.ts_event
        ts_recv[i] = st.ts_recv
    st.event_start = st.n_out
    st.n_events += 1
    st.event_open = 0


@helper
def begin_record(st, record):
    """Forget the marks of T and F records when an event begins at another ts_event."""
    if st.event_open == 0 and record.ts_event != st.last_ts:
        if st.n_pending != 0:
            fault(st, FILL_WITHOUT_CHANGE)
            st.n_pending = 0
        st.moment = (st.moment + 1) & 0x7FFFFFFF
        st.trade_id = 0
        st.trade_side = 0
    st.event_open = 1
    st.last_ts = record.ts_event


@helper
def keep_clocks(st, record):
    """Both clocks, never backwards; a snapshot's exchange clock is the time it was received."""
    ts_event = record.ts_recv if record["flags"] & F_SNAPSHOT else record.ts_event
    if ts_event < st.ts_event or record.ts_recv < st.ts_recv:
        fault(st, CLOCK_BACKWARDS)
    st.ts_event = max(st.ts_event, ts_event)
    st.ts_recv = max(st.ts_recv, record.ts_recv)


@helper
def dispatch(out, st, orders, record):
    """Apply one record of the wanted instrument. Returns DONE or why not (then nothing was changed)."""
    flags = 0
    if record["flags"] & F_SNAPSHOT:
        flags |= SNAPSHOT
    if record["flags"] & F_MAYBE_BAD_BOOK:
        flags |= GAP
        fault(st, GAP_SEEN)
    if record.action == C:
        cancel(out, st, orders, record.order_id, np.int64(record["size"]), flags, record.sequence)
    elif record.action == A or record.action == M:
        if clears(st, record) and record["flags"] & F_TOB == 0:
            clear(out, st, orders, -1, flags, record.sequence)
            st.after_clear = 1  # so that a record that is refused does not clear twice
        return add_or_modify(out, st, orders, record, flags)
    elif record.action == F:
        mark_fill(st, orders, record)
    elif record.action == T:
        return DONE if trade(out, st, record, flags) else TOO_FINE
    elif record.action == R:
        clear(out, st, orders, -1, flags, record.sequence)
        put(out, st, 0, 0, -1, MARK, BID, 0, 0, flags | CLEARED, record.sequence)
    return DONE


@kernel
def resolve(records, start, orders, st, events, ts_event, ts_recv, ids, sequences):
    """Resolve records[start:] into the out arrays, from row st.n_out on.

    records : RECORD[n]          orders  : ORDER[power of two], at most half full
    st      : STATE[1]           events  : EVENT[m]
    ts_event, ts_recv, ids : i8[m]         sequences : u4[m]

    Returns (status, index of the first record not taken): DONE, OUT_FULL (flush closed rows or grow), ORDERS_FULL (rehash),
    OFF_TICK_PRICE, TOO_FINE (price beyond 2**31 ticks), CHECKPOINT_DUE (all rows so far are closed: take one), BAD_LENGTH (not 56 bytes: the stream is out of step).
    Cost: O(1) a record, one or two cache lines of `orders`. Oracle: tests/model.py.
    """
    s = st[0]
    out = (events, ids, sequences)
    for k in range(start, len(records)):
        record = records[k]
        if record.rtype != RTYPE_MBO or record.length != RECORD_WORDS:
            if record.length != RECORD_WORDS:
                return BAD_LENGTH, k
            s.n_records += 1
            fault(s, OTHER_RTYPE)
            continue
        if record.instrument_id != s.instrument_id or (s.publisher_id >= 0 and record.publisher_id != s.publisher_id):
            s.n_records += 1
            s.n_skipped += 1
            continue
        room = ROWS_PER_RECORD + (s.n_live if clears(s, record) else 0)
        if s.n_out + room > len(events):
            return OUT_FULL, k
        if 2 * (s.n_live + 1) > len(orders):
            return ORDERS_FULL, k
        begin_record(s, record)
        status = dispatch(out, s, orders, record)
        if status != DONE:
            return status, k
        keep_clocks(s, record)
        s.in_snapshot = record["flags"] & F_SNAPSHOT != 0
        s.after_clear = record.action == R
        s.n_records += 1
        if record["flags"] & F_LAST:
            close_event(out, s, ts_event, ts_recv)
            if s.base_row + s.n_out >= s.next_checkpoint:
                return CHECKPOINT_DUE, k + 1
    return DONE, len(records)


@kernel
def end_of_data(st, events, ts_event, ts_recv, ids, sequences):
    """Close the event that the data broke off in. Returns True if there was one."""
    s = st[0]
    if s.n_out == s.event_start:
        return False
    close_event((events, ids, sequences), s, ts_event, ts_recv)
    return True


@kernel
def rehash(old, new):
    """Move all live orders into the larger, empty table `new`."""
    for i in range(len(old)):
        if old[i].qty != 0:
            new[find(new, old[i].order_id)] = old[i]


@kernel
def live_orders(orders, out):
    """Write every live order to `out` (LIVE[n_live]), in no order; returns how many."""
    n = 0
    for i in range(len(orders)):
        if orders[i].qty != 0:
            out[n].prio = orders[i].prio
            out[n].qty = orders[i].qty
            out[n].px = orders[i].px
            out[n].side = orders[i].side
            n += 1
    return n
