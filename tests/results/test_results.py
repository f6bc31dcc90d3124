"""Several instruments have everything that one has; currencies are never added."""

import pytest

import nbtrade as nt
import result_cases
from nbtrade.errors import ResultError
from result_cases import both, run


@pytest.fixture(scope="module")
def tape():
    return result_cases.tape()


@pytest.fixture(scope="module")
def pair():
    return result_cases.pair()


# --- several instruments -------------------------------------------------------------------------------------
def test_results_have_all_that_a_result_has(pair, tape):
    """Results has the frames, with the instrument's name, and the methods of a Result."""
    public = {name for name in dir(nt.Result) if not name.startswith("_")}
    inside = public & set(dir(nt.ResultData)) - {"fills", "orders", "equity", "records", "hash", "currency"}
    assert public - inside - {"from_frames"} <= set(dir(nt.Results))
    for name in ("fills", "orders", "equity", "records"):
        frame = getattr(pair, name)
        assert frame.columns[0] == "instrument"
        for instrument, one in pair.items():
            mine = frame[frame["instrument"] == instrument].drop(columns="instrument")
            assert mine.equals(getattr(one, name))
    assert pair.fills.index.is_monotonic_increasing
    assert list(pair.summary.columns) == list(pair.refusals.columns) == ["ES", "../NQ"]
    assert pair.markouts(["1s"]).loc[("ES", "maker")].equals(pair["ES"].markouts(["1s"]).loc["maker"])
    order = int(pair["ES"].order_rows["id"][0])
    assert pair.explain("ES", order, tape).equals(pair["ES"].explain(order, tape))
    with pytest.raises(ResultError, match="there is no instrument 'CL'"):
        pair.explain("CL", 0, tape)
    assert "ES" in repr(pair)
    assert repr(nt.Results()).startswith("<Results of no instruments>")
    with pytest.raises(ResultError, match="no instruments"):
        _ = nt.Results().fills


def test_totals_are_sums(pair):
    """Amounts in one currency are added."""
    assert pair.totals["net_pnl"] == pytest.approx(sum(one.summary["net_pnl"] for one in pair.values()))
    assert pair.total_equity["net"].iloc[-1] == pytest.approx(sum(one.equity["net"].iloc[-1] for one in pair.values()))


def test_currencies_are_never_added(tape, tmp_path):
    """Dollars and yen have no totals, and the error names both; frames, plots and reports show each separately."""
    money = {"A": nt.Instrument(currency="USD"), "B": nt.Instrument(currency="JPY")}
    mixed = run({"A": tape, "B": tape}, both, instrument=money)
    for action in (lambda: mixed.total_equity, lambda: mixed.totals, lambda: mixed.currency):
        with pytest.raises(ResultError, match="A USD, B JPY"):
            action()
    assert set(mixed.equity["instrument"]) == {"A", "B"}
    pytest.importorskip("matplotlib")
    assert [axes.get_ylabel() for axes in mixed.plot().axes[-2:]] == ["PnL, A, USD", "PnL, B, JPY"]
    assert "net_pnl" in mixed.report(tmp_path / "mixed.html").read_text()


def test_results_are_equal_by_name_and_value(pair, tape):
    """Results are equal if names and results are; a renamed, missing or different result makes them unequal."""
    again = run({"ES": tape, "../NQ": tape}, both)
    assert (again == pair, again.hash == pair.hash) == (True, True)
    renamed = nt.Results({"ES": again["ES"], "NQ": again["../NQ"]})
    for other in (renamed, nt.Results({"ES": again["ES"]}), run({"ES": tape, "../NQ": tape}, both, params={"half": 2})):
        assert other != pair
        assert other.hash != pair.hash


def test_plots_and_reports_of_several(pair, tmp_path):
    """One figure and one page show the price and position of each instrument, and the PnL of all."""
    pytest.importorskip("matplotlib")
    labels = [axes.get_ylabel() for axes in pair.plot(tmp_path / "pair.png").axes]
    assert labels == ["price", "price", "ES, lots", "../NQ, lots", "PnL, currency"]
    page = pair.report(tmp_path / "pair.html").read_text()
    assert page.count("<h1>") == 3
    assert page.count("data:image/png") == 3
