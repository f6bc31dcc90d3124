"""The bars of search as asv benchmarks; `benchmarks/search.py` prints them at their full size (NBTRADE_BENCH_VALUES here)."""

import os

from . import search

N = int(os.environ.get("NBTRADE_BENCH_VALUES", "4000000"))
K = max(N // 100, 20_000)
REPEATS = 7


class Many:
    """Many searches at once against numpy.searchsorted."""

    unit = "ratio"
    timeout = 900
    params = ("random", "halving", "sorted", "even")
    param_names = ("searches",)

    def track_times_faster_than_searchsorted(self, name):
        """Bars 1.5, 1.5, 2, 2.5."""
        return search.bars(N, K, REPEATS)[name][2]()["ratio"]


class One:
    """One search from Python."""

    unit = "ratio"
    timeout = 900
    params = ("searchsorted", "bisect", "pread")
    param_names = ("peer",)

    def track_times_faster(self, peer):
        """Bars 1.5, 5, 15."""
        return search.bars(N, K, REPEATS)["one"][2]()[f"times_faster_than_{peer}"]


class Skewed:
    """Interpolation against halving where values do not rise evenly; the bar is at most 1.5 times the time."""

    unit = "ratio"
    timeout = 900
    params = (("skewed", "bursts"), ("many", "one"))
    param_names = ("shape", "searches")

    def track_time_over_halving(self, shape, searches):
        """Bar 1.5."""
        return search.skewed(N, K, REPEATS, shape)[searches]
