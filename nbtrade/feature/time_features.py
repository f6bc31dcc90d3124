"""Time features: time since a trade or quote, time of day, progress of the session. Used as `nbtrade.feature.session(...)`."""

from typing import Any

from nbtrade.feature.expression import Level
from nbtrade.feature.inputs import check, level_of, now
from nbtrade.times import ns_of


def time_since_trade() -> Level:
    """Time since the last trade was received.

    Returns
    -------
    Level
        Seconds; NaN before the first trade.

    Examples
    --------
    >>> nbtrade.feature.time_since_trade()
    <Level time_since_trade()>
    """
    return ((now() - level_of("last_trade")) * 1e-9).named("time_since_trade()")


def time_since_quote() -> Level:
    """Time since the last change of a best price or its size.

    Returns
    -------
    Level
        Seconds; NaN before the first change.

    Examples
    --------
    >>> nbtrade.feature.time_since_quote()
    <Level time_since_quote()>
    """
    return ((now() - level_of("last_quote")) * 1e-9).named("time_since_quote()")


def time_of_day(utc_offset: Any = "0s") -> Level:
    """Time since midnight.

    Parameters
    ----------
    utc_offset : str or int
        Offset of the time zone from UTC, such as "-5h", or ns.

    Returns
    -------
    Level
        Seconds.

    Examples
    --------
    >>> nbtrade.feature.time_of_day("-5h")
    <Level time_of_day(-5h)>
    """
    return (_clock(ns_of(utc_offset)) * 1e-9).named(f"time_of_day({utc_offset})")


def session(begin: Any, end: Any) -> Level:
    """Progress of the session: 0 at `begin`, 1 at `end`.

    Parameters
    ----------
    begin, end : str or int
        Time spans after midnight UTC, such as "14.5h", or ns.

    Returns
    -------
    Level
        Below 0 before the session, above 1 after it.

    Examples
    --------
    >>> nbtrade.feature.session("14.5h", "21h")
    <Level session(14.5h, 21h)>
    """
    first, last = ns_of(begin), ns_of(end)
    check(last > first, f"session: end {end!r} is not after begin {begin!r}")
    return ((_clock(0) - float(first)) * (1.0 / (last - first))).named(f"session({begin}, {end})")


def _clock(offset: int) -> Level:
    return Level("clock", (), (), (86_400 * 10**9, offset), "clock")
