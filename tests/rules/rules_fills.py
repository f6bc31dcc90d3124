"""Cases of resting orders: when they fill, for how much, under each fill rule; crossed markets, clears, snapshots, halts, auctions."""

from model import F_LAST, F_SNAPSHOT
from rules import Case, ask, bid, buy, buy_now, executed, gone, rec, sell

SNAP = F_SNAPSHOT | F_LAST

QUEUES = [
    Case(
        "a real order before ours is executed, partly and wholly",
        "ours does not fill",
        {10: [buy(100, 4)]},
        records=[*executed(1, 100, 2, 21), *executed(1, 100, 3, 31)],
        orders=["working 4@100"],
        sees={20: {0: ("working", 4, 5, 0)}, 30: {0: ("working", 4, 3, 0)}, 40: {0: ("working", 4, 0, 0)}},
    ),
    Case(
        "a real order that joined after ours is executed",
        "ours would have traded first: it fills",
        {10: [buy(100, 4)]},
        records=[bid(4, 100, 9, ts=22), *executed(1, 100, 5, 31), *executed(4, 100, 9, 41)],
        fills=[(0, 41, 100, 4)],
        orders=["filled"],
    ),
    Case(
        "fewer lots are executed behind ours than it has",
        "it fills by just those lots, and every part counts",
        {10: [buy(100, 9)]},
        records=[bid(4, 100, 3, ts=20), *executed(4, 100, 2, 31), *executed(4, 100, 1, 41)],
        fills=[(0, 31, 100, 2), (0, 41, 100, 1)],
        orders=["working 6@100"],
        sees={40: {"position": 2, "cash": -200, 0: ("working", 7, 5, 1)}, 50: {"position": 3, "cash": -300}},
    ),
    Case(
        "one lot is executed behind an order of ours of 500",
        "one lot fills, not 500",
        {10: [buy(100, 500)]},
        records=[bid(4, 100, 9, ts=22), *executed(4, 100, 1, 31)],
        fills=[(0, 31, 100, 1)],
        orders=["working 499@100"],
    ),
    Case(
        "an execution at a worse price than ours",
        "ours would have traded first: it fills, at its price",
        {10: [buy(101, 4)]},
        records=executed(1, 100, 3, 21),
        fills=[(0, 21, 101, 3)],
        orders=["working 1@101"],
    ),
    Case(
        "an execution at a better price than ours",
        "ours does not fill",
        {10: [buy(99, 4), sell(104, 4)]},
        records=[*executed(1, 100, 3, 21), *executed(3, 103, 3, 31, "A")],
        orders=["working 4@99", "working 4@104"],
    ),
    Case(
        "an order of ours inside the spread, and many executions at the touch",
        "it fills at the first ones until it is done",
        {10: [buy(101, 4)]},
        records=[*executed(1, 100, 3, 21), bid(4, 100, 9, ts=22), *executed(1, 100, 2, 31), *executed(4, 100, 1, 41)],
        fills=[(0, 21, 101, 3), (0, 31, 101, 1)],
        orders=["filled"],
    ),
    Case(
        "a real order before ours is cancelled or reduced",
        "ours moves up by just that much",
        {10: [buy(100, 4)]},
        records=[bid(4, 100, 9, ts=20), gone(1, 100, 2, 21)],
        sees={20: {0: ("working", 4, 5, 9)}, 30: {0: ("working", 4, 3, 9)}},
    ),
    Case(
        "a real order behind ours is cancelled",
        "what is ahead stays",
        {10: [buy(100, 4)]},
        records=[bid(4, 100, 9, ts=20), gone(4, 100, 8, 22)],
        sees={30: {0: ("working", 4, 5, 1)}},
    ),
    Case(
        "a real order before ours loses its place",
        "it is behind ours, and its execution fills ours",
        {10: [buy(100, 2)]},
        records=[rec("M", "B", 100, 6, 1, ts=21), *executed(1, 100, 3, 31)],
        fills=[(0, 31, 100, 2)],
        orders=["filled"],
        sees={20: {0: ("working", 2, 5, 0)}, 30: {0: ("working", 2, 0, 6)}},
    ),
    Case(
        "a real order behind ours gets smaller and is executed",
        "the same: ours fills first",
        {10: [buy(100, 2)]},
        records=[bid(4, 100, 9, ts=20), rec("M", "B", 100, 3, 4, ts=21), *executed(4, 100, 3, 31)],
        fills=[(0, 31, 100, 2)],
    ),
    Case(
        "several orders of ours compete",
        "the better price, then the earlier; lots are given once",
        {10: [buy(101, 2), buy(101, 2), buy(100, 9), sell(104, 1)]},
        records=[gone(1, 100, 5, 9), bid(4, 99, 5, ts=9), *executed(4, 99, 5, 21)],
        fills=[(0, 21, 101, 2), (1, 21, 101, 2), (2, 21, 100, 1)],
    ),
    Case(
        "a better order of ours was sent later",
        "it still fills before the worse one",
        {10: [buy(100, 9), buy(101, 2)]},
        records=[gone(1, 100, 5, 9), bid(4, 99, 5, ts=9), *executed(4, 99, 5, 21)],
        fills=[(1, 21, 101, 2), (0, 21, 100, 3)],
    ),
    Case(
        "real orders stand between two of ours",
        "each has its own place",
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
        "an opposite order comes to rest at our price",
        "ours fills against it, at its price, by what is there",
        {10: [buy(101, 9)]},
        records=[ask(4, 101, 1, ts=21), ask(5, 101, 2, ts=31), rec("N", ts=41)],
        fills=[(0, 21, 101, 1), (0, 31, 101, 2)],
        orders=["working 6@101"],
    ),
    Case(
        "opposite orders come to rest at and through our price",
        "ours fills against all of them in one, at its price",
        {10: [buy(101, 9)]},
        records=[gone(1, 100, 5, 21, flags=0), ask(4, 101, 2, ts=21, flags=0), ask(5, 100, 1, ts=21)],
        fills=[(0, 21, 101, 3)],
    ),
    Case(
        "an opposite order is gone again at its event's end",
        "ours does not fill",
        {10: [buy(101, 9)]},
        records=[ask(4, 101, 1, ts=21, flags=0), gone(4, 101, 1, 21, "A")],
        orders=["working 9@101"],
    ),
    Case(
        "an opposite order reaches ours, and its event ends with a row elsewhere",
        "ours fills at that event's end",
        {10: [buy(101, 9)]},
        records=[ask(4, 101, 2, ts=21, flags=0), ask(5, 103, 1, ts=21)],
        fills=[(0, 21, 101, 2)],
        orders=["working 7@101"],
    ),
    Case(
        "orders of ours meet an opposite order smaller than they are",
        "the better price, then the earlier; lots are given once",
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
        "fill rule optimistic: an order at our level is executed",
        "ours fills, whatever was before it",
        executed(1, 100, 3, 21),
        [(0, 21, 100, 3)],
        sees={20: {0: ("working", 4, 0, 5)}, 30: {0: ("working", 1, 0, 2)}},
    ),
    under("optimistic", "fill rule optimistic: real orders are cancelled", "ours does not fill", [gone(1, 100, 5, 21)], []),
    under(
        "conservative",
        "fill rule conservative: orders behind ours are executed",
        "ours does not fill",
        [bid(4, 100, 9, ts=15), *executed(1, 100, 5, 21), *executed(4, 100, 9, 31)],
        [],
        orders=["working 4@100"],
        sees={30: {0: ("working", 4, 0, 9)}},
    ),
    under(
        "conservative",
        "fill rule conservative: an execution at a worse price",
        "ours fills",
        [bid(4, 99, 9, ts=15), *executed(4, 99, 9, 31)],
        [(0, 31, 100, 4)],
    ),
    under(
        "conservative",
        "fill rule conservative: an opposite order comes to rest at our price",
        "ours fills",
        [gone(1, 100, 5, 15), ask(4, 100, 2, ts=21)],
        [(0, 21, 100, 2)],
    ),
]

STATES = [
    Case(
        "the market is crossed",
        "nothing matches: our orders rest and wait, market and IOC orders are cancelled, FOK orders killed",
        {10: [buy(103, 7), buy_now(1), buy(103, 1, tif="ioc"), buy(103, 1, tif="fok"), buy(103, 1, post_only=True)]},
        records=[bid(4, 102, 1, ts=6)],
        orders=["working 7@103", "cancelled unfilled", "cancelled unfilled", "cancelled killed", "working 1@103"],
    ),
    Case(
        "a crossed market is uncrossed",
        "our orders fill against what reaches them, at their prices",
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
        "executions fill ours by the same rules, at our price",
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
        "what was ahead is gone; our orders stay",
        {10: [buy(100, 4)]},
        records=[rec("R", ts=21)],
        orders=["working 4@100"],
        sees={20: {0: ("working", 4, 5, 0)}, 30: {0: ("working", 4, 0, 0), "bid_px": None}},
    ),
    Case(
        "the book is cleared and its orders come back in a snapshot",
        "they were before ours: they are ahead of it",
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
        "the book is cleared and other orders join anew",
        "they are behind ours",
        {10: [buy(100, 4)]},
        records=[rec("R", ts=21), bid(7, 100, 3, ts=25), *executed(7, 100, 3, 31)],
        fills=[(0, 31, 100, 3)],
    ),
    Case(
        "a snapshot shows opposite orders through ours",
        "ours fills at its event's end, like with any others",
        {10: [buy(101, 4)]},
        records=[rec("R", ts=21, flags=SNAP), ask(2, 101, 5, ts=21, flags=SNAP)],
        fills=[(0, 21, 101, 4)],
    ),
    Case(
        "the market halts: there are no events",
        "our orders arrive, rest and are cancelled all the same",
        {10: [buy(99, 1)], 20: [buy(98, 1)]},
        orders=["working 1@99", "working 1@98"],
        sees={40: {0: ("working", 1, 0, 0)}},
    ),
    Case(
        "there is a gap in the feed: a cancel of an unknown order",
        "nothing changes",
        {10: [buy(100, 4)]},
        records=[gone(77, 100, 5, 21)],
        sees={30: {0: ("working", 4, 5, 0)}},
    ),
    Case(
        "trades print that no resting order explains",
        "our orders do not fill",
        {10: [buy(101, 4)]},
        records=[rec("T", "A", 100, 9, 0, 21)],
        orders=["working 4@101"],
    ),
    Case(
        "our order rests beyond the touch of an empty side",
        "it waits at its price",
        {10: [sell(101, 2)]},
        records=[gone(2, 102, 5, 6, "A"), gone(3, 103, 7, 6, "A"), bid(4, 101, 1, ts=21)],
        fills=[(0, 21, 101, 1)],
        orders=["working 1@101"],
    ),
]

CASES = QUEUES + MEETINGS + RULES + STATES
