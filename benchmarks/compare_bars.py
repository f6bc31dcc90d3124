"""One process of a comparison of two trees: the measurements, and the loop that runs them on demand.

    python compare_bars.py TREE ADAPTER FOLDER [--prepare] [--records N] [--clock wall|cpu]

compare_commits.py starts it for both trees. Commands come as lines, answers leave as JSON lines:

    NAME       set the bar up and warm it up; its answer, and how many runs it wants
    (empty)    one more run, whose answer is checked outside the timing; its seconds

At the end of the input it prints bar -> speed of the fastest run. --prepare makes the days (once, for both trees) and this tree's tapes
first. Files in FOLDER: SIZE.dbn and values.npy are shared by both trees; KEY.* belong to one tree, where KEY is made from its path.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

N_SETS, N_KEYS, N_SINGLE = 1000, 1_000_000, 50_000
N_BLOCKS, N_UPDATES, N_READS, BLOCK_BYTES = 2_000, 500, 10_000, 4096


class Bar(NamedTuple):
    """One measurement. `run` does `amount` units of work; `answer` converts its return value to text; `before` is not timed."""

    run: Callable[[], Any]
    amount: float
    answer: Callable[[Any], str]
    before: Callable[[], object] = lambda: None
    repeats: int = 7


def digest(*arrays: Any) -> str:
    """A hash of arrays by value: the same for any integer width."""
    h = xxhash.xxh3_64()
    for array in arrays:
        values = np.asarray(array)
        h.update(np.ascontiguousarray(values if values.dtype.kind == "f" else values.astype(np.int64)))
    return h.hexdigest()


class Bars:
    """The bars of one tree. adapter : a module of compare_adapters"""

    def __init__(self, adapter: Any, tree: Path, folder: Path, n: int) -> None:
        self.a, self.folder, self.n = adapter, folder, n
        self.tree, self.key = tree, tree_key(tree)
        self.days = {
            "1k": (n, 1000, None),
            "10k": (n, 10_000, None),
            "sweep": (n // 8, 1000, n // 8 * 3_125_000),
            "small": (20_000, 1000, None),
        }

    # --- files ------------------------------------------------------------------------------------------------
    def source(self, day: str) -> Path:
        return self.folder / f"{day}_{self.days[day][0]}.dbn"

    def own(self, name: str) -> Path:
        """A path of this tree."""
        return self.folder / f"{self.key}.{name}"

    def tape_path(self, day: str) -> Path:
        return self.own(f"{day}_{self.days[day][0]}.tape")

    def tape(self, day: str) -> Any:
        return self.a.open_tape(self.tape_path(day))

    def values(self) -> np.ndarray:
        """Ascending i8, mapped."""
        return np.load(self.folder / "values.npy", mmap_mode="r")

    def prepare(self) -> None:
        """Make what the bars read."""
        for day, (n, live, duration) in self.days.items():
            if not self.source(day).exists():
                self.a.write_day(self.source(day), n, live, duration)
            shutil.rmtree(self.tape_path(day), ignore_errors=True)  # another version of the tree may have made it
            self.a.ingest(self.source(day), self.tape_path(day))
        if not (self.folder / "values.npy").exists():
            np.save(self.folder / "values.npy", np.sort(np.random.default_rng(1).integers(0, 2**60, 10_000_000)))

    # --- the market -------------------------------------------------------------------------------------------
    def book(self) -> Bar:
        """Book replay, rows/s."""
        tape = self.tape("1k")
        return Bar(self.a.replay_of(tape), len(tape), str)

    def backtest(self, day: str, run: Callable[[Any], Any]) -> Bar:
        tape = self.tape(day)

        def answer(result: Any) -> str:
            fills, cash, position = self.a.outcome_of(result)
            assert len(fills["ts"]) > 20
            return f"{digest(*(fills[name] for name in ('ts', 'side', 'px', 'qty', 'maker')))} {cash} {position}"

        return Bar(lambda: run(tape), len(tape), answer)

    def backtest_1k(self) -> Bar:
        """Full backtest, 1,000 live orders, rows/s."""
        return self.backtest("1k", self.a.run_market_maker)

    def backtest_10k(self) -> Bar:
        """Full backtest, 10,000 live orders, rows/s."""
        return self.backtest("10k", self.a.run_market_maker)

    def event_wakes(self) -> Bar:
        """Backtest that wakes at every event, rows/s."""
        return self.backtest("1k", self.a.run_by_events)

    def sweep(self) -> Bar:
        """1,000 sets in one pass, row-sets/s."""
        tape = self.tape("sweep")
        return Bar(lambda: self.a.run_sweep(tape, N_SETS), len(tape) * N_SETS, lambda columns: digest(*columns))

    def features(self) -> Bar:
        """Twenty features at every event, rows/s."""
        tape = self.tape("1k")
        return Bar(self.a.features_of(tape), len(tape), lambda values: digest(values[::7]), repeats=3)

    def ingest(self) -> Bar:
        """Ingest of a raw .dbn, records/s."""
        target = self.own("ingested.tape")
        run = lambda: self.a.ingest(self.source("1k"), target)  # noqa: E731
        return Bar(
            run, self.days["1k"][0], lambda tape: digest(*self.a.rows_of(tape).values()), lambda: shutil.rmtree(target, ignore_errors=True)
        )

    # --- storage ------------------------------------------------------------------------------------------------
    def search_many(self) -> Bar:
        """A million LowerBound searches at once, searches/s."""
        values, xs = self.values(), np.random.default_rng(2).integers(0, 2**60, N_KEYS)
        expected = digest(np.searchsorted(values, xs))

        def answer(found: Any) -> str:
            assert digest(found) == expected
            return expected

        return Bar(lambda: self.a.lower_bound(values, xs), N_KEYS, answer)

    def search_one(self) -> Bar:
        """LowerBound searches one by one from Python, searches/s."""
        values, find = self.values(), self.a.lower_bound
        xs = np.random.default_rng(3).integers(0, 2**60, N_SINGLE)
        expected, keys = digest(np.searchsorted(values, xs)), xs.tolist()

        def answer(found: Any) -> str:
            assert digest(found) == expected
            return expected

        return Bar(lambda: [find(values, x) for x in keys], N_SINGLE, answer, repeats=15)

    def column_extend(self) -> Bar:
        """Extend a column by 5 M int64 in one bulk, values/s."""
        values, path = np.arange(5_000_000), self.own("extend.col")
        opened: list[Any] = []

        def before() -> None:
            while opened:
                opened.pop().close()
            path.unlink(missing_ok=True)
            opened.append(self.a.new_column(path))

        def run() -> Any:
            opened[-1].extend(values)
            return opened[-1]

        return Bar(run, len(values), lambda column: f"{len(column)} {column[-1]}", before)

    def column_scan(self) -> Bar:
        """Open a column of 5 M int64 and sum it, values/s."""
        path, n = self.own("scan.col"), 5_000_000
        path.unlink(missing_ok=True)
        with self.a.new_column(path) as column:
            column.extend(np.arange(n))
        return Bar(lambda: int(self.a.read_column(path).sum()), n, str, repeats=15)

    def column_decode(self) -> Bar:
        """Decode a packed column of 24 bits, values/s."""
        path, n = self.own("packed.col"), 5_000_000
        path.unlink(missing_ok=True)
        with self.a.new_compact(path) as column:
            column.extend(np.arange(n) % 2**20)
        return Bar(lambda: self.a.decode_compact(path), n, digest, repeats=9)

    def blocks(self) -> tuple[Any, list[str], random.Random]:
        path, rng = self.own("x.blocks"), random.Random(5)
        path.unlink(missing_ok=True)
        names = [f"features/{i:06d}" for i in range(N_BLOCKS)]
        blocks = self.a.open_blocks(path)
        blocks.put_many([(name, rng.randbytes(BLOCK_BYTES)) for name in names])
        blocks.flush()
        return blocks, names, rng

    def block_updates(self) -> Bar:
        """Durable updates of blocks of 4 KiB, blocks/s."""
        blocks, names, rng = self.blocks()
        items: list[tuple[str, bytes]] = []

        def before() -> None:
            items[:] = [(name, rng.randbytes(BLOCK_BYTES)) for name in rng.sample(names, N_UPDATES)]

        def run() -> None:
            blocks.put_many(items)
            blocks.flush()

        def answer(_: None) -> str:
            assert list(blocks.get_many([name for name, _ in items])) == [value for _, value in items]
            return "as put"

        return Bar(run, N_UPDATES, answer, before, repeats=25)

    def block_reads(self) -> Bar:
        """Verified reads of blocks of 4 KiB, blocks/s."""
        blocks, names, rng = self.blocks()
        chosen = rng.choices(names, k=N_READS)
        return Bar(lambda: blocks.get_many(chosen), N_READS, lambda values: xxhash.xxh3_64_hexdigest(b"".join(values)), repeats=15)

    # --- start-up -------------------------------------------------------------------------------------------------
    def started(self, code: str) -> Bar:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(self.tree)!r})\n{code}", str(self.tape_path("small"))]

        def run() -> str:
            return subprocess.run(command, check=True, capture_output=True, text=True, cwd=self.tree).stdout

        return Bar(run, 1, str.strip)

    def import_time(self) -> Bar:
        """A new process that imports nbtrade, 1/s."""
        return self.started("import nbtrade; print('imported')")

    def first_result(self) -> Bar:
        """A second process: import to first result, 1/s."""
        return self.started(self.a.FIRST_RESULT)


NAMES = (
    *("book", "backtest_1k", "backtest_10k", "event_wakes", "sweep", "features", "ingest", "search_many", "search_one"),
    *("column_extend", "column_scan", "column_decode", "block_updates", "block_reads", "import_time", "first_result"),
)


def tree_key(tree: Path) -> str:
    """The prefix of a tree's files."""
    return hashlib.sha256(str(tree).encode()).hexdigest()[:8]


def loaded(adapter: str) -> Any:
    """The adapter's module, from the folder of this file."""
    spec = importlib.util.spec_from_file_location(f"adapter_{adapter}", Path(__file__).parent / "compare_adapters" / f"{adapter}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cpu_seconds() -> float:
    """Processor time of this process and its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS = {"wall": time.perf_counter, "cpu": cpu_seconds}


def serve(bars: Bars, clock: Callable[[], float]) -> None:
    """Run the commands on stdin."""
    bar, expected, name = Bar(int, 0, str), "", ""
    speeds: dict[str, float] = {}
    for line in sys.stdin:
        if line.strip():
            name = line.strip()
            bar = getattr(bars, name)()
            bar.before()
            expected = bar.answer(bar.run())
            print(json.dumps([expected, bar.repeats]), flush=True)
            continue
        bar.before()
        start = clock()
        value = bar.run()
        seconds = clock() - start
        assert bar.answer(value) == expected, f"{name}: a run answers otherwise than the first"
        del value
        speeds[name] = max(speeds.get(name, 0.0), bar.amount / seconds)
        print(json.dumps(seconds), flush=True)
    print(json.dumps(speeds), flush=True)


def main() -> None:
    """Serve one tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("adapter")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options = parser.parse_args()
    tree = options.tree.resolve()
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    bars = Bars(loaded(options.adapter), tree, options.folder.resolve(), options.records)
    import nbtrade

    assert Path(nbtrade.__file__).is_relative_to(tree), f"{nbtrade.__file__} is not of {tree}"
    if options.prepare:
        bars.prepare()
    with contextlib.suppress(BrokenPipeError):  # the other side has ended and printed the reason
        serve(bars, CLOCKS[options.clock])


if __name__ == "__main__":
    main()
