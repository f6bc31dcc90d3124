"""A user's program, as test_typing.py checks it with mypy --strict."""

from pathlib import Path

import nbtrade
from nbtrade import ASK, BID, DAY, IOC, UNDEF_PRICE, UNKNOWN, Account, Features, Market, Order, OrderType, Side, State, Wake


@nbtrade.strategy(state=[("edge", "i8"), ("n_fills", "i8"), ("slot", "i8")], wake=("100ms", "fill"), edge=1)
def joiner(market: Market, features: Features, account: Account, state: State) -> None:
    """Quotes behind the touch, and leaves a long queue."""
    if market.wake & Wake.FILL:
        state.n_fills += 1
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE:
        return
    side: int = Side.BID if account.position <= 0 else ASK
    px: int = market.level(side, 1)
    slot: int = account.quote(side, px, 1, tif=DAY, post_only=True)
    if account.is_open(slot):
        order: Order = account.order(slot)
        ahead = account.ahead(slot)
        if ahead != UNKNOWN and ahead > 10 + order.leaves and order.type == OrderType.LIMIT:
            account.cancel(slot)
    if account.n_open == 0:
        state.slot = account.submit(BID, market.ask_px, 1, tif=IOC)
    on_other: Account = account.on(0)
    on_other.market(ASK, abs(market.on(0).volume % 2) + 1)


def profit(path: Path) -> float:
    """Run it."""
    tape = nbtrade.ingest(path)
    result = nbtrade.backtest(tape, joiner, latency=nbtrade.Latency(entry="1ms", response="1ms"), fill_rule=nbtrade.FillRule.FIFO)
    fills = result.fills
    value: float = result.summary["net_pnl"]
    table = nbtrade.sweep(tape, joiner, {"edge": [0, 1]}, progress=False)
    return value + len(fills) + len(table)
