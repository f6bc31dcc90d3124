"""Laws of the feature matrix: each feature matches its formula, none looks ahead, and results do not depend on batches or sampling."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feature_cases as cases
import nbtrade as nt
import real
from nbtrade import feature as f
from nbtrade import synthetic
from nbtrade.errors import FeatureError
from nbtrade.feature import feature_pass, jit
from nbtrade.feature.compute import columns_of
from nbtrade.feature.lowering import lower
from nbtrade.feature.sampling import sampling_of
from nbtrade.schema import LAST
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


# --- formulas --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("group", [cases.instant, cases.flows, cases.windows, cases.statistics], ids=lambda g: g.__name__)
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_features_are_their_formulas(group, seed):
    """At every event's end of a random stream every built-in feature equals its slow form."""
    tape, named = cases.noise(seed), group()
    moments = cases.moments_of(tape)
    matrix = nt.features(tape, wanted(named))
    for name, (_, form) in named.items():
        cases.assert_close(name, matrix[name], form(moments))


def test_a_window_that_was_filled_by_one_value():
    """Changes after a value that filled the window are relative to it: the first ns of a small change has its standard deviation."""
    tape, named = cases.noise(46), {name: case for name, case in cases.windows().items() if name.startswith("imbalance_")}
    moments, matrix = cases.moments_of(tape), nt.features(tape, wanted(named))
    for name, (_, form) in named.items():
        cases.assert_close(name, matrix[name], form(moments))


def part_of_day(tape, first, n):
    """About n rows, in whole events, starting with the event around row `first`."""
    return tape.between(int(tape.ts_recv[first]), int(tape.ts_recv[min(first + n, len(tape) - 1)]))


@pytest.mark.parametrize("day", ["synthetic", "ARL", "CLX5", "ESM4"])
def test_features_of_days(day, tape, tmp_path):
    """The same on a synthetic day and on real days, from the start (windows on the days' own scale)."""
    if day != "synthetic":
        source, span = {"ARL": (real.ARL, 500), "CLX5": (real.CLX5, 900), "ESM4": (real.ESM4, 1 << 40)}[day]
        whole = nt.ingest(real.real_path(*source), tmp_path / "day.tape", progress=False)
        tape = whole if day == "ESM4" else whole.between(end=int(whole.ts_recv[span]))
    else:
        tape = tape.between(end=int(tape.ts_recv[800]))
    named = cases.instant() | cases.flows() | cases.windows(20 * MS, 11, 40)
    moments = cases.moments_of(tape)
    matrix = nt.features(tape, wanted(named))
    assert len(matrix) > 20
    for name, (_, form) in named.items():
        cases.assert_close(name, matrix[name], form(moments), rtol=1e-6)


def test_part_begins_with_its_book(tape):
    """A part of a day starts with the book and the ages of its orders, so features without history match those of the whole day."""
    part = tape.between(int(tape.ts_recv[2500]))
    named = {name: feature for name, feature in wanted(cases.instant()).items() if not re.search("last|trade|run|effective|quote", name)}
    whole, later = nt.features(tape, named), nt.features(part, named)
    np.testing.assert_allclose(later.values, whole.values[-len(later) :], rtol=1e-9, atol=1e-12)


# --- laws ------------------------------------------------------------------------------------------------
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, cut=st.integers(1, 199))
@pytest.mark.parametrize("sample", ["event", "7ms"])
def test_prefix(sample, seed, cut):
    """No look-ahead: every feature of a prefix of the data is the prefix of the feature, byte for byte."""
    tape, everything = cases.noise(seed), wanted(cases.everything())
    whole = nt.features(tape, everything, sample=sample)
    part = nt.features(tape.between(end=int(tape.ts_recv[min(cut, len(tape) - 1)])), everything, sample=sample)
    assert len(part) <= len(whole)
    assert part.values.tobytes() == whole.values[: len(part)].tobytes()
    assert part.ts.tobytes() == whole.ts[: len(part)].tobytes()


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_batches(rows):
    """A matrix depends neither on the number of rows per batch nor on the initial size of its memory."""
    tape, everything = cases.noise(5), wanted(cases.everything())
    expected = nt.features(tape, everything)
    program, sampling = lower(columns_of(everything)), sampling_of("event")
    one = feature_pass.FeaturePass(program, tape, sampling, (np.empty((1, program.n_columns)), np.empty(1, np.int64)))
    for w in one.buffers.windows:  # rings of two entries: always full
        if not w["bounded"]:
            w["mask"] = 1
    one.feed(tape, final=True, batch=rows)
    np.testing.assert_allclose(one.matrix()[0], expected.values, rtol=1e-9, atol=1e-7)


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, cut=st.integers(1, 199))
def test_split_day(seed, cut):
    """A day in two pieces, with the state carried over, gives the matrix of the whole, byte for byte."""
    tape, everything = cases.noise(seed), wanted(cases.everything())
    expected = nt.features(tape, everything)
    ts = int(tape.ts_recv[min(cut, len(tape) - 1)])
    one = feature_pass.FeaturePass(lower(columns_of(everything)), tape, sampling_of("event"))
    one.feed(tape.between(end=ts))
    one.feed(tape.between(ts), final=True)
    assert one.matrix()[0].tobytes() == expected.values.tobytes()


def test_samplings_pick_rows(tape):
    """A level at a sample has the value at that event when all are sampled; a flow is the sum since the previous sample."""
    everything = nt.features(tape, {"mid": f.mid(), "ofi": f.ofi(3), "mean": f.mid().mean("1s"), "n": f.trades(), "v": f.volume()})
    ends, traded = np.arange(len(everything)), everything["n"] > 0
    value = nt.features(tape, f.trade_value())["trade_value()"] * tape.tick
    quotes = nt.features(tape, f.time_since_quote())["time_since_quote()"] == 0
    for sample, rows in {
        5: ends[4::5],
        "trade": ends[traded],
        "quote": ends[quotes & np.append(True, np.diff(everything.ts) > 0)],
        ("volume", 40): crossings(everything["v"], 40),
        ("value", 2e5): crossings(value, 2e5),
    }.items():
        m = nt.features(tape, {"mid": f.mid(), "ofi": f.ofi(3), "mean": f.mid().mean("1s")}, sample=sample)
        if sample == "quote":
            assert set(rows.tolist()) <= set(np.searchsorted(everything.ts, m.ts).tolist())
            continue
        assert m.ts.tolist() == everything.ts[rows].tolist(), sample
        assert m["mid"].tolist() == everything["mid"][rows].tolist()
        np.testing.assert_allclose(m["mean"], everything["mean"][rows], rtol=1e-12)
        sums = np.diff(np.append(0, np.cumsum(everything["ofi"])[rows]))
        np.testing.assert_allclose(m["ofi"], sums, atol=1e-6)


def crossings(flow, amount):
    """Events at which the running total passes another multiple of `amount`."""
    return np.flatnonzero(np.diff(np.append(0, np.cumsum(flow) // amount)))


def test_samples_in_time(tape):
    """A sample at t includes everything received by t and nothing later; averages and ages continue between events."""
    m = nt.features(tape, {"mid": f.mid(), "age": f.time_since_trade(), "n": f.trades()}, sample="100ms")
    assert (np.diff(m.ts) == 100 * MS).all()
    assert m.ts[0] % (100 * MS) == 0
    every = nt.features(tape, {"mid": f.mid(), "n": f.trades()})
    at = np.searchsorted(every.ts, m.ts, side="right") - 1
    assert m["mid"].tolist() == every["mid"][at].tolist()
    trades = every.ts[every["n"] > 0]
    last = trades[np.searchsorted(trades, m.ts, side="right") - 1]
    np.testing.assert_allclose(m["age"][m.ts >= trades[0]], ((m.ts - last) * 1e-9)[m.ts >= trades[0]], atol=1e-12)
    assert m["n"].sum() == every["n"][every.ts <= m.ts[-1]].sum()


def test_given_times(tape):
    """Samples at given times match those of a grid with the same times, and continue after the data end."""
    everything = wanted(cases.everything())
    grid = nt.features(tape, everything, sample="250ms")
    times = np.append(grid.ts, grid.ts[-1] + 3600 * S)
    given_times = nt.features(tape, everything, sample=times)
    assert given_times.values[:-1].tobytes() == grid.values.tobytes()
    assert given_times.ts.tolist() == times.tolist()


def test_nan_before_warm_up(tape):
    """A window is NaN until its clock has run its length since the first value, and a number afterwards."""
    m = nt.features(tape, {"mid": f.mid(), "time": f.mid().mean("2s"), "ema": f.mid().ema("2s"), "events": f.mid().mean(events=100)})
    first = np.flatnonzero(np.isfinite(m["mid"]))[0]
    for name in ("time", "ema"):
        assert np.isfinite(m[name]).tolist() == (m.ts - m.ts[first] >= 2 * S).tolist()
    assert np.isfinite(m["events"]).tolist() == (np.arange(len(m)) >= first + 99).tolist()


def test_expression_arithmetic(tape):
    """Arithmetic of features is arithmetic of their columns; a quotient by 0 is NaN."""
    m = nt.features(tape, {"a": f.mid(), "b": f.imbalance(), "e": 2 * f.mid() - f.imbalance() / 3 + 1, "q": f.mid() / (f.mid() - f.mid())})
    np.testing.assert_allclose(m["e"], 2 * m["a"] - m["b"] / 3 + 1)
    assert np.isnan(m["q"]).all()
    n = nt.features(tape, {"abs": abs(f.imbalance()), "sign": f.imbalance().sign(), "clip": (-f.imbalance()).clip(-0.5, 0.5)})
    np.testing.assert_array_equal(n["abs"], np.abs(m["b"]))
    np.testing.assert_array_equal(n["sign"], np.sign(m["b"]))
    np.testing.assert_array_equal(n["clip"], np.clip(-m["b"], -0.5, 0.5))
    rates = nt.features(tape, {"mean": f.ofi().ema("1s").mean(events=3), "rate": f.ofi().ema("1s")})  # a rate inside a window
    np.testing.assert_allclose(rates["mean"][-1], rates["rate"][-3:].mean())
    assert nt.features(tape, {"total": f.volume().cumsum()})["total"][-1] == nt.features(tape, f.volume()).values.sum()


def test_parameters_compile_nothing(tape):
    """Sets that differ in window lengths and constants share one function."""
    before = None
    for span, events, factor in (("1s", 10, 2.0), ("3s", 700, 5.0)):
        nt.features(
            tape,
            [
                f.ofi(5).ema(span) * factor,
                f.mid().zscore(events=events),
                f.vpin(events, 3),
                f.realised_volatility("10s", span[0] + "s") if span == "1s" else f.realised_volatility("9s", span),
            ],
        )
        before = before or len(jit._compiled)
        assert len(jit._compiled) == before


def test_out_is_used_again(tape):
    """A matrix given as `out` receives the rows; one with another shape is rejected."""
    first = nt.features(tape, [f.mid(), f.spread()])
    expected = first.values.copy()
    again = nt.features(tape, [f.mid(), f.spread()], out=first)
    assert again.values.base is first.values
    np.testing.assert_array_equal(again.values, expected)
    with pytest.raises(FeatureError, match="3 features need"):
        nt.features(tape, [f.mid(), f.spread(), f.trades()], out=first)
    first.ts = first.ts[::2]
    with pytest.raises(FeatureError, match="out's times are"):
        nt.features(tape, [f.mid(), f.spread()], out=first)


@pytest.mark.parametrize("columns", [1, 3, 20])
def test_rows_land_in_their_place(columns, tape):
    """Rows are written to `out` at any offset in a cache line, and no byte around it changes."""
    wanted = {f"f{k}": f.mid() * (k + 1) for k in range(columns)}
    expected = nt.features(tape, wanted)
    n = expected.values.size
    for first in range(9):
        memory = np.full(n + 32, -7.0)
        out = nt.features(
            tape, wanted, out=nt.FeatureMatrix(memory[first : first + n].reshape(-1, columns), expected.ts.copy(), expected.names)
        )
        np.testing.assert_array_equal(out.values, expected.values)
        assert (memory[:first] == -7).all()
        assert (memory[first + n :] == -7).all()


def test_matrix_at_the_border(tape):
    """Names, columns without a copy, frames in UTC, and errors that list the names."""
    m = nt.features(tape, [f.spread(), f.ofi(levels=5).ema("1s") / f.spread(), f.mid().named("m")])
    assert m.names == ["spread()", "ofi(5).ema(1s) / spread()", "m"]
    assert np.shares_memory(m["m"], m.values)
    assert m.to_df().index.tz is not None
    assert m.to_df()["m"].iloc[-1] == m["m"][-1] == np.asarray(m)[-1, 2]
    assert len(m) == int((tape.events["flags"] & LAST).sum())
    with pytest.raises(KeyError, match="the columns are: spread"):
        m["nothing"]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: f.ofi() + f.mid(), TypeError, "one is a flow and the other a level"),
        (lambda: f.mid() / f.ofi(), TypeError, "0 between events"),
        (lambda: f.mid() + "a", TypeError, "neither a feature nor a number"),
        (lambda: f.mid() + nt.target.mid_return("1s"), TypeError, "looks forward"),
        (lambda: nt.target.mid_return("1s") * f.mid(), TypeError, "looks forward"),
        (lambda: bool(f.mid()), TypeError, "no truth value"),
        (lambda: f.mid().mean(), ValueError, "a window needs exactly one of"),
        (lambda: f.mid().mean("1s", events=3), ValueError, "a window needs exactly one of"),
        (lambda: f.mid().mean("0s"), ValueError, "not valid: pass a positive"),
        (lambda: f.mid().mean(events=1.5), ValueError, "whole number"),
        (lambda: f.bid_px(11), ValueError, "an integer from 1, the best level"),
        (lambda: f.depth("C"), ValueError, "BID"),
        (lambda: f.realised_volatility("10s", "3s"), ValueError, "not a multiple"),
        (lambda: sampling_of("sometimes"), ValueError, "not a time span"),
        (lambda: sampling_of(0), ValueError, "must be positive"),
        (lambda: sampling_of([3, 2, 1]), ValueError, "ascending"),
        (lambda: columns_of([]), ValueError, "no features"),
        (lambda: columns_of([f.mid(), f.mid()]), ValueError, "two columns"),
        (lambda: nt.target.mid_return("0s"), ValueError, "positive time span"),
    ],
)
def test_errors(call, error, match):
    """Invalid arguments are rejected where they are passed, with the valid ones."""
    with pytest.raises(error, match=match):
        call()
