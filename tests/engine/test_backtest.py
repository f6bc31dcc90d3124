"""The engine against tests/oracle/model_backtest.py: every fill, order, position and cash, on random and real streams."""

import numpy as np
import pytest

import nbtrade as nt
from model_backtest import backtest as model_backtest
from nbtrade import synthetic
from nbtrade.schema import ASK, BID, FOK, GTC, IOC, LIMIT, RECORD, UNDEF_PRICE
from real import CLX5, real_path
from scripted_engine import expected, outcome_of
from streams import model_records, tape_of


@nt.strategy(wake="100ms", params={"seed": 1, "spread": 4, "crossing": 2, "most": 12}, state={"x": 0})
def noise(market, account, params, state):
    """Send random orders of every kind around the touch, some of them crossing it; also quotes, replaces and cancels."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE:
        return
    if state.x == 0:
        state.x = params.seed
    for _ in range(3):
        state.x = (state.x * 1103515245 + 12345) & 0x7FFFFFFF
        r = state.x >> 8
        what, side, away, qty = r % 8, (r >> 3) & 1, (r >> 4) % (params.spread + params.crossing) - params.crossing, 1 + (r >> 12) % 5
        px = market.bid_px - away if side == BID else market.ask_px + away
        oldest, best = -1, 1 << 60
        for slot in range(account.capacity):
            if account.is_open(slot):
                own = account.order(slot)
                if own.cancelling == 0 and own.id < best:
                    oldest, best = slot, own.id
        if what < 4 and account.n_open < params.most:
            kind = (r >> 16) % 8
            account.submit(side, px, qty, LIMIT, IOC if kind == 4 else FOK if kind == 5 else GTC, kind == 3)
        elif what == 4:
            account.quote(side, px, qty)
        elif what == 5:
            account.market(side if account.position == 0 else (ASK if account.position > 0 else BID), qty)
        elif what == 6 and oldest >= 0:
            account.cancel(oldest)
        elif what == 7 and oldest >= 0:
            account.replace(oldest, px, account.order(oldest).filled + qty)


def woken(strategy, wake):
    """Copy a strategy with different wakes."""
    fields = ({name: one.initial[name][0] for name in one.names} for one in (strategy.params, strategy.state))
    return nt.Strategy(strategy.function, wake, *fields, strategy.record, ())


class ModelNoise:
    """The model's version of `noise`."""

    def __init__(self, seed=1, spread=4, crossing=2, most=12):
        self.x, self.spread, self.crossing, self.most = seed, spread, crossing, most

    def __call__(self, market, account):
        if market.bid_px is None or market.ask_px is None:
            return
        for _ in range(3):
            self.x = (self.x * 1103515245 + 12345) & 0x7FFFFFFF
            r = self.x >> 8
            what, side, away, qty = r % 8, (r >> 3) & 1, (r >> 4) % (self.spread + self.crossing) - self.crossing, 1 + (r >> 12) % 5
            px = market.bid_px - away if side == BID else market.ask_px + away
            oldest = next((order for order in account.open_orders if not order.cancelling), None)
            if what < 4 and len(account.open_orders) < self.most:
                kind = (r >> 16) % 8
                account.submit(side, px, qty, "limit", {4: "ioc", 5: "fok"}.get(kind, "gtc"), kind == 3)
            elif what == 4:
                account.quote(side, px, qty)
            elif what == 5:
                account.market(side if account.position == 0 else (ASK if account.position > 0 else BID), qty)
            elif what == 6 and oldest:
                account.cancel(oldest.id)
            elif what == 7 and oldest:
                account.replace(oldest.id, px, oldest.filled + qty)


def compare(records, tmp_path, interval, latency, tick=None, **parameters):
    """Run both and compare everything; returns the result."""
    tape = tape_of(records, tmp_path, tick)
    entry, response = latency
    strategy = woken(noise, interval)
    result = nt.backtest(
        tape, strategy, latency=nt.Latency(entry=entry, response=response), max_orders=64, sample=interval, params=parameters
    )
    oracles = model_backtest(
        model_records(records),
        ModelNoise(**parameters),
        interval=interval,
        entry=entry,
        response=response,
        tick=tape.tick_units,
        sample=interval,
    )
    got = outcome_of(result, with_looks=False)
    for name, ours, theirs in zip(got._fields, got, expected(oracles, []), strict=True):
        assert ours == theirs, name
    return result


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("latency", [(0, 0), (1_000_000, 2_000_000), (250_000_000, 30_000_000)])
def test_engine_equals_model(tmp_path, seed, latency):
    """Fills, orders, position and cash equal the plain-Python exchange's on synthetic days."""
    scenario = ("ordinary", "stub_quotes", "outliers")[seed % 3]
    records = synthetic.records(6_000, seed=seed, live_orders=(20, 200)[seed % 2], duration="30s", scenario=scenario)
    result = compare(records, tmp_path, 100_000_000, latency, seed=seed + 7)
    assert result.summary["n_fills"] > 20


def test_engine_equals_model_on_clx5(tmp_path):
    """The same on a real file with unknown ids, a market close and a crossed pre-open."""
    data = real_path(*CLX5).read_bytes()
    records = np.frombuffer(data, RECORD, offset=8 + int.from_bytes(data[4:8], "little"))
    for part in (slice(0, 6_000), slice(36_000, 38_212)):
        result = compare(records[part], tmp_path, 5_000_000_000, (3_000_000, 2_000_000), tick=0.01, seed=5)
        assert result.summary["n_fills"] > 20
