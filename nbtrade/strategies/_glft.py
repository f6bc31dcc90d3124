"""The grid of Gueant, Lehalle and Fernandez-Tapia: several quotes per side around the optimal ones for an infinite horizon.

    c       = 1 / gamma ln(1 + gamma / k)                                     half spread without inventory
    skew    = sqrt(sigma^2 gamma / (2 k A) (1 + gamma / k)^(1 + k / gamma))   ticks for each `qty` held
    bid(q)  = mid - c - (q + 1/2) skew             ask(q) = mid + c - (q - 1/2) skew

A quote d ticks from the mid trades A exp(-k d) times a second. Each side has `levels` orders from these best quotes outwards, `step`
ticks apart and on multiples of `step`, so that a small move of the mid leaves most orders and their queue positions unchanged.
Orders are post-only. Those off the grid are cancelled; new ones are sent while the position plus the open lots on their side stay within
`max_position`.

Source: O. Gueant, C.-A. Lehalle, J. Fernandez-Tapia, "Dealing with the inventory risk", Math. and Financial Economics 7 (2013), section 4.

    gamma    1 / (ticks orders)   risk aversion; q counts orders of `qty` lots
    sigma    ticks / sqrt(s)      volatility
    A        1 / s                rate of trades at the mid            k      1 / ticks   its decay
    levels   orders per side, at most 62                                step   ticks between them
    qty      lots of an order     max_position   lots, long or short
"""

import math

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE


@strategy(
    wake="100ms",
    params={"gamma": 0.05, "sigma": 2.0, "A": 2.0, "k": 1.5, "levels": 3, "step": 1, "qty": 1, "max_position": 10},
    state={"half_spread": 0.0, "skew": 0.0},  # as last used: c and skew
)
def glft(market, account, params, state):
    """Keep a grid of quotes on both sides."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    ratio = 1.0 + params.gamma / params.k
    state.half_spread = math.log(ratio) / params.gamma
    state.skew = math.sqrt(params.sigma**2 * params.gamma / (2.0 * params.k * params.A) * ratio ** (1.0 + params.k / params.gamma))
    center = (market.bid_px + market.ask_px) / 2 - account.position / params.qty * state.skew
    away = state.half_spread + state.skew / 2
    bid = min(math.floor(center - away), market.ask_px - 1) // params.step * params.step
    ask = -(-max(math.ceil(center + away), market.bid_px + 1) // params.step) * params.step

    on_bid, on_ask = 0, 0  # a bit for each level that has its order
    for slot in range(account.capacity):
        if not account.is_open(slot) or account.order(slot).cancelling != 0:
            continue
        own = account.order(slot)
        distance = bid - own.requested_px if own.side == BID else own.requested_px - ask
        if distance < 0 or distance >= params.levels * params.step or distance % params.step != 0:
            account.cancel(slot)
        elif own.side == BID:
            on_bid |= 1 << (distance // params.step)
        else:
            on_ask |= 1 << (distance // params.step)
    for level in range(params.levels):
        if on_bid & (1 << level) == 0 and account.position + account.open_bid + params.qty <= params.max_position:
            account.submit(BID, bid - level * params.step, params.qty, post_only=True)
        if on_ask & (1 << level) == 0 and account.position - account.open_ask - params.qty >= -params.max_position:
            account.submit(ASK, ask + level * params.step, params.qty, post_only=True)
