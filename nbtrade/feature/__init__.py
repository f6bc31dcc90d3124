"""Built-in features: `nbtrade.feature.spread()`, `nbtrade.feature.ofi(levels=5).ema("1s")`, and others.

Prices and distances are in ticks, sizes in lots, times in seconds. Undefined values are NaN: prices of an empty side, windows that are not
full yet, quotients by 0. A feature is a Level (a value that holds) or a Flow (an amount per event), see nbtrade/feature/expression.py; side
is BID or ASK (0 or 1). tests/oracle/model_features.py computes each of them a second time, slowly, from its formula.
"""

from nbtrade.feature.depth_features import (
    ask_qty,
    bid_qty,
    cost_to_fill,
    depth,
    depth_imbalance,
    depth_within,
    imbalance,
    mean_age,
    mean_size,
    qty_at,
    slope,
)
from nbtrade.feature.flow_features import adds, cancel_to_add, cancel_to_trade, cancels, modifies, ofi, refilled, refills, sweeps, swept
from nbtrade.feature.impact_features import amihud, bipower, effective_spread, kyle_lambda, realised_spread, realised_volatility, roll
from nbtrade.feature.own_features import own
from nbtrade.feature.price_features import ask_px, bid_px, microprice, mid, spread, weighted_mid
from nbtrade.feature.time_features import session, time_of_day, time_since_quote, time_since_trade
from nbtrade.feature.trade_features import (
    last_px,
    last_qty,
    run_length,
    signed_volume,
    trade_imbalance,
    trade_sign,
    trade_value,
    trades,
    volume,
    vpin,
)

__all__ = [
    "adds",
    "amihud",
    "ask_px",
    "ask_qty",
    "bid_px",
    "bid_qty",
    "bipower",
    "cancel_to_add",
    "cancel_to_trade",
    "cancels",
    "cost_to_fill",
    "depth",
    "depth_imbalance",
    "depth_within",
    "effective_spread",
    "imbalance",
    "kyle_lambda",
    "last_px",
    "last_qty",
    "mean_age",
    "mean_size",
    "microprice",
    "mid",
    "modifies",
    "ofi",
    "own",
    "qty_at",
    "realised_spread",
    "realised_volatility",
    "refilled",
    "refills",
    "roll",
    "run_length",
    "session",
    "signed_volume",
    "slope",
    "spread",
    "sweeps",
    "swept",
    "time_of_day",
    "time_since_quote",
    "time_since_trade",
    "trade_imbalance",
    "trade_sign",
    "trade_value",
    "trades",
    "volume",
    "vpin",
    "weighted_mid",
]
