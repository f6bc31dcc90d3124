"""A taker on order-book imbalance: buys the ask when bids outweigh asks, and the other way round.

    I = (B - A) / (B + A)            B, A: lots on the best `levels` levels of each side

Imbalance tells the next move of the mid better than chance. When |I| reaches `enter` one immediate-or-cancel order goes to the touch, for
at most what is shown there; the position is given back the same way once I has fallen below `leave` in its direction. One order is under
way at a time, so that position never goes beyond `max_position`. Crossing the spread costs more than most signals bring: look at the
result after fees before believing in it.

Source: A. Cartea, R. Donnelly, S. Jaimungal, "Enhancing trading strategies with order book signals", Applied Math. Finance 25 (2018).

    levels   levels a side      enter, leave   imbalance, 0 to 1, enter >= leave
    qty      lots of an order   max_position   lots, either way
    rest     s between orders at least
"""

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, IOC, UNDEF_PRICE


@strategy(
    wake="100ms",
    params={"levels": 3, "enter": 0.6, "leave": 0.0, "qty": 1, "max_position": 5, "rest": 1.0},
    state={"last_ts": 0, "imbalance": 0.0},  # when the last order left; as last seen
)
def imbalance_taker(market, account, params, state):
    """Take the touch on the heavy side's behalf; give the position back when the weight is gone."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    bids = market.depth(BID, params.levels)
    asks = market.depth(ASK, params.levels)
    state.imbalance = (bids - asks) / (bids + asks)
    if account.n_open > 0:
        return
    position = account.position
    side, most = BID, 0  # most: lots to trade, 0: none
    if state.imbalance >= params.enter:
        most = min(params.qty, params.max_position - position)
    elif state.imbalance <= -params.enter:
        side, most = ASK, min(params.qty, params.max_position + position)
    elif position > 0 and state.imbalance < params.leave:
        side, most = ASK, min(params.qty, position)
    elif position < 0 and state.imbalance > -params.leave:
        most = min(params.qty, -position)
    if most <= 0 or market.ts - state.last_ts < params.rest * 1e9:
        return
    state.last_ts = market.ts
    if side == BID:
        account.submit(BID, market.ask_px, min(most, market.ask_qty), tif=IOC)
    else:
        account.submit(ASK, market.bid_px, min(most, market.bid_qty), tif=IOC)
