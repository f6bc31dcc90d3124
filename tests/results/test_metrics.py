"""Built-in metrics follow from fills and samples; user-defined metrics appear in summary, sweep and report."""

import math

import numpy as np
import pytest

import nbtrade as nt
from nbtrade import metric, synthetic
from nbtrade.errors import ResultError
from nbtrade.results import metrics

LATENCY = nt.Latency(entry="1ms", response="2ms")
FEES = nt.Fees(maker=-0.1, taker=0.3, maker_rate=1e-6, taker_rate=2e-6, sell=0.05, sell_rate=1e-6)
GRID = {"half_spread": [1.0, 2.0], "max_position": [2, 5]}


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    path = synthetic.write_dbn(tmp_path_factory.mktemp("metrics") / "day.dbn", 60_000, seed=3)
    return nt.ingest(path, progress=False)


@pytest.fixture(scope="module")
def result(tape):
    return nt.backtest(tape, nt.market_maker, latency=LATENCY, fees=FEES, instrument=nt.Instrument(multiplier=50))


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Each test registers its own metrics."""
    monkeypatch.setattr(metrics, "USER_METRICS", {})


def test_built_in_metrics_from_the_frames(result):
    """Every metric is recomputed from fills, orders and equity, in plain Python."""
    fills, orders, equity, s = result.fills, result.orders, result.equity, result.summary
    signed = np.where(fills["side"] == "B", fills["size"], -fills["size"])
    bid, ask = int(result.market["bid_px"]), int(result.market["ask_px"])
    gross = (-(signed * fills["price"]).sum() + signed.sum() * (bid + ask) / 2 * result.tick) * 50
    net = equity["net"].dropna().to_numpy()
    steps = np.diff(net)
    expected = {
        "net_pnl": gross - fills["fee"].sum(),
        "gross_pnl": gross,
        "fees": fills["fee"].sum(),
        "position": signed.sum(),
        "traded_size": fills["size"].sum(),
        "maker_size": fills["size"][fills["maker"]].sum(),
        "turnover": (fills["price"] * fills["size"]).sum() * 50,
        "n_fills": len(fills),
        "n_orders": len(orders),
        "n_cancelled": (orders["state"] == "cancelled").sum(),
        "n_rejected": (orders["state"] == "rejected").sum(),
        "n_refused": result.refusals.sum(),
        "n_too_late": result.account["n_too_late"],
        "realised_pnl": fills["realised"].iloc[-1],
        "unrealised_pnl": gross - fills["realised"].iloc[-1],
        "peak_position": equity["position"].abs().max(),
        "max_drawdown": max(net[:k].max() - net[k - 1] for k in range(1, len(net) + 1)),
        "sharpe": steps.mean() / steps.std(ddof=1) * math.sqrt(365.25 * 24 * 3600),
        "n_wakes": result.n_wakes,
        "n_rows": result.n_rows,
    }
    assert list(s.index) == list(expected)
    assert s.to_dict() == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert s["n_fills"] > 20
    assert {type(value) for value in s} == {int, float}


def test_many_accounts_at_once_are_each_alone(tape):
    """Totals of an array of accounts equal those of each account's result."""
    table = nt.sweep(tape, nt.market_maker, GRID, latency=LATENCY, fees=FEES, progress=False)
    for row in table.to_dict("records"):
        alone = nt.backtest(tape, nt.market_maker, latency=LATENCY, fees=FEES, params={name: row[name] for name in GRID}).summary
        assert {name: row[name] for name in metrics.TOTALS_METRICS} == {name: alone[name] for name in metrics.TOTALS_METRICS}


def test_a_users_metric_is_everywhere(tape, result, tmp_path):
    """Five lines add a metric to summaries (also of existing results), sweeps and reports."""
    pytest.importorskip("matplotlib")
    assert "mean_fill" not in result.summary

    @metric
    def mean_fill(result):
        return result.fills["size"].mean() if len(result.fills) else float("nan")

    assert result.summary["mean_fill"] == result.fills["size"].mean()
    table = nt.sweep(tape, nt.market_maker, {**GRID, "half_spread": [1.0, 500.0]}, latency=LATENCY, progress=False)
    assert table["mean_fill"].notna().tolist() == (table["n_fills"] > 0).tolist() == [True, True, False, False]
    page = result.report(tmp_path / "page.html").read_text()
    assert "mean_fill" in page
    both = nt.Results({"A": result, "B": result})
    assert both.summary.loc["mean_fill"].tolist() == [mean_fill(result)] * 2
    metrics.remove_metric("mean_fill")
    assert "mean_fill" not in result.summary
    assert "mean_fill" not in nt.sweep(tape, nt.market_maker, {"half_spread": [1.0]}, progress=False)


def test_a_metric_reads_others(result):
    """A metric may use the built-in summary and metrics registered before it."""

    @metric
    def fee_share(result):
        return result.summary["fees"] / result.summary["turnover"]

    @metric
    def doubled(result):
        return np.float64(2 * result.summary["fee_share"])

    s = result.summary
    assert s["doubled"] == 2 * s["fee_share"] == 2 * s["fees"] / s["turnover"]
    assert list(s.index[-2:]) == ["fee_share", "doubled"]


def test_a_metric_is_replaced_by_name(result):
    """A notebook cell can be run again after an edit."""
    for factor in (1, 3):

        @metric
        def scaled(result, factor=factor):
            return factor * result.n_rows

        assert result.summary["scaled"] == factor * result.n_rows


@pytest.mark.parametrize(
    ("function", "words"),
    [(lambda result: 1, "not a function with a name"), (3, "not a function with a name"), (metrics.sharpe, "built-in")],
)
def test_bad_metrics(function, words):
    """A function without a name, and the name of a built-in metric, are refused."""
    with pytest.raises(ResultError, match=words):
        metric(function)


@pytest.mark.parametrize("value", ["1", None, [1], np.zeros(2)])
def test_a_metric_is_one_number(result, value):
    """Anything else is refused, naming the metric."""

    @metric
    def wrong(result):
        return value

    with pytest.raises(ResultError, match="metric wrong returned"):
        _ = result.summary


def test_a_metric_that_fails_names_itself(result):
    """A metric's exception is raised with the metric and the symbol; the next use of the summary raises again."""

    @metric
    def broken(result):
        return result.fills["no such column"]

    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            _ = result.summary
        assert any("metric broken" in note and result.symbol in note for note in caught.value.__notes__)


def test_kept_rows_know_their_metrics(tape, tmp_path):
    """A sweep with stored rows runs again when a metric is added or edited."""
    options = {"store": tmp_path / "rows.blocks", "latency": LATENCY, "progress": False}
    assert "level" not in nt.sweep(tape, nt.market_maker, GRID, **options)
    for factor in (1, 2):

        @metric
        def level(result, factor=factor):
            return factor * len(result.fills)

        table = nt.sweep(tape, nt.market_maker, GRID, **options)
        assert table["level"].tolist() == (factor * table["n_fills"]).tolist()


fills = object()  # a global with an attribute's name, as notebooks have them


def test_globals_called_like_columns_do_not_matter(tape, tmp_path):
    """A metric that reads `result.fills` does not use a global `fills`."""

    @metric
    def mean_fill(result):
        return sum(size for size in result.fills["size"]) / max(1, len(result.fills))

    options = {"store": tmp_path / "rows.blocks", "progress": False}
    assert nt.sweep(tape, nt.market_maker, GRID, **options).equals(nt.sweep(tape, nt.market_maker, GRID, **options))


def test_rows_of_unknown_code_are_not_kept(tape, tmp_path):
    """A metric whose code has no fingerprint is refused if rows are stored."""
    odd = object()

    @metric
    def opaque(result):
        return float(odd is None)

    with pytest.raises(nt.errors.StrategyError, match="the metric opaque uses an object"):
        nt.sweep(tape, nt.market_maker, GRID, store=tmp_path / "rows.blocks", progress=False)
    assert (nt.sweep(tape, nt.market_maker, GRID, progress=False)["opaque"] == 0).all()


def test_schedules_have_the_same_fees_in_a_sweep(tape):
    """A fee schedule gives a sweep the fees of a backtest, with samples and without."""
    fees = nt.Fees(schedule=lambda fills: np.where(fills["traded"] <= 10, 0.3, 0.1) * fills["size"])
    alone = nt.backtest(tape, nt.market_maker, latency=LATENCY, fees=fees, params={"half_spread": 1.0}).summary
    assert alone["fees"] > 0
    for sample in (0, "1s"):
        table = nt.sweep(tape, nt.market_maker, {"half_spread": [1.0, 2.0]}, latency=LATENCY, fees=fees, sample=sample, progress=False)
        for name in ("fees", "net_pnl", *(("max_drawdown", "sharpe") if sample else ())):
            assert table[name][0] == pytest.approx(alone[name], nan_ok=True)


@pytest.mark.parametrize("answer", [lambda fills: fills["size"][:-1], lambda fills: fills["size"] * np.nan, lambda fills: [[1.0]]])
def test_schedules_answer_once_per_fill(tape, answer):
    """A schedule that returns too few fees, a wrong shape, or values that are not finite is refused."""
    with pytest.raises(ValueError, match=r"one fee in currency per fill"):
        nt.backtest(tape, nt.market_maker, latency=LATENCY, fees=nt.Fees(schedule=answer))
