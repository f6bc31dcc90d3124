"""The exchange's clock: applies tape rows to its book, delivers own messages in between, and updates own orders.

quiet_rows    the hot loop: rows that do not affect our orders  apply_to_own  one row that does       (engine/kernels/match.py)
watched_rows  rows of the loop that need a closer check         arrive        one own message         (engine/kernels/order_entry.py)
"""

import numpy as np

from nbtrade._numba.bits import MASK, SHIFT, trailing_zeros
from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.pointers import i4_at, i8_at
from nbtrade._numba.prefetch import prefetch_lines
from nbtrade.book.kernels.book import best_after, find_level, flip_level, key_of, level_index, lots_in
from nbtrade.book.kernels.pointers import events_at, exchange_book, rows_at
from nbtrade.engine.kernels.gateway import first_waking_report
from nbtrade.engine.kernels.match import fill_crossed, trade_through, update_queue
from nbtrade.engine.kernels.order_entry import arrive, has_room
from nbtrade.engine.kernels.records import BY_REPORT, NEVER, TAKEN, messages_at, orders_at, own_levels
from nbtrade.engine.kernels.row_batch import (
    BATCH_ROWS,
    BEST_KEYS,
    D_ORDERS_BIT,
    FLAGS_BIT,
    KIND,
    LANES,
    NO_OWN,
    SIDE_BIT,
    first_bits,
    locate_rows,
)
from nbtrade.schema import ADD, ASK, BID, CONTINUED, EXEC, LAST, MAX_ROW_LOTS, SNAPSHOT, TRADE, TURN

REACHED, AFFECTS_OWN, CROSSES_OWN, PAGES_FULL = 0, 1, 2, 3
ENDS = LAST << FLAGS_BIT
TURN_BIT = FLAGS_BIT + TURN.bit_length() - 1
FROM_SNAPSHOT = SNAPSHOT << FLAGS_BIT
N_COMPARED = 64  # times compared at once
PREFETCH_BYTES = 2048  # bytes: mapped files have 4 KiB pages, and the hardware prefetcher stops at each page's end (0.8 ns a row)


@helper
def affects_own(row, lots, entries, entry):
    """Whether a row needs the full update of our entries at its level, the first of which is `entry` (0: none).

    The common cases are handled here: the level has no own order; or it has one, and lots leave ahead of it, are cancelled behind it, or
    join behind it. Their sequence is unpredictable, so they are handled branch-free; one rarely taken branch catches the others.
    """
    own, kind = entries[entry], row.word & KIND
    is_behind = row.prio >= own.stamp
    if (own.next != entry - 1) | (own.instructions == TAKEN) | (row.word & FROM_SNAPSHOT != 0) | ((kind == EXEC) & is_behind):
        return kind < TRADE and (kind != ADD or row.word & FROM_SNAPSHOT != 0)
    own.ahead += 0 if is_behind | (row.prio >= own.joined) else lots
    return False


@helper
def crosses_own(own_bid, own_ask, sides):
    """True when an opposite best price is at or through our best bid or ask (both as keys)."""
    return (own_bid >= -sides[ASK].best) | (own_ask >= -sides[BID].best)


@helper
def stop_of(instrument, x, n, until):
    """The first row at or after x with ts_event > until, or n. Comparing in blocks costs 0.2 ns a row; a check inside the loop, 1 ns."""
    at, ts = instrument.ts_event_at, i8_at(instrument.ts_event_at)
    while x + N_COMPARED <= n:
        late = 0
        prefetch_lines(at + 8 * x + PREFETCH_BYTES, 8 * N_COMPARED)
        for k in range(N_COMPARED):
            late += ts[x + k] > until
        if late != 0:
            return x + N_COMPARED - late
        x += N_COMPARED
    while x < n and ts[x] <= until:
        x += 1
    return x


@helper
def flip_with_page(instrument, row, i_level):
    """Flip the level at `i_level` and its page's side. Returns the level's index; -1 when it needs a page and none is free."""
    levels, pages, words, tree, free, sides = exchange_book(instrument)
    word, px = np.int64(row.word), np.int64(row.px)
    side = word >> SIDE_BIT & 1
    if i_level >> (SHIFT + 1) == 0:
        i_level = find_level(px, side, pages, free, sides)
    if i_level >= 0:
        flip_level(px, side, word >> D_ORDERS_BIT > 0, i_level >> (SHIFT + 1), levels, pages, words, tree, free, sides)
    return i_level


@kernel
def watched_rows(instrument, x, m, watched):
    """Check the watched rows in order: row x + k for each bit k of `watched`. The changes of rows x..x+m are not in their levels yet.

    Returns (number of rows whose changes may be added, reason to stop there): REACHED or PAGES_FULL; AFFECTS_OWN or CROSSES_OWN because of
    the last of them. Not inlined: inside the loop it would take registers from the rows that are not watched. Rows that turn a level
    and rows at our levels share one path without a branch, because a misprediction costs as much as the rest of the work.
    """
    noinline()
    rows, entries = rows_at(instrument.events_at), orders_at(instrument.entries_at)
    i_levels, changes = i4_at(instrument.i_levels_at), i8_at(instrument.changes_at)
    levels, _, words, _, _, sides = exchange_book(instrument)
    own_sides = own_levels(instrument)[2]
    own_bid, own_ask, n_free = own_sides[BID].best, own_sides[ASK].best, sides[0].n_free
    while watched != 0:
        k = trailing_zeros(watched)
        watched &= watched - 1
        row, i_level = rows[x + k], np.int64(i_levels[k])
        word, px = np.int64(row.word), np.int64(row.px)
        side, turns, is_born = word >> SIDE_BIT & 1, word >> TURN_BIT & 1, word >> D_ORDERS_BIT > 0
        old = words[i_level >> SHIFT]
        bit = turns << (i_level & MASK)
        if old & ~bit | (turns - 1) == 0:  # a turn, and the page's side has no other level
            i_level = flip_with_page(instrument, row, i_level)
            if i_level < 0:
                return k, PAGES_FULL
            i_levels[k] = i_level
            if sides[0].n_free != n_free:  # a page was opened or closed: later indices are stale
                m, watched = k + 1, 0
        else:
            words[i_level >> SHIFT] = old ^ bit
            sides[side].n_levels += turns if is_born else -turns
            best = sides[side].best
            sides[side].best = best_after(px, side, is_born, old ^ bit, best, turns)
        is_worse = (own_ask if side else own_bid) - key_of(side, px) - 1 >> 63
        if word & KIND ^ EXEC | is_worse == 0 or affects_own(row, lots_in(changes[k]), entries, np.int64(levels[i_level].own)):
            return k + 1, AFFECTS_OWN
        if crosses_own(own_bid, own_ask, sides):
            if word & ENDS != 0:
                return k + 1, CROSSES_OWN
            watched = first_bits(m) & -(2 << k)  # check every event from here
    return m, REACHED


@helper
def add_changes(m, levels, i_levels, changes):
    """Add the first m changes to their levels."""
    for k in range(m):
        levels[np.int64(i_levels[k])].held += changes[k]


@kernel
def quiet_rows(instrument, until):
    """Apply rows with ts_event <= until to the exchange's book, from `exchange_row` up to the first that affects our orders.

    Returns REACHED; PAGES_FULL (the row is not applied); AFFECTS_OWN (the row is in the book and changes our orders); CROSSES_OWN (the
    row ended an event that left an opposite price at or through our best).
    This is the hot loop, and not inlined so that its few pointers stay in registers. It works in batches: find the levels that the
    rows change, check the watched rows, then add the changes (engine/kernels/row_batch.py).
    """
    noinline()
    rows, n = rows_at(instrument.events_at), instrument.n
    levels, pages, _, _, _, sides = exchange_book(instrument)
    i_levels, changes = i4_at(instrument.i_levels_at), i8_at(instrument.changes_at)
    own_sides = own_levels(instrument)[2]
    own_bid, own_ask = own_sides[BID].best, own_sides[ASK].best
    own_filter = i8_at(instrument.own_filter_at)
    own_filter[BEST_KEYS + BID], own_filter[BEST_KEYS + ASK] = max(own_bid, NO_OWN), max(own_ask, NO_OWN)
    x, why, at_once = instrument.exchange_row, REACHED, BATCH_ROWS
    stop = stop_of(instrument, x, n, until)
    prefetch_lines(instrument.ts_recv_at + 8 * stop - 128, 192)  # our clock reads it next: a cache miss costs 20 ns a wake
    while x < stop and why == REACHED:
        m = wanted = min(at_once, stop - x)
        prefetch_lines(instrument.events_at + 16 * x + PREFETCH_BYTES, 16 * BATCH_ROWS)
        watched = locate_rows(rows, x, m, n, pages, sides[0].first_slot, own_filter, i_levels, changes)
        if crosses_own(own_bid, own_ask, sides):
            watched = first_bits(m)
        if watched != 0:
            m, why = watched_rows(instrument, x, m, watched)
        add_changes(m, levels, i_levels, changes)
        x += m
        at_once = BATCH_ROWS if m == wanted else LANES  # pages open and close: level indices stay valid for few rows
    instrument.exchange_row = x - 1 if why == AFFECTS_OWN or why == CROSSES_OWN else x
    return why


@helper
def lots_to_share(instrument, event):
    """Lots of the execution that begins with this row, over all its rows (the whole event is buffered). 0 for a row that continues one."""
    if event["flags"] & CONTINUED != 0:
        return np.int64(0)
    lots, rows, x = -np.int64(event.qty), events_at(instrument.events_at), instrument.exchange_row
    while -rows[x].qty == MAX_ROW_LOTS and rows[x]["flags"] & LAST == 0 and rows[x + 1]["flags"] & CONTINUED != 0:
        x += 1
        lots -= rows[x].qty
    return lots


@helper
def update_own_orders(instrument, event, i, ts, row):
    """Apply a row to our orders: those at better prices first, then those at its level.

    An execution of several rows fills orders at its first row, so that each gets one fill; each row moves queues by its own lots.
    """
    side = np.int64(event.side)
    key = key_of(side, np.int64(event.px))
    lots = lots_to_share(instrument, event) if event.kind == EXEC else np.int64(0)
    if lots > 0 and own_levels(instrument)[2][side].best > key:
        trade_through(instrument, side, key, lots, ts, row)
    if exchange_book(instrument)[0][i].own != 0:
        update_queue(instrument, event, i, lots, ts, row)


@helper
def apply_to_own(instrument, why):
    """Apply the row at `exchange_row` to our orders, then, if it ends an event, fill those that the event crossed."""
    _, pages, _, _, _, sides = exchange_book(instrument)
    own_sides = own_levels(instrument)[2]
    event = events_at(instrument.events_at)[instrument.exchange_row]
    ts, row = i8_at(instrument.ts_event_at)[instrument.exchange_row], instrument.base_row + instrument.exchange_row
    if why == AFFECTS_OWN:
        update_own_orders(instrument, event, level_index(pages, sides, np.int64(event.side), np.int64(event.px)), ts, row)
    if event["flags"] & LAST != 0 and crosses_own(own_sides[BID].best, own_sides[ASK].best, sides):
        fill_crossed(instrument, ts, row)
    instrument.exchange_row += 1


@kernel
def exchange_until(instrument, wakes, until):
    """Advance the exchange's clock to `until`: tape rows and our messages, in order of time.

    If reports wake the strategy, stops when the first of them arrives. Returns the time reached; -1 when an array is full.
    """
    noinline()
    messages = messages_at(instrument.messages_at)
    while True:
        if wakes & BY_REPORT != 0:
            until = min(until, first_waking_report(instrument, wakes, NEVER))
        ts = messages[instrument.m_head & instrument.m_mask].arrive if instrument.m_head < instrument.m_tail else until + 1
        if instrument.exchange_phase == 0:
            why = quiet_rows(instrument, min(ts, until))
            if why == PAGES_FULL:
                return -1
            instrument.exchange_phase = why
        if instrument.exchange_phase != REACHED:
            if not has_room(instrument):
                return -1
            apply_to_own(instrument, instrument.exchange_phase)
            instrument.exchange_phase = 0
        elif ts > until:
            return until
        elif not has_room(instrument):
            return -1
        else:
            arrive(instrument, ts)
