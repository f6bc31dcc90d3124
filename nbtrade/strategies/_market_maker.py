"""A two-sided market maker that leans against its inventory.

Around the mid it quotes `half_spread` ticks to each side and moves both quotes by `skew` ticks for each lot it holds, so that the
side that brings it back is the better one. It never crosses the touch, and stops quoting a side at `max_position`.
"""

import math

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE


@strategy(wake="100ms", params={"half_spread": 1.0, "skew": 0.1, "max_position": 10, "qty": 1})
def market_maker(market, account, params):
    """half_spread, skew: ticks (skew for each lot held); max_position, qty: lots."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    center = (market.bid_px + market.ask_px) / 2 - params.skew * account.position
    bid = min(math.floor(center - params.half_spread), market.bid_px)
    ask = max(math.ceil(center + params.half_spread), market.ask_px)
    account.quote(BID, bid, params.qty if account.position < params.max_position else 0)
    account.quote(ASK, ask, params.qty if account.position > -params.max_position else 0)
