"""Features of the book: prices, depth, orders at the touch, time. Used as `nbtrade.feature.spread()` and so on."""

from typing import Any

from nbtrade.feature.expression import Level
from nbtrade.feature.inputs import check, level_of, level_offset, side_name, total
from nbtrade.feature.kernels.snapshot import COST, WITHIN
from nbtrade.schema import ASK, BID
from nbtrade.times import ns_of


# --- prices ----------------------------------------------------------------------------------------------
def bid_px(level: int = 1) -> Level:
    """Price of bid level `level`, ticks; NaN when there is none."""
    return level_of("bid_px", level_offset(level)).named(f"bid_px({level})")


def ask_px(level: int = 1) -> Level:
    """Price of ask level `level`, ticks; NaN when there is none."""
    return level_of("ask_px", level_offset(level)).named(f"ask_px({level})")


def spread() -> Level:
    """Best ask less best bid, ticks; negative in a crossed pre-open."""
    return (level_of("ask_px") - level_of("bid_px")).named("spread()")


def mid() -> Level:
    """(best bid + best ask) / 2, ticks."""
    return (0.5 * (level_of("bid_px") + level_of("ask_px"))).named("mid()")


def weighted_mid() -> Level:
    """(bid px * ask lots + ask px * bid lots) / (bid lots + ask lots) at the touch: the mid, drawn to the side with fewer lots."""
    bid, ask = level_of("bid_qty"), level_of("ask_qty")
    return ((level_of("bid_px") * ask + level_of("ask_px") * bid) / (bid + ask)).named("weighted_mid()")


def microprice(adjustment: Any) -> Level:
    """Stoikov's micro-price: mid + g(imbalance, spread), ticks.

    adjustment : f8[n, m], g for the imbalance bid lots / (bid + ask lots) in n equal buckets and spreads of 1 to m ticks (wider ones take
                 the last); from `nbtrade.feature.microprice_fit.fit(tape)` over earlier days, since a fit has seen the whole of its tape

    Source: Stoikov 2018, The micro-price: a high-frequency estimator of future prices, eq. 5.
    """
    rows = [[float(v) for v in row] for row in adjustment]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("adjustment: give a table of one row a bucket of the imbalance and one column a spread")
    share = level_of("bid_qty") / (level_of("bid_qty") + level_of("ask_qty"))
    params = (float(len(rows)), float(len(rows[0])), *(v for row in rows for v in row))
    table = Level("table", (share, spread()), (), params, "adjustment")
    return (mid() + table).named("microprice()")


# --- depth -----------------------------------------------------------------------------------------------
def qty_at(side: Any, level: int = 1) -> Level:
    """Lots at a level of a side; 0 when there is none."""
    return level_of(f"{side_name(side)}_qty", level_offset(level)).named(f"{side_name(side)}_qty({level})")


def bid_qty(level: int = 1) -> Level:
    """Lots at bid level `level`."""
    return qty_at(BID, level)


def ask_qty(level: int = 1) -> Level:
    """Lots at ask level `level`."""
    return qty_at(ASK, level)


def imbalance(level: int = 1, by: str = "qty") -> Level:
    """(bid - ask) / (bid + ask) of the lots (by="qty") or the orders (by="orders") at level `level`; NaN when both are empty."""
    check(by in ("qty", "orders"), f"by={by!r}: it is 'qty' or 'orders'")
    bid, ask = (level_of(f"{side}_{by}", level_offset(level)) for side in ("bid", "ask"))
    return ((bid - ask) / (bid + ask)).named(f"imbalance({level}, {by})")


def depth(side: Any, levels: int = 5, by: str = "qty") -> Level:
    """Lots (or orders) at the best `levels` levels of a side."""
    check(by in ("qty", "orders"), f"by={by!r}: it is 'qty' or 'orders'")
    return total([level_of(f"{side_name(side)}_{by}", k) for k in range(level_offset(levels) + 1)]).named(
        f"depth({side_name(side)}, {levels}, {by})"
    )


def depth_imbalance(levels: int = 5, by: str = "qty") -> Level:
    """(bid - ask) / (bid + ask) of `depth` over the best `levels` levels."""
    bid, ask = depth(BID, levels, by), depth(ASK, levels, by)
    return ((bid - ask) / (bid + ask)).named(f"depth_imbalance({levels}, {by})")


def depth_within(side: Any, ticks: float) -> Level:
    """Lots at most `ticks` from the best price of a side; 0 when it is empty."""
    k = ("bid", "ask").index(side_name(side))
    return Level("scan", (), (WITHIN, k), (ticks,), f"depth_within({side_name(side)}, {ticks:g})")


def cost_to_fill(side: Any, qty: float) -> Level:
    """Ticks from the mid, by the lot, at which a market order for `qty` lots fills against `side`; NaN when there are not so many."""
    check(qty > 0, f"qty={qty!r}: give the lots to fill, more than 0")
    k = ("bid", "ask").index(side_name(side))
    walked = Level("scan", (), (COST, k), (qty,), "cost")
    return (walked / qty + 0.5 * spread()).named(f"cost_to_fill({side_name(side)}, {qty:g})")


def slope(side: Any, levels: int = 5) -> Level:
    """How fast log depth rises with the relative distance from the mid, averaged over the levels.

    (1/n) [v1 / |p1/m - 1| + sum over k of (v(k+1) / v(k) - 1) / |p(k+1) / p(k) - 1|], v = log of the lots up to the level; NaN with fewer
    levels, or where v(k) is 0 (a single lot at the best level).

    Source: Naes and Skjeltorp 2006, Order book characteristics and the volume-volatility relation, eq. 1.
    """
    name, n = side_name(side), level_offset(levels) + 1
    px = [level_of(f"{name}_px", k) for k in range(n)]
    v = [total([level_of(f"{name}_qty", j) for j in range(k + 1)]).log() for k in range(n)]
    parts = [v[0] / abs(px[0] / mid() - 1.0)]
    parts += [(v[k + 1] / v[k] - 1.0) / abs(px[k + 1] / px[k] - 1.0) for k in range(n - 1)]
    return (total(parts) / float(n)).named(f"slope({name}, {levels})")


# --- orders at the touch --------------------------------------------------------------------------------
def mean_age(side: Any) -> Level:
    """Mean time since the orders at the best price of a side joined it, seconds; NaN when it is empty."""
    name = side_name(side)
    n = level_of(f"{name}_orders")
    return ((_now() - level_of(f"{name}_since") / n) * 1e-9).named(f"mean_age({name})")


def mean_size(side: Any) -> Level:
    """Mean lots of the orders at the best price of a side; NaN when it is empty."""
    return (level_of(f"{side_name(side)}_qty") / level_of(f"{side_name(side)}_orders")).named(f"mean_size({side_name(side)})")


# --- time ------------------------------------------------------------------------------------------
def _now() -> Level:
    return Level("now", label="now")


def time_since_trade() -> Level:
    """Seconds since the last trade was received."""
    return ((_now() - level_of("last_trade")) * 1e-9).named("time_since_trade()")


def time_since_quote() -> Level:
    """Seconds since a best price or its size changed last."""
    return ((_now() - level_of("last_quote")) * 1e-9).named("time_since_quote()")


def time_of_day(utc_offset: Any = "0s") -> Level:
    """Seconds since midnight, UTC plus an offset such as "-5h"."""
    return (_clock(ns_of(utc_offset)) * 1e-9).named(f"time_of_day({utc_offset})")


def session(begin: Any, end: Any) -> Level:
    """How far the session is: 0 at `begin`, 1 at `end` (time spans after midnight UTC, such as "13.5h"); below 0 and above 1 outside."""
    first, last = ns_of(begin), ns_of(end)
    check(last > first, f"session: end {end!r} is not after begin {begin!r}")
    return ((_clock(0) - float(first)) * (1.0 / (last - first))).named(f"session({begin}, {end})")


def _clock(offset: int) -> Level:
    return Level("clock", (), (), (86_400 * 10**9, offset), "clock")
