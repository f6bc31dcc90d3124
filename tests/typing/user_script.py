"""A user's program, as test_typing.py checks it with mypy --strict."""

from pathlib import Path

import nbtrade
from nbtrade import ASK, BID, DAY, IOC, UNKNOWN, Account, Market, Order, OrderType, Params, Record, Side, State, Wake


@nbtrade.strategy(wake=("100ms", "fill"), params={"edge": 1, "most": 5}, state={"n_fills": 0, "slot": 0}, record=["fair", "spread"])
def joiner(market: Market, account: Account, params: Params, state: State, record: Record) -> None:
    """Quotes behind the best price, and leaves a long queue."""
    if market.wake & Wake.FILL:
        state.n_fills += 1
    if not market.is_two_sided:
        return
    account.quote(BID, market.bid_px - params.edge, 1 if account.position < params.most else 0)
    record.fair = market.mid
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
    result = nbtrade.backtest(
        tape, joiner, params={"edge": 2}, latency=nbtrade.Latency(entry="1ms", response="1ms"), fill_rule=nbtrade.FillRule.FIFO
    )
    fills = result.fills
    value: float = result.summary["net_pnl"]
    table = nbtrade.sweep(tape, joiner, {"edge": [0, 1]}, progress=False)
    return value + len(fills) + len(table)
