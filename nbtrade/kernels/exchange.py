"""The exchange's clock: rows of the tape through its book, our messages in between, and what rows do to our orders.

quiet_rows   the hot loop: rows that do not concern us          touch    one that does     (kernels/match.py)
arrive       a message of ours                                                            (kernels/arrivals.py)
"""

import numpy as np

from nbtrade._jit import apart, helper, kernel
from nbtrade.kernels.arrivals import arrive, has_room
from nbtrade.kernels.book import change, key_of, level_index
from nbtrade.kernels.match import at_level, meet_both, trade_through
from nbtrade.kernels.places import AT_ONCE, D_ORDERS_BIT, FLAGS_BIT, KIND, NO_OWN, SIDE_BIT, place_rows
from nbtrade.kernels.pointers import prefetch_lines
from nbtrade.kernels.records import (
    BY_REPORT,
    NEVER,
    events_at,
    exchange_book,
    i4_at,
    i8_at,
    messages_at,
    orders_at,
    own_levels,
    rows_at,
)
from nbtrade.kernels.wire import first_waking_report
from nbtrade.schema import ADD, ASK, BID, EXEC, LAST, SNAPSHOT, TAKEN, TRADE

REACHED, OURS, MET, PAGES_FULL = 0, 1, 2, 3
ENDS = LAST << FLAGS_BIT
FROM_SNAPSHOT = SNAPSHOT << FLAGS_BIT
SIDE_BY_SIDE = 64  # times compared at once
FAR_AHEAD = 4096  # bytes: the processor's own prefetching ends with each page of 4 KiB, and a mapped file has no others (0.4 ns a row)


@helper
def concerns(row, lots, orders, o):
    """Whether a row changes our entries at its level, the first of which is `o`. The common cases are done at once.

    They are: one order of ours there, and lots leave before it, or behind it otherwise than by execution, or join behind it. Nobody can
    predict which of them comes next, so that they are told apart by arithmetic; the others by a branch that is hardly ever taken.
    """
    own, kind = orders[o], row.word & KIND
    is_behind = row.prio >= own.stamp
    if (own.next != o) | (own.kind == TAKEN) | (row.word & FROM_SNAPSHOT != 0) | ((kind == EXEC) & is_behind):
        return kind < TRADE and (kind != ADD or row.word & FROM_SNAPSHOT != 0)
    own.ahead += 0 if is_behind | (row.prio >= own.joined) else lots
    return False


@helper
def is_met(own_bid, own_ask, sides):
    """True when an opposite best price is at or through our best bid or ask (keys)."""
    return (own_bid >= -sides[ASK].best) | (own_ask >= -sides[BID].best)


@helper
def stop_of(venue, x, n, until):
    """The first row from x on with ts_event > until. Many compared side by side: 0.2 ns a row; one by one, in the loop over rows, 1."""
    at, ts = venue.ts_event_at, i8_at(venue.ts_event_at)
    while x + SIDE_BY_SIDE <= n:
        late = 0
        prefetch_lines(at + 8 * x + FAR_AHEAD, 8 * SIDE_BY_SIDE)
        for k in range(SIDE_BY_SIDE):
            late += ts[x + k] > until
        if late != 0:
            return x + SIDE_BY_SIDE - late
        x += SIDE_BY_SIDE
    while x < n and ts[x] <= until:
        x += 1
    return x


@kernel
def watched_row(venue, row):
    """A row that turns its level, or is an execution through one of our prices. Returns REACHED, OURS or PAGES_FULL.

    Out of line: inlined it takes registers from the rows that are not (94 %).
    """
    apart()
    levels, pages, words, tree, free, sides = exchange_book(venue)
    word, px = np.int64(row.word), np.int64(row.px)
    kind, side = word & KIND, word >> SIDE_BIT & 1
    i = change(px, side, row.qty, word >> D_ORDERS_BIT, levels, pages, words, tree, free, sides)
    if i < 0:
        return PAGES_FULL
    if kind == EXEC and own_levels(venue)[2][side].best > key_of(side, px):
        return OURS
    entry = levels[i].own
    return OURS if entry != 0 and concerns(row, np.int64(row.qty), orders_at(venue.orders_at), entry - 1) else REACHED


@helper
def plain_rows(rows, x, k, m, levels, places, lots):
    """Apply rows x + k on, as long as they are not watched and no entry of ours is at their level. Returns the first k left, or m."""
    while k < m:
        place = np.int64(places[k])
        if place < 0 or levels[place].own != 0:
            break
        levels[place].qty += lots[k]
        levels[place].n += rows[x + k].word >> D_ORDERS_BIT
        k += 1
    return k


@kernel
def quiet_rows(venue, until):
    """Rows from x on with ts_event <= until through the exchange's book, up to the first that concerns our orders.

    Returns REACHED; PAGES_FULL (row x not applied); OURS (row x is in the book and touches our orders); MET (row x ended an event
    after which an opposite price is at or through ours).
    Apart from the rest because this is the hot loop: with few pointers in hand what it needs stays in registers. Places are found ahead
    (kernels/places.py), so a common row is two additions and a look at `own`. Whether prices meet is asked again only when a level turns.
    """
    apart()
    rows, orders, n = rows_at(venue.events_at), orders_at(venue.orders_at), venue.n
    levels, pages, _, _, _, sides = exchange_book(venue)
    places, lots = i4_at(venue.places_at), i4_at(venue.lots_at)
    own_sides = own_levels(venue)[2]
    own_bid, own_ask = own_sides[BID].best, own_sides[ASK].best
    met = is_met(own_bid, own_ask, sides)
    x, why = venue.x, REACHED
    stop = stop_of(venue, x, n, until)
    while x < stop and why == REACHED:
        m, n_free = min(AT_ONCE, stop - x), sides[0].n_free
        prefetch_lines(venue.events_at + 16 * x + FAR_AHEAD, 16 * AT_ONCE)
        place_rows(rows, x, m, n, pages, sides[0].first_slot, max(own_bid, NO_OWN), max(own_ask, NO_OWN), places, lots)
        k = 0
        while k < m and sides[0].n_free == n_free:
            if not met:
                k = plain_rows(rows, x, k, m, levels, places, lots)
                if k == m:
                    break
            row, place = rows[x + k], np.int64(places[k])
            if place < 0:
                why = watched_row(venue, row)
                if why != REACHED:
                    break
                met = is_met(own_bid, own_ask, sides)
            else:
                level = levels[place]
                level.qty += lots[k]
                level.n += row.word >> D_ORDERS_BIT
                if level.own != 0 and concerns(row, np.int64(lots[k]), orders, level.own - 1):
                    why = OURS
                    break
            if met and row.word & ENDS:
                why = MET
                break
            k += 1
        x += k
    venue.x = x
    return why


@helper
def touch_orders(venue, event, i, ts, row):
    """A row that concerns us: better-priced orders first, then those at its level."""
    side = np.int64(event.side)
    key = key_of(side, np.int64(event.px))
    if event.kind == EXEC and own_levels(venue)[2][side].best > key:
        trade_through(venue, side, key, -np.int64(event.qty), ts, row)
    if exchange_book(venue)[0][i].own != 0:
        at_level(venue, event, i, ts, row)


@helper
def touch(venue, why):
    """Row x concerns our orders: its effect on them, then the end of its event."""
    _, pages, _, _, _, sides = exchange_book(venue)
    own_sides = own_levels(venue)[2]
    event = events_at(venue.events_at)[venue.x]
    ts, row = i8_at(venue.ts_event_at)[venue.x], venue.base_row + venue.x
    if why == OURS:
        touch_orders(venue, event, level_index(pages, sides, np.int64(event.side), np.int64(event.px)), ts, row)
    if event["flags"] & LAST != 0 and is_met(own_sides[BID].best, own_sides[ASK].best, sides):
        meet_both(venue, ts, row)
    venue.x += 1


@kernel
def exchange_until(venue, wakes, until):
    """The exchange's clock moves to `until`: rows and our messages, in order of time.

    Where reports wake, no further than the first of them arrives. Returns how far it came; -1 when there is no room.
    """
    apart()
    messages = messages_at(venue.messages_at)
    while True:
        if wakes & BY_REPORT != 0:
            until = min(until, first_waking_report(venue, wakes, NEVER))
        ts = messages[venue.m_head & venue.m_mask].arrive if venue.m_head < venue.m_tail else until + 1
        if venue.x_phase == 0:
            why = quiet_rows(venue, min(ts, until))
            if why == PAGES_FULL:
                return -1
            venue.x_phase = why
        if venue.x_phase != REACHED:
            if not has_room(venue):
                return -1
            touch(venue, venue.x_phase)
            venue.x_phase = 0
        elif ts > until:
            return until
        elif not has_room(venue):
            return -1
        else:
            arrive(venue, ts)
