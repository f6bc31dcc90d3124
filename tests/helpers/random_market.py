"""Random small markets and random scripts: every possible event, far more often than in reality.

A market is a list of model records in ticks, around 100: adds, cancels and partial cancels, modifies, executions of one and
several orders, icebergs, crossed books, clears, snapshots, unexplained trades, events of several records, and
clocks that do not advance. A script is {time: [Action]}.
"""

import random

from model import ASK, BID, F_LAST, F_SNAPSHOT, UNDEF_PRICE, Record
from scripted import Action

GTC = "limit", "gtc", False
RESTING = [GTC, ("limit", "day", False), ("limit", "gtc", True), ("limit", "day", True)]
TAKING = [("limit", "ioc", False), ("limit", "fok", False), ("market", "gtc", False), ("market", "ioc", False), ("market", "fok", False)]
REFUSED = [("limit", "ioc", True), ("limit", "fok", True), ("market", "gtc", True), ("market", "day", False)]
HOWS = [GTC] * 9 + RESTING * 3 + TAKING * 2 + REFUSED
OTHER = {"B": "A", "A": "B"}


class Market:
    """Makes records, and keeps the resting orders so that the records are consistent: id -> [side, price, size], oldest first."""

    def __init__(self, seed, crossing=0.03, wild=0.02, start=1000, unit=1):
        """`unit`: all sizes are about this many times larger, within a lot."""
        self.rng, self.unit = random.Random(seed), unit
        self.crossing, self.wild = crossing, wild
        self.orders, self.records = {}, []
        self.next_id, self.ts, self.local = 1, start, start

    def make(self, n_events):
        for side, prices in (("B", range(97, 100)), ("A", range(102, 105))):
            for price in prices:
                self._add(side, price)
                self._end()
        for _ in range(n_events):
            self.rng.choices(
                (self._some_add, self._some_cancel, self._some_modify, self._trade, self._clear, self._snapshot, self._nothing),
                (36, 22, 14, 24, self.wild * 10, self.wild * 20, 3),
            )[0]()
            if self.rng.random() < 0.15:
                self._some_add()
            self._end()
        return self.records

    # Events

    def _some_add(self):
        side = self.rng.choice("BA")
        best = self._best(OTHER[side])
        price = self.rng.randint(96, 105)
        if best is not None and self.rng.random() > self.crossing:
            price = min(price, best - 1) if side == "B" else max(price, best + 1)
        self._add(side, price)

    def _add(self, side, price):
        size = self._size(1, 6)
        self.orders[self.next_id] = [side, price, size]
        self._record("A", side, price, size, self.next_id)
        self.next_id += 1

    def _some_cancel(self):
        if not self.orders:
            return self._nothing()
        id_ = self.rng.choice(list(self.orders))
        side, price, size = self.orders[id_]
        lots = size if self.rng.random() < 0.7 else min(size, self._size(1, max(1, size // self.unit)))
        self._take(id_, lots)
        self._record("C", side, price, lots, id_)

    def _some_modify(self):
        if not self.orders:
            return self._nothing()
        id_ = self.rng.choice(list(self.orders))
        side, price, size = self.orders.pop(id_)
        best = self._best(OTHER[side])
        if self.rng.random() < 0.4:
            price = self.rng.randint(96, 105)
            if best is not None and self.rng.random() > self.crossing:
                price = min(price, best - 1) if side == "B" else max(price, best + 1)
        size = max(1, size + self._size(-3, 3))
        self.orders[id_] = [side, price, size]
        self._record("M", side, price, size, id_)

    def _trade(self):
        """Execute the front of a side: one T, an F for each order hit, then their C or M."""
        side = self.rng.choice("BA")
        best = self._best(side)
        if best is None or self.rng.random() < 0.1:
            return self._record("T", self.rng.choice("BA"), self.rng.randint(96, 105), self._size(1, 9), 0)
        lots, after = self._size(1, 9), []
        self._record("T", OTHER[side], best, lots, 0)
        while lots and (best := self._best(side)) is not None and len(after) < 4:
            id_ = next(i for i, (s, p, _) in self.orders.items() if (s, p) == (side, best))
            size = self.orders[id_][2]
            qty = min(lots, size)
            lots -= qty
            self._record("F", side, best, qty, id_)
            self._take(id_, qty)
            if size == qty or self.rng.random() < 0.5:
                after.append(("C", side, best, qty, id_))
            else:  # an M: the remainder, or an iceberg's next part, which goes to the back
                rest = size - qty + (self._size(1, 4) if self.rng.random() < 0.3 else 0)
                self.orders[id_] = [side, best, rest]
                after.append(("M", side, best, rest, id_))
                break
        for record in after:
            self._record(*record)

    def _clear(self):
        self.orders.clear()
        self._record("R", "N", UNDEF_PRICE, 0, 0)

    def _snapshot(self):
        self._record("R", "N", UNDEF_PRICE, 0, 0, F_SNAPSHOT)
        self.orders = {i: order for i, order in self.orders.items() if self.rng.random() < 0.9}
        for id_, (side, price, size) in self.orders.items():
            self._record("A", side, price, size, id_, F_SNAPSHOT)

    def _nothing(self):
        self._record("N", "N", UNDEF_PRICE, 0, 0)

    # Parts of events

    def _size(self, least, most):
        size = self.rng.randint(least, most) * self.unit
        return size if self.unit == 1 else size + self.rng.randint(-1, 1)

    def _best(self, side):
        prices = [price for s, price, _ in self.orders.values() if s == side]
        return (max if side == "B" else min)(prices, default=None)

    def _take(self, id_, lots):
        self.orders[id_][2] -= lots
        if self.orders[id_][2] == 0:
            del self.orders[id_]

    def _record(self, action, side, price, size, id_, flags=0):
        self.records.append(Record(self.ts, self.local, id_, price, size, flags, action, side))

    def _end(self):
        last = self.records[-1]
        self.records[-1] = last._replace(flags=last.flags | F_LAST)
        self.ts += self.rng.choice((0, 0, 1, 2, 5, 20))
        self.local = max(self.local, self.ts + self.rng.choice((0, 0, 1, 3, 30)))


def script_of(seed, first, last, n_actions, n_venues=1, unit=1):
    """Return n random actions at random times: mostly quotes near the touch; `unit` as for a Market."""
    rng = random.Random(seed)
    script = {}
    for _ in range(n_actions):
        ts = rng.randint(first, last)
        script.setdefault(ts, []).extend(_some_action(rng, n_actions, n_venues, unit) for _ in range(rng.choice((1, 1, 2, 3))))
    return script


def _some_action(rng, n_actions, n_venues, unit):
    side, qty = rng.randrange(2), rng.randint(1, 7) * unit
    what = rng.choices(("submit", "market", "cancel", "replace", "quote", "cancel_all", "flatten"), (40, 4, 14, 22, 16, 1, 2))[0]
    if what in ("cancel", "replace"):
        side = rng.randrange(n_actions)  # an order's id
    px, ref = _some_price(rng)
    if what == "quote" and rng.random() < 0.2:
        qty = 0
    if what in ("market", "cancel", "cancel_all", "flatten"):
        px, ref = 0, -1
    how = rng.choice(HOWS) if what == "submit" else rng.choice((GTC, GTC, *RESTING)) if what == "quote" else GTC
    return Action(what, side, px, qty, *how, ref, rng.randrange(n_venues))


def _some_price(rng):
    if rng.random() < 0.3:
        return rng.randint(95, 106), -1
    ref = rng.choice((BID, ASK))
    return rng.randint(-3, 3), ref
