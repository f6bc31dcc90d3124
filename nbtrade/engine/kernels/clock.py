"""The local clock: the rows received so far, and the time of the next wake caused by the market.

All events with the same receive time are applied together, then the strategy is called once. If the market wakes the strategy (events,
top of book, trades), a separate local book runs ahead to the next moment that causes a wake; if a timer or a report comes first,
that book is rolled back for the call and then forward again.
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
    """The number of rows received by `ts`. The search starts at the exchange's row, which is close."""
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
    """True when price or lots of either best level have changed since the last call."""
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
    """Advance our book to the end of the first moment that causes a wake (`candidate`), or to `until` (`candidate` is NEVER).

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
