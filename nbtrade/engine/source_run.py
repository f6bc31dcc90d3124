"""A run straight from a source: another thread decodes and resolves ahead of the engine, and no tape is written."""

import contextlib
from typing import Any

import numpy as np

from nbtrade._progress import progress_bar
from nbtrade.book.kernels import arrays
from nbtrade.engine.config import RunConfig
from nbtrade.engine.simulation import Simulation
from nbtrade.errors import SourceError

SLACK = 1 << 16  # ticks beyond the prices seen so far, so that new extremes rarely rebuild the books' tables


class _EngineSink:
    """Feeds rows to a simulation as a resolver makes them; rows that a clock still needs are passed again."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.resolver: Any = None
        self.simulation: Simulation | None = None
        self.px = (0, 0)
        self.base_row = 0
        self.left: tuple[np.ndarray, ...] = ()

    def rows(self, events, ts_event, ts_recv, order_id, sequence) -> int:
        self._prices(*self.resolver.px_range())
        self.left = tuple(_frozen(a) for a in (events, ts_event, ts_recv))
        n = self._feed(final=False)
        self.left = tuple(a[n:] for a in self.left)
        return n

    def _prices(self, low: int, high: int) -> None:
        """Create the books, or widen their price range."""
        if self.simulation is None:
            self.px = low - SLACK, high + SLACK
            self.simulation = self.config.simulation([arrays.new_book(*self.px)], [self.resolver.tick])
        elif low < self.px[0] or high > self.px[1]:
            self.px = min(low - SLACK, self.px[0]), max(high + SLACK, self.px[1])
            self.simulation.instruments[0].widen(self.px[0] - arrays.MARGIN, self.px[1] + arrays.MARGIN)

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
        """Ignored: nothing reads earlier rows again."""

    def rescale(self, factor: int) -> None:
        raise SourceError(
            f"a price does not fit the tick of the first prices (it is {factor} times finer). "
            "A run straight from a source cannot start over: give tick=, or ingest a tape first."
        )


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def run_source(path, config: RunConfig, tick, symbol, progress: bool) -> tuple[Simulation, str, int]:
    """(simulation, symbol, tick in 1e-9)"""
    from nbtrade.sources.base import overlapped
    from nbtrade.tape import ingest
    from nbtrade.tape.resolver import Resolver

    source = ingest.open_source(path)
    sink = _EngineSink(config)
    resolver: Resolver | None = None
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress_bar(source.n_bytes, "B", source.path.name, progress))
        reading = stack.enter_context(contextlib.closing(overlapped(source.batches(advance))))
        choice = ingest.Choice(source, symbol, None)
        choice.check()
        for records in reading:
            if resolver is None:
                resolver = ingest.first_resolver(source, choice, records, sink, tick)
            if resolver is not None:
                sink.resolver = resolver
                resolver.feed(records)
                if symbol is None and resolver.get("n_skipped"):
                    raise SourceError(f"{path} has several instruments. Choose one with symbol=, or ingest them with ingest_all.")
    if resolver is None:
        raise SourceError(f"{path} has no records of {symbol!r}." if symbol else f"{path} has no records.")
    resolver.finish()
    return sink.finish(), source.symbols.get(resolver.get("instrument_id"), ""), resolver.tick
