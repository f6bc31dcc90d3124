"""Results of every kind, for tests of results as data."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

import nbtrade as nt
from nbtrade import BID, UNDEF_PRICE, synthetic

FOLDER = tempfile.TemporaryDirectory(prefix="nbtrade-results-")
LATENCY = nt.Latency(entry="1ms", response="2ms")
FEES = nt.Fees(maker=-0.1, taker=0.3, taker_rate=1e-6, sell=0.01)
FILLS = {"ts": ["2025-01-06 14:30", "2025-01-06 14:31"], "side": ["B", "A"], "price": [100.0, 100.5], "size": [2, 1]}


@nt.strategy(wake="1s", params={"level": float("nan")}, state={"level": float("nan"), "flag": True, "deep": "(2,3)i4", "none": "(0,)f4"})
def idle(state):
    """Never trades, and has a state of many kinds."""
    state.deep[1, 2] += 1


@nt.strategy(wake="100ms", params={"half": 1})
def both(market, account, params):
    """The same quotes on two instruments."""
    for i in range(2):
        m, a = market.on(i), account.on(i)
        if m.bid_px != UNDEF_PRICE and m.ask_px != UNDEF_PRICE:
            a.quote(BID, m.bid_px - params.half, 1 if a.position < 5 else 0)
            a.quote(1, m.ask_px + params.half, 1 if a.position > -5 else 0)


@cache
def tape():
    """A small synthetic day, ingested once."""
    return nt.ingest(synthetic.write_dbn(Path(FOLDER.name) / "day.dbn", 60_000, seed=3), progress=False)


def run(data, strategy=nt.market_maker, **options):
    return nt.backtest(data, strategy, **{"latency": LATENCY, "fees": FEES, **options})


@cache
def result():
    """The market maker's day, in dollars."""
    return run(tape(), instrument=nt.Instrument(multiplier=50, currency="USD"))


@cache
def pair():
    """Two instruments side by side."""
    return run({"ES": tape(), "../NQ": tape()}, both)


def parts(one):
    """The results of single instruments."""
    return list(one.values()) if isinstance(one, nt.Results) else [one]


def flat(n):
    """A fee schedule, which no file can hold."""
    return nt.Fees(schedule=lambda fills: n + 0.01 * fills["traded"])


@cache
def kinds():
    """Results of every kind by name."""
    middle = int(tape().ts_recv[len(tape()) // 2])
    days = [tape().between(end=middle), tape().between(start=middle)]
    return {
        "usual": run(tape()),
        "idle": run(tape(), idle, sample=0),
        "schedule": run(tape(), fees=flat(0.1)),
        "days": run(days, at_close="flatten"),
        "random": run(tape(), latency=nt.Latency.random([1e5, 1e6], [1e6], seed=3), risk=nt.Risk(max_rate=(10, "1s"))),
        "records": nt.Result.from_frames(
            fills=FILLS, records={"ts": [5, 3], "fair": [1.5, np.nan], "spread": [1, 2]}, symbol="ES", tick="1/64", parameters={"x": np.inf}
        ),
        "nothing": nt.Result.from_frames(fills={"ts": [], "side": [], "price": [], "size": []}, tick=0.01),
        "several": run({"ES": tape(), "../NQ": tape()}, both),
    }
