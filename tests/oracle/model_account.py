"""A strategy's view of its account, and its requests, in plain Python: the specification of the strategy's side.

    strategy -- submit, replace, cancel --> risk limits --> send(kind, ...)            outbound
    deliver(report) --> orders, position, cash as the account knows them               inbound

Orders are named by their ids, 0, 1, 2, ... in sending order. The account knows only what reports have said.
Imports nothing from nbtrade.
"""

from dataclasses import dataclass

from model import ASK, BID
from model_exchange import OwnOrder

TYPES, TIFS = ("limit", "market"), ("gtc", "day", "ioc", "fok")
UNKNOWN = -1
FAR = 2**30  # limit of prices and quantities
OPEN = ("sent", "working")


def is_order(side, px, qty):
    """Say whether an order can have this side, price and size."""
    return side in (BID, ASK) and abs(px) <= FAR and 0 < qty <= FAR


def instructions(type, tif, post_only):  # noqa: A002
    """Return (type, tif, post_only) of an order, or None for an invalid combination."""
    if type not in TYPES or tif not in TIFS or post_only not in (False, True):
        return None
    if type == "market":
        tif = "ioc" if tif == "gtc" else tif  # the default
        return None if tif == "day" or post_only else (type, tif, False)
    return None if post_only and tif in ("ioc", "fok") else (type, tif, bool(post_only))


@dataclass
class Limits:
    """Limits checked before an order is sent; 0: no limit."""

    lot: int = 1
    max_order: int = 0  # lots of one order
    max_position: int = 0  # lots, with all open orders of a side filled
    max_open: int = 0  # orders
    max_loss: int = 0  # tick-lots; beyond it only orders that reduce the position are sent
    max_rate: int = 0  # new orders and replaces in each `rate_interval`
    rate_interval: int = 10**9  # ns; windows are multiples since the epoch


@dataclass(eq=False)
class KnownOrder:
    """An own order as the account knows it."""

    id: int
    side: int
    want_px: int  # as last sent
    want_qty: int
    type: str
    tif: str
    post_only: bool
    left: int
    status: str = "sent"
    filled: int = 0
    cancelling: bool = False
    n_replacing: int = 0  # replaces without a report yet
    in_flight: int = 0  # number of messages and reports
    done: bool = False  # at the exchange

    @property
    def is_open(self):
        return self.status in OPEN

    @property
    def holds_a_slot(self):
        return self.is_open or not self.done or self.in_flight > 0


class Account:
    """One account on one instrument."""

    def __init__(self, venue, capacity=64, limits=None):
        self.venue = venue  # sends, knows the time, the local book and all instruments
        self.capacity, self.limits = capacity, limits or Limits()
        self.position = self.cash = 0
        self.orders = []
        self.quotes = [None, None]  # id of each side's quote order
        self.flying = 0  # messages in flight
        self.refused, self.refusals = "", {}
        self._window, self._n_in_window = None, 0
        self._slots = []  # orders that may hold a slot, to save time

    def on(self, i):
        return self.venue.session.venues[i].account

    # Queries

    @property
    def held_orders(self):
        self._slots = [order for order in self._slots if order.holds_a_slot]
        return self._slots

    @property
    def open_orders(self):
        return [order for order in self.held_orders if order.is_open]

    def open_qty(self, side):
        """Lots that may still fill on a side, by the reports so far."""
        return sum(order.want_qty - order.filled for order in self.open_orders if order.side == side)

    def ahead(self, i):
        """Lots ahead of a resting order at its price on the local clock; UNKNOWN until that can be known."""
        order = self.orders[i]
        if not order.is_open or order.in_flight:
            return UNKNOWN
        return self.venue.ahead(i)

    def behind(self, i):
        """Lots at the order's price that are not ahead of it."""
        ahead = self.ahead(i)
        order = self.orders[i]
        return ahead if ahead < 0 else max(0, self.venue.level_qty(order.side, order.want_px) - ahead)

    # Requests

    def submit(self, side, px, qty, type="limit", tif="gtc", post_only=False):  # noqa: A002
        """Return the new order's id, or None if it was refused. A market order's price is ignored."""
        how = instructions(type, tif, post_only)
        px = 0 if type == "market" else px
        if not is_order(side, px, qty) or how is None:
            return self._refuse("bad_order")
        if len(self.held_orders) == self.capacity:
            return self._refuse("no_slot")
        if not self._allowed(side, qty, qty, new=True):
            return None
        order = KnownOrder(len(self.orders), side, px, qty, *how, qty)
        self.orders.append(order)
        self._slots.append(order)
        self._send("new", order, OwnOrder(order.id, side, px, qty, *how))
        return order.id

    def market(self, side, qty):
        return self.submit(side, 0, qty, "market")

    def cancel(self, i):
        if i is None or not self.orders[i].is_open or self.orders[i].cancelling:
            self._refuse("not_open")
            return False
        self.orders[i].cancelling = True
        self._send("cancel", self.orders[i], i)
        return True

    def replace(self, i, px, qty):
        """Request a new price and total quantity."""
        order = None if i is None else self.orders[i]
        if order is None or not order.is_open or order.cancelling or order.type == "market":
            cause = "not_open"
        elif not is_order(order.side, px, qty):
            cause = "bad_order"
        elif self.flying >= 2 * self.capacity:
            cause = "too_many"
        elif self._allowed(order.side, qty, qty - order.want_qty, new=False):
            order.want_px, order.want_qty = px, qty
            order.n_replacing += 1
            self._send("replace", order, i, px, qty)
            return True
        else:
            return False
        self._refuse(cause)
        return False

    def quote(self, side, px, qty, tif="gtc", post_only=False):
        """Keep one order of the side at `px`. An invalid request is refused, and cancels the working quote."""
        if side not in (BID, ASK):
            return self._refuse("bad_order")
        order = None if self.quotes[side] is None else self.orders[self.quotes[side]]
        stands = order is not None and order.is_open and not order.cancelling
        wanted = qty > 0 or qty < -FAR
        replaced = stands and order.want_px != px  # its new total includes the filled lots
        if wanted and not is_order(side, px, qty + (order.filled if replaced else 0)):
            self._refuse("bad_order")
            wanted = False
        if not stands:
            bad = tif not in ("gtc", "day")  # a quote is an order that rests
            self.quotes[side] = self.submit(side, px, qty, "limit", "none" if bad else tif, post_only) if wanted else None
        elif not wanted:
            self.cancel(order.id)
        elif order.want_px != px:
            self.replace(order.id, px, order.filled + qty)
        return self.quotes[side]

    def cancel_all(self):
        return sum(self.cancel(order.id) for order in self.open_orders if not order.cancelling)

    def flatten(self):
        self.cancel_all()
        if self.position:
            return self.market(ASK if self.position > 0 else BID, min(abs(self.position), FAR))
        return None

    def closing_order(self, position):
        """The market order that closes a position when the session ends; it needs no slot. None without a position."""
        if position == 0:
            return None
        own = OwnOrder(len(self.orders), ASK if position > 0 else BID, 0, min(abs(position), FAR), "market", "ioc")
        self.orders.append(KnownOrder(own.id, own.side, 0, own.qty, "market", "ioc", False, own.qty))
        return own

    def _send(self, kind, order, *message):
        order.in_flight += 1
        self.flying += 1
        self.venue.send(kind, *message)

    def _refuse(self, cause):
        self.refused = cause
        self.refusals[cause] = self.refusals.get(cause, 0) + 1

    # Risk: the first limit that is exceeded is the cause

    def _allowed(self, side, qty, more, *, new):
        """Return whether an order of `qty` lots may be sent, which adds `more` lots to its side."""
        limits = self.limits
        held = (self.position if side == BID else -self.position) + self.open_qty(side)
        if qty % limits.lot:
            cause = "bad_order"
        elif limits.max_order and qty > limits.max_order:
            cause = "risk_order"
        elif limits.max_position and more > 0 and held + more > limits.max_position:
            cause = "risk_position"
        elif limits.max_open and new and len(self.open_orders) >= limits.max_open:
            cause = "risk_open"
        elif limits.max_loss and held + more > 0 and self._has_lost_too_much():
            cause = "risk_loss"
        elif limits.max_rate and self._is_too_fast():
            cause = "risk_rate"
        else:
            return True
        self._refuse(cause)
        return False

    def _has_lost_too_much(self):
        """Marked to mid; unknown while a side is empty."""
        bid, ask = self.venue.touch()
        return None not in (bid, ask) and self.cash + self.position * (bid + ask) / 2 < -self.limits.max_loss

    def _is_too_fast(self):
        window = self.venue.now // self.limits.rate_interval
        if window != self._window:
            self._window, self._n_in_window = window, 0
        self._n_in_window += 1
        return self._n_in_window > self.limits.max_rate

    # Reports

    def deliver(self, report):
        order = self.orders[report.order]
        order.in_flight -= 1
        if report.kind == "ack":
            order.status = "working"
        elif report.kind == "fill":
            order.filled += report.qty
            order.left -= report.qty
            sign = 1 if order.side == BID else -1
            self.position += sign * report.qty
            self.cash -= sign * report.qty * report.px
            if order.left == 0:
                order.status = "filled"
        elif report.kind == "replaced":
            order.n_replacing -= 1
            order.left = report.qty
        elif report.kind == "replace_rejected":
            order.n_replacing -= 1
            if order.n_replacing == 0:  # else a later replace determines the requested price and size
                order.want_px, order.want_qty = report.px, report.qty
        elif report.kind != "late":
            order.status, order.left = report.kind, 0
