"""Messages to the exchange and reports back: two ring buffers for each instrument, in order of arrival.

Latency may vary, but messages of one account never overtake each other: none arrives before the account's previous one. Between accounts
a message sent later may arrive earlier, so a new entry is inserted in order of arrival; with constant latency it goes straight to the end.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade.engine.kernels.latency import entry_latency, response_latency
from nbtrade.engine.kernels.records import (
    ACK,
    CANCELLED,
    CANCELLED_REPORT,
    FILL_REPORT,
    FILLED,
    FREE,
    NEVER,
    REJECTED,
    REPLACE_REJECTED,
    REPLACED,
    TOO_LATE,
    WORKING,
    accounts_at,
    instrument_at,
    messages_at,
    orders_at,
    reports_at,
)
from nbtrade.schema import BID, Wake


@helper
def _insert(ring, mask, head, tail, arrive):
    """Make room in the ring for an entry that arrives at `arrive`; returns that entry, to be written."""
    i = tail
    while i > head and ring[(i - 1) & mask].arrive > arrive:
        ring[i & mask] = ring[(i - 1) & mask]
        i -= 1
    return ring[i & mask]


@kernel
def send_message(account, o, what, px, qty):
    """Send a message about order `o`. The ring always has room: slots and `in_flight` limit the number of messages in flight."""
    noinline()
    instrument = instrument_at(account.instrument_at)
    arrive = max(instrument.now + entry_latency(instrument, instrument.now), account.last_arrival)
    account.last_arrival = arrive
    account.in_flight += 1
    message = _insert(messages_at(instrument.messages_at), instrument.m_mask, instrument.m_head, instrument.m_tail, arrive)
    message.arrive = arrive
    message.order = o
    message.what = what
    message.px = px
    message.qty = qty
    instrument.m_tail += 1
    orders_at(instrument.orders_at)[o].in_flight += 1


@helper
def send_report(instrument, o, what, px, qty, ts):
    """Send a report to the account. The caller makes sure that the ring has room."""
    own = orders_at(instrument.orders_at)[o]
    account = accounts_at(instrument.accounts_at)[own.account]
    arrive = max(ts + response_latency(instrument, ts), account.last_report)
    account.last_report = arrive
    r = _insert(reports_at(instrument.reports_at), instrument.r_mask, instrument.r_head, instrument.r_tail, arrive)
    r.arrive = arrive
    r.px = px
    r.qty = qty
    r.order = o
    r.what = what
    instrument.r_tail += 1
    own.in_flight += 1


@helper
def release_slot(instrument, o):
    """Put order `o` on its account's free list once it is done and has no message or report in flight."""
    own = orders_at(instrument.orders_at)[o]
    if own.in_flight == 0 and own.status >= FILLED and own.state >= FILLED:
        account = accounts_at(instrument.accounts_at)[own.account]
        own.status = FREE
        own.state = FREE
        if o - account.first < account.capacity:  # the slot after these only ever closes a position
            own.next = account.free
            account.free = o - account.first


@helper
def _apply_fill(account, own, px, qty):
    """Apply a fill report: position, cash, average price of the position, realised profit."""
    signed = qty if own.side == BID else -qty
    before = account.position
    after = before + signed
    own.known_leaves -= qty
    own.filled += qty
    account.position = after
    account.cash -= signed * px
    if own.side == BID:
        account.open_bid -= qty
    else:
        account.open_ask -= qty
    if before == 0 or (before > 0) == (signed > 0):  # the position grows
        account.average_px = (account.average_px * abs(before) + px * qty) / (abs(before) + qty)
        return
    closed = min(qty, abs(before))
    account.realised += closed * (px - account.average_px) * (1 if before > 0 else -1)
    if abs(signed) > abs(before):  # through zero: the rest is a new position
        account.average_px = px
    elif after == 0:
        account.average_px = 0.0


@helper
def _apply_done(account, own):
    """Apply a report that an order is done."""
    account.n_open -= 1
    rest = own.requested_qty - own.filled
    if own.side == BID:
        account.open_bid -= rest
    else:
        account.open_ask -= rest
    own.known_leaves = 0


@helper
def set_requested_qty(account, own, qty):
    """Set the order's requested total size to `qty` lots, and adjust the account's open lots."""
    if own.side == BID:
        account.open_bid += qty - own.requested_qty
    else:
        account.open_ask += qty - own.requested_qty
    own.requested_qty = qty


@helper
def wake_bit_of(what):
    """The wake bit of a report."""
    return Wake.FILL if what == FILL_REPORT else 0 if what == TOO_LATE else Wake.ACK


@kernel
def deliver_reports(instrument, until):
    """Apply the reports that have arrived by `until` to the accounts' view of orders and positions."""
    noinline()
    reports = reports_at(instrument.reports_at)
    orders = orders_at(instrument.orders_at)
    accounts = accounts_at(instrument.accounts_at)
    while instrument.r_head < instrument.r_tail and reports[instrument.r_head & instrument.r_mask].arrive <= until:
        r = reports[instrument.r_head & instrument.r_mask]
        own = orders[r.order]
        account = accounts[own.account]
        own.in_flight -= 1
        account.wake_bits |= wake_bit_of(r.what)
        if r.what == ACK:
            own.status = WORKING
        elif r.what == FILL_REPORT:
            _apply_fill(account, own, np.int64(r.px), np.int64(r.qty))  # without the JIT their product would be an i4
            if own.known_leaves == 0:
                own.status = FILLED
        elif r.what == REPLACED:
            own.known_leaves = r.qty
            own.pending_replaces -= 1
        elif r.what == REPLACE_REJECTED:
            own.pending_replaces -= 1
            if own.pending_replaces == 0:  # otherwise a later replace is pending, and its values are the ones requested
                own.requested_px = r.px
                set_requested_qty(account, own, r.qty)
        elif r.what != TOO_LATE:
            own.status = CANCELLED if r.what == CANCELLED_REPORT else REJECTED
        if own.status >= FILLED and r.what != TOO_LATE:
            _apply_done(account, own)
        release_slot(instrument, r.order)
        instrument.r_head += 1


@kernel
def deliver_all(instruments):
    """Apply every report in flight, between sessions. instruments : INSTRUMENT_STATE[1]"""
    deliver_reports(instruments[0], NEVER)


@helper
def first_waking_report(instrument, wakes, never):
    """Arrival time of the first report in flight that wakes its account; `never` if none does."""
    reports = reports_at(instrument.reports_at)
    for i in range(instrument.r_head, instrument.r_tail):
        r = reports[i & instrument.r_mask]
        if wakes & wake_bit_of(r.what):
            return r.arrive
    return never
