"""Many parameter sets over the same data: one replay of the market serves a whole block of them.

    grid ──> sets ──> blocks ──> one pass each, on threads that do not hold the GIL ──> table of sets and results

Sets are accounts of one run: they share the books, and an event only looks at the orders that rest where it happens. Results equal
those of separate runs, byte for byte. A block is as large as its accounts' records stay in the processor's cache.
"""

import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from nbtrade.progress import progress_bar
from nbtrade.results import Result
from nbtrade.runner import Data, Setup, new_setup, open_part, run_tapes
from nbtrade.seam import Strategy
from nbtrade.store.tape import Tape

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 1000  # sets in one pass


def sweep(
    data: Data | Sequence[Data],
    strategy: Strategy,
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
    *,
    workers: int | None = None,
    block: int = BLOCK,
    start: Any = None,
    end: Any = None,
    at_close: str = "carry",
    progress: bool = True,
    **options: Any,
) -> "pd.DataFrame":
    """Backtest every parameter set on every tape. Returns one row for each, the parameters first, then the summary.

    grid    : {field: values}, all combinations; or a list of {field: value}. Fields are the strategy's state fields, and `fill_rule`
    data    : a tape, or several (days, each on its own: column `tape`)
    workers : threads, by default one for each core; each takes a tape and a block of sets at a time
    block   : sets in one pass at most; start, end : part of the tapes
    at_close : "carry" or "flatten"
    options : as for `backtest`: latency, fees, risk, instrument, fill_rule, max_orders, sample, features. `sample` is 0 by default;
              with it the table has peak_position, max_drawdown and sharpe

    Raises StrategyError for unknown fields, ValueError for an empty grid. Ctrl-C stops it within a moment.
    """
    import pandas as pd

    sets = sets_of(grid)
    several = isinstance(data, Sequence) and not isinstance(data, str)
    all_data: Any = data if several else [data]
    tapes = [open_part(one, start, end) for one in all_data]
    options = {"sample": 0, "max_orders": 16, "keep_log": False, **options}
    setup_of(strategy, sets[:1], options)  # what is wrong is said before anything runs
    address = strategy.address  # compiled once, here
    n_workers = workers or os.cpu_count() or 1
    size = max(1, min(block, -(-len(sets) * len(tapes) // n_workers)))
    jobs = [(t, i) for t in range(len(tapes)) for i in range(0, len(sets), size)]
    with progress_bar(len(sets) * len(tapes), "set", f"sweep of {strategy.name}" if address else "", progress) as advance:
        tables = _run_all([(tapes[t], sets[i : i + size]) for t, i in jobs], strategy, options, at_close, n_workers, advance)
    table = pd.concat(tables, ignore_index=True)
    return table if several else table.drop(columns="tape")


def sets_of(grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parameter sets of a grid. Raises ValueError when there is none."""
    if isinstance(grid, Mapping):
        empty = [name for name, values in grid.items() if len(list(values)) == 0]
        if empty:
            raise ValueError(f"grid: {empty[0]!r} has no values, so there is no parameter set")
        sets = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    else:
        sets = [dict(one) for one in grid]
    if not sets or sets == [{}]:
        raise ValueError("the grid is empty: give {field: values} or a list of {field: value}")
    return sets


def setup_of(strategy: Strategy, sets: list[dict[str, Any]], options: Mapping[str, Any]) -> Setup:
    """The setup of one pass over these sets."""
    rules = [one.get("fill_rule", options.get("fill_rule") or "fifo") for one in sets]
    states = [{name: value for name, value in one.items() if name != "fill_rule"} for one in sets]
    return new_setup(strategy, states, **{**options, "fill_rule": rules})


def _run_all(
    jobs: list[tuple[Tape, list[dict[str, Any]]]], strategy: Strategy, options: Mapping[str, Any], at_close: str, n: int, advance: Any
) -> list[Any]:
    """The tables of all jobs, in their order."""
    stop = threading.Event()

    def watch() -> None:
        if stop.is_set():
            raise CancelledError

    with ThreadPoolExecutor(n, "nbtrade-sweep") as pool:
        futures = [pool.submit(_run_block, tape, sets, strategy, options, at_close, watch) for tape, sets in jobs]
        left: set[Future[Any]] = set(futures)
        try:
            while left:
                done, left = wait(left, 0.2, FIRST_COMPLETED)
                for future in done:
                    advance(len(future.result()))
        except BaseException:  # an error or Ctrl-C: what has not begun does not begin, and the rest stops where it is
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _run_block(
    tape: Tape, sets: list[dict[str, Any]], strategy: Strategy, options: Mapping[str, Any], at_close: str, watch: Callable[[], None]
) -> "pd.DataFrame":
    """One pass: a row for each set."""
    import pandas as pd

    setup = setup_of(strategy, sets, options)
    simulation = run_tapes([tape], setup, watch=watch)
    simulation.close_session(at_close == "flatten")
    table = Result.table(simulation, setup, tape.symbol, tape.tick_units)
    return pd.DataFrame([{"tape": tape.symbol, **one} for one in sets]).join(
        table.rename(columns={name: f"{name}_result" for name in sets[0] if name in table})
    )
