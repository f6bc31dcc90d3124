"""Trade features: volume, signed volume, last trade, runs, VPIN. Used as `nbtrade.feature.volume()`."""

from typing import Any

from nbtrade.feature.expression import Flow, Level
from nbtrade.feature.inputs import check, flow_of, level_of, span_label


def trades() -> Flow:
    """Number of trades.

    Returns
    -------
    Flow
        Trades per event.

    Examples
    --------
    >>> nbtrade.feature.trades()
    <Flow trades()>
    """
    return flow_of("n_trades").named("trades()")


def volume() -> Flow:
    """Lots traded.

    Returns
    -------
    Flow
        Lots per event.

    Examples
    --------
    >>> nbtrade.feature.volume()
    <Flow volume()>
    """
    return (flow_of("buy_qty") + flow_of("sell_qty") + flow_of("unsigned_qty")).named("volume()")


def signed_volume() -> Flow:
    """Lots bought minus lots sold by aggressors; trades without a side contribute 0.

    Returns
    -------
    Flow
        Lots per event.

    Examples
    --------
    >>> nbtrade.feature.signed_volume().sum("1s")
    <Level signed_volume().sum(1s)>
    """
    return (flow_of("buy_qty") - flow_of("sell_qty")).named("signed_volume()")


def trade_value() -> Flow:
    """Value traded: the sum of price * lots.

    Returns
    -------
    Flow
        Ticks * lots per event.

    Examples
    --------
    >>> nbtrade.feature.trade_value()
    <Flow trade_value()>
    """
    return flow_of("trade_value").named("trade_value()")


def trade_imbalance(window: Any = "1s") -> Level:
    """Signed volume divided by volume, both exponentially weighted.

    Parameters
    ----------
    window : str or int
        Time constant of the exponential weights, such as "1s", or ns.

    Returns
    -------
    Level
        -1 to 1.

    Examples
    --------
    >>> nbtrade.feature.trade_imbalance("5s")
    <Level trade_imbalance(5s)>
    """
    out = signed_volume().ema(window) / volume().ema(window)
    return out.named(f"trade_imbalance({span_label(window)})")


def last_px() -> Level:
    """Price of the last trade.

    Returns
    -------
    Level
        Ticks; NaN before the first trade.

    Examples
    --------
    >>> nbtrade.feature.last_px()
    <Level last_px()>
    """
    return level_of("last_px").named("last_px()")


def last_qty() -> Level:
    """Size of the last trade.

    Returns
    -------
    Level
        Lots; NaN before the first trade.

    Examples
    --------
    >>> nbtrade.feature.last_qty()
    <Level last_qty()>
    """
    return level_of("last_qty").named("last_qty()")


def trade_sign() -> Level:
    """Aggressor's side of the last trade that has one.

    Returns
    -------
    Level
        1 bought, -1 sold; NaN before the first trade.

    Examples
    --------
    >>> nbtrade.feature.trade_sign()
    <Level trade_sign()>
    """
    return level_of("last_sign").named("trade_sign()")


def run_length() -> Level:
    """Number of consecutive trades with the same aggressor side, signed; trades without a side do not end a run.

    Returns
    -------
    Level
        Trades, above 0 for buys, below 0 for sells.

    Examples
    --------
    >>> nbtrade.feature.run_length()
    <Level run_length()>
    """
    return level_of("run").named("run_length()")


def vpin(bucket: float, n: int = 50) -> Level:
    """Volume-synchronised probability of informed trading: the mean of |bought - sold| / bucket.

    Parameters
    ----------
    bucket : float
        Lots per bucket, positive.
    n : int
        Number of buckets.

    Returns
    -------
    Level
        0 to 1; NaN before n buckets are full.

    Notes
    -----
    Uses the trades' own signs. A trade that fills a bucket continues in the next one; within an event bought lots come first; lots
    without a
    side fill a bucket without a sign.

    References
    ----------
    Easley, Lopez de Prado and O'Hara 2012, Flow toxicity and liquidity in a high-frequency world, eq. 8.

    Examples
    --------
    >>> nbtrade.feature.vpin(100, 20)
    <Level vpin(100, 20)>
    """
    check(bucket > 0 and n >= 1, f"bucket={bucket!r}, n={n!r}: both are more than 0")
    return Level("vpin", (flow_of("buy_qty"), flow_of("sell_qty"), flow_of("unsigned_qty")), (), (bucket, n), f"vpin({bucket:g}, {n})")
