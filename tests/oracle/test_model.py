"""The oracle against ground truth: real files first, then one small scenario per rule.

Own orders: test_rules.py, test_ghosts.py.
"""

import json

import pytest

import real
from model import ASK, BID, F_LAST, F_SNAPSHOT, F_TOB, UNDEF_PRICE, Book
from model_cases import ask, bid, rec

PRE_OPEN = 1_758_750_420 * 10**9  # 2025-09-24 21:47 UTC


def book_of(*records):
    book = Book()
    for record in records:
        book.apply(record)
    return book


def last_changes(*records):
    """Return the changes of the last record as (kind, lots)."""
    changes = book_of(*records[:-1])
    return [(change.kind, change.lots) for change in changes.apply(records[-1])]


# Ground truth


@pytest.fixture(scope="module")
def clx5():
    return real.dbn_records(real.real_path(*real.CLX5))


@pytest.fixture(scope="module")
def arl():
    return real.csv_rows(real.real_path(*real.ARL))


def top10(book):
    """Return the top ten levels of both sides in the order of an MBP-10 row."""
    sides = [(book.levels(side) + [(UNDEF_PRICE, 0, 0)] * 10)[:10] for side in (BID, ASK)]
    return [level for pair in zip(*sides, strict=True) for level in pair]


def top10_of_row(row):
    stems = [f"{side}_{{}}_{i:02d}" for i in range(10) for side in ("bid", "ask")]
    return [(real.price_of(row[s.format("px")]), *(int(row[s.format(x)]) for x in ("sz", "ct"))) for s in stems]


def is_row_of(row, mbo, changes):
    """Return whether an MBP-10 row belongs to this MBO record; T, F and C of an execution share one T row."""
    if row["sequence"] != mbo["sequence"] or row["size"] != mbo["size"]:
        return False
    if row["action"] == "T" and row["side"] != "N":
        return bool(changes) and changes[0].kind == "exec"
    return (row["action"], row["order_id"]) == (mbo["action"], mbo["order_id"])


def test_arl_gives_every_expected_mbp10_row_and_no_other_record_moves_the_top_ten(arl):
    """All 3,928 rows agree on all levels, in order, and records without a row do not change these levels."""
    rows = real.csv_rows(real.real_path(*real.ARL_MBP10))
    book, i_row, before = Book(), 0, None
    for mbo in arl:
        changes = book.apply(real.record_of_row(mbo))
        after = top10(book)
        if i_row < len(rows) and is_row_of(rows[i_row], mbo, changes):
            assert after == top10_of_row(rows[i_row]), mbo
            i_row += 1
        else:
            assert after == before, mbo
        before = after
    assert i_row == len(rows) == 3928
    assert not book.faults


def test_arl_executions_are_found_though_each_of_t_f_and_c_ends_an_event(arl):
    """Every one of the 11 fills of XNAS becomes an execution of its lots."""
    book, executed, filled = Book(), [], []
    for mbo in arl:
        record = real.record_of_row(mbo)
        executed += [(c.order.id, c.lots) for c in book.apply(record) if c.kind == "exec"]
        filled += [(record.order_id, record.size)] * (record.action == "F")
    assert executed == filled
    assert len(filled) == 11


def test_clx5_ends_with_the_book_of_an_independent_program(clx5):
    """All 113 levels agree in price, size and count; cancels and modifies of orders from before the file are counted."""
    final = json.loads(real.real_path(*real.CLX5_FINAL).read_text())
    book = book_of(*clx5)
    for side, name in ((BID, "bids"), (ASK, "asks")):
        assert book.levels(side) == [(x["price"], x["size"], x["count"]) for x in final[name]]
    assert [len(book.prices(side)) for side in (BID, ASK)] == [61, 52]
    assert len(book.orders) == 147
    assert book.faults == {"unknown_cancel": 1224, "unknown_modify": 216, "unknown_fill": 29}


def test_clx5_is_crossed_at_event_ends_only_in_the_pre_open(clx5):
    """172 crossed event ends, all at or after 21:47 UTC, and at most 558 orders rest at once."""
    book, crossed, most = Book(), [], 0
    for record in clx5:
        book.apply(record)
        most = max(most, len(book.orders))
        if book.at_event_end and book.crossed():
            crossed.append(book.clocks[-1][0])
    assert (len(crossed), most, book.n_events) == (172, 558, 32053)
    assert min(crossed) >= PRE_OPEN


def test_clx5_fills_are_first_in_first_out(clx5):
    """No order is filled while an earlier order of its queue remains in the queue beyond the event.

    This counts the F of known orders, except the aggressor's own prints: 2,621. An order ahead may also leave
    within the event without a fill (46 fills: cancelled against self-trade). The 3 exceptions are
    fills of 2 orders that predate the file and joined by a modify of an unknown id, hence too late.
    """
    book, fills, late, fifo, exceptions = Book(), [], set(), 0, []
    for record in clx5:
        order = book.orders.get(record.order_id)
        if record.action == "F" and order and not book.is_own_print(record):
            queue = book.queues[order.side][order.price].values()
            fills.append((order, [other for other in queue if other.place < order.place]))
        if record.action == "M" and order is None:
            late.add(record.order_id)
        book.apply(record)
        if book.at_event_end:
            broken = [order.id for order, ahead in fills if any(book.orders.get(o.id) is o for o in ahead)]
            fifo += len(fills) - len(broken)
            exceptions, fills = exceptions + broken, []
    assert fifo == 2618
    assert len(exceptions) == 3
    assert set(exceptions) <= late


def test_esm4_snapshot_and_two_seconds_end_as_published():
    """5214.00 / 5214.25, 976 bid and 571 ask levels, 13,598 resting, no fault."""
    book = book_of(*real.dbn_records(real.real_path(*real.ESM4)))
    assert (book.best(BID), book.best(ASK)) == (5_214_000_000_000, 5_214_250_000_000)
    assert [len(book.prices(side)) for side in (BID, ASK)] == [976, 571]
    assert len(book.orders) == 13598
    assert not book.faults


# Resolving records


def test_an_add_goes_to_the_back_of_its_level():
    """Arrival order is priority order, regardless of the ids."""
    assert book_of(bid(9, 100, 5), bid(2, 100, 3), bid(5, 99, 1)).queue(BID, 100) == [(9, 5), (2, 3)]


def test_an_add_of_a_live_id_replaces_the_old_order_and_is_counted():
    """The old order is cancelled first, even on the other side."""
    book = book_of(bid(1, 100, 5), ask(1, 102, 3))
    assert (book.levels(BID), book.levels(ASK)) == ([], [(102, 3, 1)])
    assert book.faults == {"duplicate_add": 1}


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (bid(2, 100, 0), {"zero_size": 1}),
        (rec("C", "B", 100, 5, 2), {"unknown_cancel": 1}),
        (rec("F", "B", 100, 5, 2), {"unknown_fill": 1}),
        (rec("M", "B", 100, 0, 2), {"unknown_modify": 1, "zero_size": 1}),
        (rec("A", "N", 100, 5, 2), {"no_level": 1}),
        (bid(2, UNDEF_PRICE, 5), {"no_level": 1}),
    ],
)
def test_what_cannot_be_applied_is_counted_and_ignored(record, fault):
    """Records without an order, a size or a level leave the book unchanged."""
    book = book_of(bid(1, 100, 5), record)
    assert book.queue(BID, 100) == [(1, 5)]
    assert book.faults == fault


def test_trades_fills_and_nothings_never_touch_the_book():
    """T, F and N resolve to no changes."""
    for action in "TFN":
        assert last_changes(bid(1, 100, 5), rec(action, "B", 100, 5, 1)) == []


def test_a_cancel_takes_at_most_what_is_left():
    """A larger cancel removes the order and is counted."""
    book = book_of(bid(1, 100, 5), rec("C", "B", 100, 2, 1), bid(2, 100, 1), rec("C", "B", 100, 4, 1))
    assert book.queue(BID, 100) == [(2, 1)]
    assert book.faults == {"over_cancel": 1}


@pytest.mark.parametrize(
    ("size", "side", "px", "filled", "changes", "queue"),
    [
        (5, "B", 100, 0, [], [(1, 5), (2, 1)]),
        (3, "B", 100, 0, [("cancel", 2)], [(1, 3), (2, 1)]),
        (6, "B", 100, 0, [("cancel", 5), ("add", 6)], [(2, 1), (1, 6)]),
        (0, "B", 100, 0, [("cancel", 5)], [(2, 1)]),
        (5, "B", 99, 0, [("cancel", 5), ("add", 5)], [(2, 1)]),
        (5, "A", 100, 0, [("cancel", 5), ("add", 5)], [(2, 1)]),
        (3, "N", 100, 2, [("exec", 2)], [(1, 3), (2, 1)]),
        (2, "B", 100, 2, [("exec", 2), ("cancel", 1)], [(1, 2), (2, 1)]),
        (4, "B", 100, 2, [("exec", 2), ("cancel", 3), ("add", 4)], [(2, 1), (1, 4)]),
        (5, "B", 99, 2, [("exec", 2), ("cancel", 3), ("add", 5)], [(2, 1)]),
        (4, "B", 100, 9, [("exec", 5), ("add", 4)], [(2, 1), (1, 4)]),
        (0, "B", 100, 5, [("exec", 5)], [(2, 1)]),
    ],
)
def test_a_modify_keeps_its_place_only_if_it_does_not_grow_or_move(size, side, px, filled, changes, queue):
    """Growth is relative to the size left by the event's fills: an iceberg refill goes to the back."""
    fill = rec("F", "B", 100, filled, 1, flags=0)
    records = bid(1, 100, 5), bid(2, 100, 1), fill, rec("M", side, px, size, 1)
    assert last_changes(*records) == changes
    assert book_of(*records).queue(BID, 100) == queue


def test_a_modify_of_an_unknown_order_adds_it():
    """The modify is counted, and the order rests at the back."""
    book = book_of(bid(1, 100, 5), rec("M", "B", 100, 3, 2))
    assert book.queue(BID, 100) == [(1, 5), (2, 3)]
    assert book.faults == {"unknown_modify": 1}


def test_a_cancel_after_a_fill_is_an_execution_as_far_as_the_fill_goes():
    """Lots beyond the filled ones are a cancel, and the mark is used up."""
    fill, cancel = rec("F", "B", 100, 2, 1, flags=0), rec("C", "B", 100, 3, 1, flags=0)
    assert last_changes(bid(1, 100, 9), fill, cancel) == [("exec", 2), ("cancel", 1)]
    assert last_changes(bid(1, 100, 9), fill, cancel, cancel) == [("cancel", 3)]


def test_a_fill_marks_until_an_event_at_another_time():
    """F_LAST on the F itself (XNAS) keeps the mark, a later event drops it."""
    records = bid(1, 100, 5, ts=1), rec("T", "A", 100, 5), rec("F", "B", 100, 5, 1)
    assert last_changes(*records, rec("C", "B", 100, 5, 1)) == [("exec", 5)]
    assert last_changes(*records, rec("C", "B", 100, 5, 1, ts=11)) == [("cancel", 5)]


def test_the_aggressors_own_fill_is_no_fill_of_a_resting_order():
    """A resting order modified into the market prints T and F with its id and side: only its M counts."""
    trade, fill = (rec(action, "B", 102, 1, 1, flags=0) for action in "TF")
    assert last_changes(bid(1, 100, 5), trade, fill, rec("C", "B", 100, 5, 1)) == [("cancel", 5)]


def test_reset_and_the_first_snapshot_record_clear_the_book():
    """A snapshot starts from an empty book with or without R; its later records add."""
    assert last_changes(bid(1, 100, 5), ask(2, 102, 3), rec("R")) == [("cancel", 5), ("cancel", 3)]
    snapshot = [bid(i, 100, 1, flags=F_SNAPSHOT) for i in (3, 4)]
    assert book_of(bid(1, 100, 5), *snapshot).queue(BID, 100) == [(3, 1), (4, 1)]
    assert book_of(bid(1, 100, 5), rec("R", flags=F_SNAPSHOT), *snapshot).queue(BID, 100) == [(3, 1), (4, 1)]


def test_top_of_book_adds_replace_their_side():
    """One level per side although the ids are equal; an undefined price empties the side."""
    top = [rec("A", side, px, 4, flags=F_TOB | F_LAST) for side, px in (("B", 99), ("A", 101), ("B", 98))]
    book = book_of(bid(1, 100, 5), *top)
    assert (book.levels(BID), book.levels(ASK)) == ([(98, 4, 1)], [(101, 4, 1)])
    book.apply(rec("A", "B", flags=F_TOB))
    assert (book.levels(BID), book.levels(ASK)) == ([], [(101, 4, 1)])
    assert not book.faults


def test_clocks_are_running_maxima_taken_at_the_events_last_record():
    """Snapshot records carry old event times, so their receive time is used."""
    times = [(5, 20, F_SNAPSHOT), (7, 20, F_SNAPSHOT | F_LAST), (22, 24, 0), (21, 23, F_LAST), (30, 31, 0)]
    book = book_of(*(rec("N", ts=ts, ts_recv=ts_recv, flags=flags) for ts, ts_recv, flags in times))
    assert book.clocks == [(20, 20), (22, 24)]
    assert not book.at_event_end
