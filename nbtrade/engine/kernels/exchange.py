"""The exchange's clock: rows of the tape through its book, our messages in between, and what rows do to our orders.

quiet_rows    the hot loop: rows that do not concern us         apply_to_own  one that does     (engine/kernels/match.py)
watched_rows  those of them that somebody must look at          arrive        a message of ours (engine/kernels/order_entry.py)
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
PREFETCH_BYTES = 2048  # bytes: a mapped file is read in pages of 4 KiB, and the processor's own prefetching ends with each (0.8 ns a row)


@helper
def affects_own(row, lots, entries, entry):
    """Whether a row changes our entries at its level, the first of which is `entry` (0: none). The common cases are done at once.

    They are: no order of ours there; or one, and lots leave before it, or behind it otherwise than by execution, or join behind it.
    Nobody can predict which of them comes next: they are told apart by arithmetic, the others by a branch that is hardly ever taken.
    """
    own, kind = entries[entry], row.word & KIND
    is_behind = row.prio >= own.stamp
    if (own.next != entry - 1) | (own.instructions == TAKEN) | (row.word & FROM_SNAPSHOT != 0) | ((kind == EXEC) & is_behind):
        return kind < TRADE and (kind != ADD or row.word & FROM_SNAPSHOT != 0)
    own.ahead += 0 if is_behind | (row.prio >= own.joined) else lots
    return False


@helper
def crosses_own(own_bid, own_ask, sides):
    """True when an opposite best price is at or through our best bid or ask (keys)."""
    return (own_bid >= -sides[ASK].best) | (own_ask >= -sides[BID].best)


@helper
def stop_of(instrument, x, n, until):
    """The first row from x on with ts_event > until. Many compared side by side: 0.2 ns a row; one by one, in the loop over rows, 1."""
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
    """The row flips the level at `i_level` and its page's side. Returns the level's index, -1 when it needs a page and none is left."""
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
    """Look at the rows x + k of the bits k of `watched`, in order, before what the m rows from x on change is added to their levels.

    Returns (how many rows may be added, why no more): REACHED, or PAGES_FULL; AFFECTS_OWN or CROSSES_OWN after the last of them.
    Out of line: in the loop over rows it takes registers from those that are not watched. Rows that turn a level and rows at our levels
    go the same way, without a branch between them: to guess wrongly takes as long as all the rest.
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
        if old & ~bit | (turns - 1) == 0:  # a turn, and no other level of the page's side
            i_level = flip_with_page(instrument, row, i_level)
            if i_level < 0:
                return k, PAGES_FULL
            i_levels[k] = i_level
            if sides[0].n_free != n_free:  # places beyond are those of other pages
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
            watched = first_bits(m) & -(2 << k)  # event by event from here
    return m, REACHED


@helper
def add_changes(m, levels, i_levels, changes):
    """Add m changes to the levels at their places."""
    for k in range(m):
        levels[np.int64(i_levels[k])].held += changes[k]


@kernel
def quiet_rows(instrument, until):
    """Rows from `exchange_row` on with ts_event <= until through the exchange's book, up to the first that concerns our orders.

    Returns REACHED; PAGES_FULL (the row is not applied); AFFECTS_OWN (it is in the book and changes our orders); CROSSES_OWN (it ended
    an event after which an opposite price is at or through ours).
    Not inlined because this is the hot loop: with few pointers in hand what it needs stays in registers. Many rows at a time:
    where they change the book, then those that somebody must look at, then the changes (engine/kernels/row_batch.py).
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
    prefetch_lines(instrument.ts_recv_at + 8 * stop - 128, 192)  # the next look at our clock: 20 ns a wake when it has to wait
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
        at_once = BATCH_ROWS if m == wanted else LANES  # pages come and go: the places of few rows hold
    instrument.exchange_row = x - 1 if why == AFFECTS_OWN or why == CROSSES_OWN else x
    return why


@helper
def lots_to_share(instrument, event):
    """Lots of the execution that begins with row x, whose event is at hand: all of its rows. 0 for a row that continues one."""
    if event["flags"] & CONTINUED != 0:
        return np.int64(0)
    lots, rows, x = -np.int64(event.qty), events_at(instrument.events_at), instrument.exchange_row
    while -rows[x].qty == MAX_ROW_LOTS and rows[x]["flags"] & LAST == 0 and rows[x + 1]["flags"] & CONTINUED != 0:
        x += 1
        lots -= rows[x].qty
    return lots


@helper
def update_own_orders(instrument, event, i, ts, row):
    """A row that concerns us: better-priced orders first, then those at its level.

    An execution of several rows is shared out at the first of them, so that it fills an order once; each row moves queues by its own lots.
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
    """The row at `exchange_row` concerns our orders: its effect on them, then the end of its event."""
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
    """The exchange's clock moves to `until`: rows and our messages, in order of time.

    Where reports wake, no further than the first of them arrives. Returns how far it came; -1 when there is no room.
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
