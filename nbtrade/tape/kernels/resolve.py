"""Resolve raw market-by-order records into tape rows: settle everything messy about a day once.

    RECORD[n] ──> orders (hash by id: px, side, lots left, priority), fills announced at this moment
              ──> rows out: EVENT, both clocks, order id, sequence

The rules are DESIGN section 3 (Databento MBO on CME and Nasdaq); tests/oracle/model.py spells them out in slow, plain Python:
- T, F and N never change the book. An F marks the next C or M of that order as an execution, until an event starts with another
  ts_event: on CME all these records form one event; on Nasdaq T, F and C are separate events with the same ts_event.
- A modified order keeps its priority only if side and price are unchanged and the new size is at most the size left by this event's fills.
- R, a first snapshot record without R, and a top-of-book add become the removals that they imply.
- All rows of an event get the clocks of its last record; both clocks never run backwards.
- Sizes enter in `size_of` and are int64 from there. Without one, an A or M is counted and ignored, a T has 0 lots, a C or F covers it all.

Rows are written only if everything that one record may need fits; otherwise the kernel returns a status and the record's index, and
resumes there on the next call: the same bytes for any batch size.

The arrays, and the only functions that turn them into rows, are in tape/kernels/tape_rows.py.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel
from nbtrade._numba.prefetch import prefetch
from nbtrade.book.kernels.book import MAX_LOTS
from nbtrade.schema import (
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
    MARK,
    MAX_ROW_LOTS,
    NO_SIDE,
    NONE,
    OFF_TICK,
    RTYPE_MBO,
    SNAPSHOT,
    TRADE,
    UNDEF_PRICE,
)
from nbtrade.tape.kernels.order_table import find, slot_of
from nbtrade.tape.kernels.pending_fills import announce_fills, explain_fills
from nbtrade.tape.kernels.tape_rows import (
    CLOCK_BACKWARDS,
    DUPLICATE_ADD,
    FILL_WITHOUT_CHANGE,
    GAP_SEEN,
    NO_LEVEL,
    NO_SIZE,
    OFF_TICK_TRADE,
    OTHER_RTYPE,
    OVER_CANCEL,
    UNKNOWN_CANCEL,
    UNKNOWN_FILL,
    UNKNOWN_MODIFY,
    ZERO_SIZE,
    add,
    clear,
    close_event,
    count_fault,
    rows_of_chains,
    take_lots,
    write_row,
)

DONE, OUT_FULL, TABLE_FULL, OFF_TICK_PRICE, CHECKPOINT_DUE, TOO_FINE, BAD_LENGTH, TOO_LARGE, UNUSUAL_SIZE = range(9)
RECORD_WORDS, ROWS_PER_RECORD = 14, 4
AHEAD = 12  # records: by then the order's slot is in the cache (10 k live orders: 100 ns a record without prefetch, 39 with)
TOB_ID = -(2**63) + 1  # plus the side: the one order of a top-of-book feed's side
A, C, M, F, T, R = 65, 67, 77, 70, 84, 82  # ASCII actions
PX_LIMIT = 2**31 - 2**22  # leaves room for a book's margin
NONE_GIVEN = -1  # a record without a size


@helper
def side_of(record):
    """BID, ASK, or NONE for N and anything else."""
    if record.side == 66:
        return BID
    return ASK if record.side == 65 else NONE


@helper
def px_of(st, price):
    """(px, exact): ticks of `price`, rounded down, and whether it is a whole number of ticks (then found without a division)."""
    px = np.int64(np.floor(price * st.inverse))
    rest = price - px * st.tick
    if rest != 0:
        px += rest // st.tick  # the float product may be off by one; exact from here
        rest = price - px * st.tick
    return px, rest == 0


@helper
def size_of(record, st):
    """The size of a record in lots, NONE_GIVEN if it has none. Sizes enter only here."""
    size = np.int64(record["size"])
    return np.int64(NONE_GIVEN) if size < 0 or size == st.undef_size else size


@helper
def is_unusual(size):
    """True for a size that needs `resolve_any_size`."""
    return size > MAX_ROW_LOTS or size < 0


@helper
def given_or_all(st, orders, i, size):
    """`size`, or the whole order in slot `i` if the record has no size, which is counted as a fault."""
    if size == NONE_GIVEN:
        count_fault(st, NO_SIZE)
        return orders[i].qty
    return size


@helper
def cancel(out, st, orders, pending, order_id, size, flags, sequence):
    """C: remove `size` lots, as an execution up to the lots that F records announced."""
    i = find(orders, order_id)
    if orders[i].qty == 0:
        count_fault(st, UNKNOWN_CANCEL)
        return
    size = given_or_all(st, orders, i, size)
    if size > orders[i].qty:
        count_fault(st, OVER_CANCEL)
    size = min(size, orders[i].qty)
    filled = min(explain_fills(st, pending, order_id), size)
    if filled > 0:
        take_lots(out, st, orders, i, filled, EXEC, flags, sequence)
    if size > filled:
        take_lots(out, st, orders, i, size - filled, CANCEL, flags, sequence)


@helper
def modify(out, st, orders, pending, i, order_id, side, px, size, flags, sequence):
    """M of the order in slot `i`: new size, price or side. Lots that F records announced are executions; priority follows the venue."""
    side = orders[i].side if side < 0 else side  # a modify without a side keeps it
    same = orders[i].px == px and orders[i].side == side
    filled = min(explain_fills(st, pending, order_id), orders[i].qty)
    left = orders[i].qty - filled
    if filled > 0:
        take_lots(out, st, orders, i, filled, EXEC, flags, sequence)
    if same and 0 < size <= left:
        if size < left:
            take_lots(out, st, orders, i, left - size, CANCEL, flags, sequence)
        return
    if left > 0:
        take_lots(out, st, orders, i, left, CANCEL, flags, sequence)
    if size > 0:
        add(out, st, orders, pending, find(orders, order_id), order_id, side, px, size, flags, sequence)


@helper
def note_fill(st, orders, pending, record, size):
    """F: remember the lots for the C or M that follows; skip the aggressor's own F. Returns DONE, or TABLE_FULL (nothing done)."""
    if 4 * (st.n_pending_slots + 1) > len(pending):
        return TABLE_FULL
    if record.order_id == st.trade_id and record.side == st.trade_side:
        return DONE
    i = find(orders, record.order_id)
    if orders[i].qty == 0:
        count_fault(st, UNKNOWN_FILL)
        return DONE
    size = given_or_all(st, orders, i, size)
    if size != 0:
        announce_fills(st, pending, record.order_id, min(size, MAX_LOTS), MAX_LOTS)
    return DONE


@helper
def trade(out, st, record, size, flags):
    """T: a row that does not change the book; a price between ticks is rounded down, flagged and counted. Returns DONE or an error."""
    st.trade_id = record.order_id
    st.trade_side = record.side
    if record.price == UNDEF_PRICE:
        return DONE
    px, exact = px_of(st, record.price)
    if abs(px) > PX_LIMIT:
        return TOO_FINE
    if size > MAX_LOTS:
        return TOO_LARGE
    if size == NONE_GIVEN:
        count_fault(st, NO_SIZE)
        size = np.int64(0)
    if not exact:
        count_fault(st, OFF_TICK_TRADE)
        flags |= OFF_TICK
    if side_of(record) == NONE:
        flags |= NO_SIDE
    side = max(side_of(record), BID)
    st.px_min = min(st.px_min, px)
    st.px_max = max(st.px_max, px)
    write_row(out, st, px, size, -1, TRADE, side, 0, record.order_id, flags, record.sequence)
    return DONE


@helper
def is_top(record):
    """True for a record that replaces a whole side: the add of a top-of-book feed."""
    return record.action == A and record["flags"] & F_TOB != 0 and side_of(record) != NONE


@helper
def new_order(out, st, orders, pending, record, side, px, size, flags):
    """An A, or the M of an unknown order: add the order if it has a size and a level."""
    if size == 0:
        count_fault(st, ZERO_SIZE)
    elif side == NONE or record.price == UNDEF_PRICE:
        count_fault(st, NO_LEVEL)
    else:
        i = find(orders, record.order_id)
        if orders[i].qty != 0:
            count_fault(st, DUPLICATE_ADD)
            take_lots(out, st, orders, i, orders[i].qty, CANCEL, flags, record.sequence)
            i = find(orders, record.order_id)
        add(out, st, orders, pending, i, record.order_id, side, px, size, flags, record.sequence)


@helper
def change(out, st, orders, pending, record, known, px, size, flags):
    """A or M whose price is on a tick, if the order will rest."""
    side = side_of(record)
    if size == NONE_GIVEN:
        count_fault(st, NO_SIZE)
    elif is_top(record):
        clear(out, st, orders, side, flags, record.sequence)
        if record.price != UNDEF_PRICE and size == 0:
            count_fault(st, ZERO_SIZE)
        elif record.price != UNDEF_PRICE:
            add(out, st, orders, pending, find(orders, TOB_ID + side), TOB_ID + side, side, px, size, flags, record.sequence)
    elif not known:
        if record.action == M:
            count_fault(st, UNKNOWN_MODIFY)
        new_order(out, st, orders, pending, record, side, px, size, flags)
    elif size > 0 and record.price == UNDEF_PRICE:
        count_fault(st, NO_LEVEL)
    else:
        modify(out, st, orders, pending, find(orders, record.order_id), record.order_id, side, px, size, flags, record.sequence)


@helper
def add_or_modify(out, st, orders, pending, record, size, flags):
    """Check the price of an A or M that will rest, then apply it. Returns DONE or an error status (then nothing is changed or counted)."""
    if size > MAX_LOTS:
        return TOO_LARGE
    known = record.action == M and orders[find(orders, record.order_id)].qty != 0
    px = np.int64(0)
    if size > 0 and record.price != UNDEF_PRICE and (known or side_of(record) != NONE):
        px, exact = px_of(st, record.price)
        if not exact:
            return OFF_TICK_PRICE
        if abs(px) > PX_LIMIT:
            return TOO_FINE
        st.px_min = min(st.px_min, px)
        st.px_max = max(st.px_max, px)
    change(out, st, orders, pending, record, known, px, size, flags)
    return DONE


@helper
def starts_snapshot(st, record):
    """True for the first record of a snapshot: files before February 2024 have no R before it."""
    return record["flags"] & F_SNAPSHOT != 0 and st.in_snapshot == 0


@helper
def clears(st, record):
    """True when this record removes everything, or all of a side: it may need a row per live order."""
    return record.action == R or starts_snapshot(st, record) or is_top(record)


@helper
def begin_record(st, record):
    """Forget the marks of T and F records when an event starts with another ts_event."""
    if st.event_open == 0 and record.ts_event != st.last_ts:
        if st.n_pending != 0:
            count_fault(st, FILL_WITHOUT_CHANGE)
            st.n_pending = 0
        st.n_pending_slots = 0
        st.moment += 1
        st.trade_id = 0
        st.trade_side = 0
    st.event_open = 1
    st.last_ts = record.ts_event


@helper
def keep_clocks(st, record):
    """Update both clocks, never backwards; a snapshot's exchange clock is the time it was received."""
    ts_event = record.ts_recv if record["flags"] & F_SNAPSHOT else record.ts_event
    if ts_event < st.ts_event or record.ts_recv < st.ts_recv:
        count_fault(st, CLOCK_BACKWARDS)
    st.ts_event = max(st.ts_event, ts_event)
    st.ts_recv = max(st.ts_recv, record.ts_recv)


@helper
def dispatch(out, st, orders, pending, record, size):
    """Apply one record of the wanted instrument. Returns DONE or an error status (then at most a snapshot's clear has been applied)."""
    flags = 0
    if record["flags"] & F_SNAPSHOT:
        flags |= SNAPSHOT
    if record["flags"] & F_MAYBE_BAD_BOOK:
        flags |= GAP
    if record.action == R or starts_snapshot(st, record):
        clear(out, st, orders, -1, flags, record.sequence)
    if record.action == C:
        cancel(out, st, orders, pending, record.order_id, size, flags, record.sequence)
    elif record.action == A or record.action == M:
        return add_or_modify(out, st, orders, pending, record, size, flags)
    elif record.action == F:
        return note_fill(st, orders, pending, record, size)
    elif record.action == T:
        return trade(out, st, record, size, flags)
    elif record.action == R:
        write_row(out, st, 0, 0, -1, MARK, BID, 0, 0, flags | CLEARED, record.sequence)
    return DONE


@helper
def resolve_rows(records, start, orders, pending, s, out, ts_event, ts_recv, chains):
    """As `resolve`. chains : a compile-time constant, whether a size may exceed one row"""
    n = len(records)
    for k in range(start, n):
        record = records[np.uint64(k)]
        ahead = records[np.uint64(min(k + AHEAD, n - 1))]
        prefetch(orders, slot_of(ahead.order_id, len(orders) - 1))
        if record.rtype != RTYPE_MBO or record.length != RECORD_WORDS:
            if record.length != RECORD_WORDS:
                return BAD_LENGTH, k
            s.n_records += 1
            count_fault(s, OTHER_RTYPE)
            continue
        if record.instrument_id != s.instrument_id or (s.publisher_id >= 0 and record.publisher_id != s.publisher_id):
            s.n_skipped += 1
            continue
        size = size_of(record, s)
        room = ROWS_PER_RECORD + (s.n_live if clears(s, record) else 0)
        if chains:
            room += rows_of_chains(s, orders, min(size, MAX_LOTS), clears(s, record))
        elif is_unusual(size):
            return UNUSUAL_SIZE, k
        if s.n_out + room > len(out[0]):
            s.room = room
            return OUT_FULL, k
        if 4 * (s.n_live + 1) > len(orders):
            return TABLE_FULL, k
        begin_record(s, record)
        status = dispatch(out, s, orders, pending, record, size)
        if status != DONE:
            return status, k
        if record["flags"] & F_MAYBE_BAD_BOOK:
            count_fault(s, GAP_SEEN)
        keep_clocks(s, record)
        s.in_snapshot = record["flags"] & F_SNAPSHOT != 0
        s.n_records += 1
        if record["flags"] & F_LAST:
            close_event(out, s, ts_event, ts_recv)
            if s.base_row + s.n_out >= s.next_checkpoint:
                return CHECKPOINT_DUE, k + 1
    return DONE, len(records)


@kernel
def resolve(records, start, orders, pending, st, events, ts_event, ts_recv, ids, sequences):
    """Resolve records[start:] into the out arrays, starting at row st.n_out.

    records : RECORD[n], or the same with sizes as i8
    orders  : ORDER, pending : PENDING [power of two], both at most a quarter full
    st      : STATE[1]           events  : EVENT[m]
    ts_event, ts_recv, ids : i8[m]         sequences : u4[m]

    Returns (status, index of the first record not processed): DONE, OUT_FULL (flush closed rows, or grow by `st.room` rows), TABLE_FULL
    (rehash), OFF_TICK_PRICE, TOO_FINE (price beyond 2**31 ticks), TOO_LARGE (more than MAX_LOTS lots), CHECKPOINT_DUE (all rows so far
    are closed: take one), BAD_LENGTH (not 56 bytes: the stream is out of step), UNUSUAL_SIZE (no size, or more than a row holds: continue
    here with `resolve_any_size`).
    Cost: O(1) per record, one or two cache lines of `orders`. Oracle: tests/oracle/model.py.
    """
    return resolve_rows(records, start, orders, pending, st[0], (events, ids, sequences, False), ts_event, ts_recv, False)


@kernel
def resolve_any_size(records, start, orders, pending, st, events, ts_event, ts_recv, ids, sequences):
    """As `resolve`, for records of any size; never returns UNUSUAL_SIZE. A separate kernel, because one for both took 5 to 8 % longer."""
    return resolve_rows(records, start, orders, pending, st[0], (events, ids, sequences, True), ts_event, ts_recv, True)


@kernel
def end_of_data(st, events, ts_event, ts_recv, ids, sequences):
    """Close the event in which the data ended. Returns True if there was one."""
    s = st[0]
    if s.event_open == 0:
        return False
    close_event((events, ids, sequences, False), s, ts_event, ts_recv)
    return True
