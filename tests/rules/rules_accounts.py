"""Cases of accounts: cancels, quotes, self-match prevention, and requests that are refused before they are sent."""

from model import ASK, BID
from model_account import Limits
from rules import CANCEL_ALL, FLATTEN, Case, buy, buy_now, cancel, executed, gone, quote, replace, sell, sell_now
from scripted import Action

CANCELS = [
    Case(
        "a cancel arrives",
        "the order is cancelled, and no longer fills",
        {10: [buy(101, 1)], 20: [cancel(0)]},
        records=executed(1, 100, 5, 31),
        orders=["cancelled by_us"],
        sees={20: {0: ("working", 1, 0, 0)}, 30: {0: None}},
    ),
    Case(
        "a cancel arrives at the time of a fill",
        "the market comes first: the fill stands",
        {10: [buy(101, 5)], 20: [cancel(0)]},
        records=executed(1, 100, 5, 21),
        fills=[(0, 21, 101, 5)],
        orders=["filled"],
    ),
    Case(
        "a cancel arrives before a fill",
        "the order does not fill",
        {10: [buy(101, 5)], 20: [cancel(0)]},
        records=executed(1, 100, 5, 22),
        orders=["cancelled by_us"],
    ),
    Case(
        "a partly filled order is cancelled",
        "the filled lots stay in the position",
        {10: [buy(101, 5)], 20: [cancel(0)]},
        records=executed(1, 100, 2, 15),
        fills=[(0, 15, 101, 2)],
        orders=["cancelled by_us"],
        sees={30: {"position": 2, "cash": -202, "open_bid": 0}},
    ),
    Case(
        "a cancel is requested twice",
        "the second one is not sent",
        {10: [buy(101, 5)], 20: [cancel(0), cancel(0)]},
        orders=["cancelled by_us"],
        sees={30: {"refused": "not_open", "n_refused": 1}},
    ),
    Case(
        "a replace is requested for an order whose cancel is in flight",
        "the replace is not sent",
        {10: [buy(101, 5)], 20: [cancel(0), replace(0, 100, 5)]},
        orders=["cancelled by_us"],
        sees={30: {"refused": "not_open"}},
    ),
    Case(
        "everything is cancelled",
        "a cancel is sent for every order that has none in flight",
        {10: [buy(99, 5), sell(105, 1)], 20: [cancel(0), CANCEL_ALL]},
        orders=["cancelled by_us"] * 2,
        sees={30: {"n_refused": 0, "n_open": 0}},
    ),
    Case(
        "an account flattens",
        "its orders are cancelled, and its known position is closed at the market",
        {10: [buy(102, 3), buy(99, 1)], 20: [FLATTEN]},
        fills=[(0, 11, 102, 3), (2, 21, 100, 3)],
        makers=(),
        orders=["filled", "cancelled by_us", "filled"],
        sees={30: {"position": 0, "cash": -6}},
    ),
]

QUOTES = [
    Case(
        "a quote is requested at the price where it already works",
        "it stays, regardless of the size",
        {10: [quote(BID, 99, 2)], 20: [quote(BID, 99, 5)]},
        orders=["working 2@99"],
    ),
    Case(
        "a quote is requested at another price",
        "its order is replaced; the new size excludes filled lots",
        {10: [quote(BID, 101, 3)], 20: [quote(BID, 100, 2)]},
        records=executed(1, 100, 1, 15),
        fills=[(0, 15, 101, 1)],
        orders=["working 2@100"],
    ),
    Case(
        "a quote is requested with size 0",
        "its order is cancelled",
        {10: [quote(ASK, 105, 2)], 20: [quote(ASK, 105, 0)]},
        orders=["cancelled by_us"],
    ),
    Case(
        "a quote is requested again while its cancel is in flight",
        "a new order is sent",
        {10: [quote(BID, 99, 2)], 20: [quote(BID, 99, 0), quote(BID, 98, 1)], 30: [quote(BID, 98, 1)]},
        orders=["cancelled by_us", "working 1@98"],
    ),
    Case(
        "a quote fills, and another order takes its slot",
        "that order is not the quote: a new one is sent",
        {10: [quote(BID, 101, 1)], 20: [buy(101, 1), quote(BID, 101, 1)]},
        records=executed(1, 100, 1, 15),
        fills=[(0, 15, 101, 1)],
        orders=["filled", "working 1@101", "working 1@101"],
    ),
    Case(
        "quotes are requested on both sides",
        "the two are independent",
        {10: [quote(BID, 99, 1), quote(ASK, 105, 1)], 20: [quote(BID, 98, 1)]},
        orders=["working 1@98", "working 1@105"],
    ),
]

SELF_MATCHES = [
    Case(
        "our order would trade with our own resting order",
        "the resting order is cancelled, and the new order trades with the market",
        {10: [sell(102, 1)], 20: [buy(102, 5)]},
        fills=[(1, 21, 102, 5)],
        makers=(),
        orders=["cancelled self_match", "filled"],
    ),
    Case(
        "our order would trade with our own better-priced orders",
        "they are cancelled, best first, up to the price that the new order reaches",
        {10: [sell(101, 1), sell(103, 1), sell(104, 1)], 20: [buy(103, 6)]},
        fills=[(3, 21, 102, 5), (3, 21, 103, 1)],
        makers=(),
        orders=["cancelled self_match", "cancelled self_match", "working 1@104", "filled"],
    ),
    Case(
        "our order fills completely before it reaches our own resting order",
        "the resting order stays",
        {10: [sell(103, 1)], 20: [buy(103, 5)]},
        fills=[(1, 21, 102, 5)],
        makers=(),
        orders=["working 1@103", "filled"],
    ),
    Case(
        "our order comes to rest at or through our own opposite order",
        "the resting order is cancelled",
        {10: [sell(101, 1)], 20: [buy(101, 1)]},
        orders=["cancelled self_match", "working 1@101"],
    ),
    Case(
        "our market order could only trade with our own order",
        "the resting order stays, and the market order is cancelled",
        {10: [sell(101, 1), sell_now(5)], 20: [buy_now(13)]},
        records=[gone(2, 102, 5, 15, "A"), gone(3, 103, 7, 15, "A")],
        fills=[(1, 11, 100, 5)],
        makers=(),
        orders=["working 1@101", "filled", "cancelled unfilled"],
    ),
    Case(
        "our replace would trade with our own resting order",
        "the resting order is cancelled",
        {10: [sell(102, 1), buy(99, 5)], 20: [replace(1, 102, 5)]},
        fills=[(1, 21, 102, 5)],
        makers=(),
        orders=["cancelled self_match", "filled"],
    ),
]


def refused(situation, cause, script, *, at=20, orders=(), makers="all", fills=(), **setup):
    """Return the case of a request that is refused; the account then sees the cause."""
    sees = {at: {"refused": cause, "n_refused": 1}}
    return Case(situation, f"it is not sent: {cause}", script, [], list(fills), makers, list(orders), sees, setup=setup)


REFUSALS = [
    refused("an order of 0 lots", "bad_order", {10: [buy(100, 0)]}),
    refused("an order whose size is not a multiple of the lot size", "bad_order", {10: [buy(99, 3)]}, limits=Limits(lot=2)),
    refused(
        "more orders than an account can have",
        "no_slot",
        {10: [buy(99, 1), buy(98, 1), buy(97, 1)]},
        capacity=2,
        orders=["working 1@99", "working 1@98"],
    ),
    refused(
        "an order above the maximum size", "risk_order", {10: [buy(99, 3), buy(99, 2)]}, limits=Limits(max_order=2), orders=["working 2@99"]
    ),
    refused(
        "an order that could take the position beyond its limit",
        "risk_position",
        {10: [buy(99, 2), sell(105, 3), buy(98, 2)]},
        limits=Limits(max_position=3),
        orders=["working 2@99", "working 3@105"],
    ),
    refused(
        "a replace that could take the position beyond its limit",
        "risk_position",
        {10: [buy(99, 2), replace(0, 99, 4)]},
        limits=Limits(max_position=3),
        orders=["working 2@99"],
    ),
    refused(
        "more open orders than are allowed", "risk_open", {10: [buy(99, 1), buy(98, 1)]}, limits=Limits(max_open=1), orders=["working 1@99"]
    ),
    refused(
        "an order after the maximum loss",
        "risk_loss",
        {10: [buy_now(5)], 20: [buy(99, 1), sell(105, 5)]},
        at=30,
        limits=Limits(max_loss=4),
        fills=[(0, 11, 102, 5)],
        makers=(),
        orders=["filled", "working 5@105"],
    ),
    refused(
        "more messages than are allowed in a window",
        "risk_rate",
        {10: [buy(99, 1), replace(0, 98, 1), buy(97, 1), cancel(0)], 40: [buy(97, 1)]},
        limits=Limits(max_rate=2, rate_interval=40),
        orders=["cancelled by_us", "working 1@97"],
    ),
]

NAN, UNDEF, LOWEST = -(2**63), 2**63 - 1, -(2**63)  # math.floor(nan) is the lowest integer
NO_PRICE = {"NaN": NAN, "undefined": UNDEF, "2^62": 2**62, "above the maximum": 2**30 + 1, "2^32": 2**32}  # 2^62: a negative price, wrapped
NO_SIZE = {"NaN": NAN, "undefined": UNDEF, "above the maximum": 2**30 + 1, "2^32": 2**32, "2^32 + 1": 2**32 + 1}


def unchanged(situation, action):
    """Return the case of a replace that is refused: the order does not change."""
    return refused(situation, "bad_order", {10: [buy(99, 2), action]}, orders=["working 2@99"])


def quote_cancelled(situation, action):
    """Return the case of a quote that is refused while an earlier one is working: the earlier one is cancelled."""
    return refused(situation, "bad_order", {10: [quote(BID, 99, 2)], 20: [action]}, at=30, orders=["cancelled by_us"])


NONSENSE = {
    "a post-only IOC order": {"tif": "ioc", "post_only": True},
    "a post-only FOK order": {"tif": "fok", "post_only": True},
    "a post-only market order": {"type": "market", "post_only": True},
    "a day market order": {"type": "market", "tif": "day"},
}
NO_ORDERS = [
    *(refused(word, "bad_order", {10: [buy(99, 1, **how)]}) for word, how in NONSENSE.items()),
    *(refused(f"a quote whose time in force is {tif}", "bad_order", {10: [quote(BID, 99, 1, tif=tif)]}) for tif in ("ioc", "fok")),
    *(refused(f"an order whose price is {word}", "bad_order", {10: [sell(px, 1)]}) for word, px in NO_PRICE.items()),
    *(refused(f"an order whose size is {word}", "bad_order", {10: [buy(99, qty)]}) for word, qty in NO_SIZE.items()),
    *(refused(f"a market order whose size is {word}", "bad_order", {10: [buy_now(qty)]}) for word, qty in NO_SIZE.items()),
    *(refused(f"an order on side {side}", "bad_order", {10: [Action("submit", side, 100, 1)]}) for side in (-1, 2, 256, LOWEST)),
    *(unchanged(f"a replace whose price is {word}", replace(0, px, 2)) for word, px in NO_PRICE.items()),
    *(unchanged(f"a replace whose size is {word}", replace(0, 99, qty)) for word, qty in {**NO_SIZE, "0": 0}.items()),
    *(quote_cancelled(f"a working quote moves, and its price is {word}", quote(BID, px, 2)) for word, px in NO_PRICE.items()),
    *(quote_cancelled(f"a working quote moves, and its size is {word}", quote(BID, 98, qty)) for word, qty in NO_SIZE.items()),
    *(
        quote_cancelled(f"a working quote is requested at its own price, and its size is {word}", quote(BID, 99, qty))
        for word, qty in NO_SIZE.items()
    ),
    *(refused(f"a first quote whose price is {word}", "bad_order", {10: [quote(ASK, px, 2)]}) for word, px in NO_PRICE.items()),
    *(refused(f"a first quote whose size is {word}", "bad_order", {10: [quote(ASK, 105, qty)]}) for word, qty in NO_SIZE.items()),
    *(
        refused(f"a quote on side {side}", "bad_order", {10: [quote(ASK, 105, 2), quote(side, 105, 0)]}, orders=["working 2@105"])
        for side in (-1, 2, 257, LOWEST)
    ),
    refused(
        "a quote above the maximum size",
        "risk_order",
        {10: [quote(BID, 99, 2)], 20: [quote(BID, 98, 5)]},
        at=30,
        limits=Limits(max_order=3),
        orders=["working 2@99"],
    ),
    Case(
        "a quote is requested with a negative size",
        "it is cancelled, as with size 0",
        {10: [quote(BID, 99, 2)], 20: [quote(BID, NAN, -5)]},
        orders=["cancelled by_us"],
        sees={30: {"n_refused": 0}},
    ),
]

CASES = CANCELS + QUOTES + SELF_MATCHES + REFUSALS + NO_ORDERS
