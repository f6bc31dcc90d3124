"""A two-sided market maker that leans against its inventory.

It quotes `half_spread` ticks on each side of the mid and shifts both quotes by `skew` ticks per lot held, so that the side that reduces the
position has the better price. It never crosses the touch, and stops quoting a side at `max_position`.
"""

import math

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE


@strategy(wake="100ms", params={"half_spread": 1.0, "skew": 0.1, "max_position": 10, "qty": 1})
def market_maker(market, account, params):
    """Quote both sides of the mid, skewed against the inventory.

    Parameters
    ----------
    half_spread : float
        Distance of each quote from the mid, ticks.
    skew : float
        Shift of both quotes per lot held, ticks.
    max_position : int
        Position, long or short, at which a side stops quoting, lots.
    qty : int
        Size of a quote, lots.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.market_maker.with_(half_spread=2.0)
    <Strategy market_maker(half_spread=2.0, skew=0.1, max_position=10, qty=1)>
    """
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    center = (market.bid_px + market.ask_px) / 2 - params.skew * account.position
    bid = min(math.floor(center - params.half_spread), market.bid_px)
    ask = max(math.ceil(center + params.half_spread), market.ask_px)
    account.quote(BID, bid, params.qty if account.position < params.max_position else 0)
    account.quote(ASK, ask, params.qty if account.position > -params.max_position else 0)
