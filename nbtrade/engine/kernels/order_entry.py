"""Messages that reach the exchange: new orders, cancels, replaces, and the end of a session.

A new order takes what it can; its remainder rests or is cancelled, according to its instructions. A replace keeps its queue position only
if the price stays and the size does not grow; otherwise it arrives like a new order, at the back. Source: CME's and Nasdaq's order handling
rules; README has the table.
"""

import numpy as np

from nbtrade._numba.bits import SHIFT
from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade.book.kernels.book import is_crossed, key_of, level_index, lots_of, open_page, set_level_bit
from nbtrade.book.kernels.pointers import exchange_book
from nbtrade.engine.kernels.gateway import send_report
from nbtrade.engine.kernels.match import available, cancel_crossing, end_order, finish_order, leave_queue, stamp_of, take_liquidity
from nbtrade.engine.kernels.own_queue import has_no_own_order, link
from nbtrade.engine.kernels.records import (
    ACK,
    BY_US,
    EXPIRED,
    IS_DAY,
    IS_FOK,
    IS_MARKET,
    IS_POST_ONLY,
    KILLED,
    MAX_PX,
    NEVER_RESTS,
    NEW,
    PRICE,
    REJECTED,
    REJECTED_REPORT,
    REPLACE,
    REPLACE_REJECTED,
    REPLACED,
    REPLACED_DOWN,
    SENT,
    TIF_BITS,
    TOO_LATE,
    UNFILLED,
    WORKING,
    WOULD_CROSS,
    accounts_at,
    messages_at,
    orders_at,
    own_levels,
)
from nbtrade.schema import ASK, BID, OPTIMISTIC, UNDEF_PRICE


@helper
def is_in_range(instrument, px):
    """True when the book's page table covers the price."""
    slot = (px >> SHIFT) - exchange_book(instrument)[5][0].first_slot
    return slot >= 0 and slot < instrument.n_pages_table


@helper
def would_take(instrument, own, limit):
    """True when an opposite price is within `limit` and the market is in order."""
    sides = exchange_book(instrument)[5]
    return sides[1 - np.int64(own.side)].best >= limit and not is_crossed(sides)


@helper
def join_queue(instrument, o, row):
    """Order `o` joins the back of its queue."""
    levels, pages, _, _, free, sides = exchange_book(instrument)
    own_words, own_tree, own_sides = own_levels(instrument)
    orders = orders_at(instrument.orders_at)
    own = orders[o]
    side, px = np.int64(own.side), np.int64(own.px)
    slot = (px >> SHIFT) - sides[0].first_slot
    if pages[slot] == 0:
        open_page(pages, free, sides, slot)
    i = level_index(pages, sides, side, px)
    if has_no_own_order(levels, orders, i):
        set_level_bit(pages, own_words, own_tree, own_sides, side, px)
    link(instrument, levels, orders, i, o)
    own.ahead = 0 if own.rule == OPTIMISTIC else lots_of(levels[i])
    own.ahead_first = own.ahead
    own.joined = row
    own.stamp = stamp_of(own.rule, row)
    instrument.n_resting += 1


@helper
def match_then_rest(instrument, o, ts, row):
    """Order `o`, working but not resting, takes what it can; the remainder joins its queue or is cancelled, by its instructions."""
    own = orders_at(instrument.orders_at)[o]
    side, px = np.int64(own.side), np.int64(own.px)
    limit = -UNDEF_PRICE if own.instructions & IS_MARKET != 0 else -key_of(side, px)
    if would_take(instrument, own, limit):  # skips the calls for a quote that rests
        if own.instructions & TIF_BITS == IS_FOK and available(instrument, own.account, side, limit, own.leaves) < own.leaves:
            end_order(instrument, o, KILLED, ts)
            return
        take_liquidity(instrument, o, limit, False, ts, row)
    elif own.instructions & TIF_BITS == IS_FOK:
        end_order(instrument, o, KILLED, ts)
        return
    if own.leaves == 0:
        return
    if own.instructions & NEVER_RESTS != 0:
        end_order(instrument, o, UNFILLED, ts)
        return
    opposite = 1 - side
    if own_levels(instrument)[2][opposite].best >= limit and not is_crossed(exchange_book(instrument)[5]):
        cancel_crossing(instrument, own.account, opposite, limit, ts)
    join_queue(instrument, o, row)


@helper
def arrive_new(instrument, o, ts, row):
    """A new order reaches the exchange."""
    own = orders_at(instrument.orders_at)[o]
    side, px = np.int64(own.side), np.int64(own.px)
    own.arrived = ts
    own.requeued = 0
    reason = 0
    if own.instructions & IS_MARKET == 0 and not is_in_range(instrument, px):
        reason = PRICE
    elif own.instructions & IS_POST_ONLY != 0:
        limit = -key_of(side, px)
        if would_take(instrument, own, limit) and available(instrument, own.account, side, limit, 1) > 0:
            reason = WOULD_CROSS
    if reason != 0:
        send_report(instrument, o, REJECTED_REPORT, 0, 0, ts)
        finish_order(instrument, o, REJECTED, reason, ts)
        return
    own.state = WORKING
    send_report(instrument, o, ACK, 0, 0, ts)
    match_then_rest(instrument, o, ts, row)


@helper
def reject_replace(instrument, o, reason, ts):
    """Reject a replace: the order stays unchanged."""
    own = orders_at(instrument.orders_at)[o]
    own.reason = reason
    send_report(instrument, o, REPLACE_REJECTED, own.px, own.qty, ts)


@helper
def arrive_replace(instrument, o, px, qty, ts, row):
    """A replace of a working order reaches the exchange. qty : lots in total, filled ones included"""
    own = orders_at(instrument.orders_at)[o]
    leaves = qty - (own.qty - own.leaves)
    if leaves <= 0:
        leave_queue(instrument, o)
        end_order(instrument, o, REPLACED_DOWN, ts)
        return
    side = np.int64(own.side)
    if px == own.px and leaves <= own.leaves:
        own.qty = qty
        own.leaves = leaves
        send_report(instrument, o, REPLACED, px, leaves, ts)
        return
    if not is_in_range(instrument, px):
        reject_replace(instrument, o, PRICE, ts)
        return
    limit = -key_of(side, px)
    if (
        own.instructions & IS_POST_ONLY != 0
        and would_take(instrument, own, limit)
        and available(instrument, own.account, side, limit, 1) > 0
    ):
        reject_replace(instrument, o, WOULD_CROSS, ts)
        return
    leave_queue(instrument, o)
    own.requeued = 1
    own.px = px
    own.qty = qty
    own.leaves = leaves
    send_report(instrument, o, REPLACED, px, leaves, ts)
    match_then_rest(instrument, o, ts, row)


@helper
def has_room(instrument):
    """True when the rings and logs have room for everything that one row or message can cause."""
    sides = exchange_book(instrument)[5]
    worst_case = 2 * instrument.n_resting + sides[BID].n_levels + sides[ASK].n_levels + 8
    return (
        instrument.r_tail - instrument.r_head + worst_case <= instrument.r_mask + 1
        and instrument.n_fills + worst_case <= instrument.fills_capacity
        and instrument.n_done + worst_case <= instrument.done_capacity
        and instrument.n_taken + worst_case <= instrument.taken_capacity
        and sides[0].n_free > 1
    )


@kernel
def arrive(instrument, ts):
    """The next message reaches the exchange at `ts`, after all rows so far."""
    noinline()
    message = messages_at(instrument.messages_at)[instrument.m_head & instrument.m_mask]
    instrument.m_head += 1
    o = np.int64(message.order)
    own = orders_at(instrument.orders_at)[o]
    account = accounts_at(instrument.accounts_at)[own.account]
    own.in_flight -= 1
    account.in_flight -= 1
    row = instrument.base_row + instrument.exchange_row
    if message.what == NEW:
        arrive_new(instrument, o, ts, row)
    elif own.state != WORKING:
        account.n_too_late += 1
        # the slot is freed by this report's arrival, so reuse follows the order of reports regardless of other accounts
        send_report(instrument, o, TOO_LATE, 0, 0, ts)
    elif message.what == REPLACE:
        arrive_replace(instrument, o, np.int64(message.px), np.int64(message.qty), ts, row)
    else:
        leave_queue(instrument, o)
        end_order(instrument, o, BY_US, ts)


# --- the end of a session ---------------------------------------------------------------------------
@kernel
def close_session(instruments, step, n_slots, flatten, ts):
    """End the session: DAY orders expire, others stay; positions are closed on request.

    instruments  : INSTRUMENT_STATE[1]   step : where to resume, 0 to begin   flatten : accounts to close, 0 or all
    n_slots : of all accounts, each with one extra for the order that closes its position

    Positions are closed as by a market order that arrives at the end; lots that the book cannot fill stay open.
    Returns the next step: n_slots + flatten when all is done, otherwise make room and call again.
    """
    instrument = instruments[0]
    orders, accounts = orders_at(instrument.orders_at), accounts_at(instrument.accounts_at)
    while step < n_slots + flatten and has_room(instrument):
        if step >= n_slots:
            close_position(instrument, accounts[step - n_slots], ts)
        elif orders[step].state == WORKING and orders[step].instructions & TIF_BITS == IS_DAY:
            leave_queue(instrument, step)
            end_order(instrument, step, EXPIRED, ts)
        step += 1
    return step


@helper
def close_position(instrument, account, ts):
    """Close an account's true position as a market order would, up to the size limit of one order."""
    position = account.true_position
    if position == 0:
        return
    o = account.first + account.capacity
    own = orders_at(instrument.orders_at)[o]
    own.id = account.n_orders
    own.side = ASK if position > 0 else BID
    own.instructions = IS_MARKET | NEVER_RESTS
    own.state = SENT
    own.status = SENT
    own.px = 0
    own.qty = min(abs(position), MAX_PX)
    own.requested_qty = own.qty
    own.leaves = own.qty
    own.known_leaves = own.qty
    own.filled = 0
    own.ahead_first = 0
    own.joined = 0
    own.stamp = 0
    own.sent = ts
    account.n_orders += 1
    account.n_open += 1
    account.open_bid += own.qty if position < 0 else 0
    account.open_ask += own.qty if position > 0 else 0
    arrive_new(instrument, o, ts, instrument.base_row + instrument.exchange_row)
