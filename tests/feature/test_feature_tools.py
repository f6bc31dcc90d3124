"""User-defined features, targets, joins, the cache, other processes, and published findings on real days."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import strategies as st

import feature_cases as cases
import nbtrade as nt
import real
from nbtrade import feature as f
from nbtrade import synthetic
from nbtrade.errors import FeatureError
from nbtrade.feature import buffers, feature_pass
from nbtrade.feature.compute import columns_of
from nbtrade.feature.lowering import lower
from streams import tape_of

MS, S = cases.MS, cases.S
SEEDS = st.integers(0, 10**6)


def wanted(named):
    """name -> feature."""
    return {name: feature for name, (feature, _) in named.items()}


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """Half a minute of a small synthetic market."""
    return tape_of(synthetic.records(4_000, seed=3, live_orders=100, duration="30s"), tmp_path_factory.mktemp("features"))


# --- user-defined features -------------------------------------------------------------------------------
@f.own(state=[("weight", "f8"), ("held", "f8")], weight=0.1)
def leaning(market, state, x):
    """A moving average of its input, as a user would write it."""
    if not np.isnan(x):
        state.held += state.weight * (x - state.held)
    return state.held


@f.own(flow=True)
def doubled(market, state):
    """Twice the lots bought by aggressors."""
    return 2 * market.buy_qty


@f.own(levels=2)
def second(market, state):
    """A level beyond the first."""
    return market.bid_px[1]


@f.own(levels=3)
def before(market, state):
    """Levels at the end of the previous event."""
    return market.old_bid_qty[0] + 1e3 * market.old_ask_qty[2] + 1e6 * market.old_bid_px[1]


@f.own(levels=3)
def after(market, state):
    """The current levels."""
    return market.bid_qty[0] + 1e3 * market.ask_qty[2] + 1e6 * market.bid_px[1]


@f.own(state=[("n", "i8")])
def failing(market, state):
    """Raises at the 100th event."""
    state.n += 1
    return 1 // (100 - state.n)


def test_own_features(tape):
    """A user-defined feature is called at every event's end with its inputs and its own state; parameters are data."""
    m = nt.features(tape, {"slow": leaning(f.mid()), "fast": leaning(f.mid(), weight=0.5), "two": doubled(), "px": second(), "x": f.mid()})
    bought = nt.features(tape, f.volume() + f.signed_volume()).values[:, 0]
    for name, weight in (("slow", 0.1), ("fast", 0.5)):
        held, expected = 0.0, []
        for x in m["x"]:
            held += 0 if np.isnan(x) else weight * (x - held)
            expected.append(held)
        np.testing.assert_allclose(m[name], expected)
    np.testing.assert_array_equal(m["two"], bought)
    np.testing.assert_array_equal(m["px"], nt.features(tape, f.bid_px(2)).values[:, 0])
    assert nt.features(tape, leaning(f.mid()).ema("1s") / f.spread()).values.shape == (len(m), 1)


def test_own_features_see_the_event_before(tape):
    """At an event's end the old levels are those at the end of the previous event, on a day and in random streams."""
    for day in (tape, *(cases.noise(seed) for seed in range(5))):
        m = nt.features(day, {"before": before(), "after": after()})
        np.testing.assert_array_equal(m["before"][1:], m["after"][:-1])


def test_own_features_that_fail(tape):
    """A user-defined feature that raises ends the pass with its name and the time; wrong fields are rejected immediately."""
    with pytest.raises(FeatureError, match=r"failing.* raised an exception at the event that ended at"):
        nt.features(tape, failing())
    with pytest.raises(FeatureError, match="no state field 'wait'"):
        leaning(f.mid(), wait=1)
    with pytest.raises(FeatureError, match="takes 1 input"):
        leaning()


# --- targets, joins, cache -------------------------------------------------------------------------------
def test_targets(tape):
    """A target at t uses everything received by t + after; NaN where the data end."""
    t = nt.targets(tape, [nt.target.mid_return("1s"), nt.target.mid_change("300ms"), nt.target.markout("1s")], sample="trade")
    every = nt.features(tape, {"mid": f.mid(), "sign": f.trade_sign(), "px": f.last_px(), "n": f.trades()})
    rows = np.flatnonzero(every["n"] > 0)
    assert t.ts.tolist() == every.ts[rows].tolist()

    def later(after):
        times = every.ts[rows] + after
        at = np.searchsorted(every.ts, times, side="right") - 1
        return np.where(times > every.ts[-1], np.nan, every["mid"][at])

    mid = every["mid"][rows]
    np.testing.assert_allclose(t["mid_return(1s)"], later(S) / mid - 1, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(t["mid_change(300ms)"], later(300 * MS) - mid)
    np.testing.assert_array_equal(t["markout(1s)"], every["sign"][rows] * (later(S) - every["px"][rows]))
    assert np.isnan(t.values[-1]).all()
    with pytest.raises(TypeError, match="is not a target"):
        nt.targets(tape, f.mid())
    with pytest.raises(TypeError, match="looks forward"):
        nt.features(tape, [nt.target.mid_return("1s")])


def test_asof(tape):
    """Another tape's features as last known: the latest row at or before this one, never a later row."""
    other = nt.features(tape, [f.mid(), f.spread()], sample="trade")
    left = nt.features(tape, [f.mid()], sample="130ms")
    joined = nt.asof(left, other, delay=5 * MS)
    assert joined.names == ["mid()", "mid()_right", "spread()"]
    for ts, row in zip(left.ts.tolist(), joined.values, strict=True):
        known = [k for k, t in enumerate(other.ts.tolist()) if t + 5 * MS <= ts]
        expected = other.values[known[-1]] if known else [np.nan, np.nan]
        np.testing.assert_array_equal(row[1:], expected)


def test_cache(tape, tmp_path, monkeypatch):
    """A second request maps the bytes of the first for any column names; other parameters give another matrix."""
    tape.manifest["content_hash"] = tape.manifest.get("content_hash", "a")
    first = nt.features(tape, {"a": f.mid().ema("1s"), "b": leaning(f.mid())}, cache=tmp_path / "features.blocks")
    monkeypatch.setattr(feature_pass.FeaturePass, "feed", None)  # would be needed to compute
    second_time = nt.features(tape, {"c": f.mid().ema("1s"), "d": leaning(f.mid())}, cache=tmp_path / "features.blocks")
    assert second_time.values.tobytes() == first.values.tobytes()
    assert second_time.ts.tobytes() == first.ts.tobytes()
    assert not second_time.values.flags.writeable
    assert second_time.names == ["c", "d"]
    for other in (f.mid().ema("2s"), leaning(f.mid(), weight=0.2)):
        with pytest.raises(TypeError):
            nt.features(tape, {"a": f.mid().ema("1s"), "b": other}, cache=tmp_path / "features.blocks")
    with pytest.raises(TypeError):
        nt.features(tape, {"a": f.mid().ema("1s"), "b": leaning(f.mid())}, sample=2, cache=tmp_path / "features.blocks")


# --- other processes -------------------------------------------------------------------------------------
ELSEWHERE = """
import sys, hashlib
sys.path[:0] = {tests!r}
import feature_cases as cases
import nbtrade as nt
from nbtrade.feature import jit as compiled
named = {{name: e for name, (e, _) in (cases.flows() | cases.statistics()).items()}}
m = nt.features(cases.noise(9, 60), named)
print(hashlib.sha256(m.values.tobytes()).hexdigest(), m.values[-1].tolist())
"""


def elsewhere(**environment):
    """(hash, last row) of a matrix computed in a separate process."""
    code = ELSEWHERE.format(tests=[path for path in sys.path if "tests" in path])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    digest, row = done.stdout.split(" ", 1)
    return digest, np.array(eval(row, {"nan": np.nan}))


def test_without_the_jit():
    """Plain Python gives the compiled set's matrix."""
    expected = nt.features(cases.noise(9, 60), wanted(cases.flows() | cases.statistics()))
    _, row = elsewhere(NUMBA_DISABLE_JIT="1")
    np.testing.assert_allclose(row, expected.values[-1], rtol=1e-9, atol=1e-9)


def test_second_process_compiles_nothing(tmp_path):
    """In a separate process a set's function comes from the disk cache: no file is added, and the bytes are the same."""
    first = elsewhere(NBTRADE_CACHE_DIR=str(tmp_path))[0]
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert any(name.startswith("features_") for name in files)
    assert elsewhere(NBTRADE_CACHE_DIR=str(tmp_path))[0] == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files


# --- published findings ----------------------------------------------------------------------------------
@pytest.mark.parametrize("source", [real.CLX5, real.ARL], ids=lambda s: s[1][:4])
def test_order_flow_moves_the_price(source, tmp_path):
    """Mid changes over intervals increase with their order-flow imbalance: a clearly positive slope (Cont, Kukanov and Stoikov 2014)."""
    whole = nt.ingest(real.real_path(*source), tmp_path / "day.tape", progress=False)
    m = nt.features(whole, {"ofi": f.ofi(), "dm": f.mid().change(), "spread": f.spread()}, sample="10s")
    m = m.values[np.isfinite(m["spread"]) & (m["spread"] > 0) & (m["ofi"] != 0)]
    x, y = m[:, 0] - m[:, 0].mean(), m[:, 1] - m[:, 1].mean()
    slope = (x @ y) / (x @ x)
    error = np.sqrt(((y - slope * x) ** 2).sum() / (len(x) - 2) / (x @ x))
    assert len(x) > 50
    assert slope / error > 4


def test_microprice_fit(tape):
    """The fitted adjustment is odd in the imbalance and solves its equation."""
    from nbtrade.feature import microprice_fit

    g = microprice_fit.fit(tape, buckets=4, spreads=2)
    np.testing.assert_allclose(g, -g[::-1], atol=1e-9)
    x, y = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 1])
    move = np.array([0.0, 1.0, 0.0, -1.0, 0.0])
    stay, go, drift = np.array([[0.5, 0.0], [1 / 3, 1 / 3]]), np.array([[0.0, 0.5], [0.0, 1 / 3]]), np.array([0.5, -1 / 3])
    found = microprice_fit.adjustment(x, y, move, 2)
    np.testing.assert_allclose(found, drift + stay @ found + go @ found, atol=1e-9)


def test_memory_grows(tape):
    """Full rings are doubled instead of giving wrong results: their entries stay in order."""
    one = buffers.FeatureBuffers(lower(columns_of(f.mid().mean("1s"))), 0)
    w = one.windows[0]
    entries = int(w["mask"]) + 1
    w["n"], w["head"] = entries, 5
    start = int(w["start"])
    for k in range(entries):
        one.rings[start + 2 * ((5 + k) % entries)] = k
    one.grow()
    start = int(one.windows[0]["start"])
    assert one.rings[start : start + 2 * entries : 2].tolist() == list(range(entries))
    assert int(one.windows[0]["mask"]) == 2 * entries - 1
