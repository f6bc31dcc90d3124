"""The built-in features: `nbtrade.feature.spread()`, `nbtrade.feature.ofi(levels=5).ema("1s")`, and so on.

Prices and distances are in ticks, sizes in lots, times in seconds. What is undefined is NaN: prices of an empty side, windows that are not
full yet, quotients by 0. Each is a Level (a value that holds) or a Flow (what events bring), see nbtrade/signals/expression.py; side is
BID or ASK (0 or 1). tests/model_features.py has every one of them again, slowly, from its formula.
"""

import math
from collections.abc import Sequence
from typing import Any

from nbtrade.kernels.observed import COST, LEVELS, WITHIN
from nbtrade.schema import ASK, BID
from nbtrade.signals.expression import Flow, Level, span_of, span_text
from nbtrade.signals.own import own
from nbtrade.times import ns_of

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
]  # fmt: skip

SIDES = {BID: "bid", ASK: "ask", "bid": "bid", "ask": "ask"}


def _level(name: str, k: int = 0) -> Level:
    return Level("observed", (), (name, k), label=name if k == 0 else f"{name}_{k:02d}")


def _flow(name: str, k: int = 0) -> Flow:
    return Flow("observed", (), (name, k), label=name)


def _side(side: Any) -> str:
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; it is BID (0, 'bid') or ASK (1, 'ask')")
    return SIDES[side]


def _place(level: int) -> int:
    if not (isinstance(level, int) and 1 <= level <= LEVELS):
        raise ValueError(f"level is {level!r}: levels count from 1, the best, to {LEVELS}")
    return level - 1


def _sum(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


# --- prices ------------------------------------------------------------------------------------------
def bid_px(level: int = 1) -> Level:
    """Price of bid level `level`, ticks; NaN when there is none."""
    return _level("bid_px", _place(level)).named(f"bid_px({level})")


def ask_px(level: int = 1) -> Level:
    """Price of ask level `level`, ticks; NaN when there is none."""
    return _level("ask_px", _place(level)).named(f"ask_px({level})")


def spread() -> Level:
    """Best ask less best bid, ticks; negative in a crossed pre-open."""
    return (_level("ask_px") - _level("bid_px")).named("spread()")


def mid() -> Level:
    """(best bid + best ask) / 2, ticks."""
    return (0.5 * (_level("bid_px") + _level("ask_px"))).named("mid()")


def weighted_mid() -> Level:
    """(bid px * ask lots + ask px * bid lots) / (bid lots + ask lots) at the touch: the mid, drawn to the side with fewer lots."""
    bid, ask = _level("bid_qty"), _level("ask_qty")
    return ((_level("bid_px") * ask + _level("ask_px") * bid) / (bid + ask)).named("weighted_mid()")


def microprice(adjustment: Any) -> Level:
    """Stoikov's micro-price: mid + g(imbalance, spread), ticks.

    adjustment : f8[n, m], g for the imbalance bid lots / (bid + ask lots) in n equal buckets and spreads of 1 to m ticks (wider ones take
                 the last); from `nbtrade.signals.microprice.fit(tape)` over earlier days, since a fit has seen the whole of its tape

    Source: Stoikov 2018, The micro-price: a high-frequency estimator of future prices, eq. 5.
    """
    rows = [[float(v) for v in row] for row in adjustment]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("adjustment: give a table of one row a bucket of the imbalance and one column a spread")
    share = _level("bid_qty") / (_level("bid_qty") + _level("ask_qty"))
    params = (float(len(rows)), float(len(rows[0])), *(v for row in rows for v in row))
    table = Level("table", (share, spread()), (), params, "adjustment")
    return (mid() + table).named("microprice()")


# --- depth -------------------------------------------------------------------------------------------
def qty_at(side: Any, level: int = 1) -> Level:
    """Lots at a level of a side; 0 when there is none."""
    return _level(f"{_side(side)}_qty", _place(level)).named(f"{_side(side)}_qty({level})")


def bid_qty(level: int = 1) -> Level:
    """Lots at bid level `level`."""
    return qty_at(BID, level)


def ask_qty(level: int = 1) -> Level:
    """Lots at ask level `level`."""
    return qty_at(ASK, level)


def imbalance(level: int = 1, by: str = "qty") -> Level:
    """(bid - ask) / (bid + ask) of the lots (by="qty") or the orders (by="orders") at level `level`; NaN when both are empty."""
    _check(by in ("qty", "orders"), f"by={by!r}: it is 'qty' or 'orders'")
    bid, ask = (_level(f"{side}_{by}", _place(level)) for side in ("bid", "ask"))
    return ((bid - ask) / (bid + ask)).named(f"imbalance({level}, {by})")


def depth(side: Any, levels: int = 5, by: str = "qty") -> Level:
    """Lots (or orders) at the best `levels` levels of a side."""
    _check(by in ("qty", "orders"), f"by={by!r}: it is 'qty' or 'orders'")
    return _sum([_level(f"{_side(side)}_{by}", k) for k in range(_place(levels) + 1)]).named(f"depth({_side(side)}, {levels}, {by})")


def depth_imbalance(levels: int = 5, by: str = "qty") -> Level:
    """(bid - ask) / (bid + ask) of `depth` over the best `levels` levels."""
    bid, ask = depth(BID, levels, by), depth(ASK, levels, by)
    return ((bid - ask) / (bid + ask)).named(f"depth_imbalance({levels}, {by})")


def depth_within(side: Any, ticks: float) -> Level:
    """Lots at most `ticks` from the best price of a side; 0 when it is empty."""
    k = ("bid", "ask").index(_side(side))
    return Level("scan", (), (WITHIN, k), (ticks,), f"depth_within({_side(side)}, {ticks:g})")


def cost_to_fill(side: Any, qty: float) -> Level:
    """Ticks from the mid, by the lot, at which a market order for `qty` lots fills against `side`; NaN when there are not so many."""
    _check(qty > 0, f"qty={qty!r}: give the lots to fill, more than 0")
    k = ("bid", "ask").index(_side(side))
    walked = Level("scan", (), (COST, k), (qty,), "cost")
    return (walked / qty + 0.5 * spread()).named(f"cost_to_fill({_side(side)}, {qty:g})")


def slope(side: Any, levels: int = 5) -> Level:
    """How fast log depth rises with the relative distance from the mid, averaged over the levels.

    (1/n) [v1 / |p1/m - 1| + sum over k of (v(k+1) / v(k) - 1) / |p(k+1) / p(k) - 1|], v = log of the lots up to the level; NaN with fewer
    levels, or where v(k) is 0 (a single lot at the best level).

    Source: Naes and Skjeltorp 2006, Order book characteristics and the volume-volatility relation, eq. 1.
    """
    name, n = _side(side), _place(levels) + 1
    px = [_level(f"{name}_px", k) for k in range(n)]
    v = [_sum([_level(f"{name}_qty", j) for j in range(k + 1)]).log() for k in range(n)]
    parts = [v[0] / abs(px[0] / mid() - 1.0)]
    parts += [(v[k + 1] / v[k] - 1.0) / abs(px[k + 1] / px[k] - 1.0) for k in range(n - 1)]
    return (_sum(parts) / float(n)).named(f"slope({name}, {levels})")


# --- order flow --------------------------------------------------------------------------------------
def ofi(levels: int = 1) -> Flow:
    """Order-flow imbalance, lots: what joined the bids less what joined the asks, summed over the best `levels` levels.

    e = [P >= P'] q - [P <= P'] q' for the bids, less the same with prices reversed for the asks; ' is the event before. An empty side is
    worse than any price; snapshots and clears bring none.

    Source: Cont, Kukanov and Stoikov 2014, The price impact of order book events, eq. 2; by levels: Xu, Gould and Howison 2018.
    """
    return _sum([_flow("ofi", k) for k in range(_place(levels) + 1)]).named(f"ofi({levels})")


def adds(side: Any) -> Flow:
    """Orders that joined a side (snapshots and clears never count, modified orders neither)."""
    return _flow(f"{_side(side)}_adds").named(f"adds({_side(side)})")


def cancels(side: Any) -> Flow:
    """Orders withdrawn from a side."""
    return _flow(f"{_side(side)}_cancels").named(f"cancels({_side(side)})")


def modifies(side: Any) -> Flow:
    """Orders of a side that were moved, made larger, or reduced.

    On the tape: taken out and put back in one event, or cancelled in part.
    """
    return _flow(f"{_side(side)}_modifies").named(f"modifies({_side(side)})")


def cancel_to_add(side: Any, window: Any = "1s") -> Level:
    """Cancels over adds of a side, both exponentially weighted."""
    out = cancels(side).ema(window) / adds(side).ema(window)
    return out.named(f"cancel_to_add({_side(side)}, {_text(window)})")


def cancel_to_trade(window: Any = "1s") -> Level:
    """Cancels of both sides over trades, exponentially weighted."""
    out = (cancels(BID) + cancels(ASK)).ema(window) / trades().ema(window)
    return out.named(f"cancel_to_trade({_text(window)})")


# --- trades ------------------------------------------------------------------------------------------
def trades() -> Flow:
    """Trades."""
    return _flow("n_trades").named("trades()")


def volume() -> Flow:
    """Lots traded."""
    return (_flow("buy_qty") + _flow("sell_qty") + _flow("unsigned_qty")).named("volume()")


def signed_volume() -> Flow:
    """Lots bought less lots sold by aggressors; trades without a side bring none."""
    return (_flow("buy_qty") - _flow("sell_qty")).named("signed_volume()")


def trade_value() -> Flow:
    """Sum of price * lots traded, in ticks * lots."""
    return _flow("trade_value").named("trade_value()")


def trade_imbalance(window: Any = "1s") -> Level:
    """Signed volume over volume, both exponentially weighted: -1 to 1."""
    out = signed_volume().ema(window) / volume().ema(window)
    return out.named(f"trade_imbalance({_text(window)})")


def last_px() -> Level:
    """Price of the last trade, ticks."""
    return _level("last_px").named("last_px()")


def last_qty() -> Level:
    """Lots of the last trade."""
    return _level("last_qty").named("last_qty()")


def trade_sign() -> Level:
    """1 when the aggressor of the last trade that has a side bought, -1 when it sold."""
    return _level("last_sign").named("trade_sign()")


def run_length() -> Level:
    """How many trades in a row had the same aggressor side, with its sign; trades without a side don't end a run."""
    return _level("run").named("run_length()")


def vpin(bucket: float, n: int = 50) -> Level:
    """Mean of |bought - sold| / bucket over the last n buckets of `bucket` lots, by the trades' own signs.

    A trade that fills a bucket goes on in the next; within one event bought lots come first; lots without a side fill with no sign.

    Source: Easley, Lopez de Prado and O'Hara 2012, Flow toxicity and liquidity in a high-frequency world, eq. 8.
    """
    _check(bucket > 0 and n >= 1, f"bucket={bucket!r}, n={n!r}: both are more than 0")
    return Level("vpin", (_flow("buy_qty"), _flow("sell_qty"), _flow("unsigned_qty")), (), (bucket, n), f"vpin({bucket:g}, {n})")


# --- volatility and impact ---------------------------------------------------------------------------
def realised_volatility(window: Any = "1m", every: Any = "1s") -> Level:
    """Square root of the sum of squared log returns of the mid over the last `window`, sampled at multiples of `every`.

    The value at a grid point is that just before it. Source: Andersen, Bollerslev, Diebold and Labys 2003.
    """
    return _on_grid("volatility", (mid().log(),), window, every, "realised_volatility")


def bipower(window: Any = "1m", every: Any = "1s") -> Level:
    """Bipower variation: (pi/2) times the sum of |r(k)| |r(k-1)| of the last log returns: the part of variance that is not jumps.

    Source: Barndorff-Nielsen and Shephard 2004, eq. 5.
    """
    return _on_grid("bipower", (mid().log(),), window, every, "bipower")


def kyle_lambda(window: Any = "1m", every: Any = "1s") -> Level:
    """Slope of mid changes (ticks) on signed volume (lots) over the intervals of a grid: ticks a lot. Source: Kyle 1985; Hasbrouck 2009."""
    return _on_grid("impact", (mid(), signed_volume()), window, every, "kyle_lambda")


def amihud(window: Any = "1m", every: Any = "1s") -> Level:
    """Mean of |log return| / value traded (ticks * lots) over the intervals that had trades. Source: Amihud 2002, eq. 1."""
    return _on_grid("illiquidity", (mid().log(), trade_value()), window, every, "amihud")


def roll(n: int = 100) -> Level:
    """2 sqrt(-cov) of neighbouring changes of the price at the last n + 2 events with trades, ticks; NaN where the covariance is positive.

    Source: Roll 1984, eq. 7.
    """
    _check(n >= 2, f"n={n!r}: a covariance needs 2 pairs or more")
    return Level("roll", (_level("last_px"), _flow("n_trades")), (), (n,), f"roll({n})")


def effective_spread() -> Level:
    """2 sign (price - mid before), mean over the lots of the last event with trades that have a side, ticks; the mid of the event before.

    Source: Lee and Ready 1991; Bessembinder 2003.
    """
    return Level("effective", (_level("mid_before"), *_signed()), label="effective_spread()")


def realised_spread(after: Any = "5s") -> Level:
    """2 sign (price - mid `after` it) of the last event with trades that is so long ago, ticks: what its maker kept.

    Source: Huang and Stoll 1996, eq. 3.
    """
    return Level("realised", (mid(), *_signed()), (), (_positive(after),), f"realised_spread({_text(after)})")


def _signed() -> tuple[Flow, Flow, Flow]:
    return _flow("signed_value"), _flow("buy_qty"), _flow("sell_qty")


def _on_grid(op: str, inputs: tuple[Any, ...], window: Any, every: Any, name: str) -> Level:
    length, step = _positive(window), _positive(every)
    n = length // step
    _check(n >= 1 and n * step == length, f"{name}: window {window!r} is not a multiple of every={every!r}")
    return Level(op, inputs, (), (step, n), f"{name}({_text(window)}, {_text(every)})")


# --- time --------------------------------------------------------------------------------------------
def _now() -> Level:
    return Level("now", label="now")


def time_since_trade() -> Level:
    """Seconds since the last trade was received."""
    return ((_now() - _level("last_trade")) * 1e-9).named("time_since_trade()")


def time_since_quote() -> Level:
    """Seconds since a best price or its size changed last."""
    return ((_now() - _level("last_quote")) * 1e-9).named("time_since_quote()")


def time_of_day(utc_offset: Any = "0s") -> Level:
    """Seconds since midnight, UTC plus an offset such as "-5h"."""
    return (_clock(ns_of(utc_offset)) * 1e-9).named(f"time_of_day({utc_offset})")


def session(begin: Any, end: Any) -> Level:
    """How far the session is: 0 at `begin`, 1 at `end` (time spans after midnight UTC, such as "13.5h"); below 0 and above 1 outside."""
    first, last = ns_of(begin), ns_of(end)
    _check(last > first, f"session: end {end!r} is not after begin {begin!r}")
    return ((_clock(0) - float(first)) * (1.0 / (last - first))).named(f"session({begin}, {end})")


def _clock(offset: int) -> Level:
    return Level("clock", (), (), (86_400 * 10**9, offset), "clock")


# --- orders at the touch -----------------------------------------------------------------------------
def mean_age(side: Any) -> Level:
    """Mean time since the orders at the best price of a side joined it, seconds; NaN when it is empty."""
    name = _side(side)
    n = _level(f"{name}_orders")
    return ((_now() - _level(f"{name}_since") / n) * 1e-9).named(f"mean_age({name})")


def mean_size(side: Any) -> Level:
    """Mean lots of the orders at the best price of a side; NaN when it is empty."""
    return (_level(f"{_side(side)}_qty") / _level(f"{_side(side)}_orders")).named(f"mean_size({_side(side)})")


def refills(side: Any) -> Flow:
    """Iceberg refills: an executed order that came back at its price in the same event (CME's native icebergs)."""
    return _flow(f"{_side(side)}_refills").named(f"refills({_side(side)})")


def refilled(side: Any) -> Flow:
    """Lots of iceberg refills."""
    return _flow(f"{_side(side)}_refilled").named(f"refilled({_side(side)})")


def swept(side: Any) -> Flow:
    """Levels of a side that executions emptied."""
    return _flow(f"{_side(side)}_swept").named(f"swept({_side(side)})")


def sweeps(levels: int = 2) -> Flow:
    """Sweeps: 1 when the executions of one ts_event emptied their `levels`-th ask level, -1 for bids.

    By ts_event, because a venue may report one aggressive order in several events (Nasdaq: each fill is one).
    """
    _check(levels >= 1, f"levels={levels!r}: 1 or more")
    bid, ask = (Flow("reaches", (_level(f"{s}_sweep"), _flow(f"{s}_swept")), (), (levels,), s) for s in ("bid", "ask"))
    return (ask - bid).named(f"sweeps({levels})")


def _text(window: Any) -> str:
    return span_text(*span_of(window, None, None))


def _positive(span: Any) -> int:
    length = ns_of(span)
    _check(0 < length < math.inf, f"{span!r}: give a time span of more than 0")
    return length


def _check(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)
