"""Our orders at the exchange: exact queues, fills, and what we took.

    levels[i].own ──> entry <──> entry <──> entry      circular list, in order of arrival: OWN records of all accounts
                       order      order      TAKEN

The market is history: nothing here changes it. An own order notes on arrival which row comes next (`stamp`): orders whose
`prio` is earlier are before it, the others behind. So no search is ever needed to know whether a row concerns it:
- a row that takes lots from an earlier order at its price moves it up;
- an execution of a later order at its price, or of any order at a worse price, would have met it first: it fills;
- at an event's end, opposite orders at or through its price would have met it: it fills.

What an own order took stands at its level as a TAKEN entry of the account and is not there for its next one; executions there give
it back (they are the same lots), and it never exceeds what the level holds. `own_*` is a second set of level bits, over
levels with own orders, so that the best of them is known and the next is a bit scan away.

Rules: README "Situation, what happens"; oracle: tests/model_backtest.py.
"""

import numpy as np

from nbtrade._jit import helper, kernel
from nbtrade.kernels.account import (
    ACK,
    CANCELLED,
    CANCELLED_REPORT,
    FILL_REPORT,
    FILLED,
    LIMIT,
    MARKET,
    NEW,
    REJECTED,
    REJECTED_REPORT,
    WORKING,
    give_back,
)
from nbtrade.kernels.bits import SHIFT
from nbtrade.kernels.book import (
    close_page_if_empty,
    is_crossed,
    key_of,
    level_index,
    mark_level,
    next_level,
    open_page,
    unmark_level,
)
from nbtrade.kernels.entries import TAKEN, drop_taken, is_last_order, link, note_taken, taken_entry, unlink
from nbtrade.kernels.memory import NO_KEY
from nbtrade.schema import ASK, BID, EXEC, UNDEF_PRICE

FILL = np.dtype(
    [
        ("ts", "i8"),  # exchange clock
        ("order_id", "i8"),
        ("row", "i8"),  # tape row that caused it; for a taker the next row
        ("px", "i8"),
        ("qty", "i8"),
        ("account", "i4"),
        ("side", "i1"),
        ("maker", "i1"),
    ],
    align=True,
)

# The exchange's state besides its book. Logs are drained by the shell; their sizes are their arrays'.
EXCHANGE = np.dtype(
    [
        ("response", "i8"),  # ns
        ("n_resting", "i8"),
        ("n_fills", "i8"),  # in the log
        ("n_done", "i8"),  # in the log
        ("free_taken", "i8"),  # first free TAKEN entry
        ("n_taken", "i8"),  # TAKEN entries in use
        ("taken_capacity", "i8"),
        ("head", "i8"),  # reports ring
        ("tail", "i8"),
        ("keep_log", "i8"),  # write fills and done orders to the logs
    ],
    align=True,
)


@helper
def leave(levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, orders, o):
    """An own order stops resting."""
    side = np.int64(orders[o].side)
    px = orders[o].px
    unlink(levels, orders, o)
    ex.n_resting -= 1
    if is_last_order(levels, orders, orders[o].at):
        unmark_level(pages, own_words, own_tree, own_sides, side, px)
    close_page_if_empty(levels, pages, words, free, sides, (px >> SHIFT) - sides[0].first_slot)


# --- what happens to an order ---------------------------------------------------------------------
@helper
def report(ex, reports, orders, o, what, px, qty, ts):
    """Send a report on its way back."""
    r = reports[ex.tail & (len(reports) - 1)]
    r.arrive = ts + ex.response
    r.px = px
    r.qty = qty
    r.order = o
    r.what = what
    ex.tail += 1
    orders[o].in_flight += 1


@helper
def finish(ex, accounts, orders, done, o, state, ts):
    """An order is filled, cancelled or rejected: note it."""
    own = orders[o]
    own.state = state
    own.done = ts
    account = accounts[own.account]
    account.n_cancelled += state == CANCELLED
    account.n_rejected += state == REJECTED
    if ex.keep_log:
        done[ex.n_done] = own
        ex.n_done += 1


@helper
def fill(ex, accounts, orders, reports, fills, done, o, px, qty, maker, ts, row):
    """`qty` lots of order `o` trade at `px`. The caller unlinks it when nothing is left."""
    own = orders[o]
    account = accounts[own.account]
    sign = 1 if own.side == BID else -1
    own.leaves -= qty
    account.true_position += sign * qty
    account.true_cash -= sign * qty * px
    account.maker_qty += qty if maker else 0
    account.taker_qty += 0 if maker else qty
    account.maker_value += abs(px) * qty if maker else 0
    account.taker_value += 0 if maker else abs(px) * qty
    account.n_fills += 1
    if ex.keep_log:
        f = fills[ex.n_fills]
        f.ts = ts
        f.order_id = own.id
        f.row = row
        f.px = px
        f.qty = qty
        f.account = own.account
        f.side = own.side
        f.maker = maker
        ex.n_fills += 1
    report(ex, reports, orders, o, FILL_REPORT, px, qty, ts)
    if own.leaves == 0:
        finish(ex, accounts, orders, done, o, FILLED, ts)


@kernel
def take(levels, pages, words, tree, sides, ex, accounts, orders, reports, fills, done, o, limit, maker, ts, row):
    """Order `o` trades against opposite levels at or through `limit`, best first, as far as they go.

    maker : False: at each level's price; True: it was resting, all at its own price, one fill
    """
    own = orders[o]
    opposite = 1 - np.int64(own.side)
    key = sides[opposite].best
    passive = 0
    while key != NO_KEY and key >= limit and own.leaves > passive:
        px = key_of(opposite, key)
        i = level_index(pages, sides, opposite, px)
        t = taken_entry(levels, orders, i, own.account)
        free = levels[i].qty - (orders[t].qty if t >= 0 else 0)
        qty = min(own.leaves - passive, free)
        if qty > 0:
            note_taken(ex, levels, orders, i, own.account, qty)
            if maker:
                passive += qty
            else:
                fill(ex, accounts, orders, reports, fills, done, o, px, qty, 0, ts, row)
        key = next_level(pages, words, tree, sides, opposite, px)
    if passive > 0:
        fill(ex, accounts, orders, reports, fills, done, o, own.px, passive, 1, ts, row)


# --- the market moves -----------------------------------------------------------------------------
@helper
def share(accounts, k, row, lots):
    """Lots of row `row`'s execution that are left for account k."""
    if accounts[k].seen_row != row:
        accounts[k].seen_row = row
        accounts[k].seen_qty = 0
    return lots - accounts[k].seen_qty


@kernel
def trade_through(
    levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done, side, key, lots, ts, row
):
    """Own orders at prices better than an execution's (`key`) would have met it first; best price first."""
    best = own_sides[side].best
    while best != NO_KEY and best > key:
        px = key_of(side, best)
        i = level_index(pages, sides, side, px)
        o = levels[i].own - 1
        last = orders[o].prev
        while True:
            after = orders[o].next
            if orders[o].kind != TAKEN:
                k = orders[o].account
                qty = min(orders[o].leaves, share(accounts, k, row, lots))
                if qty > 0:
                    accounts[k].seen_qty += qty
                    fill(ex, accounts, orders, reports, fills, done, o, px, qty, 1, ts, row)
                    if orders[o].leaves == 0:
                        leave(levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, orders, o)
            if o == last:
                break
            o = after
        best = next_level(pages, own_words, own_tree, own_sides, side, px)


@helper
def at_level(
    levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done, event, i, ts, row
):
    """A row changed level `i`, where we have entries: queues move up, executions fill, what we took is refreshed."""
    lots = -np.int64(event.qty)
    is_exec = event.kind == EXEC
    o = levels[i].own - 1
    last = orders[o].prev
    while True:
        after = orders[o].next
        if orders[o].kind == TAKEN:
            if is_exec:
                orders[o].qty -= lots
            orders[o].qty = min(orders[o].qty, levels[i].qty)
            if orders[o].qty <= 0:
                drop_taken(ex, levels, orders, o)
        elif lots > 0 and event.prio < orders[o].stamp:
            orders[o].ahead -= lots
        elif is_exec:
            k = orders[o].account
            qty = min(orders[o].leaves, share(accounts, k, row, lots))
            if qty > 0:
                accounts[k].seen_qty += qty
                fill(ex, accounts, orders, reports, fills, done, o, orders[o].px, qty, 1, ts, row)
                if orders[o].leaves == 0:
                    leave(levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, orders, o)
        if o == last:
            break
        o = after


@kernel
def meet(
    levels, pages, words, tree, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done, side, ts, row
):
    """At an event's end: own orders of `side` that opposite orders now reach fill at their own price, best first."""
    best = own_sides[side].best
    while best != NO_KEY and sides[1 - side].best != NO_KEY and best >= -sides[1 - side].best:
        px = key_of(side, best)
        i = level_index(pages, sides, side, px)
        o = levels[i].own - 1
        last = orders[o].prev
        while True:
            after = orders[o].next
            if orders[o].kind != TAKEN:
                take(levels, pages, words, tree, sides, ex, accounts, orders, reports, fills, done, o, -best, True, ts, row)
                if orders[o].leaves == 0:
                    leave(levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, orders, o)
            if o == last:
                break
            o = after
        best = next_level(pages, own_words, own_tree, own_sides, side, px)


# --- messages arrive ------------------------------------------------------------------------------
@helper
def slot_in_table(pages, sides, px):
    """Page table entry of `px`, or -1 when the price is beyond the table."""
    slot = (px >> SHIFT) - sides[0].first_slot
    return slot if 0 <= slot < len(pages) else -1


@helper
def arrive(
    levels, pages, words, tree, free, sides, own_words, own_tree, own_sides, ex, accounts, orders, reports, fills, done, o, what, ts, row
):
    """A message reaches the exchange: a new order takes what it can and rests or is cancelled; a cancel ends a working one."""
    own = orders[o]
    own.in_flight -= 1
    if what != NEW:
        if own.state == WORKING:
            leave(levels, pages, words, free, sides, own_words, own_tree, own_sides, ex, orders, o)
            report(ex, reports, orders, o, CANCELLED_REPORT, 0, 0, ts)
            finish(ex, accounts, orders, done, o, CANCELLED, ts)
        else:
            give_back(orders, accounts, o)
        return
    own.arrived = ts
    own.stamp = row
    side = np.int64(own.side)
    slot = slot_in_table(pages, sides, own.px) if own.kind == LIMIT else 0
    if slot < 0:
        report(ex, reports, orders, o, REJECTED_REPORT, 0, 0, ts)
        finish(ex, accounts, orders, done, o, REJECTED, ts)
        return
    own.state = WORKING
    report(ex, reports, orders, o, ACK, 0, 0, ts)
    limit = -key_of(side, own.px) if own.kind == LIMIT else -UNDEF_PRICE
    if sides[1 - side].best >= limit and not is_crossed(sides):  # a quote that rests is spared the call
        take(levels, pages, words, tree, sides, ex, accounts, orders, reports, fills, done, o, limit, False, ts, row)
    if own.leaves == 0:
        return
    if own.kind == MARKET:
        report(ex, reports, orders, o, CANCELLED_REPORT, 0, 0, ts)
        finish(ex, accounts, orders, done, o, CANCELLED, ts)
        return
    if pages[slot] == 0:
        open_page(pages, free, sides, slot)
    i = level_index(pages, sides, side, own.px)
    if is_last_order(levels, orders, i):
        mark_level(pages, own_words, own_tree, own_sides, side, own.px)
    link(levels, orders, i, o)
    own.ahead = levels[i].qty
    own.ahead_first = own.ahead
    ex.n_resting += 1


@helper
def has_room(ex, sides, reports, fills, done):
    """True when whatever one row or message can cause fits the rings and logs."""
    most = 2 * ex.n_resting + sides[BID].n_levels + sides[ASK].n_levels + 8
    return (
        ex.tail - ex.head + most <= len(reports)
        and ex.n_fills + most <= len(fills)
        and ex.n_done + most <= len(done)
        and ex.n_taken + most <= ex.taken_capacity
        and sides[0].n_free > 1
    )
