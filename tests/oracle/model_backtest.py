"""Sessions of one account, on one or several instruments, in plain Python: the backtest's specification.

    records --> events --+--> Exchange.book   (exchange clock)  + own orders -> fills, reports
                         +--> local book      (local clock)     -> Market  \\
                              reports, `response` later         -> Account --> strategy(market, account)
    messages of the strategy reach the Exchange `entry` later.

Time advances from one timestamp to the next. At each: market events at the exchange, then messages that arrive there, then market data
on our clock, then reports, then the equity sample, then one call of the strategy with all wakes that apply.
Messages and reports without latency arrive at the same timestamp and cause another round.

Between two sessions all reports arrive, without waking the strategy. Resting orders arrive again when we receive the first event of the
next session, oldest first, followed by the messages that were in flight.

Wakes: timer, event, top, trade, ack, fill, start, end. Imports nothing from nbtrade.
"""

from collections import deque
from dataclasses import dataclass, field

from model import ASK, BID, SIDES, UNDEF_SIZE, Book
from model_account import UNKNOWN, Account
from model_exchange import Exchange

WAKES = ("timer", "event", "top", "trade", "ack", "fill", "start", "end")


@dataclass
class Market:
    """The local book's top at a wake; px and qty of an empty side are None and 0."""

    ts: int
    wake: frozenset
    bid_px: int | None
    bid_qty: int
    ask_px: int | None
    ask_qty: int
    bid_orders: int
    ask_orders: int
    n_events: int
    volume: int
    last: tuple = (None, 0, -1)  # px, lots and aggressor's side of the last trade; -1 where the exchange does not say
    venue: object = None

    def on(self, i):
        return self.venue.session.venues[i].market(self.wake)

    def qty_at(self, side, px):
        return self.venue.level_qty(side, px)

    def orders_at(self, side, px):
        return len(self.venue.book.queues[side].get(px * self.venue.tick, {}))

    def level(self, side, n):
        """Price of the n-th best level, 0 the best; None when there are fewer."""
        if n < 0:
            raise ValueError(n)
        prices = self.venue.book.prices(side)
        return prices[n] // self.venue.tick if n < len(prices) else None

    def depth(self, side, n):
        """Lots on the best n levels."""
        if n < 0:
            raise ValueError(n)
        return sum(qty for _, qty, _ in self.venue.book.levels(side)[:n])


@dataclass
class Sample:
    """The true position and cash at one time, and the local top of book."""

    ts: int
    bid_px: int | None
    ask_px: int | None
    position: int
    cash: int


class Venue:
    """One instrument in a session: its events, both books, and the messages and reports in flight."""

    def __init__(self, session, records, tick, rule):
        self.session, self.tick = session, tick
        self.exchange, self.book = Exchange(tick, rule), Book()
        self.messages, self.reports = deque(), deque()
        self.last_arrival = self.last_report = 0
        self.n_events = self.volume = 0
        self.last = None, 0, -1
        self.samples = []
        self.account = Account(self, session.capacity, session.limits)
        self._open(records)

    # Sessions

    def _open(self, records):
        events = events_of(records)
        self.book, self.n_records = Book(), 0
        self.at_exchange = deque((exchange, group) for exchange, _, group in events)
        self.at_local = deque((local + self.session.feed, group) for _, local, group in events)
        self.span = (self.at_local[0][0], self.at_local[-1][0]) if events else None

    def close(self, ts, flatten):
        self.exchange.close(ts, self.account.closing_order(self.exchange.position) if flatten else None)
        self._send_reports()

    def reopen(self, records):
        """Start the next session, with its own records."""
        while self.reports:
            self.account.deliver(self.reports.popleft()[1])
        again = self.exchange.reopen()
        self._open(records)
        first = self.span[0]
        for own in again:
            self.account.orders[own.id].in_flight += 1
            self.account.flying += 1
        under_way = [(max(ts, first), kind, message) for ts, kind, message in self.messages]
        self.messages = deque([(first, "new", (own,)) for own in again] + under_way)

    @property
    def now(self):
        return self.session.now

    def next_moment(self):
        return min((queue[0][0] for queue in (self.at_exchange, self.at_local, self.messages, self.reports) if queue), default=None)

    # Messages and reports: none overtakes another

    def send(self, kind, *message):
        self.last_arrival = max(self.now + self.session.entry(self.now), self.last_arrival)
        self.messages.append((self.last_arrival, kind, message))

    def run_exchange(self, until):
        """Process events and messages up to a time, in time order; at equal times events come first."""
        while True:
            event_ts = self.at_exchange[0][0] if self.at_exchange else until + 1
            message_ts = self.messages[0][0] if self.messages else until + 1
            if min(event_ts, message_ts) > until:
                return
            if event_ts <= message_ts:
                self.exchange.event(*self.at_exchange.popleft())
            else:
                self._arrive(*self.messages.popleft())
            self._send_reports()

    def _arrive(self, ts, kind, message):
        id_ = message[0].id if kind == "new" else message[0]
        self.account.orders[id_].in_flight -= 1
        self.account.flying -= 1
        self.exchange.arrive(ts, kind, *message)

    def _send_reports(self):
        while self.exchange.reports:
            report = self.exchange.reports.popleft()
            self.last_report = max(report.ts + self.session.response(report.ts), self.last_report)
            known = self.account.orders[report.order]
            known.in_flight += 1
            known.done = self.exchange.orders[report.order].state not in ("sent", "working")
            self.reports.append((self.last_report, report))

    # Our clock

    def see_market(self, until):
        """Apply the events that our clock has reached; return the wakes that they cause."""
        wakes = set()
        before = self.top() if "top" in self.session.wakes else None
        while self.at_local and self.at_local[0][0] <= until:
            _, records = self.at_local.popleft()
            for record in records:
                self.book.apply(record)
                self.n_records += 1
                if record.action == "T":
                    lots = 0 if record.size == UNDEF_SIZE else record.size
                    self.volume += lots
                    self.last = self.exchange.ticks(record.price), lots, SIDES.get(record.side, -1)
                    wakes.add("trade")
            self.n_events += 1
            wakes.add("event")
        if before is not None and self.top() != before:
            wakes.add("top")
        return wakes

    def see_reports(self, until):
        wakes = set()
        while self.reports and self.reports[0][0] <= until:
            _, report = self.reports.popleft()
            self.account.deliver(report)
            if report.kind != "late":  # it only frees the slot
                wakes.add("fill" if report.kind == "fill" else "ack")
        return wakes

    def top(self):
        """Return (px, lots) of bid and ask, px None for an empty side."""
        prices = [self.book.best(side) for side in (BID, ASK)]
        return [
            (None, 0) if price is None else (self.exchange.ticks(price), self.book.level_qty(side, price))
            for side, price in enumerate(prices)
        ]

    def touch(self):
        return [px for px, _ in self.top()]

    def level_qty(self, side, px):
        return self.book.level_qty(side, px * self.tick)

    def ahead(self, i):
        """Lots ahead of the order at its price; UNKNOWN until our clock reaches its arrival."""
        own = self.exchange.orders[i]
        if self.n_records < own.joined_at:
            return UNKNOWN
        if self.exchange.rule == "optimistic":
            return 0
        queue = self.book.queues[own.side].get(own.px * self.tick, {}).values()
        return sum(order.qty for order in queue if order.place < own.place)

    def market(self, wake):
        (bid_px, bid_qty), (ask_px, ask_qty) = self.top()
        n_orders = [0 if px is None else len(self.book.queues[side][px * self.tick]) for side, px in ((BID, bid_px), (ASK, ask_px))]
        return Market(self.now, wake, bid_px, bid_qty, ask_px, ask_qty, *n_orders, self.n_events, self.volume, self.last, self)

    def take_sample(self):
        bid, ask = self.touch()
        self.samples.append(Sample(self.now, bid, ask, self.exchange.position, self.exchange.cash))


@dataclass
class Session:
    """The configuration of a backtest, and its clock."""

    strategy: object
    wakes: frozenset = frozenset({"timer"})
    interval: int = 1
    entry: object = 0  # ns, or a function of the time
    response: object = 0
    feed: int = 0
    rule: str = "fifo"
    capacity: int = 64
    limits: object = None
    sample: int = 0
    flatten: bool = False
    venues: list = field(default_factory=list)
    now: int = 0

    def __post_init__(self):
        assert self.wakes <= set(WAKES), self.wakes
        self.entry, self.response = (part if callable(part) else lambda _, ns=part: ns for part in (self.entry, self.response))

    def run(self):
        spans = [venue.span for venue in self.venues if venue.span]
        if not spans:
            return
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        self.started = self.ended = False
        self.next_timer, self.end = up_to(first, self.interval), last
        self.next_sample = up_to(first, self.sample) if self.sample else None
        if "timer" in self.wakes:
            self.end = up_to(last, self.interval)
        while (moment := self._next_moment()) is not None and moment <= self.end:
            self.now = moment
            self._moment(first)
        for venue in self.venues:
            venue.close(self.end, self.flatten)

    def _next_moment(self):
        moments = [venue.next_moment() for venue in self.venues]
        moments += [self.next_timer if "timer" in self.wakes else None, self.next_sample, None if self.ended else self.end]
        return min((moment for moment in moments if moment is not None), default=None)

    def _moment(self, first):
        wakes = set()
        for venue in self.venues:
            venue.run_exchange(self.now)
        for venue in self.venues:
            wakes |= venue.see_market(self.now)
        for venue in self.venues:
            wakes |= venue.see_reports(self.now)
        if self.next_sample == self.now:
            self.next_sample += self.sample
            for venue in self.venues:
                venue.take_sample()
        if "timer" in self.wakes and self.next_timer == self.now:
            self.next_timer += self.interval
            wakes.add("timer")
        if self.now >= first and not self.started:
            self.started = True
            wakes.add("start")
        if self.now == self.end and not self.ended:
            self.ended = True
            wakes.add("end")
        wakes &= self.wakes
        if wakes:
            self.strategy(self.venues[0].market(frozenset(wakes)), self.venues[0].account)


@dataclass
class Result:
    """What happened at the exchange, whether or not its reports came back in time."""

    fills: list
    orders: list  # OwnOrder by id; those that never arrived are still "sent"
    account: Account
    exchange: Exchange
    samples: list
    position: int
    cash: int

    @property
    def maker_qty(self):
        return sum(fill.qty for fill in self.fills if fill.maker)

    @property
    def taker_qty(self):
        return sum(fill.qty for fill in self.fills if not fill.maker)


def backtest_all(tapes, strategy, **setup):
    """Run `strategy(market, account)` over [(records, tick)], one for each instrument; return their results."""
    session = Session(strategy, **setup)
    session.venues = [Venue(session, records, tick, session.rule) for records, tick in tapes]
    session.run()
    return [result_of(venue) for venue in session.venues]


def backtest(records, strategy, *, tick, **setup):
    """Run `strategy(market, account)` over the records of one instrument."""
    return backtest_all([(records, tick)], strategy, **setup)[0]


def backtest_days(days, strategy, *, tick, **setup):
    """Run `strategy(market, account)` over several sessions of one instrument, one after the other."""
    session = Session(strategy, **setup)
    venue = Venue(session, days[0], tick, session.rule)
    session.venues = [venue]
    session.run()
    for records in days[1:]:
        venue.reopen(records)
        session.run()
    return result_of(venue)


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


def up_to(ts, interval):
    """Return the first multiple of `interval` at or after `ts`."""
    return -(-ts // interval) * interval


def result_of(venue):
    sent = [message[0] for _, kind, message in venue.messages if kind == "new"]
    exchange = venue.exchange
    orders = sorted([*exchange.orders.values(), *sent], key=lambda order: order.id)
    return Result(exchange.fills, orders, venue.account, exchange, venue.samples, exchange.position, exchange.cash)
