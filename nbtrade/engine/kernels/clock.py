"""Our clock: which rows we have received, and when the market next wakes a strategy.

Wakes are moments of our clock: all events with one receive time are seen together, then the strategy is called once. Where the market
itself wakes (events, the top of book, trades), our book is one of its own and runs ahead to the next moment that does; if a timer or a
report comes first, it is rolled back for that look and forth again.
"""

import numpy as np

from nbtrade._numba.jit import apart, helper, kernel
from nbtrade.book.kernels.arrays import NO_KEY
from nbtrade.book.kernels.book import apply, level_index, lots_of
from nbtrade.engine.kernels.records import NEVER, events_at, i8_at, seen_book
from nbtrade.schema import ASK, BID, EVENT_END, TOP, TRADE, TRADES


@helper
def local_stop(venue, ts):
    """The row up to which events are known to us at `ts`; looked for near where the exchange is."""
    ts_recv = i8_at(venue.ts_recv_at)
    until = ts - venue.feed
    at = max(venue.l, venue.x)
    while at > 0 and ts_recv[at - 1] > until:
        at -= 1
    while at < venue.n and ts_recv[at] <= until:
        at += 1
    return at


@helper
def top_qty(levels, pages, sides, side):
    """Lots at the best price of a side; 0 when it is empty."""
    best = sides[side].best
    if best == NO_KEY:
        return np.int64(0)
    return lots_of(levels[level_index(pages, sides, side, best if side == BID else -best)])


@helper
def top_changed(venue, levels, pages, sides):
    """True when price or lots of either best level are not what they were when last asked."""
    bid, ask = sides[BID].best, sides[ASK].best
    bid_qty, ask_qty = top_qty(levels, pages, sides, BID), top_qty(levels, pages, sides, ASK)
    same = bid == venue.top_bid and ask == venue.top_ask and bid_qty == venue.top_bid_qty and ask_qty == venue.top_ask_qty
    venue.top_bid = bid
    venue.top_ask = ask
    venue.top_bid_qty = bid_qty
    venue.top_ask_qty = ask_qty
    return not same


@kernel
def scan(venue, wakes, until):
    """Our book through the moments up to `until`, to the end of the first that wakes: `candidate`, NEVER when there is none.

    Returns False when the book has no free page: grow it and call again.
    """
    apart()
    events, ts_recv, n = events_at(venue.events_at), i8_at(venue.ts_recv_at), venue.n
    levels, pages, words, tree, free, sides = seen_book(venue)
    i = venue.seen
    while i < n and ts_recv[i] + venue.feed <= until:
        moment = ts_recv[i]
        while i < n and ts_recv[i] == moment:
            row = events[i]
            if row.kind == TRADE:
                venue.seen_bits |= TRADES
            elif row.kind < TRADE and apply(row, levels, pages, words, tree, free, sides) < 0:
                venue.seen = i
                return False
            i += 1
        bits = venue.seen_bits | EVENT_END
        if wakes & TOP != 0 and top_changed(venue, levels, pages, sides):
            bits |= TOP
        venue.seen_bits = 0
        if bits & wakes != 0:
            venue.seen = i
            venue.candidate = moment + venue.feed
            venue.candidate_bits = bits & wakes
            return True
    venue.seen = i
    venue.candidate = NEVER
    return True
