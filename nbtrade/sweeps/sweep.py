"""Many parameter sets over the same data: one replay of the market serves a whole block of them.

    space ──> sets ──> blocks ──> one pass each, on threads that release the GIL ──> table of sets and results

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

import numpy as np

from nbtrade._progress import progress_bar
from nbtrade.engine.backtest import Data, open_part, run_tapes
from nbtrade.engine.config import RunConfig, check_at_close, check_strategy, new_config
from nbtrade.engine.models import Fees, Instrument, Latency, Risk
from nbtrade.engine.outcome import Outcome, session_of
from nbtrade.engine.strategy import Strategy
from nbtrade.engine.strategy_features import feature_rows
from nbtrade.errors import StrategyError
from nbtrade.results import metrics
from nbtrade.results.frames import records_frame
from nbtrade.schema import FillRule
from nbtrade.storage.blockfile.blockfile import BlockFile
from nbtrade.sweeps.cache import SweepCache, fingerprints
from nbtrade.tape.tape import Tape

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.feature.matrix import FeatureMatrix

BLOCK = 1000  # sets in one pass
Space = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]]


def sweep(
    data: Data | Sequence[Data],
    strategy: Strategy,
    space: Space,
    *,
    params: Mapping[str, Any] | None = None,
    latency: Latency | None = None,
    fees: Fees | None = None,
    risk: Risk | None = None,
    instrument: Instrument | None = None,
    fill_rule: FillRule | str = "fifo",
    sample: str | int = "1s",
    max_orders: int = 64,
    start: Any = None,
    end: Any = None,
    at_close: str = "carry",
    features: "FeatureMatrix | None" = None,
    progress: bool = False,
    record: Iterable[int] = (),
    workers: int | None = None,
    block: int = BLOCK,
    store: BlockFile | str | os.PathLike[str] | None = None,
) -> "pd.DataFrame":
    """Backtest every parameter set on every tape.

    Parameters
    ----------
    data : Tape, path, or sequence of them
        One tape, or several that are run separately; the table then has a column `tape`.
    strategy : Strategy
    space : mapping or sequence of mappings
        ``{parameter: values}`` for all combinations, or a list of ``{parameter: value}``. `fill_rule` may be among them, unless the
        strategy has a parameter of that name.
    params, latency, fees, risk, instrument, fill_rule, sample, max_orders, start, end, at_close, features, progress
        As for `backtest`, with the same defaults; the same for all sets. With ``sample=0`` a set takes the least time and memory, and the
        table has no peak_position, max_drawdown and sharpe.
    record : iterable of int, optional
        Numbers of the sets whose recorded rows are kept: ``table.attrs["records"][i]`` is the frame `Result.records` of row i.
    workers : int, optional
        Threads; one per core by default. Each takes one tape and one block of sets at a time.
    block : int
        Largest number of sets in one pass.
    store : BlockFile or path, optional
        Stores every row: a stopped sweep resumes, and a larger space runs only the new sets.

    Returns
    -------
    pandas.DataFrame
        One row per tape and set: the parameters of the space, then the summary. Money is in currency, sizes in lots. A column of the
        summary that would have a parameter's name ends in `_result`.

    Raises
    ------
    StrategyError
        For an unknown parameter or a value that does not fit, and for a strategy that does not compile.
    ValueError
        For an empty space, an invalid option, or a number in `record` that no set has.

    Notes
    -----
    Each row equals that of a separate `backtest`, byte for byte. Ctrl-C stops a sweep within a fraction of a second.

    Metrics registered with `nbtrade.metric` become columns. For them, for samples and for a fee schedule, every set keeps its fills and
    orders, and a Result is built for it: about 0.1 ms per set, where the built-in totals take 2 us.

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
    check_at_close(at_close)
    check_strategy(strategy)
    strategy = strategy.with_params(params or {})
    sets = sets_of(space)
    recorded = _chosen(record, len(sets), strategy)
    several = isinstance(data, Sequence) and not isinstance(data, str)
    all_data: Any = data if several else [data]
    tapes = [open_part(one, start, end) for one in all_data]
    options: dict[str, Any] = {
        "latency": latency,
        "fees": fees,
        "risk": risk,
        "instrument": instrument,
        "fill_rule": fill_rule,
        "sample": sample,
        "max_orders": max_orders,
        "keep_log": bool(metrics.USER_METRICS) or getattr(fees, "schedule", None) is not None,  # they read fills
    }
    config_of(strategy, sets, options).limits(1)  # errors are raised before anything runs
    work = _Work(strategy, {**options, "features": features}, at_close, tapes, sets, recorded)
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress_bar(len(sets) * len(tapes), "set", f"sweep of {strategy.name}", progress))
        if store is not None:
            asked = {**options, "features": features, "at_close": at_close, "metrics": fingerprints(metrics.USER_METRICS)}
            work.cache = stack.enter_context(contextlib.closing(SweepCache(store, strategy, asked)))
            advance(work.load_cached())
        work.run(workers or os.cpu_count() or 1, block, advance)
    runs = list(itertools.product(range(len(tapes)), range(len(sets))))
    columns = columns_of(strategy, sets, fill_rule)
    table = pd.DataFrame([_row({"tape": tapes[t].symbol} if several else {}, columns[i], work.rows[t, i]) for t, i in runs])
    if recorded:
        table.attrs["records"] = {n: records_frame(work.records[run]) for n, run in enumerate(runs) if run in work.records}
    return table


def _chosen(record: Any, n: int, strategy: Strategy) -> frozenset[int]:
    """The numbers of the sets whose records are kept. Raises ValueError, StrategyError."""
    given: Any = record  # anything at all: checked here
    chosen: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [None]
    if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in chosen):
        raise ValueError(f"record={record!r}: give the numbers of the sets whose records are kept, such as record=[0, 5]")
    beyond = [i for i in chosen if not 0 <= i < n]
    if beyond:
        raise ValueError(f"record: there is no set {beyond[0]}: the {n:,} sets are numbered 0 to {n - 1}")
    if chosen and not strategy.recorded:
        raise StrategyError(f"{strategy.name} records nothing: declare @nbtrade.strategy(record=[...]) and take the argument `record`.")
    return frozenset(int(i) for i in chosen)


def columns_of(strategy: Strategy, sets: list[dict[str, Any]], fill_rule: FillRule | str) -> list[dict[str, Any]]:
    """The parameter columns of each set: the parameters that any set has, with the strategy's values where a set lacks one."""
    names = list(dict.fromkeys(name for one in sets for name in one))
    known = {"fill_rule": fill_rule, **strategy.params.values(strategy.params.initial[0])}
    return [{name: one.get(name, known.get(name)) for name in names} for one in sets]


def _row(head: dict[str, Any], values: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """A row of the table. Parameters keep their names; other columns with such a name are renamed."""
    row = {_free(name, values): value for name, value in head.items()} | values
    for name, value in summary.items():
        row[_free(name, {**row, **summary} if name in row else row)] = value
    return row


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with `_result` appended until it is unique."""
    while name in taken:
        name += "_result"
    return name


def sets_of(space: Space) -> list[dict[str, Any]]:
    """The parameter sets of a space. Raises ValueError if it is empty."""
    if isinstance(space, Mapping):
        invalid = [name for name, values in space.items() if isinstance(values, str) or not isinstance(values, Iterable)]
        if invalid:
            raise ValueError(f"space: {invalid[0]!r} is {space[invalid[0]]!r}: give a list of its values")
        lists = {name: list(values) for name, values in space.items()}
        empty = [name for name, values in lists.items() if not values]
        if empty:
            raise ValueError(f"space: {empty[0]!r} has no values, so there is no parameter set")
        sets = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    else:
        others: list[Any] = [one for one in space if not isinstance(one, Mapping)] if isinstance(space, Sequence) else [space]
        if others:
            raise ValueError(f"space: {others[0]!r:.60}: give {{parameter: values}} or a list of {{parameter: value}}")
        sets = [dict(one) for one in space]
    if not sets or sets == [{}]:
        raise ValueError("the space is empty: give {parameter: values} or a list of {parameter: value}")
    return sets


def config_of(strategy: Strategy, sets: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> RunConfig:
    """The configuration of one pass over these sets."""
    if "fill_rule" in strategy.params.names:
        return new_config(strategy, sets, **options)
    rules = [one.get("fill_rule", options["fill_rule"]) for one in sets]
    params = [{name: value for name, value in one.items() if name != "fill_rule"} for one in sets]
    return new_config(strategy, params, **{**options, "fill_rule": rules})


class _Work:
    """The rows of a sweep: loaded from the store, or computed.

    rows    : (index of the tape, index of the set) -> summary       recorded : indices of the sets whose records are kept
    records : the same keys -> (ts, fields)[n]
    """

    def __init__(
        self,
        strategy: Strategy,
        options: dict[str, Any],
        at_close: str,
        tapes: list[Tape],
        sets: list[dict[str, Any]],
        recorded: frozenset[int],
    ) -> None:
        given = options.pop("features", None)
        self.strategy, self.options, self.flatten, self.tapes, self.sets = strategy, options, at_close == "flatten", tapes, sets
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}
        self.records: dict[tuple[int, int], np.ndarray] = {}
        self.recorded = recorded
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
                row = None if i in self.recorded else self.cache.get(tape, values)  # records are not stored, so these sets run again
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
        recorded = np.isin(numbers, list(self.recorded))
        config = config_of(self.strategy, [self.sets[i] for i in numbers], self.options)
        config = replace(config, features=self.features[t], recorded=recorded)
        tape = self.tapes[t]
        simulation = run_tapes([tape], config, poll=self._poll)
        simulation.close_session(self.flatten)
        at_close = "flatten" if self.flatten else "carry"
        outcome = Outcome(simulation, config, tape.symbol, tape.tick_units, sessions=[session_of(tape)], at_close=at_close)
        for k in np.flatnonzero(recorded):
            self.records[t, numbers[k]] = outcome.records(int(k))
        return outcome.rows()
