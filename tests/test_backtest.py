"""The engine against tests/model_backtest.py: every fill, order, position and cash, on random and real streams."""

import itertools

import numpy as np
import pytest
from model_backtest import backtest as model_backtest
from real import CLX5, real_path
from streams import model_records, tape_of

import nbtrade as nt
from nbtrade.kernels.account import STATES
from nbtrade.schema import ASK, BID, RECORD, UNDEF_PRICE
from nbtrade.sources import synthetic


@nt.strategy(state=[("x", "i8"), ("spread", "i8"), ("crossing", "i8"), ("most", "i8")], wake="100ms", x=1, spread=4, crossing=2, most=12)
def noise(market, features, account, state):
    """Random orders around the touch, some of them crossing it, market orders and cancels."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE:
        return
    for _ in range(3):
        state.x = (state.x * 1103515245 + 12345) & 0x7FFFFFFF
        r = state.x >> 8
        what, side, away, qty = r % 8, (r >> 3) & 1, (r >> 4) % (state.spread + state.crossing), 1 + (r >> 12) % 5
        if what < 5 and account.n_open < state.most:
            away -= state.crossing
            px = market.bid_px - away if side == BID else market.ask_px + away
            account.submit(side, px, qty)
        elif what == 5:
            account.market(side if account.position == 0 else (ASK if account.position > 0 else BID), qty)
        elif what == 6:
            oldest, best = -1, 1 << 60
            for slot in range(account.capacity):
                if account.is_open(slot):
                    own = account.order(slot)
                    if own.cancelling == 0 and own.id < best:
                        oldest, best = slot, own.id
            account.cancel(oldest)


class ModelNoise:
    """`noise` for the model."""

    def __init__(self, x=1, spread=4, crossing=2, most=12):
        self.x, self.spread, self.crossing, self.most = x, spread, crossing, most
        self.cancelled = set()

    def __call__(self, market, account):
        if market.bid_px is None or market.ask_px is None:
            return
        for _ in range(3):
            self.x = (self.x * 1103515245 + 12345) & 0x7FFFFFFF
            r = self.x >> 8
            what, side, away, qty = r % 8, (r >> 3) & 1, (r >> 4) % (self.spread + self.crossing), 1 + (r >> 12) % 5
            alive = account.open_orders
            if what < 5 and len(alive) < self.most:
                away -= self.crossing
                account.submit(side, market.bid_px - away if side == BID else market.ask_px + away, qty)
            elif what == 5:
                account.market(side if account.position == 0 else (ASK if account.position > 0 else BID), qty)
            elif what == 6:
                waiting = [o.id for o in alive if o.id not in self.cancelled]
                if waiting:
                    self.cancelled.add(waiting[0])
                    account.cancel(waiting[0])


def merged(fills):
    """Fills with a resting order's takes from several levels at one event's end added up: the engine reports them as one."""
    out = []
    for (order, ts, side, px, maker), group in itertools.groupby(fills, key=lambda f: (f[0], f[1], f[2], f[3], f[5])):
        out.append((order, ts, side, px, sum(f[4] for f in group), maker))
    return out


def compare(records, tmp_path, interval, latency, tick=None, **parameters):
    """Run both, compare everything; returns the result."""
    tape = tape_of(records, tmp_path, tick)
    entry, response = latency
    strategy = nt.Strategy(noise.function, noise.state, interval, noise.defaults)
    result = nt.backtest(tape, strategy, latency=nt.Latency(entry=entry, response=response), max_orders=64, **parameters)
    assert result.summary["n_refused"] == 0
    expected = model_backtest(
        model_records(records), ModelNoise(**parameters), interval=interval, entry=entry, response=response, tick=tape.tick_units
    )
    f = result._fills
    got = list(zip(*(f[n].tolist() for n in ("order_id", "ts", "side", "px", "qty")), f["maker"].astype(bool).tolist(), strict=True))
    want = merged([tuple(fill) for fill in expected.fills])
    assert merged(got)[: len(want)] == want
    assert len(merged(got)) == len(want)
    o = result._orders
    filled = [sum(f.qty for f in expected.fills if f.order == order.id) for order in expected.orders]
    assert [STATES[s] for s in o["state"].tolist()] == [order.state for order in expected.orders]
    assert (o["qty"] - o["leaves"]).tolist() == filled
    a = result.account
    assert (a["true_position"], a["true_cash"], a["maker_qty"], a["taker_qty"]) == (
        expected.position,
        expected.cash,
        expected.maker_qty,
        expected.taker_qty,
    )
    return result


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("latency", [(0, 0), (1_000_000, 2_000_000), (250_000_000, 30_000_000)])
def test_engine_equals_model(tmp_path, seed, latency):
    """Fills, orders, position and cash equal the plain-Python exchange's on synthetic days."""
    scenario = ("ordinary", "stub_quotes", "outliers")[seed % 3]
    records = synthetic.records(6_000, seed=seed, live_orders=(20, 200)[seed % 2], duration="30s", scenario=scenario)
    result = compare(records, tmp_path, 100_000_000, latency, x=seed + 7)
    assert result.summary["n_fills"] > 20


def test_engine_equals_model_on_clx5(tmp_path):
    """The same on a real file with unknown ids, a close and a crossed pre-open."""
    data = real_path(*CLX5).read_bytes()
    records = np.frombuffer(data, RECORD, offset=8 + int.from_bytes(data[4:8], "little"))
    for part in (slice(0, 6_000), slice(36_000, 38_212)):
        result = compare(records[part], tmp_path, 5_000_000_000, (3_000_000, 2_000_000), tick=0.01, x=5)
        assert result.summary["n_fills"] > 20
