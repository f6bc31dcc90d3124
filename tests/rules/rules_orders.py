"""Cases of arriving orders: order types and times in force, liquidity that we have already taken, and replaces."""

from model import BID
from rules import Case, ask, bid, buy, buy_now, executed, gone, quote, replace, sell, sell_now

ARRIVALS = [
    Case(
        "a limit order arrives that is priced through the opposite side",
        "it takes every level up to its limit, best first, each at the level's price; the rest joins the queue",
        {10: [buy(103, 20)]},
        fills=[(0, 11, 102, 5), (0, 11, 103, 7)],
        makers=(),
        orders=["working 8@103"],
    ),
    Case(
        "a limit order arrives at the best opposite price",
        "it takes that level only; the rest joins the queue",
        {10: [buy(102, 20)]},
        fills=[(0, 11, 102, 5)],
        makers=(),
        orders=["working 15@102"],
    ),
    Case(
        "a limit order arrives that does not reach the opposite side",
        "it rests at the back of the queue",
        {10: [buy(100, 2)]},
        orders=["working 2@100"],
        sees={20: {0: ("working", 2, 5, 0)}},
    ),
    Case(
        "a market order arrives",
        "it walks the book, each level at its own price",
        {10: [buy_now(7)]},
        fills=[(0, 11, 102, 5), (0, 11, 103, 2)],
        makers=(),
        orders=["filled"],
    ),
    Case(
        "a market order larger than the book arrives",
        "it takes every available lot, each at its level's price; the rest is cancelled",
        {10: [buy_now(99)]},
        fills=[(0, 11, 102, 5), (0, 11, 103, 7)],
        makers=(),
        orders=["cancelled unfilled"],
    ),
    Case(
        "a market order arrives and the opposite side is empty",
        "it is cancelled without a fill",
        {10: [sell_now(2)]},
        records=[gone(1, 100, 5, 6)],
        orders=["cancelled unfilled"],
        sees={20: {"position": 0, "cash": 0, 0: None}},
    ),
    Case(
        "a post-only order would trade",
        "it is rejected",
        {10: [buy(102, 1, post_only=True), sell(100, 1, post_only=True)]},
        orders=["rejected would_cross"] * 2,
    ),
    Case(
        "a post-only order would not trade",
        "it rests like a limit order",
        {10: [buy(101, 1, post_only=True)]},
        records=[*executed(1, 100, 5, 21)],
        fills=[(0, 21, 101, 1)],
        orders=["filled"],
    ),
    Case(
        "a post-only day order would trade",
        "it is rejected",
        {10: [buy(102, 1, tif="day", post_only=True)]},
        orders=["rejected would_cross"],
    ),
    Case(
        "a post-only day order would not trade, and the session ends",
        "it rests, then it expires",
        {10: [buy(101, 1, tif="day", post_only=True)]},
        orders=["cancelled expired"],
    ),
    Case(
        "an FOK market order finds too few lots",
        "it is cancelled, and nothing trades",
        {10: [buy(0, 13, type="market", tif="fok")]},
        orders=["cancelled killed"],
    ),
    Case(
        "an FOK market order finds all its lots",
        "it fills completely",
        {10: [buy(0, 12, type="market", tif="fok")]},
        fills=[(0, 11, 102, 5), (0, 11, 103, 7)],
        makers=(),
        orders=["filled"],
    ),
    Case(
        "a market order is sent with a price",
        "the price is ignored",
        {10: [buy(2**40, 6, type="market"), sell(-(2**62), 5, type="market")]},
        fills=[(0, 11, 102, 5), (0, 11, 103, 1), (1, 11, 100, 5)],
        makers=(),
        orders=["filled", "filled"],
    ),
    Case(
        "a post-only quote would trade",
        "it is rejected",
        {10: [quote(BID, 102, 1, post_only=True)]},
        orders=["rejected would_cross"],
    ),
    Case(
        "a day quote is working when the session ends",
        "it expires",
        {10: [quote(BID, 99, 1, tif="day")]},
        orders=["cancelled expired"],
    ),
    Case(
        "a working quote is requested again with other instructions",
        "it keeps its original instructions",
        {10: [quote(BID, 99, 1)], 20: [quote(BID, 98, 1, tif="day", post_only=True)]},
        orders=["working 1@98"],
    ),
    Case(
        "a post-only order meets only lots that we have already taken",
        "no lots are available: it rests",
        {10: [buy(102, 5, tif="ioc"), buy(102, 1, post_only=True)]},
        fills=[(0, 11, 102, 5)],
        makers=(),
        orders=["filled", "working 1@102"],
    ),
    Case(
        "an IOC order arrives",
        "it takes the lots within its limit; the rest is cancelled",
        {10: [buy(102, 9, tif="ioc")]},
        fills=[(0, 11, 102, 5)],
        makers=(),
        orders=["cancelled unfilled"],
    ),
    Case("an IOC order finds nothing within its limit", "it is cancelled", {10: [buy(101, 9, tif="ioc")]}, orders=["cancelled unfilled"]),
    Case(
        "an FOK order finds all its lots within its limit",
        "it fills completely",
        {10: [buy(103, 12, tif="fok")]},
        fills=[(0, 11, 102, 5), (0, 11, 103, 7)],
        makers=(),
        orders=["filled"],
    ),
    Case(
        "an FOK order finds fewer lots within its limit",
        "it is cancelled, and nothing trades",
        {10: [buy(102, 6, tif="fok"), buy(103, 13, tif="fok")]},
        orders=["cancelled killed"] * 2,
    ),
    Case(
        "an FOK order would need lots that we have already taken",
        "they do not count",
        {10: [buy(102, 3, tif="ioc"), buy(103, 10, tif="fok")]},
        fills=[(0, 11, 102, 3)],
        makers=(),
        orders=["filled", "cancelled killed"],
    ),
    Case(
        "the session ends",
        "day orders expire; other orders stay",
        {10: [buy(99, 1, tif="day"), buy(99, 1)]},
        orders=["cancelled expired", "working 1@99"],
    ),
    Case(
        "the session ends, and the run closes positions",
        "the position is closed as if by a market order that arrives at that time",
        {10: [buy(102, 3)]},
        fills=[(0, 11, 102, 3), (1, 60, 100, 3)],
        makers=(),
        orders=["filled", "filled"],
        setup={"flatten": True},
    ),
    Case(
        "one of our orders takes liquidity",
        "our next order finds only the remaining lots, whether it is a limit or a market order",
        {10: [buy(102, 4), buy_now(3)], 20: [buy(102, 1)]},
        fills=[(0, 11, 102, 4), (1, 11, 102, 1), (1, 11, 103, 2)],
        makers=(),
        orders=["filled", "filled", "working 1@102"],
    ),
]


def refreshed(situation, happens, records, free):
    """Return a case with one order that takes 4 of 5 lots, and a later order that finds `free` lots."""
    fills = [(0, 11, 102, 4), *([(1, 21, 102, free)] if free else [])]
    return Case(situation, happens, {10: [buy(102, 4)], 20: [buy(102, 99)]}, records=records, fills=fills, makers=())


TAKEN = [
    refreshed("nothing happens at a level where we took liquidity", "our lots stay taken", [], 1),
    refreshed(
        "the market executes lots at a level where we took liquidity",
        "they count as the lots we took: 5 - 2 rest, 4 - 2 are taken",
        executed(2, 102, 2, 15, "A"),
        1,
    ),
    refreshed(
        "the market executes as many lots as we took", "the lots still at the level are available again", executed(2, 102, 4, 15, "A"), 1
    ),
    refreshed(
        "a level shrinks below the lots we took there", "the lots taken are capped at the lots at the level", [gone(2, 102, 3, 15, "A")], 0
    ),
    refreshed("new lots come to rest at a level where we took liquidity", "they are available", [ask(4, 102, 6, ts=15)], 7),
    refreshed(
        "a level where we took liquidity empties, and new orders join it",
        "all its lots are available",
        [gone(2, 102, 5, 15, "A"), ask(4, 102, 6, ts=16)],
        6,
    ),
]

REPLACES = [
    Case(
        "a replace lowers the size",
        "the order keeps its queue position",
        {10: [buy(100, 4)], 20: [replace(0, 100, 2)]},
        records=[bid(4, 100, 9, ts=15), *executed(1, 100, 5, 31), *executed(4, 100, 9, 41)],
        fills=[(0, 41, 100, 2)],
        orders=["filled"],
        sees={30: {0: ("working", 2, 5, 9)}},
    ),
    Case(
        "a replace raises the size",
        "the order goes to the back of its queue",
        {10: [buy(100, 2)], 20: [replace(0, 100, 4)]},
        records=[bid(4, 100, 9, ts=15), *executed(1, 100, 5, 31), *executed(4, 100, 9, 41)],
        orders=["working 4@100"],
        sees={20: {0: ("working", 2, 5, 9)}, 30: {0: ("working", 4, 14, 0)}, 50: {0: ("working", 4, 0, 0)}},
    ),
    Case(
        "a replace changes the price",
        "the order goes to the back of the queue at the new price",
        {10: [buy(99, 2)], 20: [replace(0, 100, 2)]},
        records=[bid(4, 100, 1, ts=22), *executed(1, 100, 5, 31), *executed(4, 100, 1, 41)],
        fills=[(0, 41, 100, 1)],
        orders=["working 1@100"],
    ),
    Case(
        "a replace reaches the opposite side",
        "it trades there as taker, and the rest joins the queue",
        {10: [buy(100, 2)], 20: [replace(0, 102, 7)]},
        fills=[(0, 21, 102, 5)],
        makers=(),
        orders=["working 2@102"],
    ),
    Case(
        "a replace requests a total size below the filled size",
        "the order is cancelled",
        {10: [buy(102, 9)], 20: [replace(0, 102, 5)]},
        fills=[(0, 11, 102, 5)],
        makers=(),
        orders=["cancelled replaced_down"],
    ),
    Case(
        "a replace changes the total size of a partly filled order",
        "the filled lots count towards the total",
        {10: [buy(102, 9)], 20: [replace(0, 103, 7)]},
        fills=[(0, 11, 102, 5), (0, 21, 103, 2)],
        makers=(),
        orders=["filled"],
    ),
    Case(
        "a fill overtakes a replace",
        "the working size is the new total less the lots filled by then",
        {10: [buy(101, 4)], 20: [replace(0, 101, 3)]},
        records=executed(1, 100, 2, 21),
        fills=[(0, 21, 101, 2)],
        orders=["working 1@101"],
        sees={30: {"position": 2, 0: ("working", 1, 0, 0)}},
    ),
    Case(
        "a replace of a post-only order would trade",
        "it is rejected, and the order keeps its queue position, price and size",
        {10: [buy(100, 2, post_only=True)], 20: [replace(0, 102, 3)]},
        records=[bid(4, 100, 9, ts=15), *executed(1, 100, 5, 31), *executed(4, 100, 9, 41)],
        fills=[(0, 41, 100, 2)],
        orders=["filled"],
        sees={30: {0: ("working", 2, 5, 9), "open_bid": 2}},
    ),
    Case(
        "a replace arrives when the order is no longer open",
        "nothing happens",
        {10: [buy(101, 1)], 20: [replace(0, 100, 9)]},
        records=executed(1, 100, 1, 21),
        fills=[(0, 21, 101, 1)],
        orders=["filled"],
    ),
    Case(
        "a replace requests the current price and size",
        "the order keeps its queue position",
        {10: [buy(100, 2)], 20: [replace(0, 100, 2)]},
        records=[bid(4, 100, 9, ts=15), *executed(1, 100, 5, 31), *executed(4, 100, 9, 41)],
        fills=[(0, 41, 100, 2)],
        orders=["filled"],
    ),
    Case(
        "two replaces follow each other",
        "both are applied, in the order sent",
        {10: [buy(100, 2)], 20: [replace(0, 99, 2), replace(0, 100, 3)]},
        orders=["working 3@100"],
    ),
]

CASES = ARRIVALS + TAKEN + REPLACES
