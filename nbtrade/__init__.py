"""nbtrade: a market-by-order (L3) backtester. Compile the day once, replay it many times.

    tape = nbtrade.ingest("day.dbn.zst")
    result = nbtrade.backtest(tape, nbtrade.market_maker, latency=nbtrade.Latency(entry="1ms", response="1ms"))

Names are loaded when they are first used, so that `import nbtrade` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ingest": "nbtrade.sources.convert",
    "ingest_all": "nbtrade.sources.convert",
    "synthetic": "nbtrade.sources",
    "open_tape": "nbtrade.store.tape",
    "Tape": "nbtrade.store.tape",
    "Column": "nbtrade.store.column",
    "CompactColumn": "nbtrade.store.compact",
    "BlockFile": "nbtrade.store.blockfile",
    "backtest": "nbtrade.runner",
    "sweep": "nbtrade.sweeps",
    "Latency": "nbtrade.terms",
    "Fees": "nbtrade.terms",
    "Risk": "nbtrade.terms",
    "Instrument": "nbtrade.terms",
    "Result": "nbtrade.results",
    "strategy": "nbtrade.seam",
    "Strategy": "nbtrade.seam",
    "features": "nbtrade.signals.compute",
    "targets": "nbtrade.signals.compute",
    "asof": "nbtrade.signals.compute",
    "Matrix": "nbtrade.signals.matrix",
    "feature": "nbtrade.signals",
    "target": "nbtrade.signals",
    "market_maker": "nbtrade.strategies.market_maker",
    "FILL_RULES": "nbtrade.schema",
    "uniform": "nbtrade.kernels.draws",
    "normal": "nbtrade.kernels.draws",
    "BID": "nbtrade.schema",
    "ASK": "nbtrade.schema",
    "UNDEF_PRICE": "nbtrade.schema",
    "LIMIT": "nbtrade.schema",
    "POST_ONLY": "nbtrade.schema",
    "IOC": "nbtrade.schema",
    "FOK": "nbtrade.schema",
    "DAY": "nbtrade.schema",
    "TIMER": "nbtrade.schema",
    "EVENT_END": "nbtrade.schema",
    "TOP": "nbtrade.schema",
    "TRADES": "nbtrade.schema",
    "OWN_ACK": "nbtrade.schema",
    "OWN_FILL": "nbtrade.schema",
    "START": "nbtrade.schema",
    "END": "nbtrade.schema",
}
_MODULES = ("synthetic", "feature", "target")  # names that are modules themselves
__all__ = list(_HOMES)

if TYPE_CHECKING:  # `as`: exported, as mypy sees it
    from nbtrade.kernels.draws import normal as normal, uniform as uniform
    from nbtrade.results import Result as Result
    from nbtrade.runner import backtest as backtest
    from nbtrade.schema import (
        FILL_RULES as FILL_RULES,
        ASK as ASK,
        BID as BID,
        UNDEF_PRICE as UNDEF_PRICE,
        LIMIT as LIMIT,
        POST_ONLY as POST_ONLY,
        IOC as IOC,
        FOK as FOK,
        DAY as DAY,
        TIMER as TIMER,
        EVENT_END as EVENT_END,
        TOP as TOP,
        TRADES as TRADES,
        OWN_ACK as OWN_ACK,
        OWN_FILL as OWN_FILL,
        START as START,
        END as END,
    )
    from nbtrade.seam import Strategy as Strategy, strategy as strategy
    from nbtrade.signals import feature as feature, target as target
    from nbtrade.signals.compute import asof as asof, features as features, targets as targets
    from nbtrade.signals.matrix import Matrix as Matrix
    from nbtrade.sources import synthetic as synthetic
    from nbtrade.sources.convert import ingest as ingest, ingest_all as ingest_all
    from nbtrade.store.column import Column as Column
    from nbtrade.store.compact import CompactColumn as CompactColumn
    from nbtrade.store.blockfile import BlockFile as BlockFile
    from nbtrade.store.tape import Tape as Tape, open_tape as open_tape
    from nbtrade.terms import Fees as Fees, Instrument as Instrument, Latency as Latency, Risk as Risk
    from nbtrade.sweeps import sweep as sweep
    from nbtrade.strategies.market_maker import market_maker as market_maker


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nbtrade' has no attribute {name!r}")
    module = import_module(home)
    value = import_module(f"{home}.{name}") if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
