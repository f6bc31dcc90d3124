"""The bars of columns as asv benchmarks; `benchmarks/columns.py` prints the same as a table. Each asserts its answer first.

Small columns by default, so that a run stays short; set NBTRADE_BENCH_VALUES for the sizes of the README.
"""

import os

from . import columns

N = int(os.environ.get("NBTRADE_BENCH_VALUES", "2000000"))
REPEATS = 7 if N > 10_000_000 else 3


class Upgrade:
    """A durable side-by-side upgrade from u16."""

    timeout = 900
    params = ("u32", "u24")
    param_names = ("width",)

    def track_times_a_chunked_copy(self, width):
        """Bar 2 at most."""
        return columns.upgrade_ratio(N, REPEATS, width)["times_a_chunked_copy"]

    def track_times_faster_than_python(self, width):
        """Bar 50."""
        return columns.upgrade_ratio(N, REPEATS, width)["times_faster_than_python"]

    def track_seconds_for_100_million(self, width):
        """Bar 5 at most, scaled."""
        return columns.upgrade_ratio(N, REPEATS, width)["seconds"] * 100_000_000 / N


class Decode:
    """Odd widths to int64 against u32 to int64; bar 0.8."""

    unit = "ratio"
    timeout = 900
    params = ([24, 40, 48, 56], [1 << 15, N])
    param_names = ("bits", "n")

    def track_decode_to_copy(self, bits, n):
        """Decoding speed divided by that of NumPy's copy."""
        return columns.decode_ratio(n, bits=bits)["ratio"]


class Whole:
    """The rest: larger is better but for size (1.01 at most) and latency (3 at most)."""

    unit = "ratio"
    timeout = 900

    def track_extend_to_tofile(self):
        """Bar 0.7."""
        return columns.extend_ratio(N)["ratio"]

    def track_size_to_ideal(self):
        """Bar 1.01 at most."""
        return columns.size_ratio()["ratio"]

    def track_reader_p99_during_upgrades_to_idle(self):
        """Bar 3 at most."""
        return columns.reader_latency(N)["p99_ratio"]
