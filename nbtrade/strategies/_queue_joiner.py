"""Joins the touch on both sides, and keeps or cancels each order depending on the lots ahead of and behind it.

    queue at the touch     |<------ ahead ------>| own |<--- behind --->|        front of the queue on the left

A position near the front is valuable: small trades fill it without moving the price. At the back, an order fills only when the whole level
trades, and then the price moves against it. So an order is cancelled
    when more than `max_ahead` lots turn out to be ahead of it,
    when the opposite touch has more than `against` times the lots of its level, unless at most `keep_ahead` lots are ahead of it,
    when the level is thin: fewer than `thin` lots ahead and behind together,
    when the touch has moved to another price.
It joins a side, post-only, when none of these holds and position plus open lots stay within `max_position`.

Source: C. Moallemi, K. Yuan, "A model for queue position valuation in a limit order book" (2016), in which the value of a queue position
falls with the lots ahead and with adverse selection; the thresholds here are a simplified form.

    max_ahead, keep_ahead, thin, qty, max_position   lots      against   ratio of lots
"""

from nbtrade.engine.strategy import strategy
from nbtrade.schema import BID, UNDEF_PRICE


@strategy(
    wake="50ms",
    params={"max_ahead": 50, "keep_ahead": 3, "thin": 2, "against": 3.0, "qty": 1, "max_position": 5},
    state={
        "slots": (0, 0),  # slots of the two orders, plus 1; by side
        "n_kept": 0,  # times an order near the front was kept despite a heavy opposite side
        "n_left": 0,  # times an order was cancelled
    },
)
def queue_joiner(market, account, params, state):
    """For each side, decide whether to keep the order, cancel it, or join."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    for side in range(2):
        touch = market.bid_px if side == BID else market.ask_px
        level = market.bid_qty if side == BID else market.ask_qty
        other = market.ask_qty if side == BID else market.bid_qty
        is_heavy = other > params.against * level
        slot = state.slots[side] - 1
        if account.is_open(slot):
            if account.order(slot).cancelling != 0:
                continue
            ahead, behind = account.ahead(slot), account.behind(slot)
            is_moved = account.order(slot).requested_px != touch
            is_bad = ahead >= 0 and (ahead > params.max_ahead or ahead + behind < params.thin)  # -1: not known yet
            if is_moved or is_bad or (is_heavy and ahead > params.keep_ahead):
                account.cancel(slot)
                state.n_left += 1
            elif is_heavy and ahead >= 0:
                state.n_kept += 1
            continue
        held = account.position + account.open_bid if side == BID else account.open_ask - account.position
        state.slots[side] = 0
        if not is_heavy and params.thin <= level <= params.max_ahead and held + params.qty <= params.max_position:
            state.slots[side] = account.submit(side, touch, params.qty, post_only=True) + 1
