"""The historical exchange in plain Python: slow, obvious, and the specification of the book.

One `Book` takes raw market-by-order records in file order and keeps every resting order.

    orders   {order_id: Order}                      every resting order, earliest priority first
    queues   [{price: {order_id: Order}}] * 2       side 0 bid, 1 ask; a queue is in priority order
    changes  the effect of one record, resolved: add, cancel or exec of some lots of one order

Python dicts keep insertion order, so "to the back of its level" is a plain insertion, and an order
that loses its priority is a new `Order` object with a new place number.

Prices are raw (1e-9), quantities lots. Imports nothing from nbtrade and was written from the rules,
not from the kernels. Own orders are in `model_backtest.py`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

UNDEF_PRICE = 2**63 - 1
UNDEF_SIZE = 2**63 - 1  # a record without a size; all other sizes are valid, however large
F_LAST, F_TOB, F_SNAPSHOT = 128, 64, 32
BID, ASK = 0, 1
SIDES = {"B": BID, "A": ASK}
TOP_IDS = (-1, -2)  # the order ids of the single levels that F_TOB records set


class Record(NamedTuple):
    """One market-by-order message; the names, units and codes are Databento's."""

    ts_event: int
    ts_recv: int
    order_id: int
    price: int
    size: int
    flags: int
    action: str
    side: str


@dataclass(eq=False)
class Order:
    """A resting order; `place` grows with every arrival at the back of any queue."""

    id: int
    side: int
    price: int
    qty: int
    place: int
    filled: int = 0  # lots of this event's F records that no C or M has explained yet


class Change(NamedTuple):
    """One resolved change; `level_qty` is the total at that side and price right after it."""

    kind: str
    side: int
    price: int
    lots: int
    order: Order
    level_qty: int


class Book:
    """All resting orders of one instrument."""

    def __init__(self):
        self.orders, self.queues = {}, ({}, {})
        self.faults = Counter()
        self.clocks = []  # (exchange, local) of every finished event
        self.at_event_end = True  # the book may be read only then
        self.n_places = 0  # number for the next order
        self._changes, self._marked = [], []
        self._last_trade = None
        self._in_snapshot = False
        self._ts_event = None
        self._exchange = self._local = 0

    def apply(self, record):
        """Apply one record and return its changes in order."""
        self._changes = []
        if self.at_event_end and record.ts_event != self._ts_event:
            self._forget_trades()
        self._move_clocks(record)
        self._begin_snapshot(record)
        if record.action in RULES:
            RULES[record.action](self, record)
        self.at_event_end = bool(record.flags & F_LAST)
        if self.at_event_end:
            self.clocks.append((self._exchange, self._local))
        return self._changes

    # Reading it

    @property
    def n_events(self):
        return len(self.clocks)

    def level_qty(self, side, price):
        return sum(order.qty for order in self.queues[side].get(price, {}).values())

    def queue(self, side, price):
        """Return [(order_id, lots)] in priority order."""
        return [(order.id, order.qty) for order in self.queues[side].get(price, {}).values()]

    def prices(self, side):
        """Return the prices with resting orders, best first."""
        return sorted(self.queues[side], reverse=side == BID)

    def levels(self, side):
        """Return [(price, size, count)], best first."""
        return [(p, self.level_qty(side, p), len(self.queues[side][p])) for p in self.prices(side)]

    def best(self, side):
        """Return the best price, or None if the side is empty."""
        return (max if side == BID else min)(self.queues[side], default=None)

    def crossed(self):
        """Return whether bid and ask meet or overlap; an empty side never does."""
        bid, ask = self.best(BID), self.best(ASK)
        return bid is not None and ask is not None and bid >= ask

    def is_own_print(self, record):
        """Return whether an F is the aggressor's: a resting order was modified into the market."""
        return (record.order_id, record.side) == self._last_trade

    # Effects of the records

    def _add(self, record):
        if record.size == UNDEF_SIZE:
            self.faults["no_size"] += 1
            return None
        side = SIDES.get(record.side)
        if record.flags & F_TOB and side is not None:
            return self._replace_side(record, side)
        if record.size == 0:
            self.faults["zero_size"] += 1
        elif side is None or record.price == UNDEF_PRICE:
            self.faults["no_level"] += 1
        else:
            self._drop_duplicate(record.order_id)
            self._join(record.order_id, side, record.price, record.size)

    def _replace_side(self, record, side):
        self._clear(order for order in self.orders.values() if order.side == side)
        if record.price == UNDEF_PRICE:
            return
        if record.size == 0:
            self.faults["zero_size"] += 1
        else:
            self._join(TOP_IDS[side], side, record.price, record.size)

    def _drop_duplicate(self, order_id):
        old = self.orders.get(order_id)
        if old:
            self.faults["duplicate_add"] += 1
            self._reduce("cancel", old, old.qty)

    def _cancel(self, record):
        order = self._known(record, "unknown_cancel")
        if order is None:
            return
        size = self._size_or_all(record, order)
        if size > order.qty:
            self.faults["over_cancel"] += 1
        taken = min(size, order.qty)
        executed = min(order.filled, taken)
        order.filled = 0
        self._reduce("exec", order, executed)
        self._reduce("cancel", order, taken - executed)

    def _modify(self, record):
        if record.size == UNDEF_SIZE:
            self.faults["no_size"] += 1
            return None
        order = self._known(record, "unknown_modify")
        if order is None:
            return self._add(record)
        executed, order.filled = min(order.filled, order.qty), 0
        self._reduce("exec", order, executed)
        side = SIDES.get(record.side, order.side)
        moved = (side, record.price) != (order.side, order.price)
        if moved or record.size > order.qty:
            self._reduce("cancel", order, order.qty)
            if record.size:
                self._join(order.id, side, record.price, record.size)
        else:
            self._reduce("cancel", order, order.qty - record.size)

    def _fill(self, record):
        if self.is_own_print(record):
            return
        order = self._known(record, "unknown_fill")
        if order:
            order.filled += self._size_or_all(record, order)
            self._marked.append(order)

    def _size_or_all(self, record, order):
        """Return a record's size; without one it covers the whole order."""
        if record.size == UNDEF_SIZE:
            self.faults["no_size"] += 1
            return order.qty
        return record.size

    def _trade(self, record):
        if record.size == UNDEF_SIZE and record.price != UNDEF_PRICE:
            self.faults["no_size"] += 1
        self._last_trade = record.order_id, record.side

    def _reset(self, record):
        self._clear(self.orders.values())

    def _move_clocks(self, record):
        at_exchange = record.ts_recv if record.flags & F_SNAPSHOT else record.ts_event
        self._exchange = max(self._exchange, at_exchange)
        self._local = max(self._local, record.ts_recv)
        self._ts_event = record.ts_event

    def _begin_snapshot(self, record):
        snapshot = bool(record.flags & F_SNAPSHOT)
        if snapshot and not self._in_snapshot:
            self._clear(self.orders.values())
        self._in_snapshot = snapshot

    def _forget_trades(self):
        """Drop the marks of T and F: a new event starts at another ts_event.

        F_LAST alone is too early: XNAS sets it on each of the T, F and C of one execution (11 of 11
        in the ARL file), which share their ts_event. On CME (CLX5) both rules give the same changes.
        """
        self._last_trade = None
        for order in self._marked:
            order.filled = 0
        self._marked = []

    # The only two functions that change the book, and small helpers

    def _join(self, order_id, side, price, qty):
        order = Order(order_id, side, price, qty, self.n_places)
        self.n_places += 1
        self.orders[order_id] = order
        self.queues[side].setdefault(price, {})[order_id] = order
        self._note("add", order, qty)

    def _reduce(self, kind, order, lots):
        if lots == 0:
            return
        order.qty -= lots
        if order.qty == 0:
            queue = self.queues[order.side][order.price]
            del self.orders[order.id], queue[order.id]
            if not queue:
                del self.queues[order.side][order.price]
        self._note(kind, order, lots)

    def _note(self, kind, order, lots):
        level_qty = self.level_qty(order.side, order.price)
        self._changes.append(Change(kind, order.side, order.price, lots, order, level_qty))

    def _known(self, record, fault):
        order = self.orders.get(record.order_id)
        if order is None:
            self.faults[fault] += 1
        return order

    def _clear(self, orders):
        for order in list(orders):
            self._reduce("cancel", order, order.qty)


RULES = {
    "A": Book._add,
    "C": Book._cancel,
    "M": Book._modify,
    "F": Book._fill,
    "T": Book._trade,
    "R": Book._reset,
}
