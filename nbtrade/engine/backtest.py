"""Run a strategy over a tape, over several, or straight from a source.

    backtest(tape, strategy, latency=..., fees=...)            one instrument, one session
    backtest([monday, tuesday], ...)                           sessions in sequence: positions and state carry over
    backtest({"ES": tape, "NQ": tape}, ...)                    instruments side by side: market.on(i), account.on(i)

All checks and allocations come first; then only the kernel runs. Straight from a source, another thread decodes and resolves ahead of the
engine, and no tape is written.
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from nbtrade._progress import progress_bar
from nbtrade.engine.config import RunConfig, check_at_close, check_strategy, new_config, per_instrument
from nbtrade.engine.models import Fees, Instrument, Latency, Risk
from nbtrade.engine.outcome import Outcome, session_of
from nbtrade.engine.simulation import Simulation
from nbtrade.engine.source_run import run_source
from nbtrade.engine.strategy import Strategy
from nbtrade.engine.strategy_features import feature_rows
from nbtrade.results.result import Result
from nbtrade.results.results import Results
from nbtrade.results.run_info import Session
from nbtrade.schema import FillRule, Wake
from nbtrade.tape.book_snapshot import book_arrays
from nbtrade.tape.tape import Tape, open_tape

if TYPE_CHECKING:
    from nbtrade.feature.matrix import FeatureMatrix

MAX_SAMPLES, MAX_WAKES = 10**7, 10**10
Data = Tape | str | os.PathLike[str]


@overload
def backtest(
    data: Mapping[str, Data],
    strategy: Strategy,
    *,
    params: Mapping[str, Any] | None = ...,
    latency: Latency | None = ...,
    fees: Fees | Mapping[str, Fees] | None = ...,
    risk: Risk | Mapping[str, Risk] | None = ...,
    instrument: Instrument | Mapping[str, Instrument] | None = ...,
    fill_rule: FillRule | str = ...,
    sample: str | int = ...,
    max_orders: int = ...,
    start: Any = ...,
    end: Any = ...,
    at_close: str = ...,
    features: "FeatureMatrix | None" = ...,
    progress: bool = ...,
) -> Results: ...
@overload
def backtest(
    data: Data | Sequence[Data],
    strategy: Strategy,
    *,
    params: Mapping[str, Any] | None = ...,
    latency: Latency | None = ...,
    fees: Fees | None = ...,
    risk: Risk | None = ...,
    instrument: Instrument | None = ...,
    fill_rule: FillRule | str = ...,
    sample: str | int = ...,
    max_orders: int = ...,
    start: Any = ...,
    end: Any = ...,
    at_close: str = ...,
    features: "FeatureMatrix | None" = ...,
    progress: bool = ...,
    tick: float | None = ...,
    symbol: str | None = ...,
) -> Result: ...
def backtest(
    data: Data | Sequence[Data] | Mapping[str, Data],
    strategy: Strategy,
    *,
    params: Mapping[str, Any] | None = None,
    latency: Latency | None = None,
    fees: Fees | Mapping[str, Fees] | None = None,
    risk: Risk | Mapping[str, Risk] | None = None,
    instrument: Instrument | Mapping[str, Instrument] | None = None,
    fill_rule: str | FillRule = "fifo",
    sample: str | int = "1s",
    max_orders: int = 64,
    start: Any = None,
    end: Any = None,
    at_close: str = "carry",
    features: "FeatureMatrix | None" = None,
    progress: bool = False,
    tick: float | None = None,
    symbol: str | None = None,
) -> Result | Results:
    """Backtest one strategy.

    Parameters
    ----------
    data : Tape, path, list of tapes or dict of tapes
        A tape or its folder; a source file (.dbn, .dbn.zst, .csv), which is decoded on the fly; a list: sessions in sequence; a dict:
        instruments that one strategy trades together.
    strategy : Strategy
        Made with `nbtrade.strategy`.
    params : dict, optional
        Parameters that differ from the strategy's: name -> value.
    latency : Latency, optional
        Latency(entry=, response=, feed=), Latency.random, Latency.measured; default none.
    fees : Fees or dict of Fees, optional
        Fees(maker=, taker=) per lot, maker_rate=, taker_rate= of the value, ...; default none. For several instruments fees, risk and
        instrument may be dicts by the same names.
    risk : Risk or dict of Risk, optional
        Risk(max_position=, ...), checked before an order leaves; default none.
    instrument : Instrument or dict of Instrument, optional
        Instrument(multiplier=, lot=, currency=); default one of each.
    fill_rule : str
        "fifo" (exact queues), or the bounds "optimistic" (first in the queue) and "conservative" (last).
    sample : str or int
        Time between points of the equity curve, ns or text; 0 for none.
    max_orders : int
        Open orders that an account can have; more are refused (counted in the summary).
    start, end : time, optional
        First and last time (UTC text, datetime64 or ns) of the part to run; default all of the tape.
    at_close : str
        "carry" or "flatten": what happens to a position when a session ends.
    features : FeatureMatrix, optional
        Made by `nbtrade.features`: the strategy reads the last row known. For several instruments, the first one's.
    progress : bool
        Show a progress bar.
    tick, symbol : float, str, optional
        For a source file, as in `ingest`.

    Returns
    -------
    Result
        For a dict of tapes a Results, a dict of Result by name.

    Raises
    ------
    StrategyError
        For unknown params, values that do not fit, and any exception that the strategy raises.
    SourceError, TapeError, ValueError, TypeError
        For data and options that cannot be used.

    Examples
    --------
    >>> import nbtrade
    >>> tape = nbtrade.ingest(nbtrade.synthetic.write_dbn("backtest.dbn", 5_000, seed=1), progress=False)
    >>> latency = nbtrade.Latency(entry="500us", response="500us")
    >>> result = nbtrade.backtest(tape, nbtrade.market_maker, params={"half_spread": 2.0}, latency=latency)
    >>> len(result.fills) == result.summary["n_fills"]
    True

    Two sessions in sequence, and two instruments that one strategy trades:

    >>> both = nbtrade.backtest([tape.between(end=tape.ts_recv[2_000]), tape.between(start=tape.ts_recv[3_000])], nbtrade.market_maker)
    >>> list(nbtrade.backtest({"A": tape, "B": tape}, nbtrade.market_maker))
    ['A', 'B']
    """
    check_at_close(at_close)
    check_strategy(strategy)
    names = list(data) if isinstance(data, Mapping) else None
    config = new_config(
        strategy,
        [params or {}],
        latency=latency,
        fees=per_instrument("fees", fees, names),
        risk=per_instrument("risk", risk, names),
        instrument=per_instrument("instrument", instrument, names),
        fill_rule=fill_rule,
        sample=sample,
        max_orders=max_orders,
    )
    flatten = at_close == "flatten"
    if isinstance(data, Mapping):
        tapes = {name: open_part(one, start, end) for name, one in data.items()}
        return _side_by_side(tapes, _with_features(config, features, list(tapes.values())[:1]), at_close, progress)
    if isinstance(data, Sequence) and not isinstance(data, str):
        days = [open_part(one, start, end) for one in data]
        config = _with_features(config, features, days)
        simulation = run_days(days, config, flatten, progress)
        sessions = [session_of(day) for day in days]
        return Outcome(simulation, config, days[0].symbol, days[0].tick_units, sessions=sessions, at_close=at_close).result()
    if not isinstance(data, Tape) and not is_tape(data):
        if start is not None or end is not None:
            raise ValueError("start and end need a tape: ingest the source first, or run on all of it")
        config = _with_features(config, features, None)
        simulation, name, tick_units = run_source(data, config, tick, symbol, progress)
        session = Session(path=os.fspath(data), n_rows=simulation.n_rows(), first_ts=int(simulation.run["first_ts"][0]))
    else:
        tape = open_part(data, start, end)
        config = _with_features(config, features, [tape])
        simulation, name, tick_units, session = run_tapes([tape], config, progress), tape.symbol, tape.tick_units, session_of(tape)
    simulation.close_session(flatten)
    return Outcome(simulation, config, name, tick_units, sessions=[session], at_close=at_close).result()


def _with_features(config: RunConfig, given: Any, tapes: Sequence[Tape] | None) -> RunConfig:
    """The configuration with the rows of the features that the caller or the strategy specifies."""
    return replace(config, features=feature_rows(config.strategy, given, tapes, config.latency.delays().feed))


def _side_by_side(tapes: dict[Any, Tape], config: RunConfig, at_close: str, progress: bool) -> Results:
    """One session of several instruments."""
    if not tapes:
        raise ValueError("the dict of tapes is empty: there is nothing to run on")
    simulation = run_tapes(list(tapes.values()), config, progress)
    simulation.close_session(at_close == "flatten")
    outcomes = {
        name: Outcome(simulation, config, tape.symbol, tape.tick_units, v, [session_of(tape)], at_close)
        for v, (name, tape) in enumerate(tapes.items())
    }
    return Results({name: outcome.result() for name, outcome in outcomes.items()})


def is_tape(data: Any) -> bool:
    """True for the folder of a tape. Raises TypeError for anything but a path."""
    if not isinstance(data, (str, os.PathLike)):
        raise TypeError(f"data is {data!r}: give a Tape, a tape's folder, a source file, a list of tapes or a dict of them")
    return (Path(data) / "manifest.json").exists()


def open_part(data: Data, start: Any, end: Any) -> Tape:
    """Open a tape if necessary, and select the part between two times. Raises ValueError if that part is empty."""
    if not isinstance(data, (Tape, str, os.PathLike)):
        raise TypeError(f"{data!r} is not a tape: give a Tape or a tape's folder")
    tape = data if isinstance(data, Tape) else open_tape(data)
    if start is None and end is None:
        return tape
    part = tape.between(start, end)
    if len(tape) and not len(part):
        raise ValueError(f"no rows from start={start} to end={end}: {tape}")
    return part


# --- from tapes -----------------------------------------------------------------------------------
def run_tapes(tapes: Sequence[Tape], config: RunConfig, progress: bool = False, poll: Callable[[], object] | None = None) -> Simulation:
    """One session of one or more instruments. poll : called about every 50 ms; an exception that it raises ends the run"""
    simulation = config.simulation([book_arrays(tape) for tape in tapes], [tape.tick_units for tape in tapes])
    _feed_tapes(simulation, tapes, progress, poll)
    return simulation


def _check_span(simulation: Simulation, tape: Tape) -> None:
    """Raise ValueError for a tape so long that timers would run for hours. One wrong time stamp is enough."""
    span = int(tape.ts_recv[-1] - tape.ts_recv[0]) if len(tape) else 0
    run = simulation.run
    for name, step, limit in (
        ("sample", int(run["sample"][0]), MAX_SAMPLES),
        ("wake", int(run["interval"][0]) if run["wakes"][0] & Wake.TIMER else 0, MAX_WAKES),
    ):
        if step and span // step > limit:
            first, last = (np.datetime64(int(tape.ts_recv[i]), "ns") for i in (0, -1))
            raise ValueError(
                f"{tape.symbol} runs from {first} to {last} UTC: that is {span // step:,} times {name} ({step:,} ns), more than {limit:,}. "
                f"Most likely a record has a wrong time: choose a part with start= and end=, or a longer {name}=."
            )


def _feed_tapes(simulation: Simulation, tapes: Sequence[Tape], progress: bool, poll: Callable[[], object] | None = None) -> None:
    for tape in tapes:
        _check_span(simulation, tape)
    for instrument, tape in zip(simulation.instruments, tapes, strict=True):
        instrument.record["base_row"] = instrument.first_row = tape.start
        instrument.feed(tape.events, tape.ts_event, tape.ts_recv, tape.start)
    with progress_bar(sum(map(len, tapes)), "row", tapes[0].symbol, progress) as advance:

        def passed(rows: int) -> None:
            advance(rows)
            if poll is not None:
                poll()

        simulation.go(final=True, advance=passed)


def run_days(days: Sequence[Tape], config: RunConfig, flatten: bool, progress: bool = False) -> Simulation:
    """Sessions in sequence over one account: DAY orders expire, others are sent again at the next session's first event."""
    if not days:
        raise ValueError("the list of tapes is empty: there is nothing to run on")
    days = [tape for tape in days if len(tape)] or days[:1]
    check_order(days)
    other_ticks = [tape for tape in days if tape.tick_units != days[0].tick_units]
    if other_ticks:
        raise ValueError(
            f"{other_ticks[0]} has a different tick from {days[0]}: sessions in sequence need one tick. Ingest them with tick=."
        )
    other_ticks = [tape for tape in days if tape.lot_units != days[0].lot_units]
    if other_ticks:
        raise ValueError(
            f"{other_ticks[0]} has lots of {other_ticks[0].lot:g}, {days[0]} of {days[0].lot:g}: sessions in sequence need one lot size. "
            "Ingest them with the same one."
        )
    simulation = run_tapes(days[:1], config, progress)
    for tape in days[1:]:
        simulation.close_session(flatten)
        simulation.next_session([book_arrays(tape)], int(tape.ts_recv[0]) if len(tape) else 0)
        _feed_tapes(simulation, [tape], progress)
    simulation.close_session(flatten)
    return simulation


def check_order(days: Sequence[Tape]) -> None:
    """Raise ValueError if sessions are not in chronological order, or belong to several instruments."""
    for before, after in itertools.pairwise(days):
        if before.symbol != after.symbol and not (before.symbol + after.symbol).isdigit():  # ids may change from day to day
            raise ValueError(
                f"a list of tapes is one instrument's sessions in sequence, but {after.symbol} follows {before.symbol}. "
                f'Instruments side by side are a dict: {{"{before.symbol}": tape, "{after.symbol}": tape}}.'
            )
        if after.ts_recv[0] < before.ts_recv[-1]:
            raise ValueError(f"sessions in sequence must be in chronological order: {after} comes after {before}")
