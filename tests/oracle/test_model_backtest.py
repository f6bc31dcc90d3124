"""Laws of the oracle's own orders, on a real file; its rules are cases (tests/rules/test_rules.py)."""

import random
from itertools import pairwise

import pytest

import real
from model import ASK, BID
from model_backtest import backtest, events_of
from model_exchange import Exchange, OwnOrder


@pytest.fixture(scope="module")
def clx5():
    return real.dbn_records(real.real_path(*real.CLX5))


def test_no_data_no_calls():
    """Without records the strategy is never called."""
    assert backtest([], None, tick=1).fills == []


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
    return backtest(records, random_quotes(1), interval=10**9, entry=10**6, response=10**6, tick=10_000_000)


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
        assert order.filled == sum(fill.qty for fill in whole.fills if fill.order == order.id)
        assert order.filled <= order.qty
        assert (order.filled == order.qty) == (order.state == "filled")


def test_lots_ahead_are_the_lots_of_the_real_orders_with_an_earlier_place(clx5):
    """`ahead`, kept by subtraction, equals the sum over the queue at every event end."""
    tick, n_compared = 10_000_000, 0
    exchange, rng = Exchange(tick), random.Random(2)
    for ts, _, records in events_of(clx5[:6000]):
        exchange.event(ts, records)
        if rng.random() < 0.02 and exchange.book.best(BID) and exchange.book.best(ASK):
            side, qty = rng.randrange(2), rng.randrange(1, 9)
            px = exchange.ticks(exchange.book.best(side)) - rng.randrange(4) * (1 - 2 * side)
            exchange.arrive(ts, "new", OwnOrder(len(exchange.orders), side, px, qty))
        for own in exchange.resting:
            queue = exchange.book.queues[own.side].get(own.px * tick, {}).values()
            assert own.ahead == sum(order.qty for order in queue if order.place < own.place)
            n_compared += own.ahead > 0
    assert n_compared > 1000
