"""Price features: best prices, spread, mid, weighted mid, micro-price. Used as `nbtrade.feature.spread()`."""

from typing import Any

from nbtrade.feature.expression import Level
from nbtrade.feature.inputs import level_of, level_offset


def bid_px(level: int = 1) -> Level:
    """Price of a bid level.

    Parameters
    ----------
    level : int
        Level of the book, counted from 1, the best.

    Returns
    -------
    Level
        Ticks; NaN if the level is empty.

    Examples
    --------
    >>> nbtrade.feature.bid_px(2)
    <Level bid_px(2)>
    """
    return level_of("bid_px", level_offset(level)).named(f"bid_px({level})")


def ask_px(level: int = 1) -> Level:
    """Price of an ask level.

    Parameters
    ----------
    level : int
        Level of the book, counted from 1, the best.

    Returns
    -------
    Level
        Ticks; NaN if the level is empty.

    Examples
    --------
    >>> nbtrade.feature.ask_px()
    <Level ask_px(1)>
    """
    return level_of("ask_px", level_offset(level)).named(f"ask_px({level})")


def spread() -> Level:
    """Best ask minus best bid.

    Returns
    -------
    Level
        Ticks; negative in a crossed pre-open, NaN if a side is empty.

    Examples
    --------
    >>> nbtrade.feature.spread()
    <Level spread()>
    """
    return (level_of("ask_px") - level_of("bid_px")).named("spread()")


def mid() -> Level:
    """Average of best bid and best ask.

    Returns
    -------
    Level
        Ticks; NaN if a side is empty.

    Examples
    --------
    >>> nbtrade.feature.mid()
    <Level mid()>
    """
    return (0.5 * (level_of("bid_px") + level_of("ask_px"))).named("mid()")


def weighted_mid() -> Level:
    """Mid weighted by the lots of the opposite side, so it leans towards the side with fewer lots.

    Returns
    -------
    Level
        Ticks: (bid px * ask lots + ask px * bid lots) / (bid lots + ask lots) at the touch.

    Examples
    --------
    >>> nbtrade.feature.weighted_mid()
    <Level weighted_mid()>
    """
    bid, ask = level_of("bid_qty"), level_of("ask_qty")
    return ((level_of("bid_px") * ask + level_of("ask_px") * bid) / (bid + ask)).named("weighted_mid()")


def microprice(adjustment: Any) -> Level:
    """Stoikov's micro-price: mid + g(imbalance, spread).

    Parameters
    ----------
    adjustment : f8[n, m]
        Table of g in ticks, as returned by `nbtrade.feature.microprice_fit.fit(tape)`: one row for each of n equal buckets of the imbalance
        bid lots / (bid + ask lots), one column for each spread of 1 to m ticks; wider spreads use the last column. Fit it on
        earlier days, since
        a fit uses its whole tape.

    Returns
    -------
    Level
        Ticks.

    References
    ----------
    Stoikov 2018, The micro-price: a high-frequency estimator of future prices, eq. 5.

    Examples
    --------
    >>> nbtrade.feature.microprice([[-0.2, -0.4], [0.2, 0.4]])
    <Level microprice()>
    """
    rows = [[float(v) for v in row] for row in adjustment]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("adjustment: pass a table with one row per bucket of the imbalance and one column per spread")
    share = level_of("bid_qty") / (level_of("bid_qty") + level_of("ask_qty"))
    params = (float(len(rows)), float(len(rows[0])), *(v for row in rows for v in row))
    table = Level("table", (share, spread()), (), params, "adjustment")
    return (mid() + table).named("microprice()")
