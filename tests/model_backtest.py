"""One account's orders against the historical exchange, in plain Python: the backtest's specification.

    records --> events --+--> Exchange.book   (exchange clock)  + own orders -> fills, reports
                         +--> local book      (local clock)     -> Market  \\
                              reports, `response` later         -> Account --> strategy(market, account)
    messages of the strategy reach the Exchange `entry` later; the strategy wakes every `interval`.

The market is history and never answers: own orders only watch it. Times are ns, own prices ticks,
quantities lots, cash tick-lots. Imports nothing of nbtrade.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from model import ASK, BID, Book


class Fill(NamedTuple):
    order: int  # index in sending order
    ts: int  # exchange clock
    side: int
    px: int
    qty: int
    maker: bool


@dataclass
class OwnOrder:
    """An own order, once as the exchange has it and once as the strategy knows it from reports.

    state: sent, working, filled or cancelled; `place` and `ahead` are the exchange's only.
    """

    id: int
    side: int
    px: int | None  # None: a market order
    qty: int
    leaves: int
    state: str = "sent"
    place: int = -1  # real orders with a smaller place number are ahead of this one
    ahead: int = 0  # lots ahead at its price

    @property
    def working(self):
        return self.state == "working"

    def fill(self, qty):
        self.leaves -= qty
        self.state = "working" if self.leaves else "filled"

    def cancel(self):
        self.state, self.leaves = "cancelled", 0


@dataclass
class Market:
    """The top of the local book at a wake; px and qty of an empty side are None and 0."""

    ts: int
    bid_px: int | None
    bid_qty: int
    ask_px: int | None
    ask_qty: int


class Account:
    """What the strategy knows and may do: state from delivered reports, messages out."""

    def __init__(self, send):
        self.position = self.cash = 0
        self.orders = []
        self._send = send

    def submit(self, side, px, qty):
        return self._new(side, px, qty)

    def market(self, side, qty):
        return self._new(side, None, qty)

    def cancel(self, index):
        self._send("cancel", self.orders[index])

    def _new(self, side, px, qty):
        assert side in (BID, ASK) and qty > 0, (side, px, qty)
        order = OwnOrder(len(self.orders), side, px, qty, qty)
        self.orders.append(order)
        self._send("new", order)
        return order.id

    def deliver(self, kind, index, fill):
        order = self.orders[index]
        if kind == "ack":
            order.state = "working"
        elif kind == "fill":
            order.fill(fill.qty)
            self.position, self.cash = booked(self.position, self.cash, fill)
        elif kind == "cancelled":
            order.cancel()


def booked(position, cash, fill):
    """Return position and cash after a fill."""
    sign = 1 if fill.side == BID else -1
    return position + sign * fill.qty, cash - sign * fill.px * fill.qty


@dataclass
class Exchange:
    """The historical book with own orders that only watch it."""

    tick: int
    book: Book = field(default_factory=Book)
    orders: list = field(default_factory=list)  # in arrival order, which is sending order
    live: list = field(default_factory=list)  # those of them that may still work, to save time
    fills: list = field(default_factory=list)
    reports: deque = field(default_factory=deque)  # (exchange time, kind, order index, fill or None)
    taken: Counter = field(default_factory=Counter)  # (side, price): lots taken and not refreshed

    # Market events

    def event(self, ts, records):
        for record in records:
            for change in self.book.apply(record):
                self.watch(ts, change)
        self.end_event(ts)

    def watch(self, ts, change):
        """Follow one change of the historical book: fills, lots ahead, liquidity taken."""
        level = change.side, change.price
        if change.kind == "exec":
            self._share(ts, change)
            self.taken[level] = max(0, self.taken[level] - change.lots)
        if change.kind != "add":
            self._move_up(change)
        self.taken[level] = min(self.taken[level], change.level_qty)

    def end_event(self, ts):
        """Fill resting orders that the historical opposite side now reaches."""
        if not self.book.crossed():
            for own in self._by_priority(BID) + self._by_priority(ASK):
                self._take(ts, own, own.px, maker=True)

    def _share(self, ts, change):
        """Give the lots of a real execution to the own orders that would have traded first."""
        lots = change.lots
        for own in self._by_priority(change.side):
            if self._before(own, change):
                qty = min(own.leaves, lots)
                lots -= qty
                self._fill(ts, own, own.px, qty, maker=True)

    def _before(self, own, change):
        price = own.px * self.tick
        if price == change.price:
            return own.place <= change.order.place
        return better(own.side, price, change.price)

    def _move_up(self, change):
        for own in self._by_priority(change.side):
            if own.px * self.tick == change.price and not self._before(own, change):
                own.ahead -= change.lots

    # Messages of the account

    def arrive(self, ts, kind, order):
        if kind == "new":
            self._arrive_new(ts, replace(order, state="working", place=self.book.n_places))
        elif self.orders[order.id].working:
            self._cancel(ts, self.orders[order.id])

    def _arrive_new(self, ts, own):
        self.orders.append(own)
        self.live.append(own)
        self.reports.append((ts, "ack", own.id, None))
        if not self.book.crossed():
            self._take(ts, own, own.px, maker=False)
        if own.px is not None:
            own.ahead = self.book.level_qty(own.side, own.px * self.tick)
        elif own.leaves:
            self._cancel(ts, own)

    def _cancel(self, ts, own):
        own.cancel()
        self.reports.append((ts, "cancelled", own.id, None))

    # Shared by both

    def _take(self, ts, own, limit, maker):
        """Fill from opposite levels at or through `limit` (None: all), best first.

        A taker pays the level's price; a resting order gets its own.
        """
        opposite = 1 - own.side
        for price in self.book.prices(opposite):
            if limit is not None and better(own.side, price, limit * self.tick):
                return
            free = self.book.level_qty(opposite, price) - self.taken[opposite, price]
            qty = min(own.leaves, free)
            self.taken[opposite, price] += qty
            self._fill(ts, own, own.px if maker else self.ticks(price), qty, maker)

    def _fill(self, ts, own, px, qty, maker):
        if qty == 0:
            return
        own.fill(qty)
        self.fills.append(Fill(own.id, ts, own.side, px, qty, maker))
        self.reports.append((ts, "fill", own.id, self.fills[-1]))

    def _by_priority(self, side):
        """Return the working orders of a side: better price first, then earlier arrival."""
        self.live = [own for own in self.live if own.working]
        return sorted((own for own in self.live if own.side == side), key=lambda own: priority(side, own.px))

    def ticks(self, price):
        px, rest = divmod(price, self.tick)
        assert rest == 0, f"price {price} is no multiple of the tick {self.tick}"
        return px


def priority(side, price):
    """Return what is smaller for the better price: higher bids, lower asks."""
    return -price if side == BID else price


def better(side, price, than):
    return priority(side, price) < priority(side, than)


@dataclass
class Result:
    """What happened at the exchange, whether or not its reports came back in time."""

    fills: list
    orders: list
    position: int = 0
    cash: int = 0
    maker_qty: int = 0
    taker_qty: int = 0


def backtest(records, strategy, *, interval, entry, response, tick):
    """Run `strategy(market, account)` over the records of one instrument."""
    events = events_of(records)
    exchange, local = Exchange(tick), Book()
    at_exchange, at_local, messages = deque(events), deque(events), deque()
    now = 0
    account = Account(lambda kind, order: messages.append((now + entry, kind, order)))
    for now in wakes(events, interval):
        run_exchange(exchange, at_exchange, messages, now)
        while at_local and at_local[0][1] <= now:
            for record in at_local.popleft()[2]:
                local.apply(record)
        while exchange.reports and exchange.reports[0][0] + response <= now:
            account.deliver(*exchange.reports.popleft()[1:])
        strategy(market_of(local, now, exchange.ticks), account)
    run_exchange(exchange, at_exchange, messages, now)
    return result_of(exchange, account)


def events_of(records):
    """Return [(exchange clock, local clock, records)] of every finished event."""
    book, events, group = Book(), [], []
    for record in records:
        book.apply(record)
        group.append(record)
        if book.at_event_end:
            events.append((*book.clocks[-1], group))
            group = []
    return events


def wakes(events, interval):
    """Return the multiples of `interval` from the first event's local clock to past the last's."""
    if not events:
        return range(0)
    first, last = (-(-event[1] // interval) * interval for event in (events[0], events[-1]))
    return range(first, last + 1, interval)


def run_exchange(exchange, events, messages, until):
    """Process events and messages up to a time in order of time; at equal times events first."""
    while True:
        event_ts = events[0][0] if events else until + 1
        message_ts = messages[0][0] if messages else until + 1
        if min(event_ts, message_ts) > until:
            return
        if event_ts <= message_ts:
            exchange.event(event_ts, events.popleft()[2])
        else:
            exchange.arrive(*messages.popleft())


def market_of(book, ts, ticks):
    top = []
    for side in (BID, ASK):
        price = book.best(side)
        top += [None, 0] if price is None else [ticks(price), book.level_qty(side, price)]
    return Market(ts, *top)


def result_of(exchange, account):
    """Sum up; the orders that never arrived are the last ones, still "sent"."""
    result = Result(exchange.fills, exchange.orders + account.orders[len(exchange.orders) :])
    for fill in result.fills:
        result.position, result.cash = booked(result.position, result.cash, fill)
        result.maker_qty += fill.qty * fill.maker
        result.taker_qty += fill.qty * (not fill.maker)
    return result
