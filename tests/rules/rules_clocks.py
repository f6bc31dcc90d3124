"""Cases of time: latencies, races, the time at which a strategy sees each event, and every kind of wake."""

from rules import Action, Case, ask, bid, buy, cancel, executed, gone, rec, replace, sell

CLOCKS = [
    Case(
        "an order arrives at the time of a market event",
        "the market event is applied first: cancelled lots are gone, new lots are ahead",
        {10: [buy(102, 1), buy(100, 1)]},
        records=[gone(2, 102, 5, 11, "A"), bid(4, 100, 3, ts=11)],
        orders=["working 1@102", "working 1@100"],
        sees={20: {1: ("working", 1, 8, 0)}},
    ),
    Case(
        "the market moves while an order is in flight",
        "it meets the market at its time of arrival",
        {10: [buy(102, 1)]},
        records=[ask(4, 101, 1, ts=24)],
        fills=[(0, 25, 101, 1)],
        makers=(),
        setup={"entry": 15},
    ),
    Case(
        "a fill happens while a cancel is in flight",
        "the fill stands; the cancel is too late for those lots",
        {10: [buy(101, 5)], 20: [cancel(0)]},
        records=executed(1, 100, 2, 30),
        fills=[(0, 30, 101, 2)],
        orders=["cancelled by_us"],
        setup={"entry": 11},
    ),
    Case(
        "a strategy reads the market",
        "it sees each event from its receive time plus feed latency, and not 1 ns earlier",
        {},
        records=[gone(2, 102, 5, 12, "A", ts_recv=26)],
        sees={20: {"ask_px": 102}, 30: {"ask_px": 102}, 40: {"ask_px": 103, "ask_qty": 7}},
        setup={"feed": 14},
    ),
    Case(
        "a report is in flight",
        "the account changes when the report arrives, and not 1 ns earlier",
        {10: [buy(101, 5)]},
        records=executed(1, 100, 4, 36),
        fills=[(0, 36, 101, 4)],
        sees={
            20: {0: ("sent", 5, -1, -1)},
            30: {0: ("working", 5, 0, 0)},
            40: {0: ("working", 5, -1, -1), "position": 0},
            50: {0: ("working", 1, 0, 0), "position": 4, "cash": -404},
        },
        setup={"response": 14},
    ),
    Case(
        "the queue ahead of our order moves, and the strategy has not received the event yet",
        "the account shows the queue position from the events received so far",
        {10: [buy(100, 5)]},
        records=[gone(1, 100, 2, 22, ts_recv=35)],
        sees={20: {0: ("working", 5, 5, 0)}, 30: {0: ("working", 5, 5, 0)}, 40: {0: ("working", 5, 3, 0)}},
    ),
    Case(
        "our order's acknowledgement arrives before the market data of its time of arrival",
        "its queue position is unknown",
        {10: [buy(100, 5)]},
        records=[gone(1, 100, 2, 11, ts_recv=35)],
        sees={20: {0: ("working", 5, -1, -1)}, 30: {0: ("working", 5, -1, -1)}, 40: {0: ("working", 5, 3, 0)}},
    ),
    Case(
        "the market data of our order's time of arrival are received while its acknowledgement is in flight",
        "its queue position is unknown",
        {10: [buy(100, 5)]},
        records=[gone(1, 100, 2, 11)],
        setup={"response": 15},
        sees={20: {0: ("sent", 5, -1, -1)}, 30: {0: ("working", 5, 3, 0)}},
    ),
    Case(
        "fill rule optimistic: an acknowledgement arrives before the market data of the time of arrival",
        "its queue position is unknown",
        {10: [buy(100, 5)]},
        records=[gone(1, 100, 2, 11, ts_recv=35)],
        setup={"rule": "optimistic"},
        sees={20: {0: ("working", 5, -1, -1)}, 40: {0: ("working", 5, 0, 3)}},
    ),
    Case(
        "a later message has a lower latency",
        "it does not overtake: both arrive together, in the order sent",
        {10: [buy(101, 1)], 20: [cancel(0)]},
        records=executed(1, 100, 1, 34),
        orders=["cancelled by_us"],
        setup={"entry": lambda ts: 23 if ts == 10 else 1},
        sees={30: {0: ("sent", 1, -1, -1)}, 40: {0: None}},
    ),
    Case(
        "a later report has a lower latency",
        "it does not overtake",
        {10: [buy(101, 2)]},
        records=[*executed(1, 100, 1, 20), *executed(1, 100, 1, 21)],
        fills=[(0, 20, 101, 1), (0, 21, 101, 1)],
        setup={"response": lambda ts: 25 if ts == 20 else 1},
        orders=["filled"],
        sees={30: {0: ("working", 2, -1, -1)}, 40: {0: ("working", 2, -1, -1)}, 50: {0: None, "position": 2}},
    ),
    Case(
        "several messages leave at the same time",
        "they arrive at the same time, in the order sent",
        {10: [buy(99, 1), replace(0, 98, 2), sell(105, 1), cancel(1)]},
        orders=["working 2@98", "cancelled by_us"],
    ),
    Case(
        "a replace is rejected while a later one is in flight",
        "the later replace determines the requested size",
        {10: [buy(100, 2, post_only=True)], 20: [replace(0, 102, 2), replace(0, 99, 3)]},
        orders=["working 3@99"],
        setup={"response": 15},
        sees={30: {"open_bid": 3}, 40: {"open_bid": 3, 0: ("working", 3, 0, 0)}},
    ),
    Case(
        "a replace is rejected while the report of a fill is in flight",
        "the requested size is again the working size",
        {10: [buy(101, 4, post_only=True)], 20: [replace(0, 102, 2)]},
        records=executed(1, 100, 1, 22),
        fills=[(0, 22, 101, 1)],
        orders=["working 3@101"],
        sees={30: {"open_bid": 3, 0: ("working", 3, 0, 0)}},
    ),
    Case(
        "the data end while messages are in flight",
        "messages that arrive by the last call are applied; later ones stay sent",
        {60: [buy(102, 5)]},
        orders=["sent 5@102"],
    ),
    Case(
        "a message arrives at the end of the data",
        "it is applied, and its fill counts without its report",
        {60: [buy(102, 5)]},
        fills=[(0, 60, 102, 5)],
        makers=(),
        orders=["filled"],
        setup={"entry": 0},
    ),
]


def wakes(situation, asked, *calls, records=(), script=None, fills=(), makers="all", end=60, **setup):
    """Return the case of a strategy that requests wakes, with the calls (time, wakes) that it gets."""
    happens = "it is called at " + ", ".join(f"{ts} ({names})" for ts, names in calls)
    case = Case(situation, happens, script or {}, records=list(records), fills=list(fills), makers=makers, end=end)
    case.calls = [(ts, frozenset(names.split())) for ts, names in calls]
    case.setup = {"wakes": frozenset(asked.split()), **setup}
    return case


MARKET = [gone(2, 102, 1, 12, "A"), bid(4, 99, 1, ts=14), *executed(1, 100, 2, 23), bid(5, 98, 1, ts=23), rec("N", ts=33)]
WAKES = [
    wakes("a strategy requests timer wakes", "timer", (10, "timer"), (20, "timer"), (30, "timer"), (40, "timer"), records=MARKET, end=33),
    wakes(
        "a strategy requests wakes at the end of every event",
        "event",
        (5, "event"),
        (12, "event"),
        (14, "event"),
        (23, "event"),
        (33, "event"),
        (60, "event"),
        records=MARKET,
    ),
    wakes("a strategy requests wakes on changes of the top of book", "top", (5, "top"), (12, "top"), (23, "top"), records=MARKET),
    wakes("a strategy requests wakes on trades", "trade", (23, "trade"), records=MARKET),
    wakes("a strategy requests wakes at start and end", "start end", (5, "start"), (60, "end"), records=MARKET),
    wakes(
        "a strategy requests timer wakes and wakes at start and end",
        "start timer end",
        (5, "start"),
        (10, "timer"),
        (20, "timer"),
        (30, "timer"),
        (40, "timer end"),
        records=MARKET,
        end=33,
    ),
    wakes(
        "several wakes coincide",
        "top trade event timer",
        (5, "event top"),
        (10, "event top trade timer"),
        (20, "timer"),
        (30, "timer"),
        (33, "event"),
        (40, "timer"),
        records=[*executed(1, 100, 2, 10), bid(4, 98, 1, ts=10)],
        end=33,
    ),
    wakes(
        "a strategy requests wakes on its reports",
        "start ack fill",
        (5, "start"),
        (9, "ack fill"),
        (14, "fill"),
        records=[gone(2, 102, 5, 6, "A"), *executed(3, 103, 1, 12, "A")],
        script={5: [buy(103, 2), sell(102, 1)]},
        fills=[(0, 7, 103, 2), (1, 12, 102, 1)],
        makers={1},
        entry=2,
        response=2,
    ),
    wakes(
        "a strategy requests wakes on its reports, without latency",
        "start ack",
        (5, "start"),
        (5, "ack"),
        script={5: [buy(99, 5)]},
        entry=0,
        response=0,
    ),
    wakes(
        "a strategy acts on an acknowledgement",
        "start ack",
        (5, "start"),
        (7, "ack"),
        (9, "ack"),
        script={5: [buy(99, 5)], 7: [Action("cancel", 0)]},
    ),
    wakes(
        "several events have the same receive time",
        "event",
        (5, "event"),
        (20, "event"),
        (60, "event"),
        records=[gone(2, 102, 1, 12, "A", ts_recv=20), bid(4, 99, 1, ts=14, ts_recv=20)],
    ),
]

CASES = CLOCKS + WAKES
