"""Order-flow features: order-flow imbalance, adds, cancels, modifies, icebergs, sweeps. Used as `nbtrade.feature.ofi()`."""

from typing import Any

from nbtrade.feature.expression import Flow, Level
from nbtrade.feature.inputs import check, flow_of, level_of, level_offset, side_name, span_label, total
from nbtrade.feature.trade_features import trades
from nbtrade.schema import ASK, BID


def ofi(levels: int = 1) -> Flow:
    """Order-flow imbalance: lots that joined the bids minus lots that joined the asks, over the best levels.

    Parameters
    ----------
    levels : int
        Number of levels, from 1, the best.

    Returns
    -------
    Flow
        Lots per event.

    Notes
    -----
    For the bids e = [P >= P'] q - [P <= P'] q', minus the same with prices reversed for the asks; ' marks the previous event. An empty side
    counts as worse than any price; snapshots and clears contribute 0.

    References
    ----------
    Cont, Kukanov and Stoikov 2014, The price impact of order book events, eq. 2; by levels: Xu, Gould and Howison 2018.

    Examples
    --------
    >>> nbtrade.feature.ofi(5)
    <Flow ofi(5)>
    """
    return total([flow_of("ofi", k) for k in range(level_offset(levels) + 1)]).named(f"ofi({levels})")


def adds(side: Any) -> Flow:
    """New orders on a side; snapshots, clears and modified orders do not count.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Flow
        Orders per event.

    Examples
    --------
    >>> nbtrade.feature.adds(nbtrade.BID)
    <Flow adds(bid)>
    """
    return flow_of(f"{side_name(side)}_adds").named(f"adds({side_name(side)})")


def cancels(side: Any) -> Flow:
    """Cancelled orders on a side.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Flow
        Orders per event.

    Examples
    --------
    >>> nbtrade.feature.cancels(nbtrade.ASK)
    <Flow cancels(ask)>
    """
    return flow_of(f"{side_name(side)}_cancels").named(f"cancels({side_name(side)})")


def modifies(side: Any) -> Flow:
    """Orders of a side that were moved, enlarged or reduced.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Flow
        Orders per event.

    Notes
    -----
    On the tape: removed and added again within one event, or cancelled in part.

    Examples
    --------
    >>> nbtrade.feature.modifies(nbtrade.BID)
    <Flow modifies(bid)>
    """
    return flow_of(f"{side_name(side)}_modifies").named(f"modifies({side_name(side)})")


def cancel_to_add(side: Any, window: Any = "1s") -> Level:
    """Ratio of cancels to adds of a side, both exponentially weighted.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".
    window : str or int
        Time constant of the exponential weights, such as "1s", or ns.

    Returns
    -------
    Level
        No unit.

    Examples
    --------
    >>> nbtrade.feature.cancel_to_add(nbtrade.BID)
    <Level cancel_to_add(bid, 1s)>
    """
    out = cancels(side).ema(window) / adds(side).ema(window)
    return out.named(f"cancel_to_add({side_name(side)}, {span_label(window)})")


def cancel_to_trade(window: Any = "1s") -> Level:
    """Ratio of cancels on both sides to trades, both exponentially weighted.

    Parameters
    ----------
    window : str or int
        Time constant of the exponential weights, such as "1s", or ns.

    Returns
    -------
    Level
        No unit.

    Examples
    --------
    >>> nbtrade.feature.cancel_to_trade("10s")
    <Level cancel_to_trade(10s)>
    """
    out = (cancels(BID) + cancels(ASK)).ema(window) / trades().ema(window)
    return out.named(f"cancel_to_trade({span_label(window)})")


def refills(side: Any) -> Flow:
    """Iceberg refills: executed orders that return at the same price within one event (CME's native icebergs).

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Flow
        Refills per event.

    Examples
    --------
    >>> nbtrade.feature.refills(nbtrade.ASK)
    <Flow refills(ask)>
    """
    return flow_of(f"{side_name(side)}_refills").named(f"refills({side_name(side)})")


def refilled(side: Any) -> Flow:
    """Lots of iceberg refills.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Flow
        Lots per event.

    Examples
    --------
    >>> nbtrade.feature.refilled(nbtrade.ASK)
    <Flow refilled(ask)>
    """
    return flow_of(f"{side_name(side)}_refilled").named(f"refilled({side_name(side)})")


def swept(side: Any) -> Flow:
    """Levels of a side that were emptied by executions.

    Parameters
    ----------
    side : int or str
        BID or ASK; also 0, 1, "bid" or "ask".

    Returns
    -------
    Flow
        Levels per event.

    Examples
    --------
    >>> nbtrade.feature.swept(nbtrade.ASK)
    <Flow swept(ask)>
    """
    return flow_of(f"{side_name(side)}_swept").named(f"swept({side_name(side)})")


def sweeps(levels: int = 2) -> Flow:
    """Sweeps: 1 when the executions with one ts_event have emptied `levels` ask levels, -1 for bids.

    Parameters
    ----------
    levels : int
        Number of emptied levels that make a sweep, 1 or more.

    Returns
    -------
    Flow
        -1, 0 or 1 per event.

    Notes
    -----
    Counted by ts_event, because a venue may report one aggressive order in several events (on Nasdaq, one for each fill).

    Examples
    --------
    >>> nbtrade.feature.sweeps(3)
    <Flow sweeps(3)>
    """
    check(levels >= 1, f"levels={levels!r}: 1 or more")
    bid, ask = (Flow("reaches", (level_of(f"{s}_sweep"), flow_of(f"{s}_swept")), (), (levels,), s) for s in ("bid", "ask"))
    return (ask - bid).named(f"sweeps({levels})")
