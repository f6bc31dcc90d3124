"""Sizes beyond one row: 2**31 lots and more, up to the limit of a level.

    200 BTC at 1e-8   20_000_000_000 lots  ->  nine full rows and a remainder, one change in everything that a user sees

Records of up to 2**32 - 2 lots are Databento's; larger ones use lockstep.WIDE, whose sizes are i8.
"""

import json
import shutil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_explain import explained
from test_resolve import streams

import feature_cases
import lockstep
import nbtrade as nt
import scripted_engine
from lockstep import MOST_SIZE, WIDE, array_of, assert_lockstep, resolved
from model import F_LAST, F_SNAPSHOT, UNDEF_PRICE, UNDEF_SIZE
from model_backtest import backtest
from model_cases import ask, bid, rec
from nbtrade._numba.jit import JIT
from nbtrade.book.kernels.book import MAX_LOTS, MOST_ORDERS
from nbtrade.errors import CapacityError, TapeError
from nbtrade.schema import CONTINUED, LAST, MAX_ROW_LOTS, TRADE, TURN
from nbtrade.sources.base import Source
from nbtrade.tape import ingest, resolver, turn_flags
from nbtrade.tape.tape import open_tape
from random_market import Market, script_of
from rules import START, buy, buy_now, cancel, executed, gone
from scripted import play
from test_random_scripts import assert_equal, setups, tape_of

LARGE = 20_000_000_000
N_ROWS = -(-LARGE // MAX_ROW_LOTS)
TICK = 10
UNITS = (500_000_000, MAX_ROW_LOTS, 4_000_000_000)
OWN_UNIT = 150_000_000  # times 7 is just within the limit of an own order
SETUP = {"wakes": frozenset({"timer"}), "interval": 10, "entry": 1, "response": 1}

# values for the sizes 0 to 6 of a generated stream
databento = st.sampled_from([1, 2**31 - 2, 2**31 - 1, 2**31, 2**31 + 1, MOST_SIZE - 1, MOST_SIZE, UNDEF_SIZE])
wide = st.one_of(databento, st.sampled_from([2**32 - 1, 2**32, LARGE, 3 * MAX_ROW_LOTS, 3 * MAX_ROW_LOTS + 1]))
tables = st.one_of(*(st.lists(sizes, min_size=6, max_size=6) for sizes in (databento, wide)))


# --- the tape ----------------------------------------------------------------------------------------------
@settings(max_examples=300 if JIT else 20, deadline=None)
@given(records=streams(), table=tables, batch=st.sampled_from([1, 7, 65_536]), small=st.booleans())
def test_any_stream_with_large_sizes_is_the_oracles(records, table, batch, small):
    """Changes, levels, queues, clocks and faults, for any batch size, with buffers that are always full."""
    sizes = [0, *table]
    records = [record._replace(size=sizes[record.size]) for record in records]
    with pytest.MonkeyPatch.context() as patch:
        if small:
            for name, n in (("FIRST_ROWS", 4), ("FIRST_PENDING", 1)):
                patch.setattr(resolver, name, n)
        kept = resolved(array_of(records), TICK, batch)
    assert_lockstep(records, kept)
    assert kept.bytes() == resolved(array_of(records), TICK).bytes()
    assert kept.tape().audit().n_negative == 0


def of_size(n, **more):
    return [bid(1, 100, n, **more), ask(2, 102, 7, ts=11)]


@pytest.mark.parametrize("n", [2**31 - 1, 2**31, MOST_SIZE, LARGE, MAX_LOTS])
def test_an_order_is_stored_exactly(n):
    """The minimum number of rows, starting with the order; queue, level and frame have its size."""
    tape = tape_of(of_size(n))
    n_rows = -(-n // MAX_ROW_LOTS)
    rows = tape.events[:n_rows]
    assert rows["qty"].sum(dtype=np.int64) == n
    assert set(rows["prio"].tolist()) == {0}
    assert rows["d_orders"].tolist() == [1] + [0] * (n_rows - 1)
    assert rows["flags"].tolist() == ([TURN] + [CONTINUED] * (n_rows - 2) + [CONTINUED | LAST] if n_rows > 1 else [TURN | LAST])
    assert len(tape.events) == n_rows + 1
    at = tape.book_at(11)
    assert at.orders["qty"].tolist() == [n, 7]
    assert at.levels()["bid_sz"].tolist() == [n]
    assert at.levels()["bid_ct"].tolist() == [1]
    assert at.to_df()["size"].tolist() == [n, 7]
    assert tape.to_df()["size"].tolist() == [n, 7]


def test_the_frame_has_one_line_for_each_change():
    """Adds, parts, executions, trades and clears, with their own flags; the other columns match those of a small size."""
    records = [*of_size(LARGE), gone(1, 100, LARGE // 2, 12), *executed(1, 100, LARGE // 4, 13), rec("R", ts=14)]
    frame = tape_of(records).to_df()
    assert frame["action"].tolist() == ["add", "add", "cancel", "trade", "exec", "cancel", "cancel", "mark"]
    assert sorted(frame["size"].tolist()) == sorted([LARGE, 7, LARGE // 2, LARGE // 4, LARGE // 4, LARGE // 4, 7, 0])
    small = tape_of([record._replace(size=max(1, record.size // 10**9) if record.size else 0) for record in records]).to_df()
    order = ["action", "order_id"]  # a clear has no order id
    names = ["action", "side", "price", "order_id", "flags", "sequence"]
    assert frame[names].sort_values(order).to_numpy().tolist() == small[names].sort_values(order).to_numpy().tolist()
    assert not (frame["flags"] & CONTINUED).any()


def test_a_tape_begins_anywhere():
    """The book of a part has the large orders from before it, and the part replays like the whole."""
    tape = tape_of([*of_size(LARGE), gone(1, 100, LARGE // 2, 12), bid(3, 100, 2**31, ts=13), gone(1, 100, LARGE // 2, 14)])
    for start in range(10, 15):
        part = tape.between(start)
        assert part.audit().n_negative == 0
        assert part.book_at(14).orders.tobytes() == tape.book_at(14).orders.tobytes()
    assert tape.book_at(13).to_df()["size"].tolist() == [LARGE // 2, 2**31, 7]
    assert tape.book_at(14).orders["qty"].tolist() == [7, 2**31]


@pytest.mark.parametrize("action", "AMT")
def test_more_than_a_level_holds_is_an_error(action):
    """The error names the record and the next step."""
    with pytest.raises(CapacityError, match=rf"record 1 .*{MAX_LOTS + 1:,} lots exceed the {MAX_LOTS:,}.*choose a larger lot"):
        tape_of([bid(1, 100, 5), rec(action, "B", 100, MAX_LOTS + 1, 1)])


def test_a_full_level_is_an_error():
    """Orders that fit individually, but not together."""
    with pytest.raises(CapacityError, match=r"lots or .* orders rest at one price \(100 ticks\)"):
        tape_of([bid(1, 100, MAX_LOTS), bid(2, 100, 1)])


@pytest.mark.skipif(not JIT, reason="a million rows take minutes without the JIT")
def test_too_many_orders_at_a_price_are_an_error():
    """The number of orders at a price has a limit too."""
    n = MOST_ORDERS + 1
    rows = turn_flags.rows_adding(np.full(n, 100), np.ones(n, np.int64), np.zeros(n, np.int64))
    from nbtrade.book.kernels import arrays

    with pytest.raises(CapacityError, match="orders rest at one price"):
        turn_flags.flag_turns(rows, arrays.new_book(0, 200))
    turn_flags.flag_turns(rows[:-1], arrays.new_book(0, 200))


def test_a_tick_found_late_keeps_large_trades_between_ticks():
    """All rows of one trade are corrected, and it counts once."""
    large = [rec("A", "B", 100, 5, 1, ts=1), rec("T", "A", 75, LARGE, 0, ts=2), rec("T", "A", 110, LARGE, 0, ts=3)]
    records = [*large, rec("A", "B", 150, LARGE, 2, ts=4)]
    late, known = resolved(array_of(records), 0, batch=1), resolved(array_of(records), 50)
    assert late.bytes() == known.bytes()
    assert late.resolver.faults() == known.resolver.faults() == {"off_tick_trade": {"count": 2, "first": [1, 2]}}


# --- the size of a lot -----------------------------------------------------------------------------------------
def written(folder, lot_units, symbol="BTC"):
    """A tape on disk, from a source whose lots are `lot_units`."""
    array = array_of(
        [r._replace(price=r.price if r.price == UNDEF_PRICE else r.price * 10**7) for r in [*of_size(LARGE), gone(1, 100, 5, 12)]]
    )
    source = Source(folder / "x", "test", "", 1, lambda advance: iter([array]), {1: symbol}, lot_units)
    choice = ingest.Choice(source, None, None)
    return ingest._ingest(source, lambda _: folder / f"{symbol}.tape", choice, 0.01, False, False, one=True)[symbol]


def test_a_tape_says_what_a_lot_is(tmp_path):
    """200 BTC at 1e-8 are written and read back."""
    tape = written(tmp_path, 10)
    assert (tape.lot, tape.lot_units) == (1e-8, 10)
    assert "lot         1e-08" in tape.info()
    assert tape.to_df()["size"].iloc[0] * tape.lot == 200
    assert open_tape(tape.path).audit().n_negative == 0
    assert tape_of(of_size(5)).lot == 1


@pytest.mark.parametrize("units", [0, -1, 1.0, "1", None, True, 2**63])
def test_a_lot_that_is_none_is_refused(tmp_path, units):
    """The error has the field's name."""
    folder = shutil.copytree(written(tmp_path, 10).path, tmp_path / "copy.tape")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["instrument"]["lot_units"] = units
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TapeError, match=r"instrument\.lot_units is missing or has a wrong value"):
        open_tape(folder)


def test_sessions_of_different_lots_are_refused(tmp_path):
    """A position cannot continue in another unit."""
    (tmp_path / "b").mkdir()
    first, second = written(tmp_path, 10), written(tmp_path / "b", 100)
    with pytest.raises(ValueError, match=r"lots of 1e-07, .* of 1e-08: sessions in sequence need one lot"):
        nt.backtest([first.between(None, 11), second.between(11)], scripted_engine.strategy_of({"timer"}, 10), progress=False)


# --- the engine ------------------------------------------------------------------------------------------------
seeds = st.integers(0, 2**32)
accounts = st.lists(
    st.tuples(seeds, st.integers(1, 30), st.sampled_from(("fifo", "fifo", "optimistic", "conservative"))), min_size=1, max_size=3
)
large_setups = setups.map(lambda config: {**config, "limits": None, "flatten": False})


@settings(max_examples=200 if JIT else 10, deadline=None)
@given(seed=seeds, unit=st.sampled_from(UNITS), n_events=st.integers(1, 120), accounts=accounts, config=large_setups)
def test_engine_equals_oracle(seed, unit, n_events, accounts, config):
    """Fills, orders, wakes, samples and totals: an execution of several rows fills each own order once."""
    records = Market(seed, unit=unit).make(n_events)
    first, last = records[0].ts_recv, records[-1].ts_recv + 5
    scripts, rules = [script_of(s, first, last, n, unit=OWN_UNIT) for s, n, _ in accounts], [rule for *_, rule in accounts]
    outcomes = scripted_engine.ran([tape_of(records)], scripts, rule=rules, **config)[0]
    for k, (got, script, rule) in enumerate(zip(outcomes, scripts, rules, strict=True)):
        looks = []
        expected = scripted_engine.expected(backtest(records, play(script, looks), tick=1, rule=rule, **config), looks)
        assert_equal(got, expected, (k, rule))


def compared(records, script, rule="fifo", **config):
    """Run both; return the engine's fills as (order, px, qty, maker)."""
    looks, config = [], {**SETUP, **config}
    got = scripted_engine.ran([tape_of(records)], [script], rule=rule, **config)[0][0]
    assert_equal(got, scripted_engine.expected(backtest(records, play(script, looks), tick=1, rule=rule, **config), looks), rule)
    return [(fill.order, fill.px, fill.qty, fill.maker) for fill in got.fills]


END = rec("N", ts=60)
MOST = 2**30  # of an own order


@pytest.mark.parametrize("lots", [3_000_000_000, LARGE])
@pytest.mark.parametrize("rule", ["fifo", "optimistic"])
def test_one_execution_fills_an_order_once(lots, rule):
    """The third order starts in the first row and ends in the second: one fill, and together they get no more than the traded lots."""
    behind = bid(7, 100, lots, ts=20)
    script = {10: [buy(100, MOST), buy(100, MOST - 5), buy(100, MOST)]}
    given = min(MOST, lots - (2 * MOST - 5))
    fills = compared([*START, behind, *executed(7, 100, lots, 30), END], script, rule)
    assert fills == [(0, 100, MOST, True), (1, 100, MOST - 5, True), (2, 100, given, True)]


def test_orders_at_a_better_price_are_first():
    """Through one price and at the next, the lots of an execution are allocated once."""
    script = {10: [buy(101, MOST), buy(101, MOST), buy(100, MOST)]}
    records = [*START, bid(7, 100, 3_000_000_000, ts=20), *executed(7, 100, 3_000_000_000, 30), END]
    assert [qty for *_, qty, _ in compared(records, script)] == [MOST, MOST, 3_000_000_000 - 2 * MOST]


def test_an_order_behind_a_large_one_waits_for_all_of_it():
    """Each row of an execution ahead moves the order up; it fills when the last lot is gone."""
    records = [*START, bid(7, 100, LARGE, ts=8), *executed(7, 100, LARGE - 1, 30), bid(8, 100, 1, ts=35)]
    script = {10: [buy(100, 3)]}
    assert compared([*records, *executed(8, 100, 1, 40), END], script) == [(0, 100, 1, True)]
    result = explained([*records, *executed(8, 100, 1, 40), END], script)
    assert result[:3] == [("sent: buy 3", 3, -1), ("arrived", 3, LARGE + 5), ("ahead executed", 1 - LARGE, 6)]


def test_a_snapshot_brings_large_orders_back_ahead():
    """The rows of a chain form one order each."""
    again = [
        rec("R", ts=20, flags=F_SNAPSHOT),
        bid(7, 100, LARGE, ts=20, flags=F_SNAPSHOT),
        bid(8, 99, 1, ts=20, flags=F_SNAPSHOT | F_LAST),
    ]
    records = [*START, bid(7, 100, LARGE, ts=8), *again, gone(7, 100, LARGE - 2, 30), END]
    script = {10: [buy(100, 3)]}
    compared(records, script)
    lives = explained(records, script)
    assert ("ahead came back in a snapshot", LARGE, LARGE) in lives
    assert lives[-1] == ("at the end: working, 3 lots open, 2 ahead", 0, 2)


def test_what_we_took_adds_up():
    """More than 2**31 lots taken from one level: only the remainder is available to the next order."""
    level = 3 * MOST + 5
    records = [START[0], ask(2, 102, level, ts=5), *START[2:], END]
    fills = compared(records, {10: [buy(102, MOST)], 20: [buy(102, MOST)], 30: [buy(102, MOST)], 40: [buy_now(7)]})
    assert fills == [(0, 102, MOST, False), (1, 102, MOST, False), (2, 102, MOST, False), (3, 102, 5, False), (3, 103, 2, False)]


@pytest.mark.parametrize("lots", [2**31 - 1, 2**31, LARGE])
def test_a_trade_is_seen_whole(lots):
    """Last size, volume and the number of events."""
    looks, records = [], [*START, rec("T", "B", 102, lots, 0, ts=20), rec("T", "A", 100, 3, 0, ts=40), END]
    backtest(records, play({}, looks), tick=1, **SETUP)
    got = scripted_engine.ran([tape_of(records)], [{}], **SETUP)[0][0].looks
    assert [(look.last, look.volume, look.n_events) for look in got] == [(look.last, look.volume, look.n_events) for look in looks]
    assert (102, lots, 0) in [look.last for look in got]
    assert got[-1].volume == lots + 3


def test_a_cancelled_order_of_ours_at_a_large_level():
    """The result does not depend on the number of rows of the level."""
    assert compared([*START, bid(7, 100, LARGE, ts=8), gone(7, 100, LARGE, 30), END], {10: [buy(100, 3)], 25: [cancel(0)]}) == []


def test_a_position_that_no_order_can_close_is_an_error():
    """It raises an error instead of closing with an order of another size."""
    records = [START[0], ask(2, 102, LARGE, ts=5), END]
    script = {10: [buy(102, MOST), buy(102, MOST), buy(102, MOST)]}
    with pytest.raises(CapacityError, match=rf"account 0 has {3 * MOST:,} lots at the session's end"):
        scripted_engine.ran([tape_of(records)], [script], flatten=True, **SETUP)
    compared(records, {10: [buy(102, MOST)]}, flatten=True)


# --- features --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("group", [feature_cases.instant, feature_cases.flows], ids=lambda g: g.__name__)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), unit=st.sampled_from(UNITS))
@example(seed=46, unit=LARGE)
def test_features_are_their_formulas(group, seed, unit):
    """A change counts once, with all its lots."""
    tape, named = feature_cases.noise(seed, unit=unit), group()
    assert tape.events["flags"].max() >= CONTINUED
    moments = feature_cases.moments_of(tape)
    matrix = nt.features(tape, {name: feature for name, (feature, _) in named.items()})
    for name, (_, form) in named.items():
        feature_cases.assert_close(name, matrix[name], form(moments))


def test_large_trades_are_one_trade():
    """In the tape's rows as in the frame: the number of TRADE rows that start a trade."""
    tape = tape_of([*START, rec("T", "B", 102, LARGE, 0, ts=20)])
    e = tape.events
    assert np.count_nonzero((e["kind"] == TRADE) & (e["flags"] & CONTINUED == 0)) == 1
    assert np.count_nonzero(e["kind"] == TRADE) == N_ROWS


def test_wide_records_are_records():
    """Small sizes give the same tape with either width."""
    records = Market(5).make(200)
    array = array_of(records)
    both = array.astype(WIDE).view(np.recarray)
    assert lockstep.resolved(both, 1).bytes() == lockstep.resolved(array, 1).bytes()
