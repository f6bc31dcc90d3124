"""`nbtrade demo`: from a new file to a backtest, with the time of every stage.

    synthetic day (.dbn.zst) ──ingest──> tape ──backtest──> result ──> table, fills, plot
            └──────────── the same, straight from the file ──> the same result, by hash

Kernels are compiled before the first stage, on a day of a few thousand records. That time has its own line, because it is paid once:
later runs load the kernels from the disk cache. A stage's time includes all of its work: reading, decompressing, checking, hashing,
writing, syncing.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbtrade
from nbtrade import synthetic
from nbtrade._numba.jit import cache_dir
from nbtrade.engine.models import Latency
from nbtrade.results.result import Result
from nbtrade.tape.tape import Tape

SEED = 7
WARM_RECORDS = 5_000
LATENCY = Latency(entry="1ms", response="1ms")
FEES = nbtrade.Fees(maker=0.001, taker=0.003)  # currency per lot
SHOWN = {  # metric: label
    "net_pnl": "net PnL",
    "gross_pnl": "before fees",
    "fees": "fees",
    "max_drawdown": "max drawdown",
    "position": "final position",
    "peak_position": "peak position",
    "n_fills": "fills",
    "n_orders": "orders",
    "n_cancelled": "cancelled",
    "n_wakes": "decisions",
}


def run(folder: Path, n_records: int, file: Path | None = None, symbol: str | None = None) -> Result:
    """Run the whole demo in `folder`; prints as it goes.

    n_records : length of the synthetic day      file, symbol : the user's source, used instead

    Raises SourceError, ValueError, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    print(f"nbtrade {nbtrade.__version__}, {os.cpu_count()} cores. Everything is written to {folder.resolve()}\n")
    with _stage("compile, or load from the cache"):
        _warm()
    if file is None:
        file = folder / "synthetic.dbn.zst"
        with _stage("write a synthetic day") as did:
            synthetic.write_dbn(file, n_records, seed=SEED)
            did.append((n_records, "records"))
    tape = _ingested(file, folder / "demo.tape", symbol)
    result = _backtested(tape, file, symbol)
    print(f"\nThe tape\n{tape.info()}\n")
    _show(result)
    plot = _plotted(result, folder / "pnl.png")
    _say_what_next(folder, file, tape, plot)
    return result


def _ingested(file: Path, target: Path, symbol: str | None) -> Tape:
    with _stage("ingest: file to tape") as did:
        tape = nbtrade.ingest(file, target, symbol=symbol, replace=True, progress=False)
        did.append((int(tape.manifest["counts"]["records"]), "records"))
    return tape


def _backtested(tape: Tape, file: Path, symbol: str | None) -> Result:
    """Run from the tape, again from the file, and compare."""
    with _stage("backtest from the tape") as did:
        result = _backtest(tape)
        did.append((int(result.summary["n_rows"]), "rows"))
    with _stage("backtest from the file") as did:
        again = _backtest(file, tick=tape.tick, symbol=symbol)
        did.append((int(again.summary["n_rows"]), "rows"))
    same = "the same fills, orders and equity" if again.hash == result.hash else "THE RESULTS DIFFER: please report this"
    print(f"{'':33} {same} (xxh3 {result.hash[:16]})")
    return result


def _backtest(data: Tape | Path, **options: Any) -> Result:
    return nbtrade.backtest(data, nbtrade.market_maker, latency=LATENCY, fees=FEES, **options)


def _warm() -> None:
    """Run every stage once on a small day."""
    with tempfile.TemporaryDirectory() as name:
        file = synthetic.write_dbn(Path(name) / "warm.dbn.zst", WARM_RECORDS)
        tape = nbtrade.ingest(file, progress=False)
        _backtest(tape)
        _backtest(file)


@contextmanager
def _stage(name: str) -> Iterator[list[tuple[int, str]]]:
    """Print a stage's name, then its time and rate when it ends. The block appends (count, unit)."""
    print(f"{name:33}", end="", flush=True)
    did: list[tuple[int, str]] = []
    start = time.perf_counter()
    try:
        yield did
    except BaseException:
        print()  # the error message starts on a new line
        raise
    seconds = time.perf_counter() - start
    rates = (f"{n:>12,} {unit:8}{n / seconds / 1e6:8.2f} M {unit}/s" for n, unit in did)
    print(f"{seconds:8.2f} s", *rates)


def _show(result: Result) -> None:
    s = result.summary
    print(f"The market maker: {result.info.described_strategy()}")
    print(f"latency {LATENCY.entry} in, {LATENCY.response} out; fees per lot {FEES.maker:g} as maker, {FEES.taker:g} as taker\n")
    for name, text in SHOWN.items():
        value = s[name]
        print(f"  {text:16}{value:>12,.2f}" if isinstance(value, float) else f"  {text:16}{value:>12,}")
    traded = int(s["traded_size"])
    print(f"  {'maker share':16}{int(s['maker_size']) / traded if traded else 0:>12.1%}  of {traded:,} lots\n")
    first = result.fills.head(5)
    print("The first fills\n" + first.drop(columns=["px"]).to_string() if len(first) else "No fills.")


def _plotted(result: Result, path: Path) -> Path | None:
    try:
        result.plot(path)
    except ImportError:
        return None
    return path


def _say_what_next(folder: Path, file: Path, tape: Tape, plot: Path | None) -> None:
    print(f"\nsource   {file}\ntape     {tape.path}")
    print(f"plot     {plot}" if plot else 'plot     none: pip install "nbtrade[plot]"')
    print(f"kernels  {cache_dir()}")
    if file.parent == folder:
        print("\nA synthetic day tests the mechanics of a strategy. Profits on it mean nothing.")
    print(
        f"""
Next
  nbtrade backtest {tape.path} --set half_spread=2 --entry 5ms --response 5ms
  nbtrade audit {tape.path}
  nbtrade demo --file YOUR.dbn.zst
  notebooks/quickstart.ipynb: write your own strategy"""
    )
