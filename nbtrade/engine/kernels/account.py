"""A strategy's account: sending, replacing and cancelling orders, and their state according to the reports received.

    strategy ── submit / replace / cancel ──> message ── entry latency ──> exchange (engine/kernels/order_entry.py)
        ^                                                                       │
        └──── position and orders as reported <─── response latency ─── report ┘

Risk limits are checked here before a message is sent, against the account's own view. So are an order's values: `is_order` holds for
every order and replace that is sent. NaN as an integer is -2**63 (`math.floor`), and the messages' fields have 32 bits, so without this
check such a price would become 0.
"""

from functools import partial

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.readonly import engine_record
from nbtrade._numba.records import method
from nbtrade.book.kernels.pointers import events_at
from nbtrade.engine.kernels.gateway import send_message, set_requested_qty
from nbtrade.engine.kernels.market import market_of, qty_at
from nbtrade.engine.kernels.records import (
    ACCOUNT,
    BAD_ORDER,
    CANCEL_ORDER,
    IS_MARKET,
    MAX_PX,
    NEW,
    NO_SLOT,
    NOT_OPEN,
    OWN_BYTES,
    POST,
    REPLACE,
    RISK_LOSS,
    RISK_OPEN,
    RISK_ORDER,
    RISK_POSITION,
    RISK_RATE,
    SENT,
    TIF,
    TOO_MANY,
    WORKING,
    instrument_at,
    own_at,
)
from nbtrade.engine.kernels.shown import AccountRecord, AccountType, shown_account_at, shown_order_at
from nbtrade.schema import ASK, BID, DAY, FOK, GTC, IOC, LIMIT, MARKET, NONE, OPTIMISTIC, TRADE, UNDEF_PRICE, UNKNOWN

MARKET_INSTRUCTIONS = IS_MARKET | IOC << TIF

account_method = partial(method, AccountType, AccountRecord, inside=engine_record(ACCOUNT))


@helper
def own_of(account, slot):
    """The OWN record in `slot`."""
    return own_at(account.orders_at + slot * OWN_BYTES)


@helper
def _refuse(account, cause):
    account.n_refused += 1
    account.reject_reason = cause
    account.refusals[cause] += 1
    return False


@helper
def is_order(side, px, qty):
    """True for a side, a price (ticks) and a size (lots) that an order can have."""
    return (side == BID or side == ASK) and -MAX_PX <= px <= MAX_PX and 0 < qty <= MAX_PX


@helper
def _is_beyond_loss(account):
    """True when the account, marked at the mid, has lost more than `max_loss`. False while the market is one-sided."""
    m = market_of(account)
    if m.bid_px == UNDEF_PRICE or m.ask_px == UNDEF_PRICE:
        return False
    return 2 * account.cash + account.position * (m.bid_px + m.ask_px) < -2 * account.max_loss


@kernel
def is_allowed(account, side, qty, more, is_new):
    """True when the account's limits allow an order of `qty` lots that adds `more` lots to its side."""
    noinline()
    if qty % account.lot != 0:
        return _refuse(account, BAD_ORDER)
    if account.max_order > 0 and qty > account.max_order:
        return _refuse(account, RISK_ORDER)
    signed = account.position if side == BID else -account.position
    held = signed + (account.open_bid if side == BID else account.open_ask)
    if account.max_position > 0 and more > 0 and held + more > account.max_position:
        return _refuse(account, RISK_POSITION)
    if account.max_open > 0 and is_new and account.n_open >= account.max_open:
        return _refuse(account, RISK_OPEN)
    if account.max_loss > 0 and held + more > 0 and _is_beyond_loss(account):
        return _refuse(account, RISK_LOSS)
    if account.max_rate > 0:
        window = instrument_at(account.instrument_at).now // account.rate_interval
        if window != account.rate_window:
            account.rate_window = window
            account.rate_count = 0
        if account.rate_count >= account.max_rate:
            return _refuse(account, RISK_RATE)
        account.rate_count += 1
    return True


@helper
def instructions_of(type_, tif, post_only):
    """OWN's byte `instructions`; -1 for a combination that no order can have. A market order that is GTC by default is IOC."""
    if not (LIMIT <= type_ <= MARKET and GTC <= tif <= FOK and 0 <= post_only <= 1):
        return np.int64(-1)
    if type_ == MARKET:
        if tif == DAY or post_only != 0:
            return np.int64(-1)
        tif = FOK if tif == FOK else IOC
    elif post_only != 0 and tif >= IOC:
        return np.int64(-1)
    return np.int64(type_) | np.int64(tif) << TIF | np.int64(post_only) << POST


@kernel
def new_order(account, side, px, qty, instructions):
    """Fill a slot and send it. Returns the slot, or -1 when it was refused."""
    noinline()
    if not is_order(side, px, qty) or instructions < 0:
        _refuse(account, BAD_ORDER)
        return NONE
    slot = account.free
    if slot < 0:
        _refuse(account, NO_SLOT)
        return NONE
    if account.has_limits != 0 and not is_allowed(account, side, qty, qty, True):
        return NONE
    own = own_of(account, slot)
    account.free = own.next
    own.id = account.n_orders
    own.requested_px = px
    own.requested_qty = qty
    own.known_leaves = qty
    own.filled = 0
    own.pending_replaces = 0
    own.status = SENT
    own.cancelling = 0
    own.side = side
    own.instructions = instructions
    own.state = SENT
    own.reason = 0
    own.rule = account.rule
    own.px = px
    own.qty = qty
    own.leaves = qty
    own.ahead = 0
    own.ahead_first = 0
    own.joined = 0
    own.stamp = 0
    own.sent = instrument_at(account.instrument_at).now
    own.arrived = 0
    own.done = 0
    account.n_orders += 1
    account.n_open += 1
    if side == BID:
        account.open_bid += qty
    else:
        account.open_ask += qty
    send_message(account, account.first + slot, NEW, px, qty)
    return slot


@account_method("submit")
@helper
def submit(account, side, px, qty, type=LIMIT, tif=GTC, post_only=False):  # noqa: A002 - FIX's and Databento's word
    """Send an order. A market order's price is ignored."""
    return new_order(account, side, 0 if type == MARKET else px, qty, instructions_of(type, tif, post_only))


@account_method("market")
@helper
def market(account, side, qty):
    """Send a market order; lots that the book cannot fill are cancelled."""
    return new_order(account, side, 0, qty, MARKET_INSTRUCTIONS)


@account_method("is_open")
@helper
def is_open(account, slot):
    """True while the order in `slot` is not known to be done."""
    if slot < 0 or slot >= account.capacity:
        return False
    status = own_of(account, slot).status
    return status == SENT or status == WORKING


@account_method("order")
@helper
def order(account, slot):
    """The order in `slot`, according to the reports received.

    Raises IndexError for a slot outside the account: the memory there belongs to another account.
    """
    if slot < 0 or slot >= account.capacity:
        raise IndexError("an account has order slots 0 to account.capacity - 1")
    return shown_order_at(account.orders_at + slot * OWN_BYTES)


@account_method("cancel")
@helper
def cancel(account, slot):
    """Send a cancel for the order in `slot`, unless it is done or already being cancelled. Returns True if sent."""
    if not is_open(account, slot):
        return _refuse(account, NOT_OPEN)
    own = own_of(account, slot)
    if own.cancelling != 0:
        return _refuse(account, NOT_OPEN)
    own.cancelling = 1
    send_message(account, account.first + slot, CANCEL_ORDER, 0, 0)
    return True


@kernel
def change_order(account, slot, px, qty):
    """As `replace`."""
    noinline()
    if not is_open(account, slot):
        return _refuse(account, NOT_OPEN)
    own = own_of(account, slot)
    if own.cancelling != 0 or own.instructions & IS_MARKET != 0:
        return _refuse(account, NOT_OPEN)
    if not is_order(own.side, px, qty):
        return _refuse(account, BAD_ORDER)
    if account.in_flight >= 2 * account.capacity:
        return _refuse(account, TOO_MANY)
    if account.has_limits != 0 and not is_allowed(account, own.side, qty, qty - own.requested_qty, False):
        return False
    set_requested_qty(account, own, qty)
    own.requested_px = px
    own.pending_replaces += 1
    send_message(account, account.first + slot, REPLACE, px, qty)
    return True


@account_method("replace")
@helper
def replace(account, slot, px, qty):
    """Request a new price (ticks) and total size (lots, filled ones included) for an open order. Returns True if sent.

    A new price or a larger size puts it at the back of the queue; a smaller size keeps its queue position, unless all of it is filled
    already: then the order ends.
    """
    return change_order(account, slot, px, qty)


@kernel
def cancel_orders(account):
    """As `cancel_all`."""
    noinline()
    n = 0
    if account.n_open > 0:
        for slot in range(account.capacity):
            if is_open(account, slot) and own_of(account, slot).cancelling == 0:
                n += cancel(account, slot)
    return n


@account_method("cancel_all")
@helper
def cancel_all(account):
    """Send a cancel for every open order. Returns how many were sent."""
    return cancel_orders(account)


@account_method("flatten")
@helper
def flatten(account):
    """Cancel everything and send a market order for the known position. Returns its slot, -1 when there is none.

    A position larger than the largest order takes several calls.
    """
    cancel_orders(account)
    position = account.position
    if position == 0:
        return NONE
    return new_order(account, ASK if position > 0 else BID, 0, min(abs(position), MAX_PX), MARKET_INSTRUCTIONS)


@kernel
def requote(account, slot, is_ours, side, px, qty, instructions):
    """Replace or cancel a quote that differs from the requested one, or send a new one. is_ours : `slot` still has the last quote"""
    noinline()
    stands = is_ours and is_open(account, slot) and own_of(account, slot).cancelling == 0
    filled = np.int64(own_of(account, slot).filled) if stands else np.int64(0)
    is_wanted = qty > 0 or qty < -MAX_PX
    if is_wanted and not (is_order(side, px, qty) and qty <= MAX_PX - filled):
        _refuse(account, BAD_ORDER)
        is_wanted = False  # no quote is better than one at an old price
    if stands:
        if is_wanted:
            change_order(account, slot, px, filled + qty)
        else:
            cancel(account, slot)
        return slot
    slot = new_order(account, side, px, qty, instructions) if is_wanted else NONE
    if side == BID:
        account.quote_bid = slot
        account.quote_bid_id = account.n_orders - 1
    else:
        account.quote_ask = slot
        account.quote_ask_id = account.n_orders - 1
    return slot


@account_method("quote")
@helper
def quote(account, side, px, qty, tif=GTC, post_only=False):
    """Keep one order of `qty` lots at `px`. A new order gets `tif` and `post_only`; an open one keeps its own."""
    if side != BID and side != ASK:
        _refuse(account, BAD_ORDER)
        return NONE
    slot = account.quote_bid if side == BID else account.quote_ask
    is_ours = False
    if slot >= 0:
        own = own_of(account, slot)
        is_ours = own.id == (account.quote_bid_id if side == BID else account.quote_ask_id)
        if (
            is_ours
            and 0 < qty <= MAX_PX
            and own.requested_px == px
            and own.cancelling == 0
            and (own.status == SENT or own.status == WORKING)
        ):
            return slot
    elif -MAX_PX <= qty <= 0:
        return slot
    instructions = instructions_of(LIMIT, tif, post_only) if tif < IOC else np.int64(-1)  # a quote is an order that rests
    return requote(account, slot, is_ours, side, px, qty, instructions)


@kernel
def queue_ahead(account, slot):
    """As `ahead`."""
    noinline()
    if not is_open(account, slot):
        return UNKNOWN
    own = own_of(account, slot)
    instrument = instrument_at(account.instrument_at)
    joined = own.joined - instrument.base_row
    if own.in_flight > 0 or instrument.local_row < joined:
        return UNKNOWN
    events = events_at(instrument.events_at)
    lots = own.ahead
    if own.rule != OPTIMISTIC:
        for i in range(instrument.local_row, instrument.exchange_row):  # rows the exchange has seen but the strategy has not
            event = events[i]
            if event.kind < TRADE and event.px == own.px and event.side == own.side and event.prio < own.joined:
                lots -= event.qty
    return lots


@account_method("ahead")
@helper
def ahead(account, slot):
    """Lots of the market ahead of the order in `slot`, as of the local clock; UNKNOWN before it has reached the queue."""
    return queue_ahead(account, slot)


@account_method("behind")
@helper
def behind(account, slot):
    """Lots of the market behind the order at its price, as of the local clock; UNKNOWN whenever `ahead` is."""
    lots = queue_ahead(account, slot)
    if lots < 0:
        return lots
    own = own_of(account, slot)
    return max(0, qty_at(market_of(account), np.int64(own.side), np.int64(own.px)) - lots)


@account_method("on")
@helper
def on(account, i):
    """The same account on instrument `i` of the run: its orders, position and cash there."""
    if i < 0 or i >= account.n_instruments:
        raise IndexError("account.on: the run has no instrument of this number")
    return shown_account_at(account.self_at + (i - account.instrument) * account.stride)
