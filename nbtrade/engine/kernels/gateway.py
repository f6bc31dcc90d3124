"""Messages to the exchange and reports back: two rings for each instrument, in order of arrival.

Latency may vary, but nothing of one account overtakes: an arrival is never before the account's last one. Across accounts what leaves
later may arrive earlier, so a new entry moves forward past later ones; with constant latency that never happens.
"""

import numpy as np

from nbtrade._numba.jit import apart, helper, kernel
from nbtrade.engine.kernels.latency import entry_latency, response_latency
from nbtrade.engine.kernels.records import (
    ACK,
    CANCELLED,
    CANCELLED_REPORT,
    FILL_REPORT,
    FILLED,
    FREE,
    LATE,
    NEVER,
    REJECTED,
    REPLACE_REJECTED,
    REPLACED,
    WORKING,
    accounts_at,
    messages_at,
    orders_at,
    reports_at,
    venue_at,
)
from nbtrade.schema import BID, OWN_ACK, OWN_FILL


@helper
def _place(ring, mask, head, tail, arrive):
    """Make room in the ring for an entry that arrives at `arrive`; its place."""
    i = tail
    while i > head and ring[(i - 1) & mask].arrive > arrive:
        ring[i & mask] = ring[(i - 1) & mask]
        i -= 1
    return ring[i & mask]


@kernel
def send(account, o, what, px, qty):
    """Put a message about order `o` on its way. The ring has room: slots and `flying` limit what can be under way."""
    apart()
    venue = venue_at(account.venue_at)
    arrive = max(venue.now + entry_latency(venue, venue.now), account.last_arrival)
    account.last_arrival = arrive
    account.flying += 1
    message = _place(messages_at(venue.messages_at), venue.m_mask, venue.m_head, venue.m_tail, arrive)
    message.arrive = arrive
    message.order = o
    message.what = what
    message.px = px
    message.qty = qty
    venue.m_tail += 1
    orders_at(venue.orders_at)[o].in_flight += 1


@helper
def report(venue, o, what, px, qty, ts):
    """Send a report on its way back. The caller made sure that there is room."""
    own = orders_at(venue.orders_at)[o]
    account = accounts_at(venue.accounts_at)[own.account]
    arrive = max(ts + response_latency(venue, ts), account.last_report)
    account.last_report = arrive
    r = _place(reports_at(venue.reports_at), venue.r_mask, venue.r_head, venue.r_tail, arrive)
    r.arrive = arrive
    r.px = px
    r.qty = qty
    r.order = o
    r.what = what
    venue.r_tail += 1
    own.in_flight += 1


@helper
def give_back(venue, o):
    """Put order `o` on its account's free list when nothing of it is open or under way."""
    own = orders_at(venue.orders_at)[o]
    if own.in_flight == 0 and own.status >= FILLED and own.state >= FILLED:
        account = accounts_at(venue.accounts_at)[own.account]
        own.status = FREE
        own.state = FREE
        if o - account.first < account.capacity:  # the slot after them is for closing a position only
            own.next = account.free
            account.free = o - account.first


@helper
def _know_fill(account, own, px, qty):
    """A fill's report: position, cash, and the position's average price and realised profit."""
    signed = qty if own.side == BID else -qty
    before = account.position
    after = before + signed
    own.left -= qty
    own.filled += qty
    account.position = after
    account.cash -= signed * px
    if own.side == BID:
        account.open_bid -= qty
    else:
        account.open_ask -= qty
    if before == 0 or (before > 0) == (signed > 0):  # it grows
        account.average_px = (account.average_px * abs(before) + px * qty) / (abs(before) + qty)
        return
    closed = min(qty, abs(before))
    account.realised += closed * (px - account.average_px) * (1 if before > 0 else -1)
    if abs(signed) > abs(before):  # through zero: the rest is a new position
        account.average_px = px
    elif after == 0:
        account.average_px = 0.0


@helper
def _know_done(account, own):
    """An order is known to be done."""
    account.n_open -= 1
    rest = own.want_qty - own.filled
    if own.side == BID:
        account.open_bid -= rest
    else:
        account.open_ask -= rest
    own.left = 0


@helper
def know_want(account, own, qty):
    """What we last asked the order to be, in total lots, changes to `qty`."""
    if own.side == BID:
        account.open_bid += qty - own.want_qty
    else:
        account.open_ask += qty - own.want_qty
    own.want_qty = qty


@helper
def wakes_by(what):
    """The wake bit of a report."""
    return OWN_FILL if what == FILL_REPORT else 0 if what == LATE else OWN_ACK


@kernel
def deliver(venue, until):
    """Apply the reports that have arrived by `until` to what accounts know."""
    apart()
    reports = reports_at(venue.reports_at)
    orders = orders_at(venue.orders_at)
    accounts = accounts_at(venue.accounts_at)
    while venue.r_head < venue.r_tail and reports[venue.r_head & venue.r_mask].arrive <= until:
        r = reports[venue.r_head & venue.r_mask]
        own = orders[r.order]
        account = accounts[own.account]
        own.in_flight -= 1
        account.woken |= wakes_by(r.what)
        if r.what == ACK:
            own.status = WORKING
        elif r.what == FILL_REPORT:
            _know_fill(account, own, np.int64(r.px), np.int64(r.qty))  # their product, without the JIT, would be an i4
            if own.left == 0:
                own.status = FILLED
        elif r.what == REPLACED:
            own.left = r.qty
            own.asked -= 1
        elif r.what == REPLACE_REJECTED:
            own.asked -= 1
            if own.asked == 0:  # else a later one says what we want
                own.want_px = r.px
                know_want(account, own, r.qty)
        elif r.what != LATE:
            own.status = CANCELLED if r.what == CANCELLED_REPORT else REJECTED
        if own.status >= FILLED and r.what != LATE:
            _know_done(account, own)
        give_back(venue, r.order)
        venue.r_head += 1


@kernel
def settle(venues):
    """Between sessions every report arrives. venues : VENUE[1]"""
    deliver(venues[0], NEVER)


@helper
def first_waking_report(venue, wakes, never):
    """When the first report under way arrives that wakes its account; `never` if none does."""
    reports = reports_at(venue.reports_at)
    for i in range(venue.r_head, venue.r_tail):
        r = reports[i & venue.r_mask]
        if wakes & wakes_by(r.what):
            return r.arrive
    return never
