"""The grid of Gueant, Lehalle and Fernandez-Tapia: several quotes a side around the optimal ones for an endless session.

    c       = 1 / gamma ln(1 + gamma / k)                                     half spread without inventory
    skew    = sqrt(sigma^2 gamma / (2 k A) (1 + gamma / k)^(1 + k / gamma))   ticks for each `qty` held
    bid(q)  = mid - c - (q + 1/2) skew             ask(q) = mid + c - (q - 1/2) skew

A quote d ticks from the mid trades A exp(-k d) times a second. From these best quotes `levels` orders a side go outwards, `step` ticks
apart and on multiples of `step`, so that a small move of the mid leaves most of them, and their places in the queues, as they are.
Orders are post-only. Those off the grid are cancelled; new ones leave while position, and all that is open on their side, stay within
`max_position`.

Source: O. Gueant, C.-A. Lehalle, J. Fernandez-Tapia, "Dealing with the inventory risk", Math. and Financial Economics 7 (2013), section 4.

    gamma    1 / (ticks orders)   risk aversion; q counts orders of `qty` lots
    sigma    ticks / sqrt(s)      volatility
    A        1 / s                rate of trades at the mid            k      1 / ticks   its decay
    levels   orders a side, at most 62                                 step   ticks between them
    qty      lots of an order     max_position   lots, either way
"""

import math

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE


@strategy(
    state=[
        ("gamma", "f8"),
        ("sigma", "f8"),
        ("A", "f8"),
        ("k", "f8"),
        ("levels", "i8"),
        ("step", "i8"),
        ("qty", "i8"),
        ("max_position", "i8"),
        ("half_spread", "f8"),  # as last used: c and skew
        ("skew", "f8"),
    ],
    wake="100ms",
    gamma=0.05,
    sigma=2.0,
    A=2.0,
    k=1.5,
    levels=3,
    step=1,
    qty=1,
    max_position=10,
)
def glft(market, features, account, state):
    """Keep a grid of quotes on both sides."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    ratio = 1.0 + state.gamma / state.k
    state.half_spread = math.log(ratio) / state.gamma
    state.skew = math.sqrt(state.sigma**2 * state.gamma / (2.0 * state.k * state.A) * ratio ** (1.0 + state.k / state.gamma))
    center = (market.bid_px + market.ask_px) / 2 - account.position / state.qty * state.skew
    away = state.half_spread + state.skew / 2
    bid = min(math.floor(center - away), market.ask_px - 1) // state.step * state.step
    ask = -(-max(math.ceil(center + away), market.bid_px + 1) // state.step) * state.step

    on_bid, on_ask = 0, 0  # a bit for each level that has its order
    for slot in range(account.capacity):
        if not account.is_open(slot) or account.order(slot).cancelling != 0:
            continue
        own = account.order(slot)
        distance = bid - own.requested_px if own.side == BID else own.requested_px - ask
        if distance < 0 or distance >= state.levels * state.step or distance % state.step != 0:
            account.cancel(slot)
        elif own.side == BID:
            on_bid |= 1 << (distance // state.step)
        else:
            on_ask |= 1 << (distance // state.step)
    for level in range(state.levels):
        if on_bid & (1 << level) == 0 and account.position + account.open_bid + state.qty <= state.max_position:
            account.submit(BID, bid - level * state.step, state.qty, post_only=True)
        if on_ask & (1 << level) == 0 and account.position - account.open_ask - state.qty >= -state.max_position:
            account.submit(ASK, ask + level * state.step, state.qty, post_only=True)
