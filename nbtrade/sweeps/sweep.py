"""Many parameter sets over the same data: one replay of the market serves a whole block of them.

    grid ──> sets ──> blocks ──> one pass each, on threads that release the GIL ──> table of sets and results

Sets are accounts of one run: they share the books, and an event only visits the orders that rest at its price. Results equal those of
separate runs, byte for byte. The size of a block keeps the records of its accounts in the processor's cache.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbtrade._progress import progress_bar
from nbtrade.engine.backtest import Data, open_part, run_tapes
from nbtrade.engine.config import RunConfig, check_strategy, new_config
from nbtrade.engine.models import Latency
from nbtrade.engine.outcome import Outcome, session_of
from nbtrade.engine.strategy import Strategy
from nbtrade.engine.strategy_features import feature_rows
from nbtrade.results import metrics
from nbtrade.storage.blockfile.blockfile import BlockFile
from nbtrade.sweeps.cache import SweepCache, fingerprints
from nbtrade.tape.tape import Tape

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
    store: BlockFile | str | os.PathLike[str] | None = None,
    progress: bool = True,
    **options: Any,
) -> "pd.DataFrame":
    """Backtest every parameter set on every tape.

    Parameters
    ----------
    data : Tape, path, or sequence of them
        One tape, or several that are run separately; the table then has a column `tape`.
    strategy : Strategy
    grid : mapping or sequence of mappings
        ``{field: values}`` for all combinations, or a list of ``{field: value}``. Fields are those of the strategy, and `fill_rule`.
    workers : int, optional
        Threads; one per core by default. Each takes one tape and one block of sets at a time.
    block : int
        Largest number of sets in one pass.
    start, end : time, optional
        Part of the tapes.
    at_close : {"carry", "flatten"}
        What happens to a position when a session ends.
    store : BlockFile or path, optional
        Stores every row: a stopped sweep resumes, and a larger grid runs only the new sets.
    progress : bool
        Show a progress bar.
    **options
        As for `backtest`: latency, fees, risk, instrument, fill_rule, max_orders, sample, features. `sample` is 0 by default; with a
        sample interval the table also has peak_position, max_drawdown and sharpe.

    Returns
    -------
    pandas.DataFrame
        One row per tape and set: parameters first, then the summary. Money is in currency, sizes in lots.

    Raises
    ------
    StrategyError
        For a field that the strategy does not have, and for a strategy that does not compile.
    ValueError
        For an empty grid, or an invalid option.

    Notes
    -----
    Each row equals that of a separate `backtest`, byte for byte. Ctrl-C stops a sweep within a fraction of a second.

    Metrics registered with `nbtrade.metric` become columns. For them, and for a fee schedule, every set keeps its fills and orders, and a
    Result is built for it: about 0.1 ms per set, where the built-in totals take 2 us.

    Examples
    --------
    >>> import nbtrade
    >>> tape = nbtrade.ingest(nbtrade.synthetic.write_dbn("sweep.dbn", 5_000, seed=1), progress=False)
    >>> table = nbtrade.sweep(tape, nbtrade.market_maker, {"half_spread": [0.5, 1, 2], "max_position": [5, 10]}, progress=False)
    >>> table[["half_spread", "max_position", "net_pnl", "n_fills"]].shape
    (6, 4)
    """
    import pandas as pd

    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: must be at least 1, or None for one thread per core")
    check_strategy(strategy)
    sets = sets_of(grid)
    several = isinstance(data, Sequence) and not isinstance(data, str)
    all_data: Any = data if several else [data]
    tapes = [open_part(one, start, end) for one in all_data]
    options = {"sample": 0, "max_orders": 16, **options}
    options["keep_log"] = bool(metrics.USER_METRICS) or getattr(options.get("fees"), "schedule", None) is not None  # they read fills
    config_of(strategy, sets[:1], {**options, "features": None})  # errors are raised before anything runs
    work = _Work(strategy, dict(options), at_close, tapes, sets)
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress_bar(len(sets) * len(tapes), "set", f"sweep of {strategy.name}", progress))
        if store is not None:
            asked = {**options, "at_close": at_close, "metrics": fingerprints(metrics.USER_METRICS)}
            work.cache = stack.enter_context(contextlib.closing(SweepCache(store, strategy, asked)))
            advance(work.load_cached())
        work.run(workers or os.cpu_count() or 1, block, advance)
    places = itertools.product(range(len(tapes)), range(len(sets)))
    table = pd.DataFrame([{"tape": tapes[t].symbol, **sets[i], **_renamed(work.rows[t, i], sets[i])} for t, i in places])
    return table if several else table.drop(columns="tape")


def _renamed(row: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A row in which results with the name of a parameter are renamed."""
    return {f"{name}_result" if name in values else name: value for name, value in row.items()}


def sets_of(grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parameter sets of a grid. Raises ValueError if it is empty."""
    if isinstance(grid, Mapping):
        invalid = [name for name, values in grid.items() if isinstance(values, str) or not isinstance(values, Iterable)]
        if invalid:
            raise ValueError(f"grid: {invalid[0]!r} is {grid[invalid[0]]!r}: give a list of its values")
        empty = [name for name, values in grid.items() if len(list(values)) == 0]
        if empty:
            raise ValueError(f"grid: {empty[0]!r} has no values, so there is no parameter set")
        sets = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    else:
        sets = [dict(one) for one in grid]
    if not sets or sets == [{}]:
        raise ValueError("the grid is empty: give {field: values} or a list of {field: value}")
    return sets


def config_of(strategy: Strategy, sets: list[dict[str, Any]], options: Mapping[str, Any]) -> RunConfig:
    """The configuration of one pass over these sets."""
    rules = [one.get("fill_rule", options.get("fill_rule") or "fifo") for one in sets]
    states = [{name: value for name, value in one.items() if name != "fill_rule"} for one in sets]
    return new_config(strategy, states, **{**options, "fill_rule": rules})


class _Work:
    """The rows of a sweep: loaded from the store, or computed. rows : (index of the tape, index of the set) -> summary"""

    def __init__(self, strategy: Strategy, options: dict[str, Any], at_close: str, tapes: list[Tape], sets: list[dict[str, Any]]) -> None:
        given = options.pop("features", None)
        self.strategy, self.options, self.flatten, self.tapes, self.sets = strategy, options, at_close == "flatten", tapes, sets
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}
        self.cache: SweepCache | None = None
        self.stop = threading.Event()
        feed = (options.get("latency") or Latency()).delays().feed
        self.features = [feature_rows(strategy, given, [tape], feed) for tape in tapes]
        _ = strategy.address  # compiled once, before there are threads

    def load_cached(self) -> int:
        """Load the stored rows; returns their number."""
        assert self.cache is not None
        for t, tape in enumerate(self.tapes):
            for i, values in enumerate(self.sets):
                row = self.cache.get(tape, values)
                if row is not None:
                    self.rows[t, i] = row
        return len(self.rows)

    def run(self, n_workers: int, block: int, advance: Callable[[int], object]) -> None:
        """Compute the missing rows, one tape and one block of sets at a time.

        Sets are dealt out to the blocks in turn: neighbours in a grid are similar, and sets that trade more take longer (two cores: 1.78 to
        1.85x).
        """
        missing = [[i for i in range(len(self.sets)) if (t, i) not in self.rows] for t in range(len(self.tapes))]
        size = max(1, min(block, -(-sum(map(len, missing)) // n_workers)))
        n_blocks = [-(-len(one) // size) for one in missing]
        jobs = [(t, one[k :: n_blocks[t]]) for t, one in enumerate(missing) for k in range(n_blocks[t])]
        with ThreadPoolExecutor(n_workers, "nbtrade-sweep") as pool:
            futures = {pool.submit(self._block, t, numbers): (t, numbers) for t, numbers in jobs}
            left: set[Future[Any]] = set(futures)
            try:
                while left:
                    done, left = wait(left, 0.2, FIRST_COMPLETED)
                    for future in done:
                        self._store_rows(*futures[future], future.result())
                        advance(len(futures[future][1]))
            except BaseException:  # an error or Ctrl-C: cancel pending blocks, and stop running ones
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _store_rows(self, t: int, numbers: list[int], rows: list[dict[str, Any]]) -> None:
        self.rows.update(((t, i), row) for i, row in zip(numbers, rows, strict=True))
        if self.cache is not None:
            self.cache.put(self.tapes[t], [self.sets[i] for i in numbers], rows)

    def _poll(self) -> None:
        if self.stop.is_set():
            raise CancelledError

    def _block(self, t: int, numbers: list[int]) -> list[dict[str, Any]]:
        """One pass over a tape: a row for each set."""
        config = replace(config_of(self.strategy, [self.sets[i] for i in numbers], self.options), features=self.features[t])
        tape = self.tapes[t]
        simulation = run_tapes([tape], config, poll=self._poll)
        simulation.close_session(self.flatten)
        at_close = "flatten" if self.flatten else "carry"
        return Outcome(simulation, config, tape.symbol, tape.tick_units, sessions=[session_of(tape)], at_close=at_close).rows()
