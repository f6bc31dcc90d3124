"""Scripted accounts: the same actions at the same times, in the oracle and in the engine.

    script {time: [Action]} --> play(script) --> strategy of the oracle      tests/helpers/scripted_engine.py: of the engine
                                             --> looks: what the account saw and knew at each call, before it acted

An action happens at the first call at or after its time. Orders are named by id; a cancel or replace of an order that is not known to be
open is skipped, because the engine reuses an order's slot once it is done.
"""

from typing import NamedTuple

from model import ASK, BID

FIXED_PX = 100


class Action(NamedTuple):
    what: str  # submit, market, cancel, replace, quote, cancel_all, flatten
    i: int = -1  # side, or the id of the order
    px: int = 0  # ticks; with `ref`, ticks from that side's best price (skipped while the side is empty)
    qty: int = 0
    type: str = "limit"
    tif: str = "gtc"
    post_only: bool = False
    ref: int = -1
    on: int = 0  # instrument


class Look(NamedTuple):
    """The market and account as seen at one call, for one instrument."""

    venue: int
    ts: int
    wake: frozenset
    bid_px: int | None
    bid_qty: int
    ask_px: int | None
    ask_qty: int
    position: int
    cash: int
    bid_orders: int
    ask_orders: int
    last: tuple  # price, lots and aggressor's side of the last trade
    deep: tuple  # for bids, asks: prices of levels 1 and 3, lots on the best 2 and 99 levels, lots and orders at FIXED_PX
    volume: int
    n_events: int
    n_open: int
    open_bid: int  # own lots that may still fill
    open_ask: int
    refused: str  # reason of the last refusal
    n_refused: int
    orders: dict  # open orders: id -> (status, left, filled, want_px, want_qty, ahead, behind, type, tif, post_only)


def play(script, looks=None, n_venues=1):
    """Return an oracle strategy that plays a script; it appends a `Look` to `looks` at each call."""
    actions = [(ts, action) for ts in sorted(script) for action in script[ts]]
    actions.reverse()

    def strategy(market, account):
        if looks is not None:
            looks.extend(look_of(v, market.on(v), account.on(v)) for v in range(n_venues))
        while actions and actions[-1][0] <= market.ts:
            action = actions.pop()[1]
            act(market.on(action.on), account.on(action.on), action)

    return strategy


def act(market, account, action):
    what, i, px, qty, type_, tif, post_only, ref, _ = action
    if ref != -1:
        best = (market.bid_px, market.ask_px)[ref]
        if best is None:
            return
        px += best
    if what in ("cancel", "replace") and not (i < len(account.orders) and account.orders[i].is_open):
        return
    if what == "submit":
        account.submit(i, px, qty, type_, tif, post_only)
    elif what == "market":
        account.market(i, qty)
    elif what == "cancel":
        account.cancel(i)
    elif what == "replace":
        account.replace(i, px, qty)
    elif what == "quote":
        account.quote(i, px, qty, tif, post_only)
    else:
        {"cancel_all": account.cancel_all, "flatten": account.flatten}[what]()


def look_of(v, market, account):
    orders = {
        o.id: (o.status, o.left, o.filled, o.want_px, o.want_qty, account.ahead(o.id), account.behind(o.id), o.type, o.tif, o.post_only)
        for o in account.open_orders
    }
    return Look(
        v,
        market.ts,
        market.wake,
        market.bid_px,
        market.bid_qty,
        market.ask_px,
        market.ask_qty,
        account.position,
        account.cash,
        market.bid_orders,
        market.ask_orders,
        market.last,
        tuple(deep_of(market, side) for side in (BID, ASK)),
        market.volume,
        market.n_events,
        len(orders),
        account.open_qty(BID),
        account.open_qty(ASK),
        account.refused,
        sum(account.refusals.values()),
        orders,
    )


def deep_of(market, side):
    levels = market.level(side, 1), market.level(side, 3)
    return (*levels, market.depth(side, 2), market.depth(side, 99), market.qty_at(side, FIXED_PX), market.orders_at(side, FIXED_PX))
