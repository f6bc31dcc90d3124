"""Measure every bar of the README's table, and print it.

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


def bars(n: int, repeats: int) -> dict[str, tuple]:
    """name -> (what, bar, function)."""
    return {
        "ingest": ("ingest .dbn.zst / merely decoding it", ">= 0.8", lambda: measure.ingest_ratio(n, repeats)),
        "book": ("book replay / summing the tape's fields", ">= 0.3", lambda: measure.book_ratio(n, repeats)),
        "tape": ("backtest from a tape / summing its fields", ">= 0.15", lambda: measure.tape_backtest_ratio(n, repeats)),
        "source": ("backtest from .dbn.zst / merely reading it", ">= 0.83", lambda: measure.source_ratio(n, repeats)),
        "hft1k": ("backtest / hftbacktest L3, 1 k live orders", ">= 20", lambda: measure.backtest_ratio(n // 2, repeats, 1000)),
        "hft10k": ("backtest / hftbacktest L3, 10 k live orders", ">= 60", lambda: measure.backtest_ratio(n // 2, repeats, 10_000)),
        "stub": ("stub quotes / ordinary", ">= 0.33", lambda: measure.pathological_ratio(n // 4, repeats, "stub_quotes")),
        "outliers": ("flickering outliers / ordinary", ">= 0.33", lambda: measure.pathological_ratio(n // 4, repeats, "outliers")),
        "second": ("second process to first result, s over import numba", "<= 1.0", lambda: measure.second_process_seconds(repeats)),
        "memory": ("private memory, tape of 50 M events, MB", "<= 300", lambda: measure.private_memory(n * 5 // 2)),
        "allocations": ("heap allocations per million rows", "0", lambda: measure.allocations(n // 4)),
    }


def main() -> None:
    """Print one line a bar, then everything as JSON."""
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
