"""Ghosts: an own order directly ahead of and one directly behind every real order that was filled, all in one pass of the engine.

    real order      ADD ........ EXEC ... EXEC          never modified, fully executed
    ghost ahead     ^ same price and size, arrives before the event of the ADD             must fill at the same events for the same lots
    ghost behind        ^ arrives after that event                                         must not fill before the last of them

The size is the real order's original size: if it traded on arrival, its trades plus its remainder, and its ghost takes the same. Each
ghost is a separate account. Orders are put in flight as if they had been sent, so no strategy runs and a pass costs only the rows and
the ghosts. Time is the number of the event, on both clocks.

Events are compared, not rows: within one event, CME sometimes lists the executions at one price in an order other than the queue's.
"""

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import nbtrade as nt
from nbtrade.engine.config import new_config
from nbtrade.engine.kernels import records
from nbtrade.schema import ADD, CLEARED, EXEC, LAST, LIMIT, SNAPSHOT, TRADE
from nbtrade.tape.book_snapshot import book_arrays

STEP = 10  # of the clock, an event; messages arrive halfway


@nt.strategy(wake="end")
def nothing(market, account):
    """Ghosts make no decisions."""


class Filled(NamedTuple):
    """Real orders that were filled; `rows` are the executions of all orders, those of order k from start[k] to stop[k]."""

    added: np.ndarray  # row of the ADD
    took: np.ndarray  # lots that it traded on arrival
    rows: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def event_of(events):
    """Return the number of each row's event, from 1."""
    return np.concatenate(([0], np.cumsum(events["flags"] & LAST, dtype=np.int64)[:-1])) + 1


def filled_orders(tape):
    """Return the orders that were added once, never modified or partly cancelled, and fully executed."""
    e = tape.events
    added = np.flatnonzero((e["kind"] == ADD) & (e["flags"] & (CLEARED | SNAPSHOT) == 0))
    ids, n = np.unique(tape.order_id[e["kind"] == ADD], return_counts=True)
    added = added[n[np.searchsorted(ids, tape.order_id[added])] == 1]
    executed, removed = np.flatnonzero(e["kind"] == EXEC), np.flatnonzero((e["kind"] != ADD) & (e["prio"] >= 0))
    lots = np.zeros(len(e), np.int64)
    np.add.at(lots, e["prio"][executed], -e["qty"][executed].astype(np.int64))
    others = np.zeros(len(e), bool)
    others[e["prio"][removed[e["kind"][removed] != EXEC]]] = True
    added = added[(lots[added] == e["qty"][added]) & ~others[added]]
    rows = executed[np.argsort(e["prio"][executed], kind="stable")]
    prio = e["prio"][rows]
    return Filled(added, taken_on_arrival(tape, added), rows, np.searchsorted(prio, added), np.searchsorted(prio, added, side="right"))


def taken_on_arrival(tape, added):
    """Return the lots that each order traded as aggressor in the event of its ADD."""
    e, event = tape.events, event_of(tape.events)
    trades = np.flatnonzero(e["kind"] == TRADE)
    lots = {}
    for key, qty in zip(zip(event[trades].tolist(), tape.order_id[trades].tolist(), strict=True), e["qty"][trades].tolist(), strict=True):
        lots[key] = lots.get(key, 0) + qty
    return np.array([lots.get(key, 0) for key in zip(event[added].tolist(), tape.order_id[added].tolist(), strict=True)], np.int64)


def haunt(tape, rows, took, arrive):
    """Run ghosts like the orders added by `rows`, arriving at `arrive`; return FILL[] sorted by ghost, then by row.

    rows, took, arrive : i8[n ghosts]; `took`: lots of the order besides those of the ADD
    """
    k = len(rows)
    config = new_config(nothing, [{}] * k, max_orders=1, sample=0)
    simulation = config.simulation([book_arrays(tape)], [tape.tick_units])
    send(simulation, tape.events[rows], tape.events["qty"][rows] + took, arrive)
    ts = event_of(tape.events) * STEP
    simulation.feed(tape.events, ts, ts, 0, final=True)
    fills = simulation.instruments[0].log("fills")
    return fills[np.lexsort((fills["row"], fills["account"]))]


def send(simulation, orders, qty, arrive):
    """Put one order of each account in flight, at the prices and sides of real orders."""
    instrument, accounts = simulation.instruments[0], simulation.accounts
    k = len(orders)
    first = accounts["first"].astype(np.int64)
    own = instrument.orders
    for name in ("px", "requested_px"):
        own[name][first] = orders["px"]
    for name in ("qty", "requested_qty", "leaves", "known_leaves"):
        own[name][first] = qty
    own["side"][first], own["instructions"][first] = orders["side"], LIMIT
    own["state"][first] = own["status"][first] = records.SENT
    own["in_flight"][first] = 1
    accounts["free"] = -1
    accounts["n_orders"] = accounts["n_open"] = accounts["in_flight"] = 1
    at = np.argsort(arrive, kind="stable")
    assert len(instrument.messages) >= k
    instrument.messages["arrive"][:k], instrument.messages["order"][:k], instrument.messages["what"][:k] = (
        arrive[at],
        first[at],
        records.NEW,
    )
    instrument.record["m_tail"] = k


def exceptions(tape, orders, part=slice(None)):
    """Return {row of the ADD: fault} for ghosts of some or all orders, and the number of orders tested."""
    events, event = tape.events, event_of(tape.events)
    added, took, start, stop = orders.added[part], orders.took[part], orders.start[part], orders.stop[part]
    k, nothing_took = len(added), np.zeros(len(added), np.int64)
    at = event[added] * STEP
    fills = haunt(tape, np.tile(added, 2), np.concatenate((took, nothing_took)), np.concatenate((at - STEP // 2, at + STEP // 2)))
    ghosts = np.arange(2 * k)
    begin, end = np.searchsorted(fills["account"], ghosts), np.searchsorted(fills["account"], ghosts, side="right")
    wrong = {}
    for i, row in enumerate(added.tolist()):
        real = orders.rows[start[i] : stop[i]]
        expected = by_event(event[real], -events["qty"][real])
        before, behind = fills[begin[i] : end[i]], fills[begin[k + i] : end[k + i]]
        made = before["maker"] == 1
        got = by_event(event[before["row"][made]], before["qty"][made])
        if before["qty"][~made].sum() != took[i]:
            wrong[row] = f"traded {took[i]} lots on arrival, the ghost before it {before['qty'][~made].sum()}"
        elif got != expected:
            wrong[row] = f"filled {expected} by event, the ghost before it {got}"
        elif len(behind) and event[behind["row"].min()] < max(expected):
            wrong[row] = f"filled {expected} by event, the ghost behind it at {event[behind['row'].min()]}"
    return wrong, k


def by_event(events, lots):
    """Return {event: lots}."""
    out = {}
    for event, qty in zip(events.tolist(), lots.tolist(), strict=True):
        out[event] = out.get(event, 0) + qty
    return out


def main(n_records, n_at_once=100_000):
    """Count the exceptions of a synthetic day: python tests/helpers/ghosts.py 10000000"""
    with tempfile.TemporaryDirectory() as folder:
        tape = nt.ingest(nt.synthetic.write_dbn(Path(folder) / "day.dbn.zst", n_records), progress=False)
        orders = filled_orders(tape)
        n = n_wrong = 0
        for first in range(0, len(orders.added), n_at_once):
            wrong, k = exceptions(tape, orders, slice(first, first + n_at_once))
            n, n_wrong = n + k, n_wrong + len(wrong)
            sys.stdout.write(f"{n:,} of {len(orders.added):,} orders, {n_wrong} exceptions {list(wrong.items())[:3]}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
