"""What a strategy sees of the market: the record it gets at each wake, and how far our clock has come.

The record is filled from the local book, which is either a book of its own or the exchange's, rolled back (kernels/engine.py).
"""

import numpy as np

from nbtrade._jit import apart, helper, kernel
from nbtrade.kernels.book import level_index
from nbtrade.kernels.memory import NO_KEY
from nbtrade.kernels.views import new_record_class, record_type
from nbtrade.schema import ASK, BID, LAST, TRADE, UNDEF_PRICE

TIMER, EVENT_END = 1, 2  # wakes

# What a strategy sees of the market: the local book's top and the last trade. Prices in ticks, UNDEF_PRICE when there is none.
MARKET = np.dtype(
    [
        ("ts", "i8"),  # local time of this wake
        ("bid_px", "i8"),
        ("ask_px", "i8"),
        ("bid_qty", "i8"),
        ("ask_qty", "i8"),
        ("bid_orders", "i8"),
        ("ask_orders", "i8"),
        ("last_px", "i8"),
        ("last_qty", "i8"),
        ("last_side", "i8"),  # aggressor's: BID bought
        ("volume", "i8"),  # lots traded so far
        ("n_events", "i8"),  # event ends so far
        ("wake", "i8"),  # TIMER or EVENT_END
    ],
    align=True,
)


class MarketRecord(np.record):
    """The market without the JIT."""


MarketType = new_record_class("MarketType")
MARKET_TYPE = record_type(MARKET, MarketType)


@kernel
def local_stop(events, ts_recv, at, near, until, one_event):
    """The row up to which events are known to us: the first with ts_recv > until, or the next event's end.

    near : a row not far from it (the exchange's place), so that few rows are looked at
    """
    n = len(events)
    if one_event:
        while at < n and ts_recv[at] <= until:
            at += 1
            if events[at - 1]["flags"] & LAST != 0:
                break
        return at
    at = max(at, near)
    while at > 0 and ts_recv[at - 1] > until:
        at -= 1
    while at < n and ts_recv[at] <= until:
        at += 1
    return at


@kernel
def note_trades(events, start, stop, market_row):
    """Bring the market record's trade fields and event count from row `start` to row `stop`. No branch: 1 ns a row."""
    apart()
    n_events = 0
    volume = 0
    last = -1
    for i in range(start, stop):
        event = events[np.uint64(i)]
        is_trade = event.kind == TRADE
        n_events += event["flags"] & LAST
        volume += event.qty if is_trade else 0
        last = i if is_trade else last
    market = market_row[0]
    market.n_events += n_events
    market.volume += volume
    if last >= 0:
        market.last_px = events[last].px
        market.last_qty = events[last].qty
        market.last_side = events[last].side


@helper
def show_market(market, ts, wake, levels, pages, sides):
    """Fill in the record that strategies see from the local book."""
    market.ts = ts
    market.wake = wake
    bid = sides[BID].best
    ask = sides[ASK].best
    market.bid_px = UNDEF_PRICE if bid == NO_KEY else bid
    market.ask_px = UNDEF_PRICE if ask == NO_KEY else -ask
    b = level_index(pages, sides, BID, bid) if bid != NO_KEY else 0
    a = level_index(pages, sides, ASK, -ask) if ask != NO_KEY else 0
    market.bid_qty = levels[b].qty
    market.ask_qty = levels[a].qty
    market.bid_orders = levels[b].n
    market.ask_orders = levels[a].n
