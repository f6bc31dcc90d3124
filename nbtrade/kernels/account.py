"""Accounts, own orders, and the messages between us and the exchange.

    strategy ── account.submit/cancel ──> MESSAGE ring ── entry latency ──> exchange (kernels/match.py)
        ^                                                                        │
        └── account (position, orders as we know them) <── response latency ── REPORT ring

An order has two sides in one record: what the exchange knows (`state`, `leaves`, `ahead`) and what we know (`status`, `left`),
which follows when reports arrive. A slot is used again once both are done with it and nothing of it is in flight.

Money is exact here: `cash` and `*_value` count tick-lots in int64; currency and fees begin in results.
"""

import numpy as np

from nbtrade._jit import helper, kernel
from nbtrade.kernels.views import method, new_record_class, record_at, record_type
from nbtrade.schema import BID, NONE

# states of an order, at the exchange and as we know it
FREE, SENT, WORKING, FILLED, CANCELLED, REJECTED = range(6)
STATES = ("free", "sent", "working", "filled", "cancelled", "rejected")
LIMIT, MARKET = 0, 1
NEW, CANCEL_ORDER = 0, 1  # messages
ACK, FILL_REPORT, CANCELLED_REPORT, REJECTED_REPORT = range(4)  # reports

OWN = np.dtype(
    [
        ("id", "i8"),  # the account's orders are numbered from 0
        ("px", "i8"),  # ticks
        ("qty", "i8"),  # lots ordered
        ("left", "i8"),  # lots left as we know it
        ("leaves", "i8"),  # lots left at the exchange
        ("ahead", "i8"),  # lots of the market before us at our price
        ("ahead_first", "i8"),  # the same on arrival
        ("stamp", "i8"),  # row of the tape when we joined: rows with an earlier prio are before us
        ("sent", "i8"),  # ts
        ("arrived", "i8"),  # ts at the exchange
        ("done", "i8"),  # ts at the exchange
        ("next", "i4"),  # list of our entries at the level, circular; free list of the account
        ("prev", "i4"),
        ("account", "i4"),
        ("at", "i4"),  # index of its level
        ("in_flight", "i4"),  # messages and reports under way
        ("side", "i1"),
        ("kind", "i1"),  # LIMIT MARKET; TAKEN for liquidity we took (kernels/match.py)
        ("state", "i1"),  # at the exchange
        ("status", "i1"),  # as we know it
        ("cancelling", "i1"),  # a cancel is under way
    ],
    align=True,
)

ACCOUNT = np.dtype(
    [
        # as we know it: from reports that have arrived
        ("position", "i8"),  # lots
        ("cash", "i8"),  # tick-lots
        ("n_open", "i8"),  # orders not known to be done
        ("n_refused", "i8"),  # orders not sent, for want of a slot or a quantity
        # at the exchange
        ("true_position", "i8"),
        ("true_cash", "i8"),
        ("maker_qty", "i8"),  # lots
        ("taker_qty", "i8"),
        ("maker_value", "i8"),  # tick-lots
        ("taker_value", "i8"),
        ("n_orders", "i8"),
        ("n_fills", "i8"),
        ("n_cancelled", "i8"),
        ("n_rejected", "i8"),
        # inside
        ("quote_bid", "i8"),  # slot of the order that `quote` keeps, -1: none
        ("quote_ask", "i8"),
        ("free", "i8"),  # first free slot
        ("first", "i8"),  # engine's index of slot 0
        ("capacity", "i8"),
        ("index", "i8"),
        ("orders_at", "i8"),  # address of slot 0
        ("wire_at", "i8"),  # address of the WIRE record
        ("seen_row", "i8"),  # row whose execution was last shared out, and its lots given to us
        ("seen_qty", "i8"),
    ],
    align=True,
)

MESSAGE = np.dtype([("arrive", "i8"), ("order", "i4"), ("what", "i4")], align=True)
REPORT = np.dtype([("arrive", "i8"), ("px", "i8"), ("qty", "i8"), ("order", "i4"), ("what", "i4")], align=True)

# The way to the exchange. A ring can hold all that can be under way: a NEW and a CANCEL for each order slot.
WIRE = np.dtype([("now", "i8"), ("entry", "i8"), ("messages_at", "i8"), ("mask", "i8"), ("head", "i8"), ("tail", "i8")], align=True)


class AccountRecord(np.record):
    """An account without the JIT."""


AccountType = new_record_class("AccountType")
ACCOUNT_TYPE = record_type(ACCOUNT, AccountType)
account_at = record_at(ACCOUNT, ACCOUNT_TYPE, AccountRecord)
wire_at = record_at(WIRE, record_type(WIRE))
_own_at = record_at(OWN, record_type(OWN))
_message_at = record_at(MESSAGE, record_type(MESSAGE))
OWN_BYTES, MESSAGE_BYTES = OWN.itemsize, MESSAGE.itemsize


@helper
def own_of(account, slot):
    """The OWN record in `slot`."""
    return _own_at(account.orders_at + slot * OWN_BYTES)


@helper
def _send(account, slot, what):
    wire = wire_at(account.wire_at)
    message = _message_at(wire.messages_at + (wire.tail & wire.mask) * MESSAGE_BYTES)
    message.arrive = wire.now + wire.entry
    message.order = account.first + slot
    message.what = what
    wire.tail += 1
    own_of(account, slot).in_flight += 1


@helper
def _new_order(account, side, px, qty, kind):
    slot = account.free
    if slot < 0 or qty <= 0 or (side != 0 and side != 1):
        account.n_refused += 1
        return NONE
    order = own_of(account, slot)
    account.free = order.next
    order.id = account.n_orders
    order.px = px
    order.qty = qty
    order.left = qty
    order.leaves = qty
    order.ahead = 0
    order.ahead_first = 0
    order.sent = wire_at(account.wire_at).now
    order.arrived = 0
    order.done = 0
    order.side = side
    order.kind = kind
    order.state = SENT
    order.status = SENT
    order.cancelling = 0
    account.n_orders += 1
    account.n_open += 1
    _send(account, slot, NEW)
    return slot


@method(AccountType, AccountRecord, "submit")
@helper
def submit(account, side, px, qty):
    """Send a limit order: BID or ASK, px in ticks, qty in lots. Returns its slot, or -1 when it was refused."""
    return _new_order(account, side, px, qty, LIMIT)


@method(AccountType, AccountRecord, "market")
@helper
def market(account, side, qty):
    """Send a market order; what the book cannot give is cancelled. Returns its slot, or -1 when it was refused."""
    return _new_order(account, side, 0, qty, MARKET)


@method(AccountType, AccountRecord, "is_open")
@helper
def is_open(account, slot):
    """True while the order in `slot` is not known to be done."""
    if slot < 0 or slot >= account.capacity:
        return False
    status = own_of(account, slot).status
    return status == SENT or status == WORKING


@method(AccountType, AccountRecord, "order")
@helper
def order(account, slot):
    """The order in `slot`: px, side, qty, left, status, sent, cancelling (reading others of its fields is looking ahead)."""
    return own_of(account, slot)


@method(AccountType, AccountRecord, "cancel")
@helper
def cancel(account, slot):
    """Send a cancel for the order in `slot`, unless it is done or one is under way. Returns True if sent."""
    if not is_open(account, slot):
        return False
    own = own_of(account, slot)
    if own.cancelling != 0:
        return False
    own.cancelling = 1
    _send(account, slot, CANCEL_ORDER)
    return True


@method(AccountType, AccountRecord, "cancel_all")
@helper
def cancel_all(account):
    """Send a cancel for every open order. Returns how many were sent."""
    n = 0
    for slot in range(account.capacity):
        if cancel(account, slot):
            n += 1
    return n


@method(AccountType, AccountRecord, "quote")
@helper
def quote(account, side, px, qty):
    """Keep one order of `qty` lots at `px`: it stays while it works at that price, else is replaced; qty 0 withdraws.

    Returns the slot of the order that now stands for the quote, or -1.
    """
    slot = account.quote_bid if side == BID else account.quote_ask
    if is_open(account, slot):
        own = own_of(account, slot)
        if qty > 0 and own.px == px and own.cancelling == 0:
            return slot
        cancel(account, slot)
    slot = submit(account, side, px, qty) if qty > 0 else NONE
    if side == BID:
        account.quote_bid = slot
    else:
        account.quote_ask = slot
    return slot


@helper
def give_back(orders, accounts, o):
    """Put order `o` on its account's free list when nothing of it is open or under way."""
    own = orders[o]
    if own.in_flight == 0 and own.status >= FILLED and own.state >= FILLED:
        account = accounts[own.account]
        own.status = FREE
        own.state = FREE
        own.next = account.free
        account.free = o - account.first


@kernel
def deliver(reports, head, tail, until, orders, accounts):
    """Apply the reports that have arrived by `until` to what accounts know. Returns the new head of the ring.

    reports : REPORT[power of two]   orders : OWN[n]   accounts : ACCOUNT[k]
    """
    mask = len(reports) - 1
    while head < tail and reports[head & mask].arrive <= until:
        report = reports[head & mask]
        own = orders[report.order]
        account = accounts[own.account]
        own.in_flight -= 1
        if report.what == ACK:
            own.status = WORKING
        elif report.what == FILL_REPORT:
            sign = 1 if own.side == BID else -1
            own.left -= report.qty
            account.position += sign * report.qty
            account.cash -= sign * report.qty * report.px
            if own.left == 0:
                own.status = FILLED
        else:
            own.left = 0
            own.status = CANCELLED if report.what == CANCELLED_REPORT else REJECTED
        if own.status >= FILLED:
            account.n_open -= 1
        give_back(orders, accounts, report.order)
        head += 1
    return head
