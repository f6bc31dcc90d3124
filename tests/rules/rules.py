"""The rules as cases: a situation, its outcome, and the smallest set of records and actions that shows it.

The market of every case, from time 5 on, in ticks and lots; ids 1, 2 and 3:

    103   7 asked (3)
    102   5 asked (2)
    100   5 bid   (1)

Timers wake every 10 ns, the strategy is 1 ns from the exchange each way, and the data end at 60 unless a case says otherwise.
A case's expectations hold for the oracle (tests/rules/test_rules.py) and for the engine alike.
"""

from dataclasses import dataclass, field
from typing import Any

from model import ASK, BID
from model_cases import ask, bid, rec
from scripted import Action

START = [bid(1, 100, 5, ts=5), ask(2, 102, 5, ts=5), ask(3, 103, 7, ts=5)]


@dataclass
class Case:
    situation: str
    happens: str
    script: dict  # time: actions
    records: list = field(default_factory=list)
    fills: list = field(default_factory=list)  # (order, ts, px, qty), as maker where `makers` has the order
    makers: Any = "all"  # ids of orders that fill as makers
    orders: list | None = None  # final state of each order, as text
    sees: dict = field(default_factory=dict)  # time of a call: expected view of the account (fields of Look, or order ids)
    calls: list | None = None  # (time, wakes) of each call
    setup: dict = field(default_factory=dict)
    end: int = 60

    @property
    def all_records(self):
        return [*START, *self.records, rec("N", ts=self.end)]

    def __str__(self):
        return self.situation


def describe(order):
    """Return the final state of an order as text: "working 3@100", "cancelled by_us", "filled"."""
    if order.state in ("sent", "working"):
        return f"{order.state} {order.leaves}@{order.px}"
    return f"{order.state} {order.reason}".strip()


# Actions


def buy(px, qty, **how):
    return Action("submit", BID, px, qty, **how)


def sell(px, qty, **how):
    return Action("submit", ASK, px, qty, **how)


def buy_now(qty):
    return Action("market", BID, qty=qty)


def sell_now(qty):
    return Action("market", ASK, qty=qty)


def cancel(i):
    return Action("cancel", i)


def replace(i, px, qty):
    return Action("replace", i, px, qty)


def quote(side, px, qty, **how):
    return Action("quote", side, px, qty, **how)


CANCEL_ALL, FLATTEN = Action("cancel_all"), Action("flatten")


# Records


def executed(order_id, px, size, ts, side="B"):
    """Return the T, F and C of an execution of a resting order."""
    other = "A" if side == "B" else "B"
    return [
        rec("T", other, px, size, 0, ts, 0),
        rec("F", side, px, size, order_id, ts, 0),
        rec("C", side, px, size, order_id, ts),
    ]


def gone(order_id, px, size, ts, side="B", **more):
    """Return the cancel of (a part of) a resting order."""
    return rec("C", side, px, size, order_id, ts, **more)
