"""Run a strategy over a tape, or straight from a source.

    backtest(tape, strategy, latency=..., fees=...) -> Result

Checks first, allocates once, then only the kernel runs. Straight from a source, decode and resolve go ahead in another thread and no
tape is written.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nbtrade._jit import kernel
from nbtrade.errors import SourceError
from nbtrade.kernels import memory
from nbtrade.progress import progress_bar
from nbtrade.results import Fees, Instrument, Result
from nbtrade.seam import Strategy
from nbtrade.simulation import Simulation
from nbtrade.store.state import book_arrays
from nbtrade.store.tape import Tape, open_tape
from nbtrade.times import ns_of

BATCH_ROWS = 1 << 22  # rows between two looks at Ctrl-C and the progress bar: some 60 ms


@dataclass(frozen=True)
class Latency:
    """Constant delays: ns, or text such as "500us".

    feed : from the capture server to us      entry : from us to the exchange      response : from the exchange to us
    """

    entry: int | str = 0
    response: int | str = 0
    feed: int | str = 0

    def ns(self) -> tuple[int, int, int]:
        """(feed, entry, response) in ns. Raises ValueError for a negative one."""
        values = ns_of(self.feed), ns_of(self.entry), ns_of(self.response)
        if min(values) < 0:
            raise ValueError(f"latency {self}: no part may be negative")
        return values


def backtest(
    data: Tape | str | os.PathLike[str],
    strategy: Strategy,
    *,
    latency: Latency | None = None,
    fees: Fees | None = None,
    multiplier: float = 1.0,
    sample: str | int = "1s",
    max_orders: int = 64,
    start: Any = None,
    end: Any = None,
    tick: float | None = None,
    symbol: str | None = None,
    progress: bool = False,
    **state: Any,
) -> Result:
    """Backtest one strategy on one instrument.

    data       : a Tape, a tape's folder, or a source file (.dbn, .dbn.zst, .csv), which is then decoded on the way
    latency    : Latency(entry=, response=, feed=); default none
    fees       : Fees(maker=, taker=) per lot, maker_rate=, taker_rate= of the value; default none
    multiplier : currency per price unit and lot
    sample     : time between points of the equity curve; 0 for none
    max_orders : open orders an account can have; more are refused (counted in the summary)
    start, end : part of the tape; tick, symbol : for a source file, as in `ingest`
    **state    : other initial values of the strategy's state fields

    Raises StrategyError, SourceError, TapeError, ValueError.
    """
    strategy = strategy.with_(**state)
    if max_orders < 1:
        raise ValueError(f"max_orders is {max_orders}: an account needs at least one order slot")
    setup = (strategy, strategy.states([{}])), (latency or Latency()).ns(), ns_of(sample), max_orders
    if not isinstance(data, Tape) and not (Path(data) / "manifest.json").exists():
        simulation, instrument = _from_source(data, setup, tick, symbol, start, end, progress)
    else:
        tape = data if isinstance(data, Tape) else open_tape(data)
        tape = tape if start is None and end is None else tape.between(start, end)
        simulation, instrument = _from_tape(tape, setup, progress), Instrument.of(tape)
    return Result(simulation, instrument, fees or Fees(), multiplier)


def _new_simulation(setup, book: memory.Book) -> Simulation:
    (strategy, states), latency, sample, max_orders = setup
    return Simulation(strategy, states, book, latency, sample, max_orders, keep_log=True)


def _from_tape(tape: Tape, setup, progress: bool) -> Simulation:
    simulation = _new_simulation(setup, book_arrays(tape))
    simulation.engine["base_row"] = tape.start
    n = len(tape)
    with progress_bar(n, "row", tape.symbol, progress) as advance:
        for stop in [*range(BATCH_ROWS, n, BATCH_ROWS), n]:
            simulation.feed(tape.events[:stop], tape.ts_event[:stop], tape.ts_recv[:stop], tape.start, final=stop == n)
            advance(min(BATCH_ROWS, stop))
    return simulation


class _EngineSink:
    """Feeds rows to a simulation as a resolver makes them; those that a clock still needs come again."""

    def __init__(self, setup) -> None:
        self.setup = setup
        self.simulation: Simulation | None = None
        self.px = (0, 0)
        self.base_row = 0
        self.left: tuple[np.ndarray, ...] = ()

    def rows(self, events, ts_event, ts_recv, order_id, sequence) -> int:
        self._prices(*price_range(events))
        self.left = tuple(_frozen(a) for a in (events, ts_event, ts_recv))
        n = self._feed(final=False)
        self.left = tuple(a[n:] for a in self.left)
        return n

    def _prices(self, low: int, high: int) -> None:
        """Make, or make wider, the books' price range."""
        if self.simulation is None:
            self.px = (low - memory.MARGIN, high + memory.MARGIN)
            self.simulation = _new_simulation(self.setup, memory.new_book(*self.px))
        elif low < self.px[0] or high > self.px[1]:
            self.px = min(low, self.px[0] + memory.MARGIN) - memory.MARGIN, max(high, self.px[1] - memory.MARGIN) + memory.MARGIN
            self.simulation.widen(*self.px)

    def _feed(self, final: bool) -> int:
        assert self.simulation is not None
        n = self.simulation.feed(*self.left, self.base_row, final)
        self.base_row += n
        return n

    def finish(self) -> Simulation:
        if self.simulation is None:
            raise SourceError("the source has no events of this instrument: there is nothing to run on")
        self._feed(final=True)
        return self.simulation

    def checkpoint(self, row: int, live: np.ndarray) -> None:
        """Not needed: nothing will look back."""

    def rescale(self, factor: int) -> None:
        raise SourceError(
            f"a price is not on the tick that the first prices gave (it is {factor} times finer). "
            "A run straight from a source cannot start over: give tick=, or ingest a tape first."
        )


@kernel
def price_range(events):
    """(lowest, highest) px of EVENT[n > 0]."""
    low = high = np.int64(events[0].px)
    for i in range(len(events)):
        low = min(low, events[i].px)
        high = max(high, events[i].px)
    return low, high


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _from_source(path, setup, tick, symbol, start, end, progress: bool) -> tuple[Simulation, Instrument]:
    from nbtrade.sources import convert
    from nbtrade.sources.resolver import Resolver
    from nbtrade.sources.source import overlapped

    if start is not None or end is not None:
        raise ValueError("start and end need a tape: ingest the source first, or run on all of it")
    source = convert.open_source(path)
    sink = _EngineSink(setup)
    resolver: Resolver | None = None
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress_bar(source.n_bytes, "B", source.path.name, progress))
        reading = stack.enter_context(contextlib.closing(overlapped(source.batches(advance))))
        choice = convert.Choice(source, symbol, None)
        choice.check()
        for records in reading:
            if resolver is None:
                resolver = convert.first_resolver(source, choice, records, sink, tick)
            if resolver is not None:
                resolver.feed(records)
                if symbol is None and resolver.get("n_skipped"):
                    raise SourceError(f"{path} has several instruments. Choose one by symbol=, or ingest them with ingest_all.")
    if resolver is None:
        raise SourceError(f"{path} has no records of {symbol!r}." if symbol else f"{path} has no records.")
    resolver.finish()
    return sink.finish(), Instrument(source.symbols.get(resolver.get("instrument_id"), ""), resolver.tick)
