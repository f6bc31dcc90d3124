"""Resolve and book kernels against the oracle: generated streams, single rules, synthetic days, laws."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lockstep
from lockstep import array_of, assert_lockstep, records_of, resolved
from model import F_LAST, F_SNAPSHOT, F_TOB, UNDEF_PRICE, Book, Record
from nbtrade import synthetic
from nbtrade._numba.jit import JIT
from nbtrade.errors import SourceError
from nbtrade.schema import ADD, CHECKPOINT_ROWS, EXEC, GAP, LAST, MARK, NO_SIDE, OFF_TICK, TRADE, TURN

TICK = 10
F_GAP = 4
needs_jit = pytest.mark.skipif(not JIT, reason="a long day takes minutes without the JIT")
fast = settings(max_examples=300 if JIT else 20, deadline=None)


# --- generated streams ---------------------------------------------------------------------------------

px = st.integers(1, 5).map(lambda ticks: ticks * TICK)
maybe_px = st.one_of(px, px, px, st.just(UNDEF_PRICE))
ids, sizes, sides = st.integers(1, 6), st.integers(0, 6), st.sampled_from("BBBAAAN")
ends = st.sampled_from([F_LAST, F_LAST, F_LAST, 0, F_LAST | F_GAP])
snapshots = st.sampled_from([0] * 12 + [F_SNAPSHOT])
steps = st.sampled_from([0, 0, 1, 5])


def shot(action, price=px, flags=ends, more=snapshots):
    """Strategy: one record as a list; ts_event holds the step from the previous record, ts_recv the delay."""
    flagged = st.builds(int.__or__, flags, more)
    delay = st.integers(-1, 3)
    return st.builds(lambda *f: [Record(*f)], steps, delay, ids, price, sizes, flagged, st.just(action), sides)


@st.composite
def execution(draw):
    """T, one or two F, and the records that follow on CME or XNAS; sizes that leave, refill or exceed the order."""
    sep = draw(st.sampled_from([0, 0, F_LAST]))
    price, other = draw(px), draw(sides)
    out = [Record(1, 1, draw(ids), price, draw(sizes), sep, "T", other)]
    for order_id in draw(st.lists(ids, min_size=1, max_size=2)):
        side = draw(sides)
        out.append(Record(0, 1, order_id, price, draw(st.integers(1, 4)), sep, "F", side))
        step = draw(st.sampled_from([0, 0, 0, 2]))
        out.append(Record(step, 1, order_id, draw(px), draw(sizes), sep, draw(st.sampled_from("CMM")), side))
    return [*out[:-1], out[-1]._replace(flags=F_LAST)]


tob = shot("A", maybe_px, st.just(F_LAST | F_TOB), st.sampled_from([0, 0, 0, F_SNAPSHOT]))
part = st.one_of(
    *[shot("A", maybe_px)] * 4,
    *[shot("M")] * 3,
    *[shot("C")] * 2,
    *[execution()] * 3,
    *[shot(action, maybe_px) for action in "FTRN"],
    tob,
)


@st.composite
def streams(draw):
    """Strategy: records, the last of which ends its event."""
    records = [record for part in draw(st.lists(part, min_size=1, max_size=25)) for record in part]
    ts, out = 100, []
    for record in records:
        ts += record.ts_event
        out.append(record._replace(ts_event=ts, ts_recv=ts + record.ts_recv))
    return [*out[:-1], out[-1]._replace(flags=out[-1].flags | F_LAST)]


@fast
@given(streams())
def test_any_stream_gives_the_oracles_changes_levels_queues_clocks_and_faults(records):
    """Every event of any stream, however broken, resolves as in the oracle."""
    assert_lockstep(records, resolved(array_of(records), TICK))


@fast
@given(streams())
def test_trades_become_rows_in_order_and_change_nothing(records):
    """Each T with a price is one TRADE row: price, lots, the aggressor's side or NO_SIDE."""
    events = resolved(array_of(records), TICK).tape().events
    trades = events[events["kind"] == TRADE]
    found = zip(*(trades[n].tolist() for n in ("px", "qty", "side", "flags", "prio", "d_orders")), strict=True)
    expected = [r for r in records if r.action == "T" and r.price != UNDEF_PRICE]
    assert [(p * TICK, q, "N" if f & NO_SIDE else "BA"[s], prio, d) for p, q, s, f, prio, d in found] == [
        (r.price, r.size, r.side, -1, 0) for r in expected
    ]


@fast
@given(streams(), st.sampled_from([1, 2, 7]))
def test_any_batch_size_gives_the_same_rows_and_faults(records, batch):
    """Batch boundaries make no difference, whether the tick is given or inferred during the run."""
    array = array_of(records)
    for tick in (TICK, 0):
        whole, parts = resolved(array, tick), resolved(array, tick, batch)
        assert parts.bytes() == whole.bytes()
        assert parts.resolver.faults() == whole.resolver.faults()
        assert parts.resolver.tick == whole.resolver.tick


@fast
@given(streams(), st.integers(0, 60))
def test_a_prefix_of_the_records_gives_a_prefix_of_the_rows(records, n):
    """No look-ahead: closed events never change."""
    array = array_of(records)
    whole, prefix = resolved(array, TICK).columns(), resolved(array[:n], TICK, finish=False).columns()
    for name, column in prefix.items():
        assert column.tobytes() == whole[name][: len(column)].tobytes(), name


@fast
@given(streams(), st.lists(st.integers(1, 40), min_size=4, max_size=60), st.integers(1, 9))
def test_a_tick_found_late_gives_the_tape_of_the_tick_given(records, off, batch):
    """Coarse prices first, finer prices and trades between ticks later: the bytes match those of the final tick."""
    moved = [
        r if r.price == UNDEF_PRICE or k >= len(off) else r._replace(price=r.price * 100 + off[k] * (25 if r.action == "T" else 50))
        for k, r in enumerate(reversed(records))
    ][::-1]
    array = array_of(moved)
    late = resolved(array, 0, batch)
    known = resolved(array, late.resolver.tick)
    assert late.bytes() == known.bytes()
    assert late.resolver.faults() == known.resolver.faults()
    low, high = ([kept.resolver.get(name) for kept in (late, known)] for name in ("px_min", "px_max"))
    assert low[0] <= low[1]  # a trade rounded down to a coarse tick may have lowered it
    assert high[0] == high[1]


# --- rules that the oracle does not cover ---------------------------------------------------------------


def rec(action, side="B", price=10, size=1, order_id=1, ts=1, flags=F_LAST):
    return Record(ts, ts, order_id, price, size, flags, action, side)


def faults_of(*records, tick=TICK):
    kept = resolved(array_of(records), tick)
    return {name: fault["count"] for name, fault in kept.resolver.faults().items()}, kept.tape()


def test_an_event_without_rows_is_a_mark():
    """The tape has every event of the source: an unknown cancel leaves a MARK with LAST."""
    _, tape = faults_of(rec("C"), rec("N"))
    assert tape.events["kind"].tolist() == [MARK, MARK]
    assert tape.events["flags"].tolist() == [LAST, LAST]


def test_data_that_breaks_off_inside_an_event_closes_it():
    """The open event gets LAST and its clocks, even if it has no row yet."""
    kept = resolved(array_of([rec("A", flags=0)]), TICK, finish=False)
    assert kept.parts == []
    assert kept.resolver.finish()
    assert kept.tape().events["flags"].tolist() == [LAST | TURN]
    kept = resolved(array_of([rec("N", flags=0)]), TICK, finish=False)
    assert kept.resolver.finish()
    assert not kept.resolver.finish()
    assert kept.tape().events["kind"].tolist() == [MARK]


def test_a_gap_is_counted_once_though_its_record_is_resolved_twice():
    """A record that refines the tick is not counted as a fault again."""
    records = rec("A", price=100), rec("A", price=110, order_id=2, flags=F_LAST | F_GAP)
    kept = resolved(array_of(records), 0, batch=1)
    assert kept.resolver.faults() == {"gap": {"count": 1, "first": [1]}}
    assert kept.tape().events["flags"].tolist() == [LAST | TURN, LAST | TURN | GAP]


def test_a_record_without_a_size_is_counted():
    """Databento's 2**32 - 1: an add is ignored, a trade has no volume; a fill or cancel covers the whole order."""
    array = array_of([rec("A", size=5), rec("A", order_id=2), rec("M"), rec("T", "A"), rec("F"), rec("C")])
    array["size"][1:] = 2**32 - 1
    kept = resolved(array, TICK)
    assert kept.resolver.faults() == {"no_size": {"count": 5, "first": [1, 2, 3, 4, 5]}}
    assert kept.tape().events["qty"].tolist() == [5, 0, 0, 0, 0, -5]
    assert kept.tape().events["kind"].tolist() == [ADD, MARK, MARK, TRADE, MARK, EXEC]


def test_a_modify_without_a_price_is_counted_and_keeps_the_order():
    """Unless its size is 0: then the order is removed at any price."""
    counts, tape = faults_of(rec("A", size=3), rec("M", price=UNDEF_PRICE, size=2))
    assert (counts, tape.book_at(1).orders["qty"].tolist()) == ({"no_level": 1}, [3])
    counts, tape = faults_of(rec("A", size=3), rec("M", price=UNDEF_PRICE, size=0))
    assert (counts, tape.book_at(1).orders["qty"].tolist()) == ({}, [])


def test_only_an_add_replaces_a_side():
    """F_TOB on a modify, a cancel or a trade has no effect."""
    _, tape = faults_of(rec("A", size=5), rec("A", order_id=2), *(rec(a, size=2, order_id=2, flags=F_LAST | F_TOB) for a in "MTFC"))
    assert tape.book_at(1).orders["qty"].tolist() == [5]


def test_a_trade_between_ticks_is_rounded_down_flagged_and_counted():
    """10.5 ticks are rounded down to 10."""
    counts, tape = faults_of(rec("T", price=105), rec("T", price=-5))
    assert counts == {"off_tick_trade": 2}
    assert tape.events["px"].tolist() == [10, -1]
    assert all(tape.events["flags"] & OFF_TICK)


def test_a_lone_reset_or_trade_in_the_first_batch_does_not_settle_the_tick():
    """A later price of 5,000 is not read as 5e12 ticks of 1e-9."""
    records = rec("R", "N", UNDEF_PRICE, 0, 0), rec("T", price=5_000_005 * 10**6), rec("A", price=5_000 * 10**9)
    kept = resolved(array_of(records), 0, batch=1)
    assert kept.resolver.tick == 5_000 * 10**9
    only_trades = resolved(array_of(records[:2]), 0, batch=1)
    assert (only_trades.resolver.tick, only_trades.tape().events["px"].tolist()) == (5_000_005 * 10**6, [0, 1])


def test_an_other_instruments_prices_do_not_settle_the_tick():
    """Other instruments in a batch affect neither the first tick nor a finer one."""
    mine = array_of([rec("A", price=100), rec("A", price=150, order_id=2)])
    others = [array_of([rec("A", price=7)], 2), array_of([rec("A", price=3)], 1, 9)]
    array = np.concatenate([others[0], mine[:1], others[1], mine[1:], others[0]]).view(np.recarray)
    for batch in (1, 2, 9):
        kept = resolved(array, 0, batch)
        assert (kept.resolver.tick, kept.resolver.get("n_records"), kept.resolver.get("n_skipped")) == (50, 2, 3)


@pytest.mark.parametrize("price", [2**31 * TICK, -(2**31) * TICK])
@pytest.mark.parametrize("action", "AMT")
def test_a_price_beyond_what_a_row_can_hold_is_an_error_that_names_the_record(action, price):
    """It raises an error instead of wrapping."""
    with pytest.raises(SourceError, match=r"record 1 \(sequence 1, order 1\).*2\*\*31"):
        resolved(array_of([rec("N"), rec(action, price=price)]), TICK)


def test_a_tick_that_turns_out_too_fine_for_earlier_prices_is_an_error():
    """Rows of 2**31 ticks do not exist."""
    with pytest.raises(SourceError, match=r"more than 2.*31 ticks"):
        resolved(array_of([rec("A", price=10**13), rec("A", price=1, order_id=2)]), 0, batch=1)


def test_an_event_longer_than_the_buffers_is_one_event():
    """70,000 rows before one F_LAST, then an R that removes them all: one clock for each event, and the same for any batch size."""
    n = 70_000 if JIT else 300
    adds = [rec("A", "BA"[k % 2], 10 * (1 + k % 7), 1, k + 1, flags=0) for k in range(n)]
    array = array_of([*adds, rec("N", ts=5), rec("R", "N", UNDEF_PRICE, 0, 0, ts=9)])
    kept = resolved(array, TICK)
    events = kept.tape().events
    assert len(events) == 2 * n + 1
    assert np.flatnonzero(events["flags"] & LAST).tolist() == [n - 1, 2 * n]
    assert set(kept.tape().ts_event[:n].tolist()) == {5}
    assert events["qty"].sum() == 0
    assert kept.bytes() == resolved(array, TICK, 1000).bytes()


# --- synthetic days --------------------------------------------------------------------------------------


@needs_jit
@pytest.mark.parametrize("live_orders", [1, 30, 1000])
@pytest.mark.parametrize("scenario", sorted(synthetic.SCENARIOS))
def test_a_synthetic_day_is_the_oracles(scenario, live_orders):
    """Every change of every event; all levels and queues occasionally; no fault."""
    array = synthetic.records(6_000, seed=9, live_orders=live_orders, scenario=scenario)
    kept = resolved(array.view(np.recarray), 10_000_000, 1000)
    book, _ = assert_lockstep(records_of(array), kept, every_levels=29, every_queues=401)
    assert not book.faults


@pytest.fixture(scope="module")
def long_day():
    """A day with several checkpoints: (records, the tape's sink)."""
    array = synthetic.records(420_000, seed=4, live_orders=300).view(np.recarray)
    return array, resolved(array, 10_000_000)


@needs_jit
def test_book_at_any_time_is_the_oracles_queues(long_day):
    """From a checkpoint and the rows after it, at 60 random times and around every checkpoint."""
    array, kept = long_day
    tape, book, rng = kept.tape(), Book(), random.Random(1)
    rows, ends = tape.whole["checkpoints"]["row"], lockstep.Replay(tape).ends
    assert len(rows) >= 2
    assert all(np.diff(rows) >= CHECKPOINT_ROWS)
    times = {int(tape.ts_recv[r + d]) for r in rows.tolist() for d in (-1, 0, 1)}
    times |= {rng.randrange(int(tape.ts_recv[0]), int(tape.ts_recv[-1])) for _ in range(60)}
    due = sorted(times, reverse=True)
    for record in records_of(array):
        book.apply(record)
        if not book.at_event_end:
            continue
        end = int(ends[book.n_events - 1])
        while due and due[-1] < (tape.ts_recv[end] if end < len(tape) else 2**62):
            ts = due.pop()
            assert lockstep.queues_of(tape, tape.upper_bound(ts)) == lockstep.model_queues(book)
            assert len(tape.book_at(ts).orders) == len(book.orders)
    assert not due


@needs_jit
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batch_sizes_give_the_same_tape_bytes_with_checkpoints(long_day, batch):
    """Rows, clocks, ids, checkpoints and their orders."""
    array, kept = long_day
    n = {1: 20_000, 7: 140_000}.get(batch, len(array))
    whole = kept if n == len(array) else resolved(array[:n], 10_000_000)
    assert resolved(array[:n], 10_000_000, batch).bytes() == whole.bytes()
