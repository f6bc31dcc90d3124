"""Plots and reports show the numbers of the result, and extreme marks do not hide the rest."""

import re

import numpy as np
import pytest

import nbtrade as nt
from nbtrade import synthetic

pytest.importorskip("matplotlib")
TERMS = {"latency": nt.Latency(entry="1ms", response="1ms"), "fees": nt.Fees(maker=0.01)}


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    path = synthetic.write_dbn(tmp_path_factory.mktemp("day") / "day.dbn.zst", 60_000, seed=3)
    return nt.ingest(path, progress=False)


@pytest.fixture(scope="module")
def result(tape):
    return nt.backtest(tape, nt.market_maker, **TERMS)


@nt.strategy(wake="1s", state={"n": 0})
def idle(state):
    state.n += 1


def test_report(result, tmp_path):
    """One self-contained file with the numbers of the result and its plot."""
    text = result.report(tmp_path / "day.html").read_text()
    for words in ("SYNTH", "entry 1ms, response 1ms", "maker 0.01", f"{result.summary['net_pnl']:,.2f}", "data:image/png;base64,"):
        assert words in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert f"<td>{len(result.fills):,}</td>" in text


@pytest.mark.parametrize("sample", [0, "1s"])
def test_report_of_nothing(tape, tmp_path, sample):
    """A report works without fills, orders or samples."""
    assert "SYNTH" in nt.backtest(tape, idle, sample=sample).report(tmp_path / "idle.html").read_text()


def test_hours_add_up(result):
    """PnL and lots of the hours add up to the totals."""
    from nbtrade.results.report import _hours

    hours = _hours(result)
    assert hours["net PnL"].sum() == pytest.approx(result.equity["net"].ffill().iloc[-1])
    assert hours["lots"].sum() == result.summary["traded_size"]


def test_markouts_are_averages_over_fills(result):
    """Each equals the average over fills of the move of the mid at the first sample after the horizon."""
    equity, fills = result.equity, result.fills
    got = result.markouts(["2s", "30s"])
    for horizon in ("2s", "30s"):
        gains, lots = [], []
        for ts, fill in fills[fills["maker"]].iterrows():
            later = equity.index.searchsorted(ts + np.timedelta64(int(horizon[:-1]), "s"))
            if later < len(equity) and not np.isnan(equity["mid"].iloc[later]):
                gains.append((1 if fill["side"] == "B" else -1) * (equity["mid"].iloc[later] - fill["price"]) / result.tick)
                lots.append(fill["size"])
        assert got.loc["maker", horizon] == pytest.approx(np.average(gains, weights=lots))
    assert got["lots"].sum() == result.summary["traded_size"]


def test_wild_marks_leave_the_panel(result):
    """A mark at a stub quote does not flatten the plot, and the panel states the points left out. An ordinary day shows all points."""
    whole = result.plot().axes[0]
    assert whole.get_ylim()[1] >= result.equity["mid"].max()
    assert not any("outside" in text.get_text() for text in whole.texts)
    mid = result.equity["mid"].copy()
    result.equity.loc[result.equity.index[7], "mid"] = 199_999.99
    price = result.plot().axes[0]
    result.equity["mid"] = mid
    assert price.get_ylim()[1] < 6000
    assert any("1 of" in text.get_text() and "199,999.99" in text.get_text() for text in price.texts)
    assert price.get_ylim()[0] <= result.fills["price"].min()
    assert price.get_ylim()[1] >= result.fills["price"].max()
