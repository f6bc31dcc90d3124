"""A taker on order-book imbalance: buys at the ask when bids outweigh asks, and vice versa.

    I = (B - A) / (B + A)            B, A: lots on the best `levels` levels of each side

Imbalance predicts the next move of the mid better than chance. When |I| reaches `enter`, one immediate-or-cancel order is sent to the
touch, for at most the size shown there; the position is closed the same way once I has fallen below `leave` in its direction. Only one
order is in flight at a time, so the position never exceeds `max_position`. Crossing the spread costs more than most signals earn: check
the result after fees before trusting it.

Source: A. Cartea, R. Donnelly, S. Jaimungal, "Enhancing trading strategies with order book signals", Applied Math. Finance 25 (2018).

    levels   levels per side     enter, leave   imbalance, 0 to 1, enter >= leave
    qty      lots of an order   max_position   lots, long or short
    rest     least time between orders, s
"""

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, IOC, UNDEF_PRICE


@strategy(
    wake="100ms",
    params={"levels": 3, "enter": 0.6, "leave": 0.0, "qty": 1, "max_position": 5, "rest": 1.0},
    state={"last_ts": 0, "imbalance": 0.0},  # time of the last order; last value of I
)
def imbalance_taker(market, account, params, state):
    """Trade in the direction of a heavy imbalance; close the position when it fades."""
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
