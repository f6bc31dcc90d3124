"""Is a tree as fast as another one?  python benchmarks/compare_commits.py OLD_TREE NEW_TREE [--pairs 15] [--only NAME ...]

Each pair is two new processes, one per tree, each with that tree's nbtrade, tapes and compiled kernels. They alternate run by run (old,
new, new, old, ...), so that other work on the machine affects both. Each warms up and checks its answers first (compare_bars.py), and
both trees must give the same answers. For each bar this prints the quartiles, over the pairs, of new speed over old speed (fastest run
each); a bar is lost if the upper quartile is below 0.97. The exit code is 1 if a bar is lost or an answer differs.

The two trees may have different APIs: --old-adapter and --new-adapter name modules of compare_adapters. The old tree makes the days once,
in $NBTRADE_BENCH_DIR (default: below the temporary folder); each tree ingests them into separate tapes.

Weak case: on a busy machine the quartiles are wide and say little. `--clock cpu` then counts processor time, which other work disturbs
less. It excludes waiting, so for disks (ingest, block_updates) and threads only the wall clock on a quiet machine counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from compare_bars import CLOCKS, NAMES, Bars, tree_key

LOSS = 0.97


def bench_dir() -> Path:
    """The folder of days and tapes."""
    folder = Path(os.environ.get("NBTRADE_BENCH_DIR") or Path(tempfile.gettempdir()) / "nbtrade-bench") / "compare"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


class Tree:
    """One side of the comparison."""

    def __init__(self, path: Path, adapter: str, folder: Path, more: list[str]) -> None:
        self.path = path.resolve()
        script = Path(__file__).with_name("compare_bars.py")
        self.command = [sys.executable, str(script), str(self.path), adapter, str(folder), *more]
        self.environment = {**os.environ, "NBTRADE_CACHE_DIR": str(folder / f"{tree_key(self.path)}.kernels")}

    def start(self, *more: str) -> "Side":
        """A new process."""
        process = subprocess.Popen(
            [*self.command, *more], env=self.environment, cwd=self.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return Side(self.path, process)


class Side:
    """One running process of a tree."""

    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.path, self.process = path, process

    def ask(self, command: str = "") -> Any:
        """Its answer to a command: a bar's name, or nothing for one more run."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            sys.exit(f"{self.path}: the process ended, see above")
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.path}: the process ended, see above")
        return json.loads(line)

    def end(self) -> dict[str, float]:
        """Its speeds, bar by bar."""
        return json.loads(self.process.communicate()[0].splitlines()[-1])


def begin(name: str, old: Side, new: Side) -> int:
    """Set up a bar in both trees; returns the number of runs it needs. Exits if their answers differ."""
    (a, repeats), (b, _) = old.ask(name), new.ask(name)
    if a != b:
        sys.exit(f"{name}: different answers, so no speeds are compared\n  old {a}\n  new {b}")
    return repeats


def one_pair(trees: list[Tree], names: list[str]) -> list[dict[str, float]]:
    """bar -> speed, of each tree."""
    sides = [tree.start() for tree in trees]
    for name in names:
        for turn in range(begin(name, *sides)):
            for side in sides if turn % 2 == 0 else sides[::-1]:
                side.ask()
    return [side.end() for side in sides]


def verdict(quartiles: np.ndarray) -> str:
    """LOSS, gain, or empty."""
    return "LOSS" if quartiles[2] < LOSS else "gain" if quartiles[0] > 1 / LOSS else ""


def report(old: dict[str, list[float]], new: dict[str, list[float]]) -> bool:
    """Print the table; True if a bar is lost."""
    print(f"\n{'bar':15}{'old, median':>14}{'new, median':>14}   new/old: {'25 %':>6}{'50 %':>8}{'75 %':>8}")
    lost = False
    for name, before in old.items():
        quartiles = np.percentile(np.divide(new[name], before), [25, 50, 75])
        numbers = "".join(f"{q:8.3f}" for q in quartiles)
        what = (getattr(Bars, name).__doc__ or "").rstrip(".")
        print(f"{name:15}{np.median(before):14.4g}{np.median(new[name]):14.4g}          {numbers}  {verdict(quartiles):5} {what}")
        lost |= verdict(quartiles) == "LOSS"
    return lost


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=[])
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--old-adapter", default="v1")
    parser.add_argument("--new-adapter", default="v2")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options = parser.parse_args()
    folder, names = bench_dir(), options.only or list(NAMES)
    adapters = options.old_adapter, options.new_adapter
    more = ["--records", str(options.records), "--clock", options.clock]
    trees = [Tree(path, one, folder, more) for path, one in zip((options.old, options.new), adapters, strict=True)]
    print(f"old {trees[0].path}\nnew {trees[1].path}\n{options.pairs} pairs, {options.records:,} records a day, in {folder}", flush=True)
    for tree in trees:  # sequentially: the old tree makes the days, and afterwards all kernels are in the disk caches
        side = tree.start("--prepare")
        for name in names:
            side.ask(name)
        side.end()
    speeds: tuple[dict[str, list[float]], dict[str, list[float]]] = {}, {}
    for pair in range(options.pairs):
        both = one_pair(trees, names)
        for kept, found in zip(speeds, both, strict=True):
            for name, speed in found.items():
                kept.setdefault(name, []).append(speed)
        print(f"pair {pair + 1}: " + " ".join(f"{name} {both[1][name] / both[0][name]:.2f}" for name in names), flush=True)
    return 1 if report(*speeds) else 0


if __name__ == "__main__":
    sys.exit(main())
