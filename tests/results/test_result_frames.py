"""Results from frames: fills are enough, and every contradiction is refused with column and row."""

import numpy as np
import pandas as pd
import pytest

import nbtrade as nt
import result_cases
from nbtrade.errors import ResultError
from result_cases import FILLS


@pytest.fixture(scope="module")
def result():
    return result_cases.result()


# --- from frames -------------------------------------------------------------------------------------------
def test_a_results_frames_make_it_again(result):
    """A result's frames give the same frames and, except for counts that only the engine has, the same summary."""
    options = {"symbol": result.symbol, "tick": result.tick, "multiplier": 50, "currency": "USD"}
    bid, ask = int(result.market["bid_px"]), int(result.market["ask_px"])
    frames = {name: getattr(result, name) for name in ("fills", "orders", "equity", "records")}
    again = nt.Result.from_frames(**frames, **options, mid=(bid + ask) / 2 * result.tick)
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(getattr(again, name), frame, check_dtype=False)
    inside = ["n_wakes", "n_rows", "n_too_late", "n_refused"]
    pd.testing.assert_series_equal(again.summary.drop(inside).astype(float), result.summary.drop(inside).astype(float))
    fewer = nt.Result.from_frames(fills=result.fills, equity=result.equity[["mid"]], **options)
    pd.testing.assert_frame_equal(fewer.equity, result.equity, check_dtype=False)


def test_fills_alone():
    """Fills are enough; the order of rows, the names of sides and the type of times do not matter."""
    one = nt.Result.from_frames(fills=FILLS, tick=0.25, mid=101.125, multiplier=2)
    assert one.summary["net_pnl"] == pytest.approx((0.5 + 1.125) * 2)
    assert (one.summary["position"], one.summary["realised_pnl"], one.summary["traded_size"]) == (1, 1.0, 3)
    assert np.isnan(nt.Result.from_frames(fills=FILLS, tick=0.25).summary["net_pnl"])
    stamps = pd.to_datetime(FILLS["ts"]).tz_localize("UTC").tz_convert("Europe/Berlin")
    for fills in (
        pd.DataFrame(FILLS).iloc[::-1],
        pd.DataFrame(FILLS).set_index("ts"),
        pd.DataFrame({**FILLS, "ts": stamps}),
        pd.DataFrame(FILLS, index=stamps).drop(columns="ts"),
        {**FILLS, "ts": stamps.tz_convert("UTC").as_unit("ns").asi8},
        {**FILLS, "side": ["buy", "sell"]},
        {**FILLS, "side": [0, 1]},
        {**{k: v for k, v in FILLS.items() if k != "price"}, "px": [400, 402]},
    ):
        again = nt.Result.from_frames(fills=fills, tick="1/4", mid=101.125, multiplier=2)
        assert again.fills.drop(columns="order_id").equals(one.fills.drop(columns="order_id"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"price": [100.0, 100.1]}, r"fills: price 100.1 at index 1 is not a multiple of the tick"),
        ({"price": [100.0, np.nan]}, r"fills: column price, row 1 is .*nan.*expected a price"),
        ({"price": [100.0, 1e12]}, r"column price, row 1"),
        ({"size": [1, 0]}, r"column size, row 1 is .*0.*: expected a whole number from 1"),
        ({"size": [1.5, 1]}, r"column size, row 0"),
        ({"size": [1, 2**40]}, r"column size, row 1"),
        ({"size": ["a", "b"]}, r"column size is not numeric"),
        ({"side": ["B", "X"]}, r"column side, row 1 is 'X'"),
        ({"ts": ["noon", "x"]}, r"column ts"),
        ({"ts": [None, "2025-01-06"]}, r"column ts, row 0 .*expected a time"),
        ({"fee": [0.1, np.inf]}, r"column fee, row 1"),
        ({"maker": [2, 0]}, r"column maker, row 0"),
        ({"size": [1, 2, 3]}, r"fills: "),
        ({"side": None}, r"column side, row 0"),
    ],
)
def test_bad_fills(change, words):
    """The error names the column, the row and the expected value."""
    with pytest.raises(ResultError, match=words):
        nt.Result.from_frames(fills={**FILLS, **change}, tick=0.25)


def test_other_bad_frames():
    """Missing columns, objects that are not frames, and contradictions are refused."""
    for options, words in (
        ({"fills": {"ts": []}}, "no column side, size"),
        ({"fills": 3}, "fills is int"),
        ({"fills": FILLS, "equity": {"ts": [1]}}, "equity has no column mid"),
        ({"fills": FILLS, "equity": {"ts": [1], "mid": [100.1]}}, "half a tick"),
        (
            {"fills": FILLS, "orders": {"order_id": [1, 1], "side": ["B"] * 2, "price": [1.0] * 2, "size": [1] * 2}},
            "order_id 1 occurs twice",
        ),
        ({"fills": FILLS, "orders": {"side": ["B"], "price": [1.0], "size": [1], "filled": [2]}}, "at most the order's size"),
        ({"fills": FILLS, "orders": {"side": ["B"], "price": [1.0], "size": [1], "state": ["gone"]}}, "column state, row 0 is 'gone'"),
        ({"fills": FILLS, "records": {"fair": [1.0]}}, "records has no column ts"),
        ({"fills": FILLS, "tick": 0}, "tick=0"),
        ({"fills": FILLS, "tick": "x"}, "tick='x'"),
        ({"fills": FILLS, "tick": 1e-12}, "tick=1e-12"),
        ({"fills": FILLS, "multiplier": -1}, "multiplier=-1"),
        ({"fills": FILLS, "symbol": 3}, "symbol=3"),
        ({"fills": FILLS, "mid": 0.1}, "half a tick"),
    ):
        with pytest.raises(ResultError, match=words):
            nt.Result.from_frames(**{"tick": 0.25, **options})
