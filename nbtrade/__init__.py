"""nbtrade: a market-by-order (L3) backtester. Compile the day once, replay it many times.

    tape = nbtrade.ingest("day.dbn.zst")
    result = nbtrade.backtest(tape, nbtrade.market_maker, latency=nbtrade.Latency(entry="1ms", response="1ms"))

Names are loaded when they are first used, so that `import nbtrade` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbtrade._version import __version__ as __version__

_HOMES = {
    "ingest": "nbtrade.tape.ingest",
    "ingest_all": "nbtrade.tape.ingest",
    "synthetic": "nbtrade",
    "open_tape": "nbtrade.tape.tape",
    "Tape": "nbtrade.tape.tape",
    "Column": "nbtrade.storage.columns.column",
    "CompactColumn": "nbtrade.storage.columns.compact",
    "BlockFile": "nbtrade.storage.blockfile.blockfile",
    "backtest": "nbtrade.engine.backtest",
    "sweep": "nbtrade.sweeps.sweep",
    "Latency": "nbtrade.engine.models",
    "Fees": "nbtrade.engine.models",
    "Risk": "nbtrade.engine.models",
    "Instrument": "nbtrade.engine.models",
    "Result": "nbtrade.results.result",
    "Results": "nbtrade.results.results",
    "ResultData": "nbtrade.results.data",
    "load_result": "nbtrade.results.results",
    "metric": "nbtrade.results.metrics",
    "strategy": "nbtrade.engine.strategy",
    "Strategy": "nbtrade.engine.strategy",
    "features": "nbtrade.feature.compute",
    "targets": "nbtrade.feature.compute",
    "asof": "nbtrade.feature.compute",
    "FeatureMatrix": "nbtrade.feature.matrix",
    "feature": "nbtrade",
    "target": "nbtrade",
    "market_maker": "nbtrade.strategies._market_maker",
    "uniform": "nbtrade.engine.kernels.random",
    "normal": "nbtrade.engine.kernels.random",
    "Side": "nbtrade.schema",
    "OrderType": "nbtrade.schema",
    "TimeInForce": "nbtrade.schema",
    "FillRule": "nbtrade.schema",
    "Wake": "nbtrade.schema",
    "BID": "nbtrade.schema",
    "ASK": "nbtrade.schema",
    "LIMIT": "nbtrade.schema",
    "MARKET": "nbtrade.schema",
    "GTC": "nbtrade.schema",
    "DAY": "nbtrade.schema",
    "IOC": "nbtrade.schema",
    "FOK": "nbtrade.schema",
    "UNDEF_PRICE": "nbtrade.schema",
    "UNKNOWN": "nbtrade.schema",
    "Market": "nbtrade.engine.interface",
    "Account": "nbtrade.engine.interface",
    "Order": "nbtrade.engine.interface",
    "Params": "nbtrade.engine.interface",
    "State": "nbtrade.engine.interface",
    "Features": "nbtrade.engine.interface",
    "Record": "nbtrade.engine.interface",
}
_MODULES = ("synthetic", "feature", "target")  # names that are modules themselves
__all__ = list(_HOMES)

if TYPE_CHECKING:  # `as`: exported, as mypy sees it
    from nbtrade.engine.kernels.random import normal as normal, uniform as uniform
    from nbtrade.results.data import ResultData as ResultData
    from nbtrade.results.metrics import metric as metric
    from nbtrade.results.result import Result as Result
    from nbtrade.results.results import Results as Results, load_result as load_result
    from nbtrade.engine.backtest import backtest as backtest
    from nbtrade.schema import (
        Side as Side,
        OrderType as OrderType,
        TimeInForce as TimeInForce,
        FillRule as FillRule,
        Wake as Wake,
        BID as BID,
        ASK as ASK,
        LIMIT as LIMIT,
        MARKET as MARKET,
        GTC as GTC,
        DAY as DAY,
        IOC as IOC,
        FOK as FOK,
        UNDEF_PRICE as UNDEF_PRICE,
        UNKNOWN as UNKNOWN,
    )
    from nbtrade.engine.interface import (
        Market as Market,
        Account as Account,
        Order as Order,
        Params as Params,
        State as State,
        Features as Features,
        Record as Record,
    )
    from nbtrade.engine.strategy import Strategy as Strategy, strategy as strategy
    from nbtrade import feature as feature
    from nbtrade import target as target
    from nbtrade.feature.compute import asof as asof, features as features, targets as targets
    from nbtrade.feature.matrix import FeatureMatrix as FeatureMatrix
    from nbtrade import synthetic as synthetic
    from nbtrade.tape.ingest import ingest as ingest, ingest_all as ingest_all
    from nbtrade.storage.columns.column import Column as Column
    from nbtrade.storage.columns.compact import CompactColumn as CompactColumn
    from nbtrade.storage.blockfile.blockfile import BlockFile as BlockFile
    from nbtrade.tape.tape import Tape as Tape, open_tape as open_tape
    from nbtrade.engine.models import Fees as Fees, Instrument as Instrument, Latency as Latency, Risk as Risk
    from nbtrade.sweeps.sweep import sweep as sweep
    from nbtrade.strategies._market_maker import market_maker as market_maker


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nbtrade' has no attribute {name!r}")
    module = import_module(home)
    value = import_module(f"{home}.{name}") if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)
