"""The oracle's own orders: one small scenario per rule, then laws on a real file.

`run` backtests a script {wake: action}; it wakes every 10 ns, 1 ns of latency each way.
"""

import random
from itertools import pairwise

import pytest
import real
from model import ASK, BID
from model_backtest import Exchange, OwnOrder, backtest, events_of
from model_cases import ask, bid, rec


@pytest.fixture(scope="module")
def clx5():
    return real.dbn_records(real.real_path(*real.CLX5))


# Own orders: the book is 5 bid at 100 (id 1), 5 asked at 102 (id 2) and 7 at 103 (id 3) from ts 5 on


def run(records, script, *, end=60, entry=1, response=1):
    """Backtest a script {wake: action(market, account)}."""
    start = [bid(1, 100, 5, ts=5), ask(2, 102, 5, ts=5), ask(3, 103, 7, ts=5)]
    records = [*start, *records, rec("N", ts=end)]

    def nothing(market, account):
        """Do nothing at wakes that the script does not name."""

    return backtest(
        records,
        lambda market, account: script.get(market.ts, nothing)(market, account),
        interval=10,
        entry=entry,
        response=response,
        tick=1,
    )


def send(*orders):
    """Return an action that submits (side, px, qty) orders; px None is a market order."""

    def action(market, account):
        for side, px, qty in orders:
            account.market(side, qty) if px is None else account.submit(side, px, qty)

    return action


def cancel(market, account):
    account.cancel(0)


def executed(order_id, px, size, ts, side="B"):
    """Return the T, F and C of an execution of a resting order."""
    other = "A" if side == "B" else "B"
    return [
        rec("T", other, px, size, 0, ts, 0),
        rec("F", side, px, size, order_id, ts, 0),
        rec("C", side, px, size, order_id, ts),
    ]


def fills(result):
    return [(fill.order, fill.ts, fill.px, fill.qty) for fill in result.fills]


def test_an_own_order_just_behind_a_real_one_never_fills_before_it():
    """The real order's partial and final executions leave ours alone; the next one's fills it."""
    records = [*executed(1, 100, 2, 21), bid(4, 100, 9, ts=22), *executed(1, 100, 3, 31)]
    result = run(records, {10: send((BID, 100, 4))})
    assert (fills(result), result.orders[0].ahead) == ([], 0)
    result = run(records + executed(4, 100, 9, 41), {10: send((BID, 100, 4))})
    assert fills(result) == [(0, 41, 100, 4)]
    assert (result.maker_qty, result.taker_qty) == (4, 0)


def test_an_own_order_just_before_a_real_one_fills_with_it():
    """Lots executed behind ours are ours, as many as there are."""
    records = [bid(4, 100, 3, ts=20), *executed(4, 100, 2, 31), *executed(4, 100, 1, 41)]
    assert fills(run(records, {10: send((BID, 100, 9))})) == [(0, 31, 100, 2), (0, 41, 100, 1)]


def test_cancels_ahead_move_ours_up_and_cancels_behind_do_not():
    """What is ahead falls with every reduction ahead, of either kind."""
    records = [bid(4, 100, 9, ts=20), rec("C", "B", 100, 2, 1, ts=21), rec("C", "B", 100, 8, 4, ts=22)]
    assert run(records, {10: send((BID, 100, 4))}).orders[0].ahead == 3


def test_a_real_order_that_loses_its_place_is_behind_ours():
    """After growing it no longer counts as ahead, and its execution fills ours."""
    records = [rec("M", "B", 100, 6, 1, ts=21), *executed(1, 100, 3, 31)]
    result = run(records, {10: send((BID, 100, 2))})
    assert (result.orders[0].ahead, fills(result)) == (0, [(0, 31, 100, 2)])


def test_an_execution_at_a_worse_price_fills_ours_first():
    """Trade-through: at our price, not at the worse one."""
    assert fills(run(executed(1, 100, 3, 21), {10: send((BID, 101, 4))})) == [(0, 21, 101, 3)]
    assert fills(run(executed(3, 103, 3, 21, "A"), {10: send((ASK, 104, 4))})) == []


def test_an_opposite_order_that_comes_to_rest_at_or_through_our_price_fills_it():
    """At our price, best level first, and only once for lots that stay."""
    records = [ask(4, 101, 1, ts=21), ask(5, 101, 2, ts=31), rec("N", ts=41)]
    result = run(records, {10: send((BID, 101, 9))})
    assert fills(result) == [(0, 21, 101, 1), (0, 31, 101, 2)]
    deep = [ask(4, 101, 2, ts=21, flags=0), rec("C", "B", 100, 5, 1, ts=21, flags=0), ask(5, 100, 1, ts=21)]
    assert fills(run(deep, {10: send((BID, 101, 9))})) == [(0, 21, 101, 1), (0, 21, 101, 2)]


def test_the_book_inside_an_event_does_not_match():
    """An opposite order that is gone at the event's end never filled ours."""
    records = [ask(4, 101, 1, ts=21, flags=0), rec("C", "A", 101, 1, 4, ts=21)]
    assert fills(run(records, {10: send((BID, 101, 9))})) == []


def test_of_several_own_orders_the_better_price_then_the_earlier_fills_and_lots_are_given_once():
    """5 executed lots are shared 2, 2 and 1 by price, then arrival."""
    own = send((BID, 101, 2), (BID, 101, 2), (BID, 100, 9), (ASK, 104, 1))
    records = [rec("C", "B", 100, 5, 1, ts=9), bid(4, 99, 5, ts=9), *executed(4, 99, 5, 21)]
    assert fills(run(records, {10: own})) == [(0, 21, 101, 2), (1, 21, 101, 2), (2, 21, 100, 1)]
    own = send((BID, 100, 9), (BID, 101, 2))
    assert fills(run(records, {10: own})) == [(1, 21, 101, 2), (0, 21, 100, 3)]


def test_a_taker_walks_the_depth_up_to_its_limit_and_the_rest_rests():
    """Each level at its own price; cash is in tick-lots."""
    result = run([], {10: send((BID, 103, 20))})
    assert fills(result) == [(0, 11, 102, 5), (0, 11, 103, 7)]
    assert (result.position, result.cash, result.taker_qty) == (12, -5 * 102 - 7 * 103, 12)
    assert (result.orders[0].state, result.orders[0].leaves) == ("working", 8)
    assert fills(run([], {10: send((BID, 102, 20))})) == [(0, 11, 102, 5)]
    sold = run([bid(4, 99, 5, ts=6)], {10: send((ASK, None, 7))})
    assert fills(sold) == [(0, 11, 100, 5), (0, 11, 99, 2)]


def test_taken_liquidity_is_not_taken_twice():
    """Our next order finds only what our last one left, whichever way it takes."""
    result = run([rec("N", ts=15)], {10: send((BID, 102, 4), (BID, None, 3)), 20: send((BID, 102, 1))})
    assert fills(result) == [(0, 11, 102, 4), (1, 11, 102, 1), (1, 11, 103, 2)]
    assert result.orders[2].state == "working"


@pytest.mark.parametrize(
    ("records", "free"),
    [
        ([], 1),
        (executed(2, 102, 2, 15, "A"), 1),  # 5 - 2 rest, 4 - 2 taken
        (executed(2, 102, 4, 15, "A"), 1),
        ([rec("C", "A", 102, 3, 2, ts=15)], 0),  # 2 rest, at most 2 taken
        ([ask(4, 102, 6, ts=15)], 7),
        ([rec("C", "A", 102, 5, 2, ts=15), ask(4, 102, 6, ts=16)], 6),
        ([rec("M", "A", 102, 6, 2, ts=15)], 6),  # removed and added again
    ],
)
def test_executions_and_changes_of_a_level_refresh_what_was_taken(records, free):
    """Taken lots fall with executions there and never exceed the level's quantity."""
    result = run(records, {10: send((BID, 102, 4)), 20: send((BID, 102, 99))})
    assert sum(fill.qty for fill in result.fills if fill.order == 1) == free


def test_a_market_order_takes_what_is_there_and_the_rest_is_cancelled():
    """Into an empty side all of it is cancelled."""
    result = run([], {10: send((BID, None, 99), (ASK, None, 2))})
    assert [(o.state, o.leaves) for o in result.orders] == [("cancelled", 0), ("filled", 0)]
    assert (result.position, result.cash) == (10, -5 * 102 - 7 * 103 + 2 * 100)
    result = run([rec("C", "B", 100, 5, 1, ts=6)], {10: send((ASK, None, 2))})
    assert (result.orders[0].state, result.fills) == ("cancelled", [])


def test_a_crossed_book_does_not_match():
    """A limit rests and a market order is cancelled; when the cross resolves the limit fills at its px."""
    records = [bid(4, 102, 1, ts=6), rec("N", ts=21), rec("C", "B", 102, 1, 4, ts=31)]
    result = run(records, {10: send((BID, 103, 7), (BID, None, 1))})
    assert fills(result) == [(0, 31, 103, 5), (0, 31, 103, 2)]
    assert result.orders[1].state == "cancelled"
    assert result.maker_qty == 7


def test_own_orders_do_not_see_each_other():
    """An own bid and an own ask at one price both rest."""
    result = run([], {10: send((BID, 101, 1), (ASK, 101, 1))})
    assert [order.state for order in result.orders] == ["working", "working"]


@pytest.mark.parametrize(("ts", "filled"), [(21, True), (22, False)])
def test_a_fill_beats_a_cancel_that_arrives_at_the_same_time(ts, filled):
    """The market's event comes first; a cancel of a filled order does nothing."""
    result = run(executed(1, 100, 5, ts), {10: send((BID, 101, 5)), 20: cancel})
    assert result.position == 5 * filled
    assert result.orders[0].state == ("filled" if filled else "cancelled")


def test_an_order_arrives_after_the_events_of_its_time():
    """At equal times an ask that leaves is gone and an order that joins is ahead."""
    result = run([rec("C", "A", 102, 5, 2, ts=11), bid(4, 100, 3, ts=11)], {10: send((BID, 102, 1), (BID, 100, 1))})
    assert (result.fills, result.orders[1].ahead) == ([], 8)


def test_the_strategy_sees_the_local_clock_and_reports_after_the_response_latency():
    """An event is seen at its receive time, a fill at exchange time plus latency; not a ns earlier."""
    seen = []

    def look(market, account):
        order = account.orders[0]
        seen.append((market.ts, market.ask_px, market.ask_qty, order.state, order.leaves, account.position))

    records = [rec("C", "A", 102, 5, 2, ts=12, ts_recv=30), *executed(1, 100, 4, 36)]
    script = {10: send((BID, 101, 5))} | dict.fromkeys((20, 30, 40, 50), look)
    result = run(records, script, response=14)
    assert [row[:3] for row in seen] == [(20, 102, 5), (30, 103, 7), (40, 103, 7), (50, 103, 7)]
    assert [row[3:] for row in seen] == [("sent", 5, 0), *[("working", 5, 0)] * 2, ("working", 1, 4)]
    assert fills(result) == [(0, 36, 101, 4)]


def test_wakes_are_the_multiples_from_the_first_events_clock_to_past_the_last_ones():
    """The first at or after the first event's local clock, the last at or after the last one's."""
    wakes = []
    records = [rec("N", ts=ts) for ts in (20, 33)]
    backtest(records, lambda m, a: wakes.append((m.ts, m.bid_px)), interval=10, entry=0, response=0, tick=1)
    assert wakes == [(20, None), (30, None), (40, None)]
    assert backtest([], None, interval=10, entry=0, response=0, tick=1).fills == []


@pytest.mark.parametrize(("entry", "position"), [(0, 5), (1, 0)])
def test_the_end_is_the_last_wake(entry, position):
    """What arrives by then is processed, fills count without their report, the rest stays sent."""
    result = run([], {60: send((BID, 102, 5))}, entry=entry, response=99)
    assert result.position == position
    assert result.orders[0].state == ("filled" if position else "sent")


# Laws


def random_quotes(seed):
    """Return a strategy that submits and takes at random around the touch and cancels its older orders."""
    rng = random.Random(seed)

    def strategy(market, account):
        side, qty = rng.randrange(2), rng.randrange(1, 4)
        px = (market.bid_px, market.ask_px)[side] or 6480
        account.submit(side, px + rng.randrange(-2, 3), qty)
        if rng.random() < 0.1:
            account.market(side, qty)
        if len(account.orders) > 9:
            account.cancel(len(account.orders) - rng.randrange(5, 10))

    return strategy


def clx5_run(records):
    quotes = random_quotes(1)
    return backtest(records, quotes, interval=10**9, entry=10**6, response=10**6, tick=10_000_000)


def test_clx5_a_prefix_of_the_records_gives_the_prefix_of_the_fills(clx5):
    """No look-ahead, up to the prefix's last event; fills, leaves and sums agree."""
    half, whole = clx5_run(clx5[:6_000]).fills, clx5_run(clx5[:12_000])
    half = [fill for fill in half if fill.ts <= clx5[5_999].ts_event]
    assert len(half) > 100
    assert whole.fills[: len(half)] == half
    assert whole.maker_qty + whole.taker_qty == sum(fill.qty for fill in whole.fills)
    assert min(whole.maker_qty, whole.taker_qty) > 100
    assert all(a.ts <= b.ts for a, b in pairwise(whole.fills))
    for order in whole.orders:
        filled = sum(fill.qty for fill in whole.fills if fill.order == order.id)
        assert filled <= order.qty if order.state == "cancelled" else filled + order.leaves == order.qty


def test_lots_ahead_are_the_lots_of_the_real_orders_with_an_earlier_place(clx5):
    """`ahead`, kept by subtraction, equals the sum over the queue at every event end."""
    tick, n_compared = 10_000_000, 0
    exchange, rng = Exchange(tick), random.Random(2)
    for ts, _, records in events_of(clx5[:6000]):
        exchange.event(ts, records)
        if rng.random() < 0.02 and exchange.book.best(BID) and exchange.book.best(ASK):
            side, qty = rng.randrange(2), rng.randrange(1, 9)
            px = exchange.ticks(exchange.book.best(side)) - rng.randrange(4) * (1 - 2 * side)
            exchange.arrive(ts, "new", OwnOrder(len(exchange.orders), side, px, qty, qty))
        for own in (own for own in exchange.orders if own.working):
            queue = exchange.book.queues[own.side].get(own.px * tick, {}).values()
            assert own.ahead == sum(order.qty for order in queue if order.place < own.place)
            n_compared += own.ahead > 0
    assert n_compared > 1000
