"""The bars as asv benchmarks. Each tracks a ratio measured in one run; `benchmarks/bars.py` prints the same as a table.

Small days by default, so that a run stays short; set NBTRADE_BENCH_RECORDS for the sizes of docs/performance.md.
"""

import os
import subprocess
import sys
import tempfile

from . import measure

N = int(os.environ.get("NBTRADE_BENCH_RECORDS", "400000"))
REPEATS = 7 if N > 1_000_000 else 3


class Ratios:
    """nbtrade against a peer or a physical limit; larger is better."""

    unit = "ratio"
    timeout = 900

    def setup_cache(self):
        """Make the day and compile, off the clock."""
        measure.run(measure.tape_of(measure.day(N)))

    def track_ingest_to_decode(self):
        """Bar 0.8."""
        return measure.ingest_ratio(N, REPEATS)["ratio"]

    def track_book_to_sum(self):
        """Bar 0.3."""
        return measure.book_ratio(N, REPEATS)["ratio"]

    def track_tape_backtest_to_sum(self):
        """Bar 0.15."""
        return measure.tape_backtest_ratio(N, REPEATS)["ratio"]

    def track_source_backtest_to_read(self):
        """Bar 0.83."""
        return measure.source_ratio(N, REPEATS)["ratio"]


class Pathological:
    """Unusual streams against an ordinary one, per row; bar 0.33."""

    unit = "ratio"
    timeout = 900
    params = ("stub_quotes", "outliers")
    param_names = ("scenario",)

    def track_book(self, scenario):
        """Book replay."""
        return measure.pathological_ratio(N, REPEATS, scenario)["book_ratio"]

    def track_backtest(self, scenario):
        """Full backtest."""
        return measure.pathological_ratio(N, REPEATS, scenario)["backtest_ratio"]


class Peers:
    """Against hftbacktest L3 FIFO (skipped without its environment); bars 25 and 80."""

    unit = "ratio"
    timeout = 1800
    params = (1_000, 10_000)
    param_names = ("live_orders",)

    def setup(self, live):
        """Skip without the peer."""
        if not os.environ.get("NBTRADE_PEERS_PYTHON"):
            raise NotImplementedError("set NBTRADE_PEERS_PYTHON")

    def track_times_faster_than_hftbacktest(self, live):
        """Full backtest from a tape, same records, strategy and latency."""
        return measure.backtest_ratio(N, REPEATS, live)["ratio"]


class Start:
    """What a user waits for before the first result."""

    unit = "s"
    timeout = 900

    def track_second_process(self):
        """Seconds over `import numba`; bar 1.0."""
        return measure.second_process_seconds(REPEATS)["seconds_over_numba"]

    def track_cold(self):
        """Seconds of a first process that compiles everything."""
        tape = measure.tape_of(measure.day(20_000))
        code = f"import nbtrade as nt; nt.backtest({str(tape.path)!r}, nt.market_maker)"
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "NBTRADE_CACHE_DIR": folder}
            return measure.timed(lambda: subprocess.run([sys.executable, "-c", code], env=environment, check=True))


class Memory:
    """Memory and allocations."""

    timeout = 900

    def track_allocations_per_million(self):
        """Heap allocations in the kernels; bar 0."""
        return measure.allocations(N)["allocations_per_million"]

    def track_private_mb(self):
        """Peak private memory of a backtest; bar 300."""
        return measure.private_memory(N)["peak_private_mb"]
