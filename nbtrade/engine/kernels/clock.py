"""Our clock: which rows we have received, and when the market next wakes a strategy.

Wakes are moments of our clock: all events with one receive time are seen together, then the strategy is called once. Where the market
itself wakes (events, the top of book, trades), our book is one of its own and runs ahead to the next moment that does; if a timer or a
report comes first, it is rolled back for that look and forth again.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.pointers import i8_at
from nbtrade.book.kernels.arrays import NO_KEY
from nbtrade.book.kernels.book import apply, level_index, lots_of
from nbtrade.book.kernels.pointers import events_at
from nbtrade.engine.kernels.records import NEVER, local_book
from nbtrade.schema import ASK, BID, TRADE, Wake


@helper
def local_stop(instrument, ts):
    """The row up to which events are known to us at `ts`; looked for near where the exchange is."""
    ts_recv = i8_at(instrument.ts_recv_at)
    until = ts - instrument.feed
    at = max(instrument.local_row, instrument.exchange_row)
    while at > 0 and ts_recv[at - 1] > until:
        at -= 1
    while at < instrument.n and ts_recv[at] <= until:
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
def top_changed(instrument, levels, pages, sides):
    """True when price or lots of either best level are not what they were when last asked."""
    bid, ask = sides[BID].best, sides[ASK].best
    bid_qty, ask_qty = top_qty(levels, pages, sides, BID), top_qty(levels, pages, sides, ASK)
    same = (
        bid == instrument.top_bid and ask == instrument.top_ask and bid_qty == instrument.top_bid_qty and ask_qty == instrument.top_ask_qty
    )
    instrument.top_bid = bid
    instrument.top_ask = ask
    instrument.top_bid_qty = bid_qty
    instrument.top_ask_qty = ask_qty
    return not same


@kernel
def scan_to_wake(instrument, wakes, until):
    """Our book through the moments up to `until`, to the end of the first that wakes: `candidate`, NEVER when there is none.

    Returns False when the book has no free page: grow it and call again.
    """
    noinline()
    events, ts_recv, n = events_at(instrument.events_at), i8_at(instrument.ts_recv_at), instrument.n
    levels, pages, words, tree, free, sides = local_book(instrument)
    i = instrument.scan_row
    while i < n and ts_recv[i] + instrument.feed <= until:
        moment = ts_recv[i]
        while i < n and ts_recv[i] == moment:
            row = events[i]
            if row.kind == TRADE:
                instrument.scan_bits |= Wake.TRADE
            elif row.kind < TRADE and apply(row, levels, pages, words, tree, free, sides) < 0:
                instrument.scan_row = i
                return False
            i += 1
        bits = instrument.scan_bits | Wake.EVENT
        if wakes & Wake.TOP != 0 and top_changed(instrument, levels, pages, sides):
            bits |= Wake.TOP
        instrument.scan_bits = 0
        if bits & wakes != 0:
            instrument.scan_row = i
            instrument.candidate = moment + instrument.feed
            instrument.candidate_bits = bits & wakes
            return True
    instrument.scan_row = i
    instrument.candidate = NEVER
    return True
