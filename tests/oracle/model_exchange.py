"""One account's orders at the historical exchange, in plain Python: the specification of matching.

    market events --> book --+--> changes --> own orders: fills, lots ahead
                             +--> event end --> own orders that the opposite side reaches
    messages (new, cancel, replace) --> take available lots, rest, or end                  --> reports, fills

The market is history and does not react: own orders never change it. Times are ns, own prices ticks,
quantities lots. Imports nothing from nbtrade.

    type     limit, market
    tif      gtc (good till cancelled), day, ioc, fok; a market order's is ioc or fok
    post_only    rejected rather than take liquidity; only for limit orders that may rest
    state    sent, working, filled, cancelled, rejected
    reason   why the order ended: would_cross, killed, unfilled, self_match, replaced_down, expired, by_us
    rule     fifo; optimistic: all other orders at our level are behind us; conservative: all are ahead of us
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from model import ASK, BID, F_SNAPSHOT, Book


class Fill(NamedTuple):
    order: int
    ts: int  # exchange clock
    side: int
    px: int
    qty: int
    maker: bool


class Report(NamedTuple):
    """A report from the exchange; px and qty are those of the fill, or of the order after a replace (leaves, or total if rejected)."""

    ts: int
    kind: str  # ack, fill, cancelled, rejected, replaced, replace_rejected, late
    order: int
    px: int = 0
    qty: int = 0


@dataclass(eq=False)
class OwnOrder:
    """An own order in the state that the exchange has."""

    id: int
    side: int
    px: int  # ignored for a market order
    qty: int  # in total
    type: str = "limit"
    tif: str = "gtc"
    post_only: bool = False
    filled: int = 0
    state: str = "sent"
    reason: str = ""
    place: int = -1  # orders of the book with a smaller place number are ahead of this one
    turn: int = -1  # priority among own orders at one price: lowest first
    ahead: int = 0  # lots ahead at its price
    ahead_first: int = 0  # the same when it last joined a queue
    joined_at: int = 0  # number of records processed by the exchange when it joined the queue

    @property
    def leaves(self):
        return self.qty - self.filled if self.state in ("sent", "working") else 0


@dataclass
class Exchange:
    """The historical book with the own orders of one account."""

    tick: int
    rule: str = "fifo"
    book: Book = field(default_factory=Book)
    orders: dict = field(default_factory=dict)  # by id, all that ever arrived
    resting: list = field(default_factory=list)  # in the order in which they joined their queues
    fills: list = field(default_factory=list)
    reports: deque = field(default_factory=deque)
    taken: Counter = field(default_factory=Counter)  # (side, price): lots taken by us and not yet replaced by the market
    n_records: int = 0
    n_turns: int = 0
    n_late: int = 0  # cancels and replaces of orders that had already ended

    # The market's events

    def event(self, ts, records):
        for record in records:
            for change in self.book.apply(record):
                self._watch(ts, change, bool(record.flags & F_SNAPSHOT))
            self.n_records += 1
        self._end_event(ts)

    def _watch(self, ts, change, snapshot):
        """Follow one change of the historical book: fills, lots ahead, liquidity taken."""
        level = change.side, change.price
        if change.kind == "exec":
            self._share(ts, change)
            self.taken[level] = max(0, self.taken[level] - change.lots)
        if change.kind != "add":
            self._move_up(change)
        elif snapshot:
            self._fall_behind(change)
        self.taken[level] = min(self.taken[level], change.level_qty)

    def _end_event(self, ts):
        """Fill resting orders that the historical opposite side now reaches."""
        best = self.book.best(BID), self.book.best(ASK)
        if None not in best and best[BID] >= best[ASK]:
            return  # crossed
        for own in self.by_priority(BID) + self.by_priority(ASK):
            price = best[1 - own.side]
            if price is not None and not better(own.side, price, own.px * self.tick):
                self._meet(ts, own)

    def _share(self, ts, change):
        """Assign the lots of a market execution to the own orders that had priority."""
        lots = change.lots
        for own in self.by_priority(change.side):
            if self._before(own, change):
                qty = min(own.leaves, lots)
                lots -= qty
                self._fill(ts, own, own.px, qty, maker=True)

    def _before(self, own, change):
        price = own.px * self.tick
        if price != change.price:
            return better(own.side, price, change.price)
        if self.rule == "fifo":
            return own.place <= change.order.place
        return self.rule == "optimistic"

    def _move_up(self, change):
        for own in self._at(change):
            if own.place > change.order.place:
                own.ahead -= change.lots

    def _fall_behind(self, change):
        """A snapshot restores an order that was in the queue first, so our order is behind it."""
        for own in self._at(change, "all rules"):
            own.joined_at = self.n_records + 1
            if self.rule != "optimistic":
                own.ahead += change.lots
                own.place = change.order.place + 1

    def _at(self, change, rules=""):
        if self.rule == "optimistic" and not rules:
            return []
        return [own for own in self.resting if (own.side, own.px * self.tick) == (change.side, change.price)]

    # The account's messages

    def arrive(self, ts, kind, order, px=0, qty=0):
        """A message: "new" with an OwnOrder, "cancel" with an id, or "replace" with an id, a price and a total quantity."""
        if kind == "new":
            self._arrive_new(ts, order)
        elif self.orders[order].state != "working":
            self.n_late += 1
            self._report(ts, "late", self.orders[order])
        elif kind == "cancel":
            self._cancel(ts, self.orders[order], "by_us")
        else:
            self._arrive_replace(ts, self.orders[order], px, qty)

    def _arrive_new(self, ts, own):
        self.orders[own.id] = own
        if own.post_only and self.available(own.side, own.px):
            own.state, own.reason = "rejected", "would_cross"
            self._report(ts, "rejected", own)
            return
        own.state = "working"
        self._report(ts, "ack", own)
        if own.tif == "fok" and self.available(own.side, limit_of(own)) < own.qty:
            self._cancel(ts, own, "killed")
        else:
            self._take_then_rest(ts, own)

    def _arrive_replace(self, ts, own, px, qty):
        leaves = qty - own.filled
        if leaves <= 0:
            self._cancel(ts, own, "replaced_down")
        elif px == own.px and leaves <= own.leaves:
            own.qty = qty
            self._report(ts, "replaced", own, px, leaves)
        elif own.post_only and self.available(own.side, px):
            self._report(ts, "replace_rejected", own, own.px, own.qty)
        else:
            self.resting.remove(own)
            own.px, own.qty = px, qty
            self._report(ts, "replaced", own, px, leaves)
            self._take_then_rest(ts, own)

    def _take_then_rest(self, ts, own):
        self._take(ts, own)
        if own.state != "working":
            return
        if own.tif in ("ioc", "fok"):
            self._cancel(ts, own, "unfilled")
            return
        if not self.book.crossed():
            self._prevent_self_match(ts, own, own.px * self.tick)
        self._join(own)

    def _join(self, own):
        optimistic = self.rule == "optimistic"
        own.place = -1 if optimistic else self.book.n_places
        own.ahead = 0 if optimistic else self.book.level_qty(own.side, own.px * self.tick)
        own.ahead_first = own.ahead
        own.joined_at = self.n_records
        own.turn = self.n_turns
        self.n_turns += 1
        self.resting.append(own)

    def close(self, ts, closing=None):
        """End the session: day orders expire, then the market order that closes the position arrives, if there is one."""
        for own in list(self.resting):
            if own.tif == "day":
                self._cancel(ts, own, "expired")
        if closing is not None:
            self._arrive_new(ts, closing)

    def reopen(self):
        """Start a session with a new book. Returns the resting orders, oldest first, which must arrive again."""
        again = sorted(self.resting, key=lambda own: own.id)
        for own in again:
            own.state = "sent"
        self.book, self.resting, self.taken, self.n_records = Book(), [], Counter(), 0
        return again

    # Shared parts

    def available(self, side, px):
        """Lots available at or through `px` on the opposite side; none while the market is crossed."""
        return sum(free for _, free in self._free(side, px))

    def _free(self, side, px):
        """Return [(price, lots not taken by us)] of the opposite levels at or through `px` (None: all), best first."""
        if self.book.crossed():
            return []
        opposite = 1 - side
        prices = [p for p in self.book.prices(opposite) if px is None or not better(side, p, px * self.tick)]
        return [(p, max(0, self.book.level_qty(opposite, p) - self.taken[opposite, p])) for p in prices]

    def _take(self, ts, own):
        """An arriving order trades with the available lots, each level at its own price."""
        for price, free in self._free(own.side, limit_of(own)):
            if free and own.state == "working":
                self._prevent_self_match(ts, own, price)
                qty = min(own.leaves, free)
                self.taken[1 - own.side, price] += qty
                self._fill(ts, own, self.ticks(price), qty, maker=False)

    def _meet(self, ts, own):
        """A resting order trades with the lots available at or through its price, at its own price, in one fill."""
        lots = 0
        for price, free in self._free(own.side, own.px):
            qty = min(own.leaves - lots, free)
            self.taken[1 - own.side, price] += qty
            lots += qty
        self._fill(ts, own, own.px, lots, maker=True)

    def _prevent_self_match(self, ts, own, price):
        """Cancel the own orders that `own` would trade with at `price` or better."""
        for other in self.by_priority(1 - own.side):
            if not better(own.side, other.px * self.tick, price):
                self._cancel(ts, other, "self_match")

    def _fill(self, ts, own, px, qty, maker):
        if qty == 0:
            return
        own.filled += qty
        self.fills.append(Fill(own.id, ts, own.side, px, qty, maker))
        self._report(ts, "fill", own, px, qty)
        if own.filled == own.qty:
            self._end(own, "filled", "")

    def _cancel(self, ts, own, reason):
        self._end(own, "cancelled", reason)
        self._report(ts, "cancelled", own)

    def _end(self, own, state, reason):
        own.state, own.reason = state, reason
        if own in self.resting:
            self.resting.remove(own)

    def _report(self, ts, kind, own, px=0, qty=0):
        self.reports.append(Report(ts, kind, own.id, px, qty))

    def by_priority(self, side):
        """Return the resting orders of a side by priority: best price first, then the earliest."""
        return sorted((own for own in self.resting if own.side == side), key=lambda own: (priority(side, own.px), own.turn))

    def ticks(self, price):
        px, rest = divmod(price, self.tick)
        assert rest == 0, f"price {price} is not a multiple of the tick {self.tick}"
        return px

    @property
    def position(self):
        return sum(fill.qty if fill.side == BID else -fill.qty for fill in self.fills)

    @property
    def cash(self):
        """Tick-lots."""
        return sum(-fill.px * fill.qty if fill.side == BID else fill.px * fill.qty for fill in self.fills)


def limit_of(own):
    """Return the worst price in ticks at which an order trades; None: any."""
    return None if own.type == "market" else own.px


def priority(side, price):
    """Return a sort key that is smaller for a better price: higher bids, lower asks."""
    return -price if side == BID else price


def better(side, price, than):
    return priority(side, price) < priority(side, than)
