"""The strategy's view of the market: the record it gets at each wake, and methods that read the local book.

The record is filled from the local book, which is either a separate book or the exchange's, rolled back (engine/kernels/event_loop.py).
"""

from functools import partial

import numpy as np

from nbtrade._numba.bits import SHIFT
from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.readonly import ReadOnly, ReadOnlyRecord, engine_record, read_only_type, view_dtype
from nbtrade._numba.records import computed_field, method, record_at, record_model, record_type
from nbtrade.book.kernels.arrays import NO_KEY
from nbtrade.book.kernels.book import key_of, level_index, lots_of, next_level, orders_of
from nbtrade.book.kernels.pointers import events_at
from nbtrade.engine.kernels.records import instrument_at, local_book
from nbtrade.schema import ASK, BID, CONTINUED, LAST, LAST_MARKET, NO_SIDE, TRADE, UNDEF_PRICE

# The strategy's view of the market: the local book's top and the last trade. Prices in ticks, UNDEF_PRICE when there is none.
# volume and n_events count from the start of the first session.
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
        ("last_side", "i8"),  # aggressor's: BID bought; -1: none yet, or the exchange does not say (auctions, hidden orders)
        ("volume", "i8"),  # lots traded so far
        ("n_events", "i8"),  # event ends so far
        ("wake", "i8"),  # bits of the wakes that apply (engine/kernels/records.py)
        ("instrument_at", "i8"),  # inside
        ("self_at", "i8"),
        ("index", "i8"),
        ("n_instruments", "i8"),
        ("n_features", "i8"),  # columns of the feature matrix
    ],
    align=True,
)
TRADE_FIELDS = {"last_px", "last_qty", "last_side", "volume", "n_events"}


class MarketRecord(ReadOnly):
    """The market without the JIT."""

    role = "market"


@record_model
class MarketType(ReadOnlyRecord):
    """The market with the JIT."""

    role = "market"


MARKET_FIELDS = ("ts", *LAST_MARKET.names[1:], "wake", "n_instruments")  # type: ignore[index]  # the others are the engine's
MARKET_VIEW = view_dtype(MARKET, {name: name for name in MARKET_FIELDS})
MARKET_TYPE = read_only_type(MARKET_VIEW, MarketType)
market_at = record_at(MARKET, record_type(MARKET))
shown_market_at = record_at(MARKET_VIEW, MARKET_TYPE, MarketRecord)
market_method = partial(method, MarketType, MarketRecord, inside=engine_record(MARKET))
market_field = partial(computed_field, MarketType, MarketRecord, inside=engine_record(MARKET))
MARKET_BYTES = MARKET.itemsize


@helper
def market_of(account):
    """The MARKET record of the account's instrument."""
    return market_at(instrument_at(account.instrument_at).market_at)


@helper
def check_side(side):
    """Raise ValueError for anything but BID and ASK: it would index outside the book's arrays."""
    if side != BID and side != ASK:
        raise ValueError("a side is BID or ASK")


@helper
def check_count(n):
    """Raise ValueError for a negative number of levels."""
    if n < 0:
        raise ValueError("levels are counted from 0, the best one")


@kernel
def level_at(instrument, side, px):
    """Index of the level of `px` in the local book; that of an empty level if the price is outside it."""
    noinline()
    _, pages, _, _, _, sides = local_book(instrument)
    slot = (px >> SHIFT) - sides[0].first_slot
    if slot < 0 or slot >= instrument.n_pages_table:
        return 0
    return level_index(pages, sides, side, px)


@kernel
def price_at(instrument, side, n):
    """Price of the n-th best level (0 the best) in the local book; UNDEF_PRICE when there are fewer."""
    noinline()
    _, pages, words, tree, _, sides = local_book(instrument)
    key = sides[side].best
    while n > 0 and key != NO_KEY:
        key = next_level(pages, words, tree, sides, side, key_of(side, key))
        n -= 1
    return UNDEF_PRICE if key == NO_KEY else key_of(side, key)


@market_method("qty_at")
@helper
def qty_at(market, side, px):
    """Lots that rest at a price (ticks) of BID or ASK."""
    check_side(side)
    instrument = instrument_at(market.instrument_at)
    return lots_of(local_book(instrument)[0][level_at(instrument, side, px)])


@market_method("orders_at")
@helper
def orders_at(market, side, px):
    """Orders that rest at a price (ticks) of BID or ASK."""
    check_side(side)
    instrument = instrument_at(market.instrument_at)
    return orders_of(local_book(instrument)[0][level_at(instrument, side, px)])


@market_method("level")
@helper
def level(market, side, n):
    """Price of the n-th best level, 0 the best: ticks, UNDEF_PRICE when there are fewer."""
    check_side(side)
    check_count(n)
    return price_at(instrument_at(market.instrument_at), side, n)


@kernel
def depth_of(instrument, side, n):
    """As `depth`."""
    noinline()
    levels, pages, words, tree, _, sides = local_book(instrument)
    key = sides[side].best
    lots = 0
    while n > 0 and key != NO_KEY:
        px = key_of(side, key)
        lots += lots_of(levels[level_index(pages, sides, side, px)])
        key = next_level(pages, words, tree, sides, side, px)
        n -= 1
    return lots


@market_method("depth")
@helper
def depth(market, side, n):
    """Lots on the best n levels of a side."""
    check_side(side)
    check_count(n)
    return depth_of(instrument_at(market.instrument_at), side, n)


@market_method("on")
@helper
def on(market, i):
    """The market of instrument `i` of the run."""
    if i < 0 or i >= market.n_instruments:
        raise IndexError("market.on: the run has no instrument of this number")
    return shown_market_at(market.self_at + (i - market.index) * MARKET_BYTES)


@kernel
def note_trades(events, start, stop, market):
    """Advance the market record's trade fields and event count from row `start` to row `stop`. No branch: 1 ns a row."""
    noinline()
    n_events = volume = np.int64(0)  # without the JIT, 0 plus a u1 is a u1
    last = -1
    for i in range(start, stop):
        event = events[i]
        is_trade = event.kind == TRADE
        n_events += event["flags"] & LAST
        volume += event.qty if is_trade else 0
        last = i if is_trade else last
    market.n_events += n_events
    market.volume += volume
    if last >= 0:
        market.last_px = events[last].px
        market.last_qty = np.int64(events[last].qty)
        while events[last]["flags"] & CONTINUED != 0:  # batches hold whole events, so the trade's first row is here
            last -= 1
            market.last_qty += events[last].qty
        market.last_side = -1 if events[last]["flags"] & NO_SIDE != 0 else np.int64(events[last].side)


@kernel
def note_remaining_trades(instruments):
    """`note_trades` for buffered rows that no wake has shown yet. instruments : INSTRUMENT_STATE[1]"""
    instrument = instruments[0]
    note_trades(events_at(instrument.events_at), instrument.local_row, instrument.n, market_at(instrument.market_at))


@helper
def publish_market(market, ts, instrument):
    """Fill in the record that strategies see, from the local book."""
    levels, pages, _, _, _, sides = local_book(instrument)
    market.ts = ts
    bid = sides[BID].best
    ask = sides[ASK].best
    market.bid_px = UNDEF_PRICE if bid == NO_KEY else bid
    market.ask_px = UNDEF_PRICE if ask == NO_KEY else -ask
    b = level_index(pages, sides, BID, bid) if bid != NO_KEY else 0
    a = level_index(pages, sides, ASK, -ask) if ask != NO_KEY else 0
    market.bid_qty = lots_of(levels[b])
    market.ask_qty = lots_of(levels[a])
    market.bid_orders = orders_of(levels[b])
    market.ask_orders = orders_of(levels[a])


@market_field("is_two_sided")
@helper
def is_two_sided(market):
    """True if both sides have a price."""
    return market.bid_px != UNDEF_PRICE and market.ask_px != UNDEF_PRICE


@market_field("mid")
@helper
def mid(market):
    """Midway between the best prices, ticks; NaN if a side is empty."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE:
        return np.nan
    return (market.bid_px + market.ask_px) / 2
