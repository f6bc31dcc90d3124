"""The backtest's main loop: two clocks over one tape, accounts that wake, orders that travel.

    for each wake at local time t:
        exchange   rows with ts_event <= t, and our messages in order of arrival, through the exchange's book   (kernels/match.py)
        market     rows with ts_recv + feed <= t through the local book
        reports    those that have arrived by t
        strategy   once for every account

At equal times the market's event precedes ours. All state is in arrays, so a run stops at any row (end of the batch, a
full log) and goes on as if nothing had been: results do not depend on batch sizes.

Where the time goes (per event, one account): see README, "Speed".
"""

import numpy as np

from nbtrade._jit import helper, kernel
from nbtrade.kernels.account import deliver
from nbtrade.kernels.book import NO_KEY, apply, is_crossed, key_of, level_index
from nbtrade.kernels.match import arrive, at_level, has_room, meet, trade_through
from nbtrade.kernels.views import call_strategy, new_record_class, record_type
from nbtrade.schema import ADD, ASK, BID, EXEC, LAST, MARK, TRADE, UNDEF_PRICE

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

SAMPLE = np.dtype(
    [
        ("ts", "i8"),
        ("bid_px", "i8"),
        ("ask_px", "i8"),
        ("position", "i8"),
        ("cash", "i8"),
        ("maker_qty", "i8"),
        ("taker_qty", "i8"),
        ("maker_value", "i8"),
        ("taker_value", "i8"),
        ("account", "i8"),
    ],
    align=True,
)

ENGINE = np.dtype(
    [
        ("base_row", "i8"),  # tape row of events[0]
        ("x", "i8"),  # next row of the exchange's pass, in events
        ("l", "i8"),  # next row of the market pass
        ("x_phase", "i8"),  # of row x: 1 it is in the book, 2 its effect on our orders is done too
        ("wakes", "i8"),  # TIMER | EVENT_END
        ("interval", "i8"),
        ("next_timer", "i8"),
        ("last_timer", "i8"),  # known at the end of the data
        ("feed", "i8"),
        ("started", "i8"),
        ("n_wakes", "i8"),
        ("failed_account", "i8"),
        ("sample", "i8"),  # ns between samples
        ("next_sample", "i8"),
        ("n_samples", "i8"),
        ("strategy_at", "i8"),  # addresses
        ("market_at", "i8"),
        ("features_at", "i8"),
        ("accounts_at", "i8"),
        ("account_bytes", "i8"),
        ("states_at", "i8"),
        ("state_bytes", "i8"),
    ],
    align=True,
)

DONE, NEED_DATA, NEED_ROOM, STRATEGY_FAILED = 0, 1, 2, 3
NEVER = 2**62


@helper
def concerns_us(event, levels, i, own_sides, ex):
    """True when a row that was applied at level `i` may fill or move one of our orders now. Raises `check` for later."""
    side = np.int64(event.side)
    if event.kind == EXEC:
        return levels[i].own != 0 or own_sides[side].best > key_of(side, np.int64(event.px))
    if event.kind == ADD and own_sides[1 - side].best >= -key_of(side, np.int64(event.px)):
        ex.check = 1
    return levels[i].own != 0 and event.kind < TRADE


@kernel
def touch_orders(
    event, i, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done, ts, row
):
    """A row that concerns us: better-priced orders first, then those at its level."""
    side = np.int64(event.side)
    key = key_of(side, np.int64(event.px))
    if event.kind == EXEC and own_sides[side].best > key:
        lots = -np.int64(event.qty)
        trade_through(
            levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done,
            side, key, lots, ts, row,
        )  # fmt: skip
    if levels[i].own != 0:
        at_level(
            levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done,
            event, i, ts, row,
        )  # fmt: skip


@kernel
def meet_both(
    levels, pages, words, tree, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done, ts, row
):
    """An event ended with another best price: opposite orders at or through ours fill them, unless the market is crossed."""
    if is_crossed(sides):
        return
    for side in range(2):
        if own_sides[side].best != NO_KEY and own_sides[side].best >= -sides[1 - side].best:
            meet(
                levels, pages, words, tree, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done,
                side, ts, row,
            )  # fmt: skip


@helper
def exchange_rows(
    events, ts_event, until, eng, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
    ex, accounts, orders, reports, fills, done,
):  # fmt: skip
    """Rows with ts_event <= until through the exchange's book. Returns False when a log or the pages are full."""
    x = eng.x
    n = len(events)
    while x < n and ts_event[x] <= until:
        event = events[x]
        if event.kind != MARK and eng.x_phase < 2:
            if eng.x_phase == 1:
                i = np.int64(level_index(pages, sides, np.int64(event.side), event.px))
            else:
                i = apply(event, levels, pages, words, tree, free, sides)
                if i < 0:
                    eng.x = x
                    return False
            if concerns_us(event, levels, i, own_sides, ex):
                if not has_room(ex, sides, reports, fills, done):
                    eng.x = x
                    eng.x_phase = 1
                    return False
                touch_orders(
                    event, i, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
                    ex, accounts, orders, reports, fills, done, ts_event[x], eng.base_row + x,
                )  # fmt: skip
        if event["flags"] & LAST and (sides[0].moved | sides[1].moved | ex.check) != 0:
            if ex.n_resting > 0 and not has_room(ex, sides, reports, fills, done):
                eng.x = x
                eng.x_phase = 2
                return False
            sides[0].moved = 0
            sides[1].moved = 0
            ex.check = 0
            if ex.n_resting > 0:
                meet_both(
                    levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
                    ex, accounts, orders, reports, fills, done, ts_event[x], eng.base_row + x,
                )  # fmt: skip
        eng.x_phase = 0
        x += 1
    eng.x = x
    return True


@helper
def exchange_until(
    until, events, ts_event, eng, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
    ex, accounts, orders, reports, fills, done, wire, messages,
):  # fmt: skip
    """The exchange's clock moves to `until`: rows and our messages, in order of time. Returns False when there is no room."""
    mask = len(messages) - 1
    while True:
        ts = messages[wire.head & mask].arrive if wire.head < wire.tail else until + 1
        if not exchange_rows(
            events, ts_event, min(ts, until), eng, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
            ex, accounts, orders, reports, fills, done,
        ):  # fmt: skip
            return False
        if ts > until:
            return True
        if not has_room(ex, sides, reports, fills, done):
            return False
        message = messages[wire.head & mask]
        wire.head += 1
        arrive(
            levels, pages, words, tree, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done,
            message.order, message.what, ts, eng.base_row + eng.x,
        )  # fmt: skip


@helper
def market_until(until, one_event, events, ts_recv, eng, market, levels, pages, words, tree, free, sides):
    """The local book moves to `until`, or by one event. Returns False when its pages are full."""
    at = eng.l
    n = len(events)
    while at < n and ts_recv[at] + eng.feed <= until:
        event = events[at]
        flags = event["flags"]
        if event.kind < TRADE:
            if apply(event, levels, pages, words, tree, free, sides) < 0:
                eng.l = at
                return False
        elif event.kind == TRADE:
            market.last_px = event.px
            market.last_qty = event.qty
            market.last_side = event.side
            market.volume += event.qty
        at += 1
        if flags & LAST:
            market.n_events += 1
            if one_event:
                break
    eng.l = at
    return True


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


@helper
def next_wake(eng, events, ts_recv, final):
    """(local time, kind) of the next wake; NEVER when the data so far do not tell, or nothing is left."""
    ts, kind = NEVER, TIMER
    if eng.wakes & EVENT_END and eng.l < len(events):
        ts = ts_recv[eng.l] + eng.feed
        kind = EVENT_END
    if eng.wakes & TIMER and eng.next_timer < ts and (not final or eng.next_timer <= eng.last_timer):
        ts = eng.next_timer
        kind = TIMER
    return ts, kind


@helper
def run_strategy(eng, ex, accounts):
    """Call the strategy for every account. Returns False when it raised."""
    for k in range(len(accounts)):
        failed = call_strategy(
            eng.strategy_at, eng.market_at, eng.features_at, eng.accounts_at + k * eng.account_bytes, eng.states_at + k * eng.state_bytes
        )
        if failed:
            eng.failed_account = k
            return False
    return True


@helper
def take_samples(eng, market, accounts, samples):
    """Note every account's true position and cash, once per sampling interval."""
    eng.next_sample = (market.ts // eng.sample + 1) * eng.sample
    for k in range(len(accounts)):
        s = samples[eng.n_samples]
        account = accounts[k]
        s.ts = market.ts
        s.bid_px = market.bid_px
        s.ask_px = market.ask_px
        s.position = account.true_position
        s.cash = account.true_cash
        s.maker_qty = account.maker_qty
        s.taker_qty = account.taker_qty
        s.maker_value = account.maker_value
        s.taker_value = account.taker_value
        s.account = k
        eng.n_samples += 1


@helper
def start(eng, ts_recv, final):
    """Set the timers once data are there: at multiples of the interval since the epoch."""
    if eng.started == 0 and len(ts_recv) > 0:
        eng.started = 1
        eng.next_timer = -(-(ts_recv[0] + eng.feed) // eng.interval) * eng.interval
    if final and len(ts_recv) > 0:
        eng.last_timer = -(-(ts_recv[len(ts_recv) - 1] + eng.feed) // eng.interval) * eng.interval


@kernel
def run(
    events, ts_event, ts_recv, final, engine, market_row,
    levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
    seen_levels, seen_pages, seen_words, seen_tree, seen_free, seen_sides,
    exchange, accounts, orders, wires, messages, reports, fills, done, samples,
):  # fmt: skip
    """Run the backtest over the rows at hand, as far as they tell.

    events : EVENT[n], ts_event, ts_recv : i8[n]   rows not yet passed by both clocks, whole events
    final  : no rows follow                        engine : ENGINE[1]   market_row : MARKET[1]
    levels .. sides : the exchange's Book          own_* : level bits of own orders      seen_* : the local Book
    exchange : EXCHANGE[1]   accounts : ACCOUNT[k]   orders : OWN[k * capacity + taken]
    wires : WIRE[1]   messages : MESSAGE[2**i]   reports : REPORT[2**j]   fills : FILL[]   done : OWN[]   samples : SAMPLE[]

    Returns DONE, NEED_DATA, NEED_ROOM (drain the logs or grow, then call again), or STRATEGY_FAILED.
    """
    eng, ex, wire, market = engine[0], exchange[0], wires[0], market_row[0]
    start(eng, ts_recv, final)
    n = len(events)
    while True:
        ts, kind = next_wake(eng, events, ts_recv, final)
        if ts == NEVER and final:
            return DONE
        if n == 0 or (not final and (ts >= ts_recv[n - 1] + eng.feed or ts >= ts_event[n - 1])):
            return NEED_DATA
        if eng.n_samples + len(accounts) > len(samples):
            return NEED_ROOM
        if not exchange_until(
            ts, events, ts_event, eng, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
            ex, accounts, orders, reports, fills, done, wire, messages,
        ):  # fmt: skip
            return NEED_ROOM
        if not market_until(
            ts, kind == EVENT_END, events, ts_recv, eng, market, seen_levels, seen_pages, seen_words, seen_tree, seen_free, seen_sides
        ):
            return NEED_ROOM
        ex.head = deliver(reports, ex.head, ex.tail, ts, orders, accounts)
        show_market(market, ts, kind, seen_levels, seen_pages, seen_sides)
        wire.now = ts
        if kind == TIMER:
            eng.next_timer += eng.interval
        if not run_strategy(eng, ex, accounts):
            return STRATEGY_FAILED
        eng.n_wakes += 1
        if eng.sample > 0 and ts >= eng.next_sample:
            take_samples(eng, market, accounts, samples)


@kernel
def finish(
    events, ts_event, engine,
    levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
    exchange, accounts, orders, wires, messages, reports, fills, done,
):  # fmt: skip
    """After the last wake: messages that arrive at that very moment still count. Returns DONE or NEED_ROOM."""
    eng, ex, wire = engine[0], exchange[0], wires[0]
    if exchange_until(
        wire.now, events, ts_event, eng, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
        ex, accounts, orders, reports, fills, done, wire, messages,
    ):  # fmt: skip
        return DONE
    return NEED_ROOM
