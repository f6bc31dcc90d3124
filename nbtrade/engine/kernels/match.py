"""Own orders at the exchange: exact queue positions, fills, and the liquidity that accounts have taken.

    levels[i].own ──> entry <──> entry <──> entry      circular list, in order of arrival: OWN records of all accounts
                       order      order      TAKEN

The market is history: nothing here changes it. On arrival an own order stores the number of the next row (`stamp`): orders with an
earlier `prio` are ahead of it, all others behind. So comparing two numbers decides whether a row affects it:
- a row that removes lots of an earlier order at its price moves it up the queue;
- an execution of a later order at its price, or of any order at a worse price, would have hit it first: it fills;
- at the end of an event, opposite orders at or through its price would have traded with it: it fills.
The other fill rules differ in the stamp only: optimistic orders get the first (all others are behind), conservative ones the last.

Liquidity that an account took from a level is a TAKEN entry there, so the account cannot take it twice. Executions at the level
release it (they are the same lots), and it never exceeds the lots at the level. `own_*` is a second set of level bits, for levels with
own orders: it keeps the best of them, and finds the next with a bit scan.

Rules: README "Situation, what happens"; oracle: tests/oracle/model_exchange.py.
"""

import numpy as np

from nbtrade._numba.bits import SHIFT
from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade.book.kernels.arrays import NO_KEY
from nbtrade.book.kernels.book import clear_level_bit, close_page_if_empty, is_crossed, key_of, level_index, lots_of, next_level
from nbtrade.book.kernels.pointers import exchange_book
from nbtrade.engine.kernels.gateway import send_report
from nbtrade.engine.kernels.own_queue import add_taken, has_no_own_order, remove_taken, taken_entry, unlink
from nbtrade.engine.kernels.records import (
    CANCELLED,
    CANCELLED_REPORT,
    FILL_REPORT,
    FILLED,
    REJECTED,
    SELF_MATCH,
    TAKEN,
    accounts_at,
    fills_at,
    orders_at,
    own_levels,
)
from nbtrade.schema import ADD, ASK, BID, CANCEL, CONSERVATIVE, EXEC, OPTIMISTIC

AFTER_ALL_ROWS = 1 << 62  # a stamp after all rows


@helper
def leave_queue(instrument, o):
    """Remove an own order from its queue."""
    levels, pages, words, _, free, sides = exchange_book(instrument)
    own_words, own_tree, own_sides = own_levels(instrument)
    orders = orders_at(instrument.orders_at)
    side = np.int64(orders[o].side)
    px = np.int64(orders[o].px)
    unlink(instrument, levels, orders, o)
    instrument.n_resting -= 1
    if has_no_own_order(levels, orders, orders[o].at):
        clear_level_bit(pages, own_words, own_tree, own_sides, side, px)
    close_page_if_empty(levels, pages, words, free, sides, (px >> SHIFT) - sides[0].first_slot)


# --- order state changes --------------------------------------------------------------------------
@helper
def finish_order(instrument, o, state, reason, ts):
    """Record that an order is filled, cancelled or rejected."""
    own = orders_at(instrument.orders_at)[o]
    own.state = state
    own.reason = reason
    own.done = ts
    account = accounts_at(instrument.accounts_at)[own.account]
    account.n_cancelled += state == CANCELLED
    account.n_rejected += state == REJECTED
    if instrument.keep_log != 0:
        orders_at(instrument.done_at)[instrument.n_done] = own
        instrument.n_done += 1


@kernel
def end_order(instrument, o, reason, ts):
    """Cancel a working order that is not, or no longer, in a queue."""
    noinline()
    send_report(instrument, o, CANCELLED_REPORT, 0, 0, ts)
    finish_order(instrument, o, CANCELLED, reason, ts)


@kernel
def fill_order(instrument, o, px, qty, maker, ts, row):
    """Fill `qty` lots of order `o` at `px`. The caller takes it out of its queue when no lots are left."""
    noinline()
    own = orders_at(instrument.orders_at)[o]
    account = accounts_at(instrument.accounts_at)[own.account]
    signed = qty if own.side == BID else -qty
    value = abs(px) * qty
    own.leaves -= qty
    account.true_position += signed
    account.true_cash -= signed * px
    if maker:
        account.maker_qty += qty
        account.maker_value += value
    else:
        account.taker_qty += qty
        account.taker_value += value
    if own.side == ASK:
        account.sell_qty += qty
        account.sell_value += value
    account.n_fills += 1
    if instrument.keep_log != 0:
        f = fills_at(instrument.fills_at)[instrument.n_fills]
        f.ts = ts
        f.order_id = own.id
        f.row = row
        f.px = px
        f.qty = qty
        f.account = own.account
        f.side = own.side
        f.maker = maker
        instrument.n_fills += 1
    send_report(instrument, o, FILL_REPORT, px, qty, ts)
    if own.leaves == 0:
        finish_order(instrument, o, FILLED, 0, ts)


@kernel
def cancel_crossing(instrument, k, side, key, ts):
    """Self-match prevention: cancel account k's resting orders on `side` at `key` or better, best first."""
    noinline()
    levels, pages, _, _, _, sides = exchange_book(instrument)
    own_words, own_tree, own_sides = own_levels(instrument)
    orders = orders_at(instrument.orders_at)
    best = own_sides[side].best
    while best != NO_KEY and best >= key:
        px = key_of(side, best)
        o = levels[level_index(pages, sides, side, px)].own - 1
        last = orders[o].prev
        while True:
            after = orders[o].next
            if orders[o].instructions != TAKEN and orders[o].account == k:
                leave_queue(instrument, o)
                end_order(instrument, o, SELF_MATCH, ts)
            if o == last:
                break
            o = after
        best = next_level(pages, own_words, own_tree, own_sides, side, px)


@kernel
def available(instrument, k, side, limit, enough):
    """Lots available to an order of account k on `side` at or through `limit` (opposite key); stops counting at `enough`."""
    noinline()
    levels, pages, words, tree, _, sides = exchange_book(instrument)
    orders = orders_at(instrument.orders_at)
    opposite = 1 - side
    key = sides[opposite].best
    lots = 0
    while key != NO_KEY and key >= limit and lots < enough:
        px = key_of(opposite, key)
        i = level_index(pages, sides, opposite, px)
        t = taken_entry(levels, orders, i, k)
        lots += max(0, lots_of(levels[i]) - (orders[t].ahead if t >= 0 else 0))
        key = next_level(pages, words, tree, sides, opposite, px)
    return lots


@kernel
def take_liquidity(instrument, o, limit, maker, ts, row):
    """Fill order `o` against opposite levels at or through `limit`, best first, until it or they are exhausted.

    maker : False: one fill at each level's price; True: the order was resting, so a single fill at its own price
    """
    noinline()
    levels, pages, words, tree, _, sides = exchange_book(instrument)
    own_sides = own_levels(instrument)[2]
    orders = orders_at(instrument.orders_at)
    own = orders[o]
    opposite = 1 - np.int64(own.side)
    key = sides[opposite].best
    passive = 0
    while key != NO_KEY and key >= limit and own.leaves > passive:
        px = key_of(opposite, key)
        i = level_index(pages, sides, opposite, px)
        t = taken_entry(levels, orders, i, own.account)
        free = lots_of(levels[i]) - (orders[t].ahead if t >= 0 else 0)
        qty = min(own.leaves - passive, free)
        if qty > 0:
            if not maker and own_sides[opposite].best >= key:
                cancel_crossing(instrument, own.account, opposite, key, ts)
            add_taken(instrument, levels, orders, i, opposite, px, own.account, qty)
            if maker:
                passive += qty
            else:
                fill_order(instrument, o, px, qty, False, ts, row)
        key = next_level(pages, words, tree, sides, opposite, px)
    if passive > 0:
        fill_order(instrument, o, np.int64(own.px), passive, True, ts, row)


# --- effects of market rows -----------------------------------------------------------------------
@helper
def fill_share(instrument, o, lots, ts, row):
    """Fill resting order `o` from the `lots` that row `row` executed, less the lots that its account's other orders already got."""
    own = orders_at(instrument.orders_at)[o]
    account = accounts_at(instrument.accounts_at)[own.account]
    if account.shared_row != row:
        account.shared_row = row
        account.shared_qty = 0
    qty = min(own.leaves, lots - account.shared_qty)
    if qty > 0:
        account.shared_qty += qty
        fill_order(instrument, o, np.int64(own.px), qty, True, ts, row)
        if own.leaves == 0:
            leave_queue(instrument, o)


@kernel
def trade_through(instrument, side, key, lots, ts, row):
    """Fill own orders at better prices than an execution's (`key`), best first: it would have hit them first."""
    noinline()
    levels, pages, _, _, _, sides = exchange_book(instrument)
    own_words, own_tree, own_sides = own_levels(instrument)
    orders = orders_at(instrument.orders_at)
    best = own_sides[side].best
    while best != NO_KEY and best > key:
        px = key_of(side, best)
        o = levels[level_index(pages, sides, side, px)].own - 1
        last = orders[o].prev
        while True:
            after = orders[o].next
            if orders[o].instructions != TAKEN:
                fill_share(instrument, o, lots, ts, row)
            if o == last:
                break
            o = after
        best = next_level(pages, own_words, own_tree, own_sides, side, px)


@kernel
def update_queue(instrument, event, i, shared, ts, row):
    """Apply a row to our entries at level `i`: advance queue positions, fill from executions, shrink TAKEN entries.

    shared : lots of the execution that begins with this row, over all its rows; 0 for any other row
    """
    noinline()
    levels = exchange_book(instrument)[0]
    orders = orders_at(instrument.orders_at)
    lots = -np.int64(event.qty)
    prio = event.prio
    is_exec = event.kind == EXEC
    o = levels[i].own - 1
    last = orders[o].prev
    if event.kind == CANCEL and instrument.n_taken == 0 and instrument.all_fifo != 0:
        while prio < orders[last].stamp:  # stamps ascend along the list: the orders behind the cancelled one are at its end
            orders[last].ahead -= lots
            if last == o:
                break
            last = orders[last].prev
        return
    while True:
        own = orders[o]
        after = own.next
        if own.instructions == TAKEN:
            if is_exec:
                own.ahead -= lots
            own.ahead = min(own.ahead, lots_of(levels[i]))
            if own.ahead <= 0:
                remove_taken(instrument, levels, orders, o)
        elif event.kind == ADD:  # from a snapshot: it was already ahead of the own orders
            own.ahead -= 0 if own.rule == OPTIMISTIC else lots
            own.joined = row + 1
            own.stamp = own.joined if own.rule == 0 else own.stamp
        elif prio < own.stamp:
            own.ahead -= lots if prio < own.joined else 0
        elif shared > 0:
            fill_share(instrument, o, shared, ts, row)
        if o == last:
            break
        o = after


@kernel
def fill_crossed_side(instrument, side, ts, row):
    """At the end of an event: fill own orders on `side` that opposite prices now reach, at their own price, best first."""
    noinline()
    levels, pages, _, _, _, sides = exchange_book(instrument)
    own_words, own_tree, own_sides = own_levels(instrument)
    orders = orders_at(instrument.orders_at)
    best = own_sides[side].best
    while best != NO_KEY and sides[1 - side].best != NO_KEY and best >= -sides[1 - side].best:
        px = key_of(side, best)
        o = levels[level_index(pages, sides, side, px)].own - 1
        last = orders[o].prev
        while True:
            after = orders[o].next
            if orders[o].instructions != TAKEN:
                take_liquidity(instrument, o, -best, True, ts, row)
                if orders[o].leaves == 0:
                    leave_queue(instrument, o)
            if o == last:
                break
            o = after
        best = next_level(pages, own_words, own_tree, own_sides, side, px)


@kernel
def fill_crossed(instrument, ts, row):
    """Fill own orders after an event that left an opposite price at or through them; none while the market itself is crossed."""
    noinline()
    sides = exchange_book(instrument)[5]
    own_sides = own_levels(instrument)[2]
    if is_crossed(sides):
        return
    for side in range(2):
        if own_sides[side].best != NO_KEY:
            fill_crossed_side(instrument, side, ts, row)


@helper
def stamp_of(rule, row):
    """The stamp of an order that joins its queue before row `row`."""
    if rule == CONSERVATIVE:
        return AFTER_ALL_ROWS
    return row if rule == 0 else 0
