"""The examples in nbtrade.strategies: each follows its documentation and its limits, in sweeps and without the JIT."""

import math
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbtrade as nt
from nbtrade import synthetic
from nbtrade.engine.backtest import run_tapes
from nbtrade.engine.config import new_config
from nbtrade.engine.outcome import result_of
from nbtrade.strategies._avellaneda_stoikov import avellaneda_stoikov
from nbtrade.strategies._execution import U_CURVE, twap, vwap
from nbtrade.strategies._glft import glft
from nbtrade.strategies._imbalance_taker import imbalance_taker
from nbtrade.strategies._pairs_hedge import pairs_hedge
from nbtrade.strategies._queue_joiner import queue_joiner
from streams import tape_of

SECOND = 1_000_000_000
START = 1_736_173_800 * SECOND  # a multiple of every wake interval
N_LOG, N_COLUMNS = 400, 9
ONE_BOOK = (avellaneda_stoikov, glft, imbalance_taker, queue_joiner, twap, vwap)
QUOTERS = (avellaneda_stoikov, glft, queue_joiner)


def day(folder, seed, n=20_000):
    """A tape of 20 seconds whose two clocks are equal."""
    folder.mkdir()
    records = synthetic.records(n, seed=seed, live_orders=100, duration="20s", start=START, mid=10_000)
    ts = np.maximum.accumulate(np.where(records["flags"] & 32, START, records["ts_event"]))
    records["ts_recv"] = records["ts_event"] = ts
    return tape_of(records, folder)


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """A market."""
    return day(tmp_path_factory.mktemp("strategies") / "a", 1)


@pytest.fixture(scope="module")
def pair(tape, tmp_path_factory):
    """Two markets."""
    return {"A": tape, "B": day(tmp_path_factory.mktemp("strategies") / "b", 2)}


def declared(fields):
    """Fields as a declaration with their initial values."""
    return {name: fields.initial[name][0] for name in fields.names}


def recorded(base):
    """Wrap a strategy so that it logs the market, its position and its orders after each wake."""
    inner = numba.njit(base.function)

    def recording(market, account, params, state):
        inner(market, account, params, state)
        if state.n_log < N_LOG:
            row = state.log[state.n_log]
            row[0], row[1], row[2], row[3] = market.ts - START, market.bid_px, market.ask_px, account.position
            row[4], row[5] = account.open_bid, account.open_ask
            for slot in range(account.capacity):  # bids and asks without a cancel in flight
                if account.is_open(slot) and account.order(slot).cancelling == 0:
                    row[6 + account.order(slot).side] += 1
                    row[8] = max(row[8], account.ahead(slot))
            state.n_log += 1

    log = {"log": np.zeros((N_LOG, N_COLUMNS)), "n_log": 0}
    return nt.strategy(wake="100ms", params=declared(base.params), state={**declared(base.state), **log})(recording)


def log_of(result):
    """f8[n_wakes, N_COLUMNS]: ns since the start, bid, ask, position, open lots, orders by side, the longest queue ahead of one."""
    return result.final_state["log"][: result.final_state["n_log"]]


def positions(result):
    """The position after each fill."""
    return np.cumsum(np.where(result.fills["side"] == "B", 1, -1) * result.fills["size"].to_numpy())


# --- all of them -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", QUOTERS, ids=lambda s: s.name)
def test_quotes_never_cross_the_touch(tape, strategy):
    """Without latency, and with equal clocks, every fill is a maker fill: no quote was sent at or through the other side."""
    result = nt.backtest(tape, strategy)
    assert result.summary["n_fills"] > 5
    assert result.fills["maker"].all()
    assert result.summary["n_rejected"] == 0


@pytest.mark.parametrize("strategy", [*QUOTERS, imbalance_taker], ids=lambda s: s.name)
@pytest.mark.parametrize("delay", ["0ms", "7ms", "170ms"])
@pytest.mark.parametrize(("qty", "most"), [(1, 1), (2, 3), (3, 7)])
def test_inventory_stays_within_limits(tape, strategy, delay, qty, most):
    """The position never exceeds `max_position`, even if latency is longer than the wake interval."""
    result = nt.backtest(tape, strategy, latency=nt.Latency(delay, delay), params={"qty": qty, "max_position": most})
    assert len(result.fills) > 0
    assert np.abs(positions(result)).max() <= most


@pytest.mark.parametrize(
    ("strategy", "grid"),
    [
        (avellaneda_stoikov, {"gamma": [0.02, 0.5], "sigma": [0.0, 3.0]}),
        (glft, {"levels": [1, 4], "step": [1, 3]}),
        (imbalance_taker, {"enter": [0.3, 0.6], "levels": [1, 5]}),
        (queue_joiner, {"max_ahead": [5, 50], "keep_ahead": [0, 9]}),
        (twap, {"total": [-9, 20], "slices": [3, 7]}),
        (vwap, {"total": [-9, 20], "passive": [0.0, 0.8]}),
    ],
    ids=lambda s: getattr(s, "name", ""),
)
def test_sweeps(tape, strategy, grid):
    """A sweep's rows are those of separate runs, and the parameters matter."""
    table = nt.sweep(tape, strategy, grid, latency=nt.Latency("1ms", "1ms"), progress=False)
    for row in table.to_dict("records"):
        one = nt.backtest(tape, strategy, latency=nt.Latency("1ms", "1ms"), params={name: row[name] for name in grid}).summary
        assert {name: row[name] for name in ("n_fills", "n_orders", "position", "gross_pnl")} == {
            name: one[name] for name in ("n_fills", "n_orders", "position", "gross_pnl")
        }
    assert len(table) == 4
    assert len({(row["n_orders"], row["n_fills"], row["position"]) for row in table.to_dict("records")}) > 1


NO_JIT_CODE = """
import sys
sys.path[:0] = ["tests/helpers", "tests/oracle", "tests/engine"]
import nbtrade as nt
from test_strategies import ONE_BOOK, pairs_hedge
tape = nt.open_tape(sys.argv[1])
end = int(tape.ts_recv[0]) + 2_000_000_000
for strategy in ONE_BOOK:
    more = {"duration": 1.5} if "duration" in strategy.params.names else {}
    print(strategy.name, nt.backtest(tape, strategy, latency=nt.Latency("1ms", "1ms"), end=end, params=more).hash)
both = nt.backtest({"A": tape, "B": tape}, pairs_hedge, end=end, params={"edge": 0.5})
print(both["A"].hash, both["B"].hash, both["B"].summary["n_fills"] > 0)
"""


def test_no_jit_equals_jit(tape):
    """Plain Python and compiled code give the same results for every strategy."""
    outs = []
    for disable in ("0", "1"):
        env = {**os.environ, "NUMBA_DISABLE_JIT": disable, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        command = [sys.executable, "-c", NO_JIT_CODE, str(tape.path)]
        done = subprocess.run(command, check=False, env=env, cwd=root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        outs.append(done.stdout.splitlines())
    assert outs[0] == outs[1]
    assert outs[0][-1].endswith("True")


# --- Avellaneda-Stoikov ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("gamma", "sigma", "k", "horizon"), [(0.01, 1.0, 2.5, 30.0), (0.03, 1.5, 3.0, 7.0)])
def test_avellaneda_stoikov_formula(tape, gamma, sigma, k, horizon):
    """Reservation price and spread at the last wake of many prefixes equal the paper's formula, computed from the log."""
    strategy, n_held = recorded(avellaneda_stoikov), 0
    for seconds in range(1, 19, 2):
        values = {"gamma": gamma, "sigma": sigma, "k": k, "horizon": horizon}
        result = nt.backtest(tape, strategy, end=START + seconds * SECOND, params=values)
        log = log_of(result)
        now, bid, ask, held = log[-1, :4]
        left = horizon - (now - log[0, 0]) / 1e9 % horizon
        state = result.final_state
        assert state["reservation"] == pytest.approx((bid + ask) / 2 - held * gamma * sigma**2 * left)
        assert state["spread"] == pytest.approx(gamma * sigma**2 * left + 2 / gamma * math.log(1 + gamma / k))
        n_held += held != 0
    assert n_held > 0


def test_avellaneda_stoikov_volatility(tape):
    """The estimated variance is the exponentially weighted mean of squared changes of the mid, in ticks^2 per second."""
    result = nt.backtest(tape, recorded(avellaneda_stoikov), params={"halflife": 3.0})
    log = log_of(result)
    mid, variance = (log[:, 1] + log[:, 2]) / 2, 0.0
    for change in np.diff(mid):
        variance += (1 - 0.5 ** (0.1 / 3.0)) * (change**2 / 0.1 - variance)
    assert 150 < len(log) < N_LOG
    assert result.final_state["variance"] == pytest.approx(variance)
    assert variance > 0


# --- GLFT --------------------------------------------------------------------------------------------------
def test_glft_formula_and_grid(tape):
    """Half spread and skew equal the paper's; prices are multiples of the step, and at most `levels` orders per side are open."""
    gamma, sigma, a, k, levels, step = 0.1, 1.5, 3.0, 1.7, 3, 4
    result = nt.backtest(
        tape, recorded(glft), params={"gamma": gamma, "sigma": sigma, "A": a, "k": k, "levels": levels, "step": step, "max_position": 50}
    )
    state = result.final_state
    assert state["half_spread"] == pytest.approx(1 / gamma * math.log(1 + gamma / k))
    assert state["skew"] == pytest.approx(math.sqrt(sigma**2 * gamma / (2 * k * a) * (1 + gamma / k) ** (1 + k / gamma)))
    assert (result.orders["px"] % step == 0).all()
    log = log_of(result)
    assert (log[:, 6:8] == levels).all()
    assert result.summary["n_fills"] > 5


# --- imbalance taker ---------------------------------------------------------------------------------------
def test_imbalance_taker_takes(tape):
    """All its orders are immediate-or-cancel, at least `rest` apart, and it only takes."""
    result = nt.backtest(tape, imbalance_taker, latency=nt.Latency("1ms", "1ms"), params={"rest": 0.5, "enter": 0.3})
    assert set(result.orders["time_in_force"]) == {"ioc"}
    assert not result.fills["maker"].any()
    assert result.orders["sent"].diff().dropna().min().total_seconds() >= 0.5
    assert {"B", "A"} == set(result.fills["side"])


def test_imbalance_taker_signal(tape):
    """It acts on the imbalance of the best bid and ask levels."""
    result = nt.backtest(tape, imbalance_taker, params={"levels": 2})
    rows = tape.book_at(int(tape.ts_recv[-1])).levels(2)
    bids, asks = (rows[[c for c in rows.columns if c.startswith(f"{side}_sz")]].to_numpy().sum() for side in ("bid", "ask"))
    assert result.final_state["imbalance"] == pytest.approx((bids - asks) / (bids + asks))


# --- queue joiner ------------------------------------------------------------------------------------------
def test_joiner_leaves_long_queues(tape):
    """After a wake no order has more than `max_ahead` lots known to be ahead, though some find more on arrival."""
    result = nt.backtest(tape, recorded(queue_joiner), latency=nt.Latency("80ms", "20ms"), params={"max_ahead": 8, "thin": 0})
    late = result.orders[result.orders["ahead"] > 8]
    assert len(late) > 3
    assert (late["reason"] == "by us").any()
    assert 4 < log_of(result)[:, 8].max() <= 8
    patient = nt.backtest(tape, recorded(queue_joiner), latency=nt.Latency("80ms", "20ms"), params={"max_ahead": 60, "thin": 0})
    assert log_of(patient)[:, 8].max() > 8


def test_joiner_keeps_good_places(tape):
    """Good queue positions are kept against an adverse imbalance: more of them for a larger `keep_ahead`, none for -1."""
    kept = [nt.backtest(tape, queue_joiner, params={"against": 1.5, "keep_ahead": n}).final_state["n_kept"] for n in (-1, 0, 4, 1000)]
    assert kept[0] == 0
    assert kept[0] < kept[2] <= kept[3]
    assert kept[1] <= kept[2]


def test_joiner_stays_at_the_touch(tape):
    """Every order joined the touch: without latency, and with equal clocks, its price was the best price when it was sent."""
    result = nt.backtest(tape, queue_joiner)
    for order in result.orders.iloc[:: max(1, len(result.orders) // 25)].itertuples():
        book = tape.book_at(int(order.sent.value))
        assert order.px == (book.bid_px if order.side == "B" else book.ask_px)


# --- execution ---------------------------------------------------------------------------------------------
@settings(max_examples=25, deadline=None)
@given(
    total=st.integers(-40, 40).filter(lambda n: n != 0),
    slices=st.integers(1, 8),
    passive=st.floats(0.0, 0.7),
    delay=st.integers(0, 30),
)
def test_twap_keeps_its_schedule(tape, total, slices, passive, delay):
    """Executed lots never exceed the slice's target, reach it exactly at the slice's end, and end at the parent's quantity."""
    latency = nt.Latency(f"{delay}ms", f"{delay}ms")
    result = nt.backtest(
        tape,
        twap,
        params={"total": total, "slices": slices, "passive": passive, "duration": 15.0, "begin": START + SECOND},
        latency=latency,
    )
    assert result.summary["position"] == total
    fills, n_done = result.fills, np.abs(positions(result))
    since = (fills.index.as_unit("ns").asi8 - START - SECOND) / 1e9 * slices / 15.0
    for i in range(slices):
        target = abs(total) * (i + 1) // slices
        n_by_now = n_done[since < i + 1]
        assert (n_by_now <= target).all()
        assert n_by_now.max(initial=0) == target
    assert (since >= 0).all()
    assert set(fills["side"]) == {"B" if total > 0 else "A"}


def test_twap_is_passive_first(tape):
    """Fills in the passive part of a slice are maker fills; without a passive part all fills are taker fills."""
    begin, latency = START + SECOND, nt.Latency("1ms", "1ms")
    result = nt.backtest(tape, twap, params={"total": 150, "slices": 5, "duration": 15.0, "passive": 0.1, "begin": begin}, latency=latency)
    into = (result.fills.index.as_unit("ns").asi8 - begin) / 1e9 % 3.0
    maker = result.fills["maker"].to_numpy()
    assert 0 < maker.sum() < len(maker)
    assert maker[into < 0.3].all()
    taken = nt.backtest(tape, twap, params={"total": 150, "slices": 5, "duration": 15.0, "passive": 0.0, "begin": begin}, latency=latency)
    assert taken.summary["maker_size"] < result.summary["maker_size"]


@pytest.mark.parametrize("total", [26, -131])
@pytest.mark.parametrize("curve", [U_CURVE, tuple(range(13)), (0,) * 12 + (1,)])
def test_vwap_follows_its_curve(tape, total, curve):
    """Executed lots at the end of each slice are the curve's share in whole lots, and in the end the parent's quantity."""
    begin = START + SECOND
    result = nt.backtest(
        tape,
        vwap,
        params={"total": total, "curve": curve, "passive": 0.3, "duration": 15.6, "begin": begin, "cross": 20},
        latency=nt.Latency("1ms", "1ms"),
    )
    assert result.summary["position"] == total
    n_done = np.abs(positions(result))
    since = (result.fills.index.as_unit("ns").asi8 - begin) / 1e9 * 13 / 15.6
    for i, share in enumerate(np.cumsum(curve) / sum(curve)):
        assert n_done[since < i + 1].max(initial=0) == int(abs(total) * share + 1e-9)


# --- pairs -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ratio", [1.0, 0.5, 1.7])
def test_pairs_are_hedged(pair, ratio):
    """Without latency the hedge is within half a lot of its target at every sample and at the end."""
    both = nt.backtest(pair, pairs_hedge, params={"ratio": ratio, "edge": 0.5}, sample="10ms")
    a, b = (both[name].equity["position"].to_numpy() for name in "AB")
    assert len(a) == len(b) > 1000
    assert np.abs(a).max() > 2
    assert np.abs(b + ratio * a).max() <= 0.5 + 1e-9
    assert both["A"].fills["maker"].all()
    assert not both["B"].fills["maker"].any()


@pytest.mark.parametrize("most", [1, 3])
def test_pairs_with_delay(pair, most):
    """With latency the first leg stays within its limit, and no fill is hedged twice: the hedge follows with a lag."""
    both = nt.backtest(pair, pairs_hedge, latency=nt.Latency("130ms", "40ms"), params={"edge": 0.5, "max_position": most})
    held = positions(both["A"])
    assert np.abs(held).max() == most
    assert np.abs(positions(both["B"])).max() <= most
    assert both["B"].summary["traded_size"] <= both["A"].summary["traded_size"]


def test_pairs_as_accounts_of_one_run(pair):
    """Several parameter sets in one pass over both instruments give the results of separate runs."""
    sets = [{"edge": 0.5}, {"edge": 1.5, "ratio": 0.5}]
    config = new_config(pairs_hedge, sets, max_orders=16)
    simulation = run_tapes(list(pair.values()), config)
    for k, values in enumerate(sets):
        alone = nt.backtest(pair, pairs_hedge, max_orders=16, params=values)
        for v, name in enumerate(pair):
            one = result_of(simulation, config, name, pair[name].tick_units, v=v, k=k)
            assert (one.hash, one.summary["n_fills"] > 0) == (alone[name].hash, True)
