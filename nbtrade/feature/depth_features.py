"""Depth features: lots, imbalance, cost to fill, slope, orders at the touch. Used as `nbtrade.feature.imbalance()`."""

from typing import Any

from nbtrade.feature.expression import Level
from nbtrade.feature.inputs import check, level_of, level_offset, now, side_name, total
from nbtrade.feature.kernels.snapshot import COST, WITHIN
from nbtrade.feature.price_features import mid, spread
from nbtrade.schema import ASK, BID


def qty_at(side: Any, level: int = 1) -> Level:
    """Lots at one level of a side.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".
    level : int
        Level of the book, counted from 1, the best.

    Returns
    -------
    Level
        Lots; 0 if the level is empty.

    Examples
    --------
    >>> nbtrade.feature.qty_at(nbtrade.BID, 2)
    <Level bid_qty(2)>
    """
    return level_of(f"{side_name(side)}_qty", level_offset(level)).named(f"{side_name(side)}_qty({level})")


def bid_qty(level: int = 1) -> Level:
    """Lots at a bid level.

    Parameters
    ----------
    level : int
        Level of the book, counted from 1, the best.

    Returns
    -------
    Level
        Lots; 0 if the level is empty.

    Examples
    --------
    >>> nbtrade.feature.bid_qty()
    <Level bid_qty(1)>
    """
    return qty_at(BID, level)


def ask_qty(level: int = 1) -> Level:
    """Lots at an ask level.

    Parameters
    ----------
    level : int
        Level of the book, counted from 1, the best.

    Returns
    -------
    Level
        Lots; 0 if the level is empty.

    Examples
    --------
    >>> nbtrade.feature.ask_qty()
    <Level ask_qty(1)>
    """
    return qty_at(ASK, level)


def imbalance(level: int = 1, by: str = "qty") -> Level:
    """Imbalance of one level: (bid - ask) / (bid + ask).

    Parameters
    ----------
    level : int
        Level of the book, counted from 1, the best.
    by : {"qty", "orders"}
        Lots or number of orders.

    Returns
    -------
    Level
        -1 to 1; NaN if both sides are empty.

    Examples
    --------
    >>> nbtrade.feature.imbalance()
    <Level imbalance(1, qty)>
    """
    check(by in ("qty", "orders"), f"by={by!r}: it is 'qty' or 'orders'")
    bid, ask = (level_of(f"{side}_{by}", level_offset(level)) for side in ("bid", "ask"))
    return ((bid - ask) / (bid + ask)).named(f"imbalance({level}, {by})")


def depth(side: Any, levels: int = 5, by: str = "qty") -> Level:
    """Total of the best levels of a side.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".
    levels : int
        Number of levels, from 1, the best.
    by : {"qty", "orders"}
        Lots or number of orders.

    Returns
    -------
    Level
        Lots, or orders.

    Examples
    --------
    >>> nbtrade.feature.depth(nbtrade.BID)
    <Level depth(bid, 5, qty)>
    """
    check(by in ("qty", "orders"), f"by={by!r}: it is 'qty' or 'orders'")
    return total([level_of(f"{side_name(side)}_{by}", k) for k in range(level_offset(levels) + 1)]).named(
        f"depth({side_name(side)}, {levels}, {by})"
    )


def depth_imbalance(levels: int = 5, by: str = "qty") -> Level:
    """Imbalance of `depth`: (bid - ask) / (bid + ask).

    Parameters
    ----------
    levels : int
        Number of levels, from 1, the best.
    by : {"qty", "orders"}
        Lots or number of orders.

    Returns
    -------
    Level
        -1 to 1; NaN if both sides are empty.

    Examples
    --------
    >>> nbtrade.feature.depth_imbalance(10)
    <Level depth_imbalance(10, qty)>
    """
    bid, ask = depth(BID, levels, by), depth(ASK, levels, by)
    return ((bid - ask) / (bid + ask)).named(f"depth_imbalance({levels}, {by})")


def depth_within(side: Any, ticks: float) -> Level:
    """Lots within a distance from the best price of a side.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".
    ticks : float
        Largest distance from the best price, inclusive.

    Returns
    -------
    Level
        Lots; 0 if the side is empty.

    Examples
    --------
    >>> nbtrade.feature.depth_within(nbtrade.ASK, 5)
    <Level depth_within(ask, 5)>
    """
    k = ("bid", "ask").index(side_name(side))
    return Level("scan", (), (WITHIN, k), (ticks,), f"depth_within({side_name(side)}, {ticks:g})")


def cost_to_fill(side: Any, qty: float) -> Level:
    """Cost of a market order against a side: the average distance of its fills from the mid.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".
    qty : float
        Lots to fill, positive.

    Returns
    -------
    Level
        Ticks per lot; NaN if the side has fewer lots.

    Examples
    --------
    >>> nbtrade.feature.cost_to_fill(nbtrade.ASK, 50)
    <Level cost_to_fill(ask, 50)>
    """
    check(qty > 0, f"qty={qty!r}: give the lots to fill, more than 0")
    k = ("bid", "ask").index(side_name(side))
    walked = Level("scan", (), (COST, k), (qty,), "cost")
    return (walked / qty + 0.5 * spread()).named(f"cost_to_fill({side_name(side)}, {qty:g})")


def slope(side: Any, levels: int = 5) -> Level:
    """Slope of log depth against the relative distance from the mid, averaged over the levels.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".
    levels : int
        Number of levels, from 1, the best.

    Returns
    -------
    Level
        No unit; NaN with fewer levels, or where v(k) is 0 (a single lot at the best level).

    Notes
    -----
    (1/n) [v1 / |p1/m - 1| + sum over k of (v(k+1) / v(k) - 1) / |p(k+1) / p(k) - 1|], with v = log of the lots up to the level.

    References
    ----------
    Naes and Skjeltorp 2006, Order book characteristics and the volume-volatility relation, eq. 1.

    Examples
    --------
    >>> nbtrade.feature.slope(nbtrade.BID)
    <Level slope(bid, 5)>
    """
    name, n = side_name(side), level_offset(levels) + 1
    px = [level_of(f"{name}_px", k) for k in range(n)]
    v = [total([level_of(f"{name}_qty", j) for j in range(k + 1)]).log() for k in range(n)]
    parts = [v[0] / abs(px[0] / mid() - 1.0)]
    parts += [(v[k + 1] / v[k] - 1.0) / abs(px[k + 1] / px[k] - 1.0) for k in range(n - 1)]
    return (total(parts) / float(n)).named(f"slope({name}, {levels})")


# --- orders at the touch --------------------------------------------------------------------------------
def mean_age(side: Any) -> Level:
    """Mean time since the orders at the best price of a side joined it.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Level
        Seconds; NaN if the side is empty.

    Examples
    --------
    >>> nbtrade.feature.mean_age(nbtrade.BID)
    <Level mean_age(bid)>
    """
    name = side_name(side)
    n = level_of(f"{name}_orders")
    return ((now() - level_of(f"{name}_since") / n) * 1e-9).named(f"mean_age({name})")


def mean_size(side: Any) -> Level:
    """Mean size of the orders at the best price of a side.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Level
        Lots; NaN if the side is empty.

    Examples
    --------
    >>> nbtrade.feature.mean_size(nbtrade.ASK)
    <Level mean_size(ask)>
    """
    return (level_of(f"{side_name(side)}_qty") / level_of(f"{side_name(side)}_orders")).named(f"mean_size({side_name(side)})")
