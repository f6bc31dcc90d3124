"""Strategy start-up: edit to result, second process, notebook cell. `python -m benchmarks.bench_strategies` prints the bars.

An edit is a new constant, so neither this process nor the disk cache has the strategy; the engine is already compiled. The tape is small,
so compilation dominates.
"""

import itertools
import linecache
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbtrade as nt

from .measure import LATENCY, day, medians, tape_of

FOLDER = Path(nt.__file__).parent / "strategies"
NAMES = ("market_maker", "avellaneda_stoikov", "glft", "imbalance_taker", "queue_joiner")
BAR_SECONDS = 0.5
RECORDS = 20_000
_edits = itertools.count(time.time_ns() % 10**12)


def edited(name: str) -> nt.Strategy:
    """The example strategy as a notebook cell would define it, with a new edit."""
    source = (FOLDER / f"_{name}.py").read_text()
    n = next(_edits)
    source, n_edits = re.subn(rf'(def {name}\([^\n]*\n    """.*?"""\n)', rf"\1    edit = {n}\n", source, flags=re.DOTALL)
    assert n_edits == 1
    file = f"<cell {n}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = {"__name__": "cell"}
    exec(compile(source, file, "exec"), scope)
    return scope[name]


def edit_seconds(name: str, repeats: int = 7) -> dict[str, float]:
    """Edited strategy to result: the first in a process, and later ones."""
    tape = tape_of(day(RECORDS))
    module = __import__(f"nbtrade.strategies._{name}", fromlist=[name])
    expected = nt.backtest(tape, getattr(module, name), latency=LATENCY).hash
    seconds = []
    for _ in range(repeats + 1):
        strategy = edited(name)
        start = time.perf_counter()
        result = nt.backtest(tape, strategy, latency=LATENCY)
        seconds.append(time.perf_counter() - start)
        assert result.hash == expected
    return {"seconds": statistics.median(seconds[1:]), "first": seconds[0]}


CELL_CODE = """
import sys
import nbtrade as nt
scope = {"nt": nt}
exec(compile('''
@nt.strategy(wake="100ms", state={"n": 0})
def from_a_cell(market, account, state):
    state.n += 1
    account.quote(0, market.bid_px - 3, 1)
''', "<ipython-input-1>", "exec"), scope)
result = nt.backtest(sys.argv[1], scope["from_a_cell"])
assert result.account["n_orders"] > 0
"""


def second_process_seconds(repeats: int = 7) -> dict[str, float]:
    """A new process with a strategy of a notebook cell in the disk cache, over a bare `import numba`."""
    command = [sys.executable, "-c", CELL_CODE, str(tape_of(day(RECORDS)).path)]
    a, b = medians(
        lambda: subprocess.run(command, check=True, env=os.environ),
        lambda: subprocess.run([sys.executable, "-c", "import numba"], check=True),
        repeats=repeats,
    )
    return {"seconds_over_numba": a - b, "seconds": a, "import_numba": b}


class EditToResult:
    """Bar: 0.5 s."""

    params = NAMES
    param_names = ("strategy",)
    unit = "s"
    timeout = 300

    def track_seconds(self, name):
        return edit_seconds(name, 3)["seconds"]


class NotebookSecondProcess:
    """Bar: nothing is compiled (tests/engine/test_misuse.py); 1.0 s over a bare import of numba."""

    unit = "s"
    timeout = 300

    def track_seconds_over_numba(self):
        return second_process_seconds(3)["seconds_over_numba"]


if __name__ == "__main__":
    for each in NAMES:
        figures = edit_seconds(each)
        print(f"edit of {each:20} to result: {figures['seconds']:.2f} s, first in a process {figures['first']:.2f} s (bar {BAR_SECONDS} s)")
    print({name: round(value, 3) for name, value in second_process_seconds().items()})
