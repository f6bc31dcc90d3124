"""The ghost test: own orders directly ahead of and behind every real order that was filled (tests/helpers/ghosts.py).

A synthetic day of 10 M records, once: python tests/helpers/ghosts.py 10000000
389,730 orders were added once and fully executed: no exceptions (21 November 2026).
"""

import numpy as np
import pytest

import ghosts
from model import Book
from nbtrade import synthetic
from nbtrade.schema import EXEC, RECORD, TRADE
from real import CLX5, dbn_records, real_path
from streams import tape_of


@pytest.mark.parametrize("live_orders", [60, 2000])
def test_synthetic(tmp_path, live_orders):
    """Without exception, the ghost ahead fills at the same events for the same lots, and the ghost behind never before them."""
    tape = tape_of(synthetic.records(200_000, seed=3, live_orders=live_orders, duration="400s"), tmp_path, 0.01)
    orders = ghosts.filled_orders(tape)
    wrong, n = ghosts.exceptions(tape, orders)
    assert wrong == {}
    assert n > 5000
    assert (orders.took > 0).sum() > 100


def test_clx5(tmp_path):
    """On a real file, for 99.5 % of 2,021 orders; each exception has one of two causes.

    An order traded lots on arrival that no resting order explains (implied liquidity), so its ghost finds fewer. Or an order from before
    the start of the file, whose queue position is unknown, was executed from a better position than the one it seems to have.
    """
    path = real_path(*CLX5)
    data = path.read_bytes()
    tape = tape_of(np.frombuffer(data, RECORD, offset=8 + int.from_bytes(data[4:8], "little")), tmp_path, 0.01)
    wrong, n = ghosts.exceptions(tape, ghosts.filled_orders(tape))
    assert n == 2021
    assert len(wrong) <= 0.005 * n
    unknown = unknown_orders(dbn_records(path))
    event = ghosts.event_of(tape.events)
    for row, what in wrong.items():
        if what.startswith("traded"):
            here = tape.events[event == event[row]]
            traded, explained = (here["qty"][here["kind"] == kind].sum() for kind in (TRADE, EXEC))
            assert traded > -explained, (row, what)
        else:
            first = int(what.rsplit("{", 1)[1].split(":")[0])
            executed = (event == first) & (tape.events["kind"] == EXEC)
            assert set(tape.order_id[executed].tolist()) & unknown, (row, what)


def unknown_orders(records):
    """Return the ids of orders whose first record is not an add."""
    book, unknown = Book(), set()
    for record in records:
        if record.action in "CMF" and record.order_id not in book.orders:
            unknown.add(record.order_id)
        book.apply(record)
    return unknown
