"""Measure the bars of search, in a mapped int64 column, and print them.

    python benchmarks/search.py [--values 100000000] [--searches 1000000] [--repeats 7]

Each answer is checked against numpy.searchsorted before the clock counts. One search from Python takes another x each time, all over the
column: most of it waits for memory. The column is made once, in $NBTRADE_BENCH_DIR; 100 M values are 800 MB.
"""

import argparse
import bisect
import os
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from measure import bench_dir, medians, timed

from nbtrade.storage.search import search

SHAPES = {
    "even": lambda n, rng: np.sort(rng.integers(0, 2**60, n)),
    "skewed": lambda n, rng: np.sort((2.0 ** rng.uniform(0, 62, n)).astype(np.int64)),
    "bursts": lambda n, rng: np.cumsum((rng.random(n) < 0.001) * rng.integers(0, 10**9, n) + rng.integers(0, 100, n)),
}


def column(n: int, shape: str = "even") -> tuple[Path, np.ndarray]:
    """A mapped, ascending i8[n]: evenly scattered, or scattered over the powers of two, or quiet and busy by turns like a day's times."""
    path = bench_dir() / f"{shape}_{n}.i8"
    if not path.exists():
        made = path.with_suffix(f".{os.getpid()}")
        SHAPES[shape](n, np.random.default_rng(1)).astype(np.int64).tofile(made)
        made.rename(path)
    values = np.ndarray(n, np.int64, buffer=np.memmap(path, np.uint8, "r"))
    assert values[::512].min() == values[0]  # every page is mapped before the clock counts
    return path, values


def many(values: np.ndarray, xs: np.ndarray, repeats: int, how: str | None = None) -> dict[str, float]:
    """All of xs at once against numpy.searchsorted."""
    expected = np.searchsorted(values, xs)
    assert np.array_equal(search.lower_bound(values, xs, how), expected)
    ours, peer = medians(lambda: search.lower_bound(values, xs, how), lambda: np.searchsorted(values, xs), repeats=repeats)
    return {"ratio": peer / ours, "ns": ours / len(xs) * 1e9, "peer_ns": peer / len(xs) * 1e9}


def pread_search(fd: int, n: int, x: int) -> int:
    """What a search without a mapping does: one read a probe."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if int.from_bytes(os.pread(fd, 8, 8 * middle), "little", signed=True) < x:
            low = middle + 1
        else:
            high = middle
    return low


def one(path: Path, values: np.ndarray, xs: np.ndarray, repeats: int, each: int = 5000) -> dict[str, float]:
    """One search per call from Python, alternating with numpy.searchsorted, bisect, and one pread per probe; ns per search."""
    fd = os.open(path, os.O_RDONLY)
    ways = {
        "ours": (search.lower_bound, each),
        "searchsorted": (np.searchsorted, each),
        "bisect": (bisect.bisect_left, each),
        "pread": (lambda values, x: pread_search(fd, len(values), x), each // 10),
    }
    expected = np.searchsorted(values, xs[:100]).tolist()
    for find, _ in ways.values():
        assert [find(values, x) for x in xs[:100].tolist()] == expected
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for i, (name, (find, k)) in enumerate(ways.items()):  # others for each: what one looked at is in the cache for the next
            mine = np.roll(xs, -(turn * len(ways) + i) * each)[:k].tolist()
            seconds[name].append(timed(lambda f=find, s=mine: [f(values, x) for x in s]) / k)  # type: ignore[misc]
    os.close(fd)
    ns = {name: statistics.median(column) * 1e9 for name, column in seconds.items()}
    return {"ns": ns["ours"], **{f"times_faster_than_{name}": ns[name] / ns["ours"] for name in ways if name != "ours"}}


def skewed(n: int, k: int, repeats: int, shape: str) -> dict[str, float]:
    """Interpolation told to do it against halving, on data that do not rise evenly: many at once, and one by one from Python."""
    _, values = column(n, shape)
    xs = np.random.default_rng(3).choice(values, k)
    few = xs[: k // 50].tolist()
    found = []
    for ours, peer in ((xs, xs), (few, few)):
        expected = np.searchsorted(values, ours).tolist()
        assert run(values, ours, "even") == run(values, peer, "binary") == expected
        a, b = medians(lambda s=ours: run(values, s, "even"), lambda s=peer: run(values, s, "binary"), repeats=repeats)  # type: ignore[misc]
        found.append(a / b)
    return {"many": found[0], "one": found[1]}


def run(values: np.ndarray, xs: np.ndarray | list[int], how: str) -> list[int]:
    """All at once for an array, one by one for a list."""
    if isinstance(xs, list):
        return [search.lower_bound(values, x, how) for x in xs]
    return search.lower_bound(values, xs, how).tolist()


def bars(n: int, k: int, repeats: int) -> dict[str, tuple]:
    """name -> (what, bar, function)."""
    path, values = column(n)
    xs = np.random.default_rng(2).integers(0, 2**60, k)
    return {
        "random": ("random searches / numpy.searchsorted", ">= 1.5", lambda: many(values, xs, repeats)),
        "halving": ("the same, halving only", ">= 1.5", lambda: many(values, xs, repeats, "binary")),
        "sorted": ("sorted searches / numpy.searchsorted", ">= 2", lambda: many(values, np.sort(xs), repeats)),
        "even": ("interpolation, even data / numpy.searchsorted", ">= 2.5", lambda: many(values, xs, repeats, "even")),
        "one": ("one from Python: searchsorted 1.5, bisect 5, pread 15", "", lambda: one(path, values, xs, repeats)),
        "one-hundredth": ("the same in a hundredth of the values", "", lambda: one(*column(n // 100), xs, repeats)),
        "skewed": ("interpolation / halving, skewed data, time", "<= 1.5", lambda: skewed(n // 5, k // 5, repeats, "skewed")),
        "bursts": ("interpolation / halving, bursts, time", "<= 1.5", lambda: skewed(n // 5, k // 5, repeats, "bursts")),
    }


def main() -> None:
    """Print one line a bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=100_000_000)
    parser.add_argument("--searches", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    for name, (what, bar, function) in bars(options.values, options.searches, options.repeats).items():
        if not options.only or name in options.only:
            print(f"{what:55} bar {bar:8} " + ", ".join(f"{k} {v:,.3g}" for k, v in function().items()), flush=True)


if __name__ == "__main__":
    main()
