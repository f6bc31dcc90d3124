"""The book kernel against a dict, driven by a state machine: pages open, close and run out, the range widens."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from nbtrade._numba.jit import JIT, kernel
from nbtrade._numba.pointers import array_address, pointer_to
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.engine.kernels import row_batch
from nbtrade.errors import CapacityError
from nbtrade.schema import ADD, ASK, BID, CANCEL, EVENT, EXEC, LAST, MARK, ROW, SNAPSHOT, TRADE, TURN
from nbtrade.tape import turn_flags
from nbtrade.tape.turn_flags import flag_turns

SIDES = st.sampled_from([BID, ASK])
# near, so that levels share words; at word, page and tree borders; far, so that upper rows of the tree are scanned
PX = st.one_of(
    st.integers(-40, 40),
    st.sampled_from([-(32**3), -(32**2), -(32**2) - 1, 32 - 1, 32, 32**2 - 1, 32**2, 32**3 - 1, 32**3, 32**4, -(32**4)]),
    st.integers(-3_000_000, 3_000_000),
)
LOW, HIGH = -100, 100  # the first range; MARGIN extends it on both sides


def rows_of(*rows):
    """EVENT rows of (kind, side, px, qty, d_orders)."""
    out = np.zeros(len(rows), EVENT).view(np.recarray)
    for name, column in zip(("kind", "side", "px", "qty", "d_orders"), zip(*rows, strict=True), strict=True):
        out[name] = column
    out.flags.writeable = False
    return out


class BookMachine(RuleBasedStateMachine):
    """Orders are added and removed at any price; the dict {(side, px): [qty, n]} always agrees."""

    orders = Bundle("orders")

    @initialize(n_pages=st.sampled_from([1, 2, 64]))
    def start(self, n_pages):
        self.book = arrays.new_book(LOW, HIGH, n_pages)
        self.range = LOW - arrays.MARGIN, HIGH + arrays.MARGIN
        self.levels = {}

    def reach(self, px):
        if not self.range[0] <= px <= self.range[1]:
            self.range = min(self.range[0], px - 7), max(self.range[1], px + 7)
            self.book = arrays.widened(self.book, *self.range)

    def change(self, *row):
        """Replay a row, growing the book if its pages run out; the row is then applied once."""
        events = rows_of(row)
        if books.replay(events, 0, 1, *self.book) == 0:
            assert int(self.book.sides["n_free"][0]) == 0
            self.book = arrays.grown(self.book)
            assert books.replay(events, 0, 1, *self.book) == 1
        _, side, px, qty, d_orders = row
        level = self.levels.setdefault((side, px), [0, 0])
        level[0] += qty
        level[1] += d_orders
        if level[1] == 0:
            del self.levels[side, px]

    @rule(target=orders, side=SIDES, px=PX, qty=st.integers(1, 2**31 - 1))
    def add(self, side, px, qty):
        self.reach(px)
        self.change(ADD, side, px, qty, 1)
        return side, px, qty

    @rule(order=consumes(orders))
    def remove(self, order):
        side, px, qty = order
        self.change(CANCEL, side, px, -qty, -1)

    @rule(target=orders, order=consumes(orders), share=st.floats(0, 1))
    def reduce(self, order, share):
        side, px, qty = order
        part = int(share * (qty - 1))
        self.change(CANCEL, side, px, -part, 0)
        return side, px, qty - part

    @rule(target=orders, side=SIDES, px=st.integers(-(10**6), 10**6), step=st.sampled_from([1, 31, 33, 1024]))
    def add_many(self, side, px, step):
        found = [(side, px + k * step, 5) for k in range(6)]
        for order in found:
            self.reach(order[1])
            self.change(ADD, order[0], order[1], 5, 1)
        return multiple(*found)

    @rule(side=SIDES, px=st.integers(LOW, HIGH), qty=st.integers(1, 9))
    def trade_and_mark(self, side, px, qty):
        before = [array.tobytes() for array in self.book]
        assert books.replay(rows_of((TRADE, side, px, qty, 0), (MARK, BID, 0, 0, 0)), 0, 2, *self.book) == 2
        assert [array.tobytes() for array in self.book] == before

    @rule()
    def grow(self):
        if len(self.book.free) < 4096:
            self.book = arrays.grown(self.book)

    @rule(px=PX)
    def widen(self, px):
        self.reach(px)

    @rule(side=SIDES, px=PX)
    def look_past_any_price(self, side, px):
        self.reach(px)
        _, pages, words, tree, _, sides = self.book
        worse = [p for s, p in self.levels if s == side and (p < px if side == BID else p > px)]
        expected = (max(worse) if side == BID else -min(worse)) if worse else arrays.NO_KEY
        assert books.next_level(pages, words, tree, sides, side, px) == expected

    @invariant()
    def depth_best_and_counts_agree(self):
        if not hasattr(self, "book"):
            return
        levels, pages, words, tree, _, sides = self.book
        for side in (BID, ASK):
            expected = sorted(((p, *v) for (s, p), v in self.levels.items() if s == side), reverse=side == BID)
            out = np.zeros((3, len(expected) + 1), np.int64)
            n = books.depth(levels, pages, words, tree, sides, side, *out)
            assert list(zip(*out[:, :n].tolist(), strict=True)) == expected
            assert sides["n_levels"][side] == len(expected)
            assert sides["best"][side] == (expected[0][0] * (1 if side == BID else -1) if expected else arrays.NO_KEY)

    @invariant()
    def pages_are_free_or_in_use_or_kept_while_many_are_free(self):
        if not hasattr(self, "book"):
            return
        used = {px >> 5 for _, px in self.levels}
        opened = set((np.flatnonzero(self.book.pages) + int(self.book.sides["first_slot"][0])).tolist())
        assert used <= opened
        assert len(opened - used) <= max(len(self.book.free) - 1 - int(self.book.sides["spare"][0]), 0)
        assert int(self.book.sides["n_free"][0]) == len(self.book.free) - 1 - len(opened)
        free = self.book.free[: int(self.book.sides["n_free"][0])].tolist()
        assert sorted([0, *free, *self.book.pages[self.book.pages != 0].tolist()]) == list(range(len(self.book.free)))


BookMachine.TestCase.settings = settings(max_examples=120 if JIT else 10, stateful_step_count=40, deadline=None)
TestBook = BookMachine.TestCase


def test_an_audit_counts_events_crossings_and_levels_below_zero():
    """Crossed event ends are listed while there is room, and counted beyond that."""
    rows = rows_of((ADD, BID, 5, 2, 1), (ADD, ASK, 5, 1, 1), (TRADE, BID, 5, 1, 0), (CANCEL, ASK, 5, -1, -1), (CANCEL, BID, 5, -3, 0))
    rows = rows.copy()
    rows["flags"] = [LAST | TURN, LAST | TURN, LAST, LAST | TURN, 0]
    rows.flags.writeable = False
    crossed, counts = np.zeros(1, np.int64), np.zeros(3, np.int64)
    assert books.audit(rows, 0, 5, *arrays.new_book(0, 10), crossed, counts) == 5
    assert (crossed.tolist(), counts.tolist()) == ([1], [4, 2, 1])


def test_a_copied_book_shares_nothing():
    """Changes to the copy do not affect the book."""
    book = arrays.new_book(0, 10)
    before = [array.tobytes() for array in book]
    books.replay(rows_of((ADD, BID, 5, 2, 1)), 0, 1, *arrays.copied(book))
    assert [array.tobytes() for array in book] == before


@pytest.mark.parametrize("side", [BID, ASK])
def test_a_page_with_an_own_order_stays_when_its_levels_empty(side):
    """A level with only our own order keeps its page. (Two pages: none is kept in reserve.)"""
    book = arrays.new_book(0, 100, 2)
    books.replay(rows_of((ADD, side, 50, 2, 1)), 0, 1, *book)
    at = int(book.pages[(50 >> 5) - int(book.sides["first_slot"][0])]) * 64 + side * 32 + (50 & 31)
    book.levels["own"][at] = 1
    books.replay(rows_of((CANCEL, side, 50, -2, -1)), 0, 1, *book)
    assert np.count_nonzero(book.pages) == 1
    book.levels["own"][at] = 0
    books.replay(rows_of((ADD, side, 51, 2, 1), (CANCEL, side, 51, -2, -1)), 0, 2, *book)
    assert np.count_nonzero(book.pages) == 0


@pytest.mark.parametrize("side", [BID, ASK])
def test_an_empty_page_is_kept_while_many_are_free(side):
    """The page of an emptied level stays until fewer than `spare` pages are free, since prices return."""
    book = arrays.new_book(0, 4000, 64)
    spare, px = int(book.sides["spare"][0]), [64 * k for k in range(60)]
    for k, price in enumerate(px):
        books.replay(rows_of((ADD, side, price, 2, 1), (CANCEL, side, price, -2, -1)), 0, 2, *book)
        assert np.count_nonzero(book.pages) == min(k + 1, 64 - 1 - spare)


def test_an_audit_counts_rows_that_turn_a_level_without_a_flag():
    """The audit also counts flagged rows that do not turn a level."""
    for flags, wrong in (([TURN, 0, TURN], 0), ([0, 0, TURN], 1), ([TURN, TURN, 0], 2)):
        rows = rows_of((ADD, BID, 5, 2, 1), (ADD, BID, 5, 2, 1), (CANCEL, BID, 5, -4, -2)).copy()
        rows["flags"] = flags
        rows.flags.writeable = False
        counts = np.zeros(3, np.int64)
        books.audit(rows, 0, 3, *arrays.new_book(0, 10), np.zeros(1, np.int64), counts)
        assert counts[2] == wrong


def test_mark_finds_the_rows_at_which_a_level_turns():
    """The flags match a dict of counts, even if pages run out in between."""
    rng = np.random.default_rng(4)
    rows, counts, turns, live = [], {}, [], []
    for _ in range(3000):
        if live and rng.random() < 0.5:
            side, px = live.pop(int(rng.integers(len(live))))
            step = -1
        else:
            side, px, step = int(rng.integers(2)), int(rng.integers(-900, 900)), 1
            live.append((side, px))
        rows.append((ADD if step > 0 else CANCEL, side, px, step, step))
        before = counts.get((side, px), 0)
        counts[side, px] = before + step
        turns.append((before == 0) != (before + step == 0))
    events, book, at = rows_of(*rows).copy(), arrays.new_book(LOW, HIGH, 2), 0
    while (at := books.flag_turns(events, at, len(events), *book)) < len(events):
        book = arrays.grown(book)
    assert ((events["flags"] & TURN) != 0).tolist() == turns
    assert [int(n) for n in book.sides["n_levels"]] == [sum(1 for (s, _), n in counts.items() if s == side and n) for side in (BID, ASK)]


def test_more_lots_at_one_price_than_a_level_holds_are_an_error():
    """512 orders of the largest row size are held exactly; one more is refused, however much room the book has."""
    most = 2**31 - 1
    rows = [(ADD, BID, 7, most, 1)] * 512
    book = flag_turns(rows_of(*rows).copy(), arrays.new_book(LOW, HIGH, 2))
    out = [np.zeros(1, np.int64) for _ in range(3)]
    assert books.depth(book.levels, book.pages, book.words, book.tree, book.sides, BID, *out) == 1
    assert [int(one[0]) for one in out] == [7, 512 * most, 512]
    again = turn_flags.rows_of(book)
    assert (len(again), int(again["qty"].astype(np.int64).sum()), int(again["qty"].min())) == (512, 512 * most, most)
    with pytest.raises(CapacityError, match=r"1,099,511,627,776 lots or 1,048,576 orders rest at one price \(7 ticks\)"):
        flag_turns(rows_of(*rows, rows[0]).copy(), arrays.new_book(LOW, HIGH, 2))


ROWS_AT, I4_AT, I8_AT = pointer_to(ROW), pointer_to(np.dtype("i4")), pointer_to(np.dtype("i8"))


@kernel
def placed(rows_at, n, pages_at, first_slot, own_filter_at, places_at, changes_at, in_groups):
    """Indices and changes of n rows, processed in lanes or one by one; bits of the watched rows."""
    rows, pages, ours, found, changes = ROWS_AT(rows_at), I4_AT(pages_at), I8_AT(own_filter_at), I4_AT(places_at), I8_AT(changes_at)
    if in_groups:
        return row_batch.locate_rows(rows, 0, n, n, pages, first_slot, ours, found, changes)
    watched = 0
    for k in range(n):
        watched |= row_batch.locate_one(rows, k, pages, first_slot, ours, found, changes, k) << k
    return watched


@pytest.mark.skipif(not JIT, reason="without the JIT there is one definition only")
@pytest.mark.parametrize("seed", range(20))
def test_many_places_at_once_are_the_places_one_by_one(seed):
    """The vectorised code matches the definition for one row: all kinds, sides and flags, own prices on either side or none."""
    rng = np.random.default_rng(seed)
    n = row_batch.BATCH_ROWS if seed == 0 else int(rng.integers(1, row_batch.BATCH_ROWS + 1))
    rows = np.zeros(row_batch.BATCH_ROWS, EVENT)
    rows["px"], rows["qty"] = rng.integers(-2000, 2000, len(rows)), rng.integers(-(2**31), 2**31, len(rows))
    rows["kind"], rows["side"] = rng.choice([ADD, CANCEL, EXEC, EXEC, TRADE, MARK], len(rows)), rng.integers(0, 2, len(rows))
    rows["flags"], rows["d_orders"] = rng.choice([0, LAST, TURN, TURN | LAST, SNAPSHOT], len(rows)), rng.integers(-1, 2, len(rows))
    rows["px"][rows["kind"] >= TRADE] = rng.integers(-(2**31), 2**31, int((rows["kind"] >= TRADE).sum()))  # beyond any page
    pages = rng.integers(0, 2**20, 128).astype(np.int32)
    bests = [int(x) if rng.random() < 0.8 else row_batch.NO_OWN for x in rng.integers(-2000, 2000, 2)]
    near = rng.integers(0, 2**32, 3) & rng.integers(0, 2**32, 3) & rng.integers(0, 2**32, 3)
    ours, outs, watched = np.array([*near, *bests]), [], []
    for in_groups in (True, False):
        outs.append((np.zeros(row_batch.BATCH_ROWS, np.int32), np.zeros(row_batch.BATCH_ROWS, np.int64)))
        watched.append(
            placed(array_address(rows), n, array_address(pages), -64, array_address(ours), *map(array_address, outs[-1]), in_groups)
        )
    assert watched[0] == watched[1]
    assert watched[0] != 0 or n < 8
    for grouped, single in zip(*outs, strict=True):
        assert grouped[:n].tolist() == single[:n].tolist()
    changes = rows[:n]["kind"] < TRADE
    lots, orders = rows[:n]["qty"].astype(np.int64) * changes, rows[:n]["d_orders"].astype(np.int64) * changes
    assert outs[0][1][:n].tolist() == (lots + orders * 2**books.LOTS_BITS).tolist()


def test_watched_rows_are_those_that_turn_levels_trade_through_us_or_change_levels_of_ours():
    """The meaning of `watched`, written out: an own bid at 70 and an own ask at 75, each with both its bits."""
    own = {BID: 70, ASK: 75}
    ours = np.array([1 << 70 % 32, 1 << 75 % 32, 1 << 70 // 32, 70, -75])
    cases = [
        (kind, side, px, flags)
        for kind in (ADD, CANCEL, EXEC, TRADE)
        for side in (BID, ASK)
        for px in range(40, 110)
        for flags in (0, TURN, SNAPSHOT)
    ]
    pages = np.array([0, 1, 2, 3], np.int32)
    out, changes, rows = np.zeros(row_batch.BATCH_ROWS, np.int32), np.zeros(row_batch.BATCH_ROWS, np.int64), np.zeros(1, EVENT)
    for kind, side, px, flags in cases:
        rows["kind"], rows["side"], rows["px"], rows["flags"] = kind, side, px, flags
        through = kind == EXEC and (px < 70 if side == BID else px > 75)
        joins_behind = kind == ADD and flags != SNAPSHOT
        expected = flags == TURN or through or (px == own[side] and kind != TRADE and not joins_behind)
        assert (
            placed(array_address(rows), 1, array_address(pages), 0, array_address(ours), array_address(out), array_address(changes), True)
            == expected
        )
        assert kind == TRADE or out[0] == (px // 32) * 64 + side * 32 + px % 32
