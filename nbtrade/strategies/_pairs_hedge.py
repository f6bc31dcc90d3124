"""Makes a market in instrument 0 around its fair value from instrument 1, and hedges every fill in instrument 1.

    fair = beta mid_1 + basis          basis: slow average of mid_0 - beta mid_1
    bid  = fair - edge                 ask  = fair + edge                           instrument 0, never crossing its touch
    position_1 = -ratio position_0     rounded to whole lots, by market orders as soon as a fill is known

Orders in flight in instrument 1 count as filled, so no fill is hedged twice. Lots of a hedge that the book could not fill are sent again at
the next wake. With latency, the pair is unhedged from a fill until the hedge arrives; `fill` wakes limit this to one round trip.

    nbtrade.backtest({"A": tape_a, "B": tape_b}, pairs_hedge, params={"ratio": 0.5})

Source: E. Gatev, W. Goetzmann, K. Rouwenhorst, "Pairs trading", Review of Financial Studies 19 (2006), for the mean-reverting spread;
M. Avellaneda, J.-H. Lee, "Statistical arbitrage in the US equities market", Quantitative Finance 10 (2010), for the hedge by beta.

    ratio      lots of 1 for each lot of 0              beta     ticks of 0 for each tick of 1
    edge       ticks of 0                               halflife s, of the basis
    qty        lots of a quote in 0                     max_position   lots of 0, long or short
"""

import math

from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE


@strategy(
    wake=("100ms", "fill"),
    params={"ratio": 1.0, "beta": 1.0, "edge": 2.0, "halflife": 30.0, "qty": 1, "max_position": 10},
    state={"last_ts": 0, "basis": 0.0},
)
def pairs_hedge(market, account, params, state):
    """Hedge first, then quote."""
    other, hedge = market.on(1), account.on(1)
    if other.bid_px == UNDEF_PRICE or other.ask_px == UNDEF_PRICE or other.bid_px >= other.ask_px:
        account.cancel_all()  # nothing to hedge with
        return
    wanted = math.floor(0.5 - params.ratio * account.position)
    owed = wanted - (hedge.position + hedge.open_bid - hedge.open_ask)
    if owed != 0:
        hedge.market(BID if owed > 0 else ASK, abs(owed))

    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    gap = (market.bid_px + market.ask_px) / 2 - params.beta * (other.bid_px + other.ask_px) / 2
    weight = 1.0 if state.last_ts == 0 else 1.0 - 0.5 ** ((market.ts - state.last_ts) * 1e-9 / params.halflife)
    state.basis += weight * (gap - state.basis)
    state.last_ts = market.ts
    fair = params.beta * (other.bid_px + other.ask_px) / 2 + state.basis
    bid = min(math.floor(fair - params.edge), market.ask_px - 1)
    ask = max(math.ceil(fair + params.edge), market.bid_px + 1)

    # a quote being cancelled may still fill: the next one waits until it is done
    slot = account.quote_bid
    if not account.is_open(slot) or account.order(slot).cancelling == 0:
        account.quote(BID, bid, params.qty if account.position + params.qty <= params.max_position else 0)
    slot = account.quote_ask
    if not account.is_open(slot) or account.order(slot).cancelling == 0:
        account.quote(ASK, ask, params.qty if account.position - params.qty >= -params.max_position else 0)
