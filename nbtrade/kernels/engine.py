"""The backtest's main loop: two clocks over one tape, accounts that wake, orders that travel.

    for each wake at local time t:
        exchange   rows with ts_event <= t, and our messages in order of arrival, through the exchange's book   (kernels/match.py)
        market     rows with ts_recv + feed <= t through the local book
        reports    those that have arrived by t
        strategy   once for every account

At equal times the market's event precedes ours. What we see is the exchange's book some rows ago. Rows can be undone, so when
few are on their way (timer wakes, short feed latency) there is no second book: the one is rolled back for the strategy's look
and forth again (`one_book`).
 All state is in arrays, so a run stops at any row (end of the batch, a
full log) and goes on as if nothing had been: results do not depend on batch sizes.

Where the time goes (per event, one account): see README, "Speed".
"""

import numpy as np

from nbtrade._jit import apart, helper, kernel
from nbtrade.kernels.account import deliver
from nbtrade.kernels.book import apply, is_crossed, key_of, level_index, replay, roll
from nbtrade.kernels.entries import TAKEN
from nbtrade.kernels.market import EVENT_END, TIMER, local_stop, note_trades, show_market
from nbtrade.kernels.match import arrive, at_level, has_room, meet, trade_through
from nbtrade.kernels.memory import NO_KEY
from nbtrade.kernels.views import call_strategy
from nbtrade.schema import ADD, ASK, BID, EXEC, LAST, TRADE

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
        ("seen", "i8"),  # rows in the local book, when it is one of its own; ahead of `l` only after it ran out of pages
        ("x_phase", "i8"),  # of row x: OURS it is in the book, MET its effect on our orders is done too
        ("wakes", "i8"),  # TIMER | EVENT_END
        ("interval", "i8"),
        ("next_timer", "i8"),
        ("last_timer", "i8"),  # known at the end of the data
        ("feed", "i8"),
        ("one_book", "i8"),  # the local book is the exchange's, rolled back by the rows still on their way
        ("pages_needed", "i8"),  # free pages that the exchange's book must have before the next wake
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
REACHED, OURS, MET, PAGES_FULL = 0, 1, 2, 3


@helper
def reached(own_bid, own_ask, sides):
    """True when an opposite best price is at or through our best bid or ask (keys)."""
    return (own_bid >= -sides[ASK].best) | (own_ask >= -sides[BID].best)


@helper
def moved_up(event, orders, o):
    """The common case at a level of ours, done at once: one order of ours there, and lots before it leave. False if it is another."""
    own = orders[o]
    if own.next != o or own.kind == TAKEN or event.prio >= own.stamp:
        return False
    own.ahead += event.qty  # a row's qty is negative when lots leave
    return True


@kernel
def quiet_rows(events, ts_event, x, until, levels, pages, words, tree, free, sides, own_sides, orders):
    """Rows from x on with ts_event <= until through the exchange's book, up to the first that concerns our orders.

    Returns (x, why): REACHED; PAGES_FULL (row x not applied); OURS (row x is in the book and touches our orders); MET (row x
    ended an event after which an opposite price is at or through ours).
    Apart from the rest because this is the hot loop: with few arrays in hand all it needs stays in registers (7.5 ns a row;
    inlined in `run` 13). Of two conditions the one that is hardly ever true is asked first: it predicts well.
    """
    apart()
    n = len(events)
    own_bid = own_sides[BID].best
    own_ask = own_sides[ASK].best
    while x < n and ts_event[np.uint64(x)] <= until:
        event = events[np.uint64(x)]
        if event.kind < TRADE:
            i = apply(event, levels, pages, words, tree, free, sides)
            if i < 0:
                return x, PAGES_FULL
            own = levels[np.uint64(i)].own
            if own != 0 and event.kind != ADD and not moved_up(event, orders, own - 1):
                return x, OURS
            if event.kind == EXEC and (own_ask > -event.px if event.side else own_bid > event.px):
                return x, OURS
        if reached(own_bid, own_ask, sides) and event["flags"] & LAST != 0:
            return x, MET
        x += 1
    return x, REACHED


@helper
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
def meet_both(levels, pages, words, tree, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done, ts, row):
    """An event ended with an opposite price at or through ours: orders meet there, unless the market is crossed."""
    apart()
    if is_crossed(sides):
        return
    for side in range(2):
        if own_sides[side].best != NO_KEY:
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
    while True:
        if eng.x_phase == 0:
            eng.x, why = quiet_rows(events, ts_event, eng.x, until, levels, pages, words, tree, free, sides, own_sides, orders)
            if why == REACHED:
                return True
            if why == PAGES_FULL:
                return False
            eng.x_phase = why
        if not has_room(ex, sides, reports, fills, done):
            return False
        event = events[eng.x]
        if eng.x_phase == OURS:
            i = np.int64(level_index(pages, sides, np.int64(event.side), event.px))
            touch_orders(
                event, i, levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
                ex, accounts, orders, reports, fills, done, ts_event[eng.x], eng.base_row + eng.x,
            )  # fmt: skip
            if event["flags"] & LAST != 0 and reached(own_sides[BID].best, own_sides[ASK].best, sides):
                eng.x_phase = MET
                continue
        else:
            meet_both(
                levels, pages, words, tree, free, sides, own_words, own_tree, own_sides,
                ex, accounts, orders, reports, fills, done, ts_event[eng.x], eng.base_row + eng.x,
            )  # fmt: skip
        eng.x_phase = 0
        eng.x += 1


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
def run_strategy(eng, accounts):
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
        to = local_stop(events, ts_recv, eng.l, eng.x, ts - eng.feed, kind == EVENT_END)
        eng.pages_needed = 2 + abs(eng.x - to) if eng.one_book else 2
        if sides[0].n_free < eng.pages_needed:
            return NEED_ROOM
        if eng.one_book:
            if eng.x != to:
                roll(events, eng.x, to, levels, pages, words, tree, free, sides)
        else:
            eng.seen = replay(events, max(eng.seen, eng.l), to, seen_levels, seen_pages, seen_words, seen_tree, seen_free, seen_sides)
            if eng.seen < to:
                return NEED_ROOM
        note_trades(events, eng.l, to, market_row)
        eng.l = to
        if ex.head < ex.tail and reports[ex.head & (len(reports) - 1)].arrive <= ts:
            ex.head = deliver(reports, ex.head, ex.tail, ts, orders, accounts)
        show_market(market, ts, kind, seen_levels, seen_pages, seen_sides)
        wire.now = ts
        if kind == TIMER:
            eng.next_timer += eng.interval
        passed = run_strategy(eng, accounts)
        if eng.one_book and eng.x != eng.l:
            roll(events, eng.l, eng.x, levels, pages, words, tree, free, sides)
        if not passed:
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
