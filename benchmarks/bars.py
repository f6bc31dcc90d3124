"""Measure every bar of the engine in docs/performance.md, and print it.

    python benchmarks/bars.py [--records 20000000] [--repeats 7] [--only NAME ...]

Set NBTRADE_PEERS_PYTHON for the rows against hftbacktest (benchmarks/peers/README.md). Takes about ten minutes.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import measure
import measure_sweep


def bars(n: int, repeats: int) -> dict[str, tuple]:
    """name -> (what, bar, function)."""
    return {
        "ingest": ("ingest .dbn.zst / merely decoding it", ">= 0.8", lambda: measure.ingest_ratio(n, repeats)),
        "book": ("book replay / summing the tape's fields", ">= 0.3", lambda: measure.book_ratio(n, repeats)),
        "tape": ("backtest from a tape / summing its fields", ">= 0.15", lambda: measure.tape_backtest_ratio(n, repeats)),
        "source": ("backtest from .dbn.zst / merely reading it", ">= 0.83", lambda: measure.source_ratio(n, repeats)),
        "sweep": ("1,000 sets in one pass, event-sets/s", ">= 0.5 G", lambda: sweep_rate(n, repeats)),
        "cores": ("sweep on two cores / on one", ">= 1.8", lambda: two_cores(n, repeats)),
        "edit": ("strategy edit to result, s", "<= 0.5", lambda: edit(repeats)),
        "hft1k": ("backtest / hftbacktest L3, 1 k live orders", ">= 25", lambda: measure.backtest_ratio(n // 2, repeats, 1000)),
        "hft10k": ("backtest / hftbacktest L3, 10 k live orders", ">= 80", lambda: measure.backtest_ratio(n // 2, repeats, 10_000)),
        "stub": ("stub quotes / ordinary", ">= 0.33", lambda: measure.pathological_ratio(n // 4, repeats, "stub_quotes")),
        "outliers": ("flickering outliers / ordinary", ">= 0.33", lambda: measure.pathological_ratio(n // 4, repeats, "outliers")),
        "second": ("second process to first result, s over import numba", "<= 1.0", lambda: measure.second_process_seconds(repeats)),
        "memory": ("private memory, tape of 50 M events, MB", "<= 300", lambda: measure.private_memory(n * 5 // 2)),
        "allocations": ("heap allocations per million rows", "0", lambda: measure.allocations(n // 4)),
    }


def sweep_rate(n: int, repeats: int) -> dict:
    """1,000 sets over a thirtieth of the records."""
    return measure_sweep.sweep_rate(measure_sweep.es_day(n // 30, measure.bench_dir()), 1000, repeats, measure.LATENCY)


def two_cores(n: int, repeats: int) -> dict:
    """400 sets over a fifth of the records."""
    return measure_sweep.two_cores(measure_sweep.es_day(n // 5, measure.bench_dir()), 400, repeats, measure.LATENCY)


def edit(repeats: int) -> dict:
    """On a small tape."""
    return measure_sweep.edit_to_result(measure.tape_of(measure.day(20_000)), repeats, measure.bench_dir())


def main() -> None:
    """Print one line per bar, then everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    results = {}
    for name, (what, bar, function) in bars(options.records, options.repeats).items():
        if options.only and name not in options.only:
            continue
        try:
            results[name] = function()
        except NotImplementedError as missing:
            print(f"{what:55} skipped: {missing}")
            continue
        print(f"{what:55} bar {bar:8} " + ", ".join(f"{k} {v:,.3g}" for k, v in results[name].items()), flush=True)
    print(json.dumps({"machine": platform.processor() or platform.machine(), "python": platform.python_version(), **results}))


if __name__ == "__main__":
    main()
