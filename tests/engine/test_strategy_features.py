"""Features in strategies: at each wake the last known row, by name or by number, shared by all accounts."""

import numpy as np
import pytest

import nbtrade as nt
from nbtrade import BID


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "day.dbn.zst"
    return nt.ingest(nt.synthetic.write_dbn(path, 60_000, seed=4), progress=False)


@nt.strategy(
    wake="200ms",
    state={"seen": "(3,)f8", "n": 0},
    features={"spread": nt.feature.spread(), "fast": nt.feature.mid().ema("1s"), "imbalance": nt.feature.imbalance()},
)
def reading(market, account, state, features):
    """Sum the features; those that follow from the market record must agree with it."""
    if features.fast > 0:  # NaN until its window is full
        if features.spread != market.ask_px - market.bid_px:
            raise ValueError("the spread")
        state.seen[0] += features.spread
        state.seen[1] += features.fast
        state.seen[2] += features.imbalance
        state.n += 1
        account.quote(BID, market.bid_px - 1, 1 if features.imbalance > 0 else 0)


@pytest.mark.parametrize("feed", [0, 30_000_000])
def test_features_in_a_strategy(tape, feed):
    """features.name is the last value known at the wake: that of a matrix computed at the wakes' times minus the feed latency."""
    latency = nt.Latency(feed=feed)
    state = nt.backtest(tape, reading, latency=latency).final_state
    wakes = np.arange(-(-(int(tape.ts_recv[0]) + feed) // 200_000_000), -(-(int(tape.ts_recv[-1]) + feed) // 200_000_000) + 1) * 200_000_000
    matrix = nt.features(tape, reading.expressions, sample=wakes - feed)
    seen = matrix.values[~np.isnan(matrix.values).any(axis=1)]
    assert state["n"] == len(seen) > 100
    assert state["seen"] == pytest.approx(seen.sum(axis=0))


def test_features_by_number_and_by_name(tape):
    """A matrix passed in is read by column number, or by name in any order; a missing name is an error."""
    matrix = nt.features(tape, {"a": nt.feature.mid(), "b": nt.feature.spread()}, sample="100ms")

    @nt.strategy(wake="100ms", state={"total": 0.0})
    def by_number(state, features):
        if features[1] > 0:  # NaN before the first row
            state.total += features[1]

    @nt.strategy(wake="100ms", params={"unit": 1.0}, state={"total": 0.0}, features=("b",))
    def by_name(params, state, features):
        if features.b > 0:
            state.total += params.unit * features.b

    totals = {float(nt.backtest(tape, one, features=matrix).final_state["total"]) for one in (by_number, by_name)}
    assert len(totals) == 1
    assert totals.pop() > 100
    table = nt.sweep(tape, by_name, [{"unit": 0.0}, {"unit": 1.0}], features=matrix, progress=False)
    assert len(table) == 2
    with pytest.raises(nt.errors.StrategyError, match="features="):
        nt.backtest(tape, by_name)
    with pytest.raises(nt.errors.StrategyError, match="no column 'b'"):
        nt.backtest(tape, by_name, features=nt.features(tape, {"a": nt.feature.mid()}, sample="100ms"))


@pytest.mark.parametrize("column", [2, -1, 1000])
def test_no_column_beyond_the_matrix(tape, column):
    """An invalid column number is an error; it must not read the next row, which comes from a later time."""
    matrix = nt.features(tape, {"a": nt.feature.mid(), "b": nt.feature.spread()}, sample="100ms")

    @nt.strategy(wake="100ms", params={"column": 0}, state={"total": 0.0})
    def reading_beyond(params, state, features):
        if len(features) != 2:
            raise ValueError("two columns were given")
        state.total += features[params.column]

    nt.backtest(tape, reading_beyond, params={"column": 1}, features=matrix)
    with pytest.raises(nt.errors.StrategyError, match="no such column"):
        nt.backtest(tape, reading_beyond, params={"column": column}, features=matrix)
