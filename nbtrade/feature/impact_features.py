"""Volatility, price impact and spread measures from trades and the mid. Used as `nbtrade.feature.kyle_lambda()`."""

from typing import Any

from nbtrade.feature.expression import Flow, Level
from nbtrade.feature.inputs import check, flow_of, length_of, level_of, span_label
from nbtrade.feature.price_features import mid
from nbtrade.feature.trade_features import signed_volume, trade_value


def realised_volatility(window: Any = "1m", every: Any = "1s") -> Level:
    """Square root of the sum of squared log returns of the mid over the last `window`.

    Parameters
    ----------
    window : str or int
        Time span such as "1m", or ns; a multiple of `every`.
    every : str or int
        Step of the time grid, such as "1s", or ns.

    Returns
    -------
    Level
        No unit; per `window`, not annualised.

    Notes
    -----
    The value at a grid point is the one just before it.

    References
    ----------
    Andersen, Bollerslev, Diebold and Labys 2003.

    Examples
    --------
    >>> nbtrade.feature.realised_volatility()
    <Level realised_volatility(1min, 1s)>
    """
    return _on_grid("volatility", (mid().log(),), window, every, "realised_volatility")


def bipower(window: Any = "1m", every: Any = "1s") -> Level:
    """Bipower variation, the part of the variance that does not come from jumps: pi/2 times the sum of |r(k)| |r(k-1)|.

    Parameters
    ----------
    window : str or int
        Time span such as "1m", or ns; a multiple of `every`.
    every : str or int
        Step of the time grid, such as "1s", or ns.

    Returns
    -------
    Level
        No unit: r are log returns of the mid.

    References
    ----------
    Barndorff-Nielsen and Shephard 2004, eq. 5.

    Examples
    --------
    >>> nbtrade.feature.bipower()
    <Level bipower(1min, 1s)>
    """
    return _on_grid("bipower", (mid().log(),), window, every, "bipower")


def kyle_lambda(window: Any = "1m", every: Any = "1s") -> Level:
    """Price impact: the slope of mid changes on signed volume over the intervals of a time grid.

    Parameters
    ----------
    window : str or int
        Time span such as "1m", or ns; a multiple of `every`.
    every : str or int
        Step of the time grid, such as "1s", or ns.

    Returns
    -------
    Level
        Ticks per lot.

    References
    ----------
    Kyle 1985; Hasbrouck 2009.

    Examples
    --------
    >>> nbtrade.feature.kyle_lambda()
    <Level kyle_lambda(1min, 1s)>
    """
    return _on_grid("impact", (mid(), signed_volume()), window, every, "kyle_lambda")


def amihud(window: Any = "1m", every: Any = "1s") -> Level:
    """Illiquidity: the mean of |log return| / value traded over the intervals that had trades.

    Parameters
    ----------
    window : str or int
        Time span such as "1m", or ns; a multiple of `every`.
    every : str or int
        Step of the time grid, such as "1s", or ns.

    Returns
    -------
    Level
        1 / (ticks * lots).

    References
    ----------
    Amihud 2002, eq. 1.

    Examples
    --------
    >>> nbtrade.feature.amihud()
    <Level amihud(1min, 1s)>
    """
    return _on_grid("illiquidity", (mid().log(), trade_value()), window, every, "amihud")


def roll(n: int = 100) -> Level:
    """Roll's spread: 2 sqrt(-cov) of consecutive changes of the trade price.

    Parameters
    ----------
    n : int
        Number of pairs of changes, 2 or more: the last n + 2 events with trades.

    Returns
    -------
    Level
        Ticks; NaN where the covariance is positive.

    References
    ----------
    Roll 1984, eq. 7.

    Examples
    --------
    >>> nbtrade.feature.roll(50)
    <Level roll(50)>
    """
    check(n >= 2, f"n={n!r}: a covariance needs 2 pairs or more")
    return Level("roll", (level_of("last_px"), flow_of("n_trades")), (), (n,), f"roll({n})")


def effective_spread() -> Level:
    """Effective spread of the last event with trades: 2 sign (price - mid before), averaged by lots.

    Returns
    -------
    Level
        Ticks.

    Notes
    -----
    The mid is that of the previous event; trades without a side do not count.

    References
    ----------
    Lee and Ready 1991; Bessembinder 2003.

    Examples
    --------
    >>> nbtrade.feature.effective_spread()
    <Level effective_spread()>
    """
    return Level("effective", (level_of("mid_before"), *_signed()), label="effective_spread()")


def realised_spread(after: Any = "5s") -> Level:
    """Realised spread, the maker's gain: 2 sign (price - mid `after` the trade), of the last event with trades that is old enough.

    Parameters
    ----------
    after : str or int
        Time span such as "5s", or ns.

    Returns
    -------
    Level
        Ticks.

    References
    ----------
    Huang and Stoll 1996, eq. 3.

    Examples
    --------
    >>> nbtrade.feature.realised_spread("1s")
    <Level realised_spread(1s)>
    """
    return Level("realised", (mid(), *_signed()), (), (length_of(after),), f"realised_spread({span_label(after)})")


def _signed() -> tuple[Flow, Flow, Flow]:
    return flow_of("signed_value"), flow_of("buy_qty"), flow_of("sell_qty")


def _on_grid(op: str, inputs: tuple[Any, ...], window: Any, every: Any, name: str) -> Level:
    length, step = length_of(window), length_of(every)
    n = length // step
    check(n >= 1 and n * step == length, f"{name}: window {window!r} is not a multiple of every={every!r}")
    return Level(op, inputs, (), (step, n), f"{name}({span_label(window)}, {span_label(every)})")
