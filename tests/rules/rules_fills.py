"""Cases of resting orders: when and how far they fill under each fill rule; crossed markets, clears, snapshots, halts, auctions."""

from model import F_LAST, F_SNAPSHOT
from rules import Case, ask, bid, buy, buy_now, executed, gone, rec, sell

SNAP = F_SNAPSHOT | F_LAST

QUEUES = [
    Case(
        "orders ahead of our order are executed, partly or in full",
        "our order does not fill",
        {10: [buy(100, 4)]},
        records=[*executed(1, 100, 2, 21), *executed(1, 100, 3, 31)],
        orders=["working 4@100"],
        sees={20: {0: ("working", 4, 5, 0)}, 30: {0: ("working", 4, 3, 0)}, 40: {0: ("working", 4, 0, 0)}},
    ),
    Case(
        "an order that joined behind our order is executed",
        "our order had priority: it fills",
        {10: [buy(100, 4)]},
        records=[bid(4, 100, 9, ts=22), *executed(1, 100, 5, 31), *executed(4, 100, 9, 41)],
        fills=[(0, 41, 100, 4)],
        orders=["filled"],
    ),
    Case(
        "fewer lots are executed behind our order than it has",
        "it fills by exactly those lots, and every partial execution counts",
        {10: [buy(100, 9)]},
        records=[bid(4, 100, 3, ts=20), *executed(4, 100, 2, 31), *executed(4, 100, 1, 41)],
        fills=[(0, 31, 100, 2), (0, 41, 100, 1)],
        orders=["working 6@100"],
        sees={40: {"position": 2, "cash": -200, 0: ("working", 7, 5, 1)}, 50: {"position": 3, "cash": -300}},
    ),
    Case(
        "one lot is executed behind our order for 500",
        "one lot fills, not 500",
        {10: [buy(100, 500)]},
        records=[bid(4, 100, 9, ts=22), *executed(4, 100, 1, 31)],
        fills=[(0, 31, 100, 1)],
        orders=["working 499@100"],
    ),
    Case(
        "an execution at a worse price than that of our order",
        "our order had priority: it fills, at its own price",
        {10: [buy(101, 4)]},
        records=executed(1, 100, 3, 21),
        fills=[(0, 21, 101, 3)],
        orders=["working 1@101"],
    ),
    Case(
        "an execution at a better price than that of our order",
        "our order does not fill",
        {10: [buy(99, 4), sell(104, 4)]},
        records=[*executed(1, 100, 3, 21), *executed(3, 103, 3, 31, "A")],
        orders=["working 4@99", "working 4@104"],
    ),
    Case(
        "our order is inside the spread, and there are many executions at the touch",
        "it fills on the first executions, until it is complete",
        {10: [buy(101, 4)]},
        records=[*executed(1, 100, 3, 21), bid(4, 100, 9, ts=22), *executed(1, 100, 2, 31), *executed(4, 100, 1, 41)],
        fills=[(0, 21, 101, 3), (0, 31, 101, 1)],
        orders=["filled"],
    ),
    Case(
        "an order ahead of our order is cancelled or reduced",
        "our order moves up by exactly that many lots",
        {10: [buy(100, 4)]},
        records=[bid(4, 100, 9, ts=20), gone(1, 100, 2, 21)],
        sees={20: {0: ("working", 4, 5, 9)}, 30: {0: ("working", 4, 3, 9)}},
    ),
    Case(
        "an order behind our order is cancelled",
        "the lots ahead stay the same",
        {10: [buy(100, 4)]},
        records=[bid(4, 100, 9, ts=20), gone(4, 100, 8, 22)],
        sees={30: {0: ("working", 4, 5, 1)}},
    ),
    Case(
        "an order ahead of our order loses its queue position",
        "it is now behind our order, and its execution fills our order",
        {10: [buy(100, 2)]},
        records=[rec("M", "B", 100, 6, 1, ts=21), *executed(1, 100, 3, 31)],
        fills=[(0, 31, 100, 2)],
        orders=["filled"],
        sees={20: {0: ("working", 2, 5, 0)}, 30: {0: ("working", 2, 0, 6)}},
    ),
    Case(
        "an order behind our order is reduced and then executed",
        "our order still has priority: it fills first",
        {10: [buy(100, 2)]},
        records=[bid(4, 100, 9, ts=20), rec("M", "B", 100, 3, 4, ts=21), *executed(4, 100, 3, 31)],
        fills=[(0, 31, 100, 2)],
    ),
    Case(
        "several of our orders compete for the same execution",
        "the best price fills first, then the earliest; no lot fills two orders",
        {10: [buy(101, 2), buy(101, 2), buy(100, 9), sell(104, 1)]},
        records=[gone(1, 100, 5, 9), bid(4, 99, 5, ts=9), *executed(4, 99, 5, 21)],
        fills=[(0, 21, 101, 2), (1, 21, 101, 2), (2, 21, 100, 1)],
    ),
    Case(
        "the better-priced of our orders was sent later",
        "it still fills first",
        {10: [buy(100, 9), buy(101, 2)]},
        records=[gone(1, 100, 5, 9), bid(4, 99, 5, ts=9), *executed(4, 99, 5, 21)],
        fills=[(1, 21, 101, 2), (0, 21, 100, 3)],
    ),
    Case(
        "other orders are queued between two of our orders",
        "each has its own queue position",
        {10: [buy(100, 1)], 20: [buy(100, 1)]},
        records=[
            bid(4, 100, 3, ts=15),
            bid(5, 100, 3, ts=25),
            *executed(1, 100, 5, 31),
            *executed(4, 100, 3, 41),
            *executed(5, 100, 1, 51),
        ],
        fills=[(0, 41, 100, 1), (1, 51, 100, 1)],
        sees={30: {0: ("working", 1, 5, 6), 1: ("working", 1, 8, 3)}},
    ),
]

MEETINGS = [
    Case(
        "an opposite order comes to rest at the price of our order",
        "our order fills against it, at our price, for the lots available",
        {10: [buy(101, 9)]},
        records=[ask(4, 101, 1, ts=21), ask(5, 101, 2, ts=31), rec("N", ts=41)],
        fills=[(0, 21, 101, 1), (0, 31, 101, 2)],
        orders=["working 6@101"],
    ),
    Case(
        "opposite orders come to rest at and through the price of our order",
        "our order fills against all of them at once, at our price",
        {10: [buy(101, 9)]},
        records=[gone(1, 100, 5, 21, flags=0), ask(4, 101, 2, ts=21, flags=0), ask(5, 100, 1, ts=21)],
        fills=[(0, 21, 101, 3)],
    ),
    Case(
        "an opposite order is cancelled before its event ends",
        "our order does not fill",
        {10: [buy(101, 9)]},
        records=[ask(4, 101, 1, ts=21, flags=0), gone(4, 101, 1, 21, "A")],
        orders=["working 9@101"],
    ),
    Case(
        "an opposite order reaches our order, and its event ends with a row at another price",
        "our order fills at the end of that event",
        {10: [buy(101, 9)]},
        records=[ask(4, 101, 2, ts=21, flags=0), ask(5, 103, 1, ts=21)],
        fills=[(0, 21, 101, 2)],
        orders=["working 7@101"],
    ),
    Case(
        "our orders meet an opposite order that is smaller than their total",
        "the best price fills first, then the earliest; no lot fills two orders",
        {10: [buy(100, 2), buy(101, 2), buy(101, 2)]},
        records=[gone(1, 100, 5, 15), ask(4, 100, 5, ts=21)],
        fills=[(1, 21, 101, 2), (2, 21, 101, 2), (0, 21, 100, 1)],
    ),
]


def under(rule, situation, happens, records, fills, **more):
    return Case(situation, happens, {10: [buy(100, 4)]}, records=records, fills=fills, setup={"rule": rule}, **more)


RULES = [
    under(
        "optimistic",
        "fill rule optimistic: an order at the same level is executed",
        "our order fills, regardless of the queue ahead",
        executed(1, 100, 3, 21),
        [(0, 21, 100, 3)],
        sees={20: {0: ("working", 4, 0, 5)}, 30: {0: ("working", 1, 0, 2)}},
    ),
    under("optimistic", "fill rule optimistic: orders ahead are cancelled", "our order does not fill", [gone(1, 100, 5, 21)], []),
    under(
        "conservative",
        "fill rule conservative: orders behind our order are executed",
        "our order does not fill",
        [bid(4, 100, 9, ts=15), *executed(1, 100, 5, 21), *executed(4, 100, 9, 31)],
        [],
        orders=["working 4@100"],
        sees={30: {0: ("working", 4, 0, 9)}},
    ),
    under(
        "conservative",
        "fill rule conservative: an execution at a worse price",
        "our order fills",
        [bid(4, 99, 9, ts=15), *executed(4, 99, 9, 31)],
        [(0, 31, 100, 4)],
    ),
    under(
        "conservative",
        "fill rule conservative: an opposite order comes to rest at the price of our order",
        "our order fills",
        [gone(1, 100, 5, 15), ask(4, 100, 2, ts=21)],
        [(0, 21, 100, 2)],
    ),
]

STATES = [
    Case(
        "the market is crossed",
        "nothing matches: limit orders rest, market and IOC orders are cancelled, FOK orders are killed",
        {10: [buy(103, 7), buy_now(1), buy(103, 1, tif="ioc"), buy(103, 1, tif="fok"), buy(103, 1, post_only=True)]},
        records=[bid(4, 102, 1, ts=6)],
        orders=["working 7@103", "cancelled unfilled", "cancelled unfilled", "cancelled killed", "working 1@103"],
    ),
    Case(
        "a crossed market uncrosses",
        "our orders fill against the opposite orders that reach them, at our prices",
        {10: [buy(103, 7)]},
        records=[bid(4, 102, 1, ts=6), rec("N", ts=21), gone(4, 102, 1, 31)],
        fills=[(0, 31, 103, 7)],
        orders=["filled"],
    ),
    Case(
        "our own orders cross each other in a crossed market",
        "both rest, and never trade with each other",
        {10: [buy(103, 1), sell(102, 1)]},
        records=[bid(4, 102, 1, ts=6)],
        orders=["working 1@103", "working 1@102"],
    ),
    Case(
        "an auction executes orders of a crossed book",
        "executions fill our orders by the same rules, at our prices",
        {10: [buy(102, 2), buy(101, 2)]},
        records=[
            bid(4, 102, 3, ts=6),
            bid(5, 102, 1, ts=15),
            rec("T", "N", 102, 4, 0, 31, 0),
            rec("F", "B", 102, 3, 4, 31, 0),
            rec("F", "B", 102, 1, 5, 31, 0),
            rec("F", "A", 102, 4, 2, 31, 0),
            gone(4, 102, 3, 31, flags=0),
            gone(5, 102, 1, 31, flags=0),
            gone(2, 102, 4, 31, "A"),
        ],
        fills=[(0, 31, 102, 1), (0, 31, 102, 1)],
        orders=["filled", "working 2@101"],
    ),
    Case(
        "the book is cleared (R)",
        "the queue ahead is gone; our orders stay",
        {10: [buy(100, 4)]},
        records=[rec("R", ts=21)],
        orders=["working 4@100"],
        sees={20: {0: ("working", 4, 5, 0)}, 30: {0: ("working", 4, 0, 0), "bid_px": None}},
    ),
    Case(
        "the book is cleared, and a snapshot restores its orders",
        "orders that were ahead of our order are ahead of it again",
        {10: [buy(100, 4)]},
        records=[
            rec("R", ts=21, flags=SNAP),
            bid(1, 100, 5, ts=21, flags=SNAP),
            ask(2, 102, 5, ts=21, flags=SNAP),
            bid(4, 100, 9, ts=25),
            *executed(1, 100, 5, 31),
            *executed(4, 100, 9, 41),
        ],
        fills=[(0, 41, 100, 4)],
        sees={30: {0: ("working", 4, 5, 9)}, 40: {0: ("working", 4, 0, 9)}},
    ),
    Case(
        "the book is cleared, and new orders join",
        "they are behind our order",
        {10: [buy(100, 4)]},
        records=[rec("R", ts=21), bid(7, 100, 3, ts=25), *executed(7, 100, 3, 31)],
        fills=[(0, 31, 100, 3)],
    ),
    Case(
        "a snapshot has opposite orders through the price of our order",
        "our order fills at the end of the snapshot's event, as with any other event",
        {10: [buy(101, 4)]},
        records=[rec("R", ts=21, flags=SNAP), ask(2, 101, 5, ts=21, flags=SNAP)],
        fills=[(0, 21, 101, 4)],
    ),
    Case(
        "the market halts, so there are no events",
        "our orders still arrive and rest",
        {10: [buy(99, 1)], 20: [buy(98, 1)]},
        orders=["working 1@99", "working 1@98"],
        sees={40: {0: ("working", 1, 0, 0)}},
    ),
    Case(
        "the feed has a gap: a cancel names an unknown order",
        "nothing changes",
        {10: [buy(100, 4)]},
        records=[gone(77, 100, 5, 21)],
        sees={30: {0: ("working", 4, 5, 0)}},
    ),
    Case(
        "a trade prints without a matching resting order",
        "our orders do not fill",
        {10: [buy(101, 4)]},
        records=[rec("T", "A", 100, 9, 0, 21)],
        orders=["working 4@101"],
    ),
    Case(
        "our order rests on an empty side of the book",
        "it waits at its price",
        {10: [sell(101, 2)]},
        records=[gone(2, 102, 5, 6, "A"), gone(3, 103, 7, 6, "A"), bid(4, 101, 1, ts=21)],
        fills=[(0, 21, 101, 1)],
        orders=["working 1@101"],
    ),
]

CASES = QUEUES + MEETINGS + RULES + STATES
