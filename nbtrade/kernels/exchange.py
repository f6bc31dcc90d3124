"""The exchange's clock: rows of the tape through its book, our messages in between, and what rows do to our orders.

quiet_rows   the hot loop: rows that do not concern us          touch    one that does     (kernels/match.py)
arrive       a message of ours                                                            (kernels/arrivals.py)
"""

import numpy as np

from nbtrade._jit import apart, helper, kernel
from nbtrade.kernels.arrivals import arrive, has_room
from nbtrade.kernels.bits import SHIFT
from nbtrade.kernels.book import find_level, key_of, level_index, shift_level, turn_level
from nbtrade.kernels.match import at_level, meet_both, trade_through
from nbtrade.kernels.records import BY_REPORT, NEVER, events_at, exchange_book, i8_at, messages_at, orders_at, own_levels
from nbtrade.kernels.wire import first_waking_report
from nbtrade.schema import ADD, ASK, BID, EXEC, LAST, SNAPSHOT, TAKEN, TRADE

REACHED, OURS, MET, PAGES_FULL = 0, 1, 2, 3


@helper
def passes_by(event, orders, o):
    """The common cases at a level of ours, done at once: one order of ours there, and lots leave before it, or cancels behind it.

    False if it is another case.
    """
    own = orders[o]
    if own.next != o or own.kind == TAKEN or event.kind == ADD:
        return False
    if event.prio >= own.stamp:
        return event.kind != EXEC
    own.ahead += event.qty if event.prio < own.joined else 0  # a row's qty is negative when lots leave
    return True


@helper
def is_met(own_bid, own_ask, sides):
    """True when an opposite best price is at or through our best bid or ask (keys)."""
    return (own_bid >= -sides[ASK].best) | (own_ask >= -sides[BID].best)


@kernel
def turn(venue, i, px, side):
    """Level `i` became empty, or ceased to be. Out of line: inlined it takes registers from the rows that do not (94 %)."""
    apart()
    levels, pages, words, tree, free, sides = exchange_book(venue)
    turn_level(px, side, levels[i].n != 0, i >> (SHIFT + 1), levels, pages, words, tree, free, sides)
    own_sides = own_levels(venue)[2]
    return is_met(own_sides[BID].best, own_sides[ASK].best, sides)


@kernel
def quiet_rows(venue, until):
    """Rows from x on with ts_event <= until through the exchange's book, up to the first that concerns our orders.

    Returns REACHED; PAGES_FULL (row x not applied); OURS (row x is in the book and touches our orders); MET (row x ended an event
    after which an opposite price is at or through ours).
    Apart from the rest because this is the hot loop: with few pointers in hand what it needs stays in registers. Whether prices meet is
    asked again only when a level turns (6 % of rows). Of two conditions the one that is hardly ever true is asked first: it predicts well.
    """
    apart()
    events, ts_event, orders = events_at(venue.events_at), i8_at(venue.ts_event_at), orders_at(venue.orders_at)
    levels, pages, _, _, free, sides = exchange_book(venue)
    own_sides = own_levels(venue)[2]
    own_bid, own_ask = own_sides[BID].best, own_sides[ASK].best
    met = is_met(own_bid, own_ask, sides)
    x, n, why = venue.x, venue.n, REACHED
    while x < n and ts_event[x] <= until:
        event = events[x]
        if event.kind < TRADE:
            px, side = np.int64(event.px), np.int64(event.side)
            i = find_level(px, side, pages, free, sides)
            if i < 0:
                why = PAGES_FULL
                break
            level = levels[i]
            if shift_level(level, event.qty, event.d_orders):
                met = turn(venue, i, px, side)
            if event.kind == EXEC and (own_ask > -px if side != BID else own_bid > px):
                why = OURS
                break
            own = level.own
            if own != 0 and (event.kind != ADD or event["flags"] & SNAPSHOT != 0) and not passes_by(event, orders, own - 1):
                why = OURS
                break
        if met and event["flags"] & LAST != 0:
            why = MET
            break
        x += 1
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
