"""Sweeps and edits: many parameter sets in one pass, on one core and on two, and the time from an edit to its result."""

import importlib.util
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import nbtrade as nt
from nbtrade import synthetic
from nbtrade.engine.backtest import run_tapes
from nbtrade.engine.config import new_config
from nbtrade.engine.outcome import result_of
from nbtrade.schema import FORMAT_VERSION

PER_WAKE = 32  # events in 100 ms of an ordinary ES day


def es_day(n: int, folder: Path) -> nt.Tape:
    """A synthetic day as dense as an ordinary ES day, ingested once."""
    path = folder / f"es_{n}.dbn.zst"
    tape = folder / f"es_{n}.v{FORMAT_VERSION}.tape"
    if not tape.exists():
        nt.ingest(synthetic.write_dbn(path, n, duration=n * 100_000_000 // PER_WAKE), tape, progress=False)
    return nt.open_tape(tape)


def sets(n: int) -> list[dict[str, float]]:
    """n different market makers."""
    return [{"half_spread": 0.5 + k % 20 * 0.5, "skew": 0.02 * (k // 20 % 10), "max_position": 5 + k // 200} for k in range(n)]


def one_pass(tape: nt.Tape, values: list[dict[str, float]], latency: nt.Latency, keep_log: bool = False):
    """(simulation, setup) of one pass over the tape."""
    config = new_config(nt.market_maker, values, latency=latency, sample=0, max_orders=16, keep_log=keep_log)
    return run_tapes([tape], config), config


def sweep_rate(tape: nt.Tape, n_sets: int, repeats: int, latency: nt.Latency) -> dict[str, float]:
    """Event-sets per second on one core; some sets are first compared with separate runs, byte for byte."""
    values = sets(n_sets)
    short = tape.between(int(tape.ts_recv[0]), int(tape.ts_recv[len(tape) // 20]))
    together, config = one_pass(short, values, latency, keep_log=True)
    for k in range(0, n_sets, max(n_sets // 7, 1)):
        alone, _ = one_pass(short, values[k : k + 1], latency, keep_log=True)
        assert result_of(alone, config, "", 1).hash == result_of(together, config, "", 1, 0, k).hash
    seconds, wakes = [], 0
    for _ in range(repeats):
        start = time.perf_counter()
        simulation, _ = one_pass(tape, values, latency)
        seconds.append(time.perf_counter() - start)
        wakes = int(simulation.run["n_wakes"][0])
        assert simulation.accounts["n_fills"].sum() > 0
    median = statistics.median(seconds)
    return {
        "event_sets_per_second": len(tape) * n_sets / median,
        "rows_per_wake": len(tape) / wakes,
        "ns_per_set_and_wake": median / wakes / n_sets * 1e9,
    }


def two_cores(tape: nt.Tape, n_sets: int, repeats: int, latency: nt.Latency) -> dict[str, float]:
    """A sweep on two threads against one; the tables are equal."""
    grid = {"half_spread": list(np.arange(1, n_sets // 10 + 1) / 4), "max_position": list(range(1, 11))}
    tables: dict[int, object] = {}
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for n in (1, 2):
            start = time.perf_counter()
            tables[n] = nt.sweep(tape, nt.market_maker, grid, workers=n, latency=latency, sample=0, max_orders=16)
            seconds[n].append(time.perf_counter() - start)
    assert tables[1].equals(tables[2])  # type: ignore[attr-defined]
    return {"ratio": statistics.median(seconds[1]) / statistics.median(seconds[2])}


EDITED = """
from nbtrade import ASK, BID, UNDEF_PRICE, strategy

@strategy(wake="100ms", params={{"edge": {edge}}})
def edited(market, account, params):
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE:
        return
    account.quote(BID, market.bid_px - params.edge - {edge}, 1 if account.position < 5 else 0)
    account.quote(ASK, market.ask_px + params.edge + {edge}, 1 if account.position > -5 else 0)
"""


def edit_to_result(tape: nt.Tape, repeats: int, folder: Path) -> dict[str, float]:
    """Seconds from an edited strategy to its result on a small tape, in a process that has run another."""
    nt.backtest(tape, nt.market_maker)
    seconds = []
    for i in range(repeats):
        path = folder / f"edited_{os.getpid()}_{i}.py"
        path.write_text(EDITED.format(edge=time.time_ns() % 1_000_003))  # never compiled before
        start = time.perf_counter()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        assert nt.backtest(tape, module.edited).account["n_orders"] > 0
        seconds.append(time.perf_counter() - start)
        path.unlink()
    return {"seconds": statistics.median(seconds)}
