"""Avellaneda and Stoikov's market maker: quotes around a reservation price that falls as inventory grows.

    reservation  r = mid - q gamma sigma^2 (T - t)
    spread       s = gamma sigma^2 (T - t) + 2 / gamma ln(1 + gamma / k)          bid = r - s / 2, ask = r + s / 2

The mid is a Brownian motion of volatility sigma; a quote d ticks from it trades at a rate proportional to exp(-k d). Time left T - t counts
down from `horizon` at the first wake, and restarts at zero. With sigma = 0 the volatility is estimated from the mids seen so far.
Quotes are rounded away from r, never cross the touch, and stop on a side where a fill would exceed `max_position`.

Source: M. Avellaneda, S. Stoikov, "High-frequency trading in a limit order book", Quantitative Finance 8 (2008), eq. 29 and 30.

    gamma         1 / (ticks lots)   risk aversion; q counts lots
    sigma         ticks / sqrt(s)    volatility; 0: estimated
    k             1 / ticks          how fast trading falls with distance
    horizon       s                  T                      halflife      s      memory of the estimate
    max_position  lots               largest, long or short qty           lots   of a quote
"""

import math

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE


@strategy(
    wake="100ms",
    params={"gamma": 0.01, "sigma": 0.0, "k": 1.5, "horizon": 30.0, "halflife": 10.0, "max_position": 10, "qty": 1},
    state={
        "first_ts": 0,
        "last_ts": 0,
        "last_mid": 0.0,
        "variance": 0.0,  # ticks^2 / s
        "reservation": 0.0,  # ticks; this and `spread` are for reading after the run
        "spread": 0.0,
    },
)
def avellaneda_stoikov(market, account, params, state):
    """Quote both sides around the reservation price."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    mid = (market.bid_px + market.ask_px) / 2
    if state.first_ts == 0:
        state.first_ts = market.ts
    elif params.sigma == 0.0 and market.ts > state.last_ts:
        elapsed = (market.ts - state.last_ts) * 1e-9
        weight = 1.0 - 0.5 ** (elapsed / params.halflife)
        state.variance += weight * ((mid - state.last_mid) ** 2 / elapsed - state.variance)
    if params.sigma != 0.0:
        state.variance = params.sigma**2
    state.last_ts = market.ts
    state.last_mid = mid

    left = params.horizon - ((market.ts - state.first_ts) * 1e-9) % params.horizon
    risk = params.gamma * state.variance * left
    state.reservation = mid - account.position * risk
    state.spread = risk + 2.0 / params.gamma * math.log(1.0 + params.gamma / params.k)
    bid = min(math.floor(state.reservation - state.spread / 2), market.ask_px - 1)
    ask = max(math.ceil(state.reservation + state.spread / 2), market.bid_px + 1)

    # a quote being cancelled may still fill: the next one waits until it is done
    slot = account.quote_bid
    if not account.is_open(slot) or account.order(slot).cancelling == 0:
        account.quote(BID, bid, params.qty if account.position + params.qty <= params.max_position else 0)
    slot = account.quote_ask
    if not account.is_open(slot) or account.order(slot).cancelling == 0:
        account.quote(ASK, ask, params.qty if account.position - params.qty >= -params.max_position else 0)
