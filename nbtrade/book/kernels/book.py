"""The order book: price levels of one instrument in preallocated pages.

A page holds 32 neighbouring prices of both sides. A table over the tape's whole price range maps each price to its page,
so finding a level takes two loads and no search, however far away a stub quote is:

    px ──>>5, -base──> pages[...] ──> page p ──> levels[p*64 + side*32 + (px & 31)]   held, own
                                        │
                                        └──> words[p*2 + side]   one bit per non-empty level
                                             tree[...]           one bit per non-empty page, and one per word of those

- Best prices are maintained, not searched for: a better add replaces the best; when the best level empties, `next_level` finds
  the next one with a few bit scans at most, however wide the gap.
- Pages come from a free list and return to it when both sides are empty. Memory follows the live levels, not the
  prices ever seen: a stream that flickers over a million outlier prices needs one page at a time.
- Weak cases: one live order on each of a great many far-apart prices (1 KiB each), and gaps of more than a
  million prices, where the scan of the topmost words is linear.
- Prices of one side are compared by `key`: px for bids, -px for asks, so larger is better on both sides.

A level's lots and orders are packed into one number, `held`: a row changes its level with one addition.
Order counts make the book exact without order records: rows carry their changes (see `schema.EVENT`). Rows that open or empty a level
carry a flag, set once at ingest by `flag_turns`; for all other rows the page exists and one number changes.
"""

import numpy as np

from nbtrade._numba.bits import MASK, SHIFT, WORD, leading_zeros, trailing_zeros
from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade.book.kernels.arrays import NO_KEY
from nbtrade.schema import ASK, BID, LAST, TRADE, TURN

BELOW_ALL = 2**62 + 2**40  # moves any key below NO_KEY
LOTS_BITS = 42  # of LEVEL.held: the lots, signed; the orders are above them
MAX_LOTS = 1 << LOTS_BITS - 2  # at one price, checked at ingest by `flag_turns`; so `held` is 0 if and only if the level is empty
MOST_ORDERS = 1 << 64 - LOTS_BITS - 2  # at one price


@helper
def held(lots, orders):
    """Lots and orders packed into one number: one addition changes both (0.2 ns a row less than two additions)."""
    return (np.int64(orders) << LOTS_BITS) + np.int64(lots)


@helper
def lots_in(held):
    """The lots in a packed number."""
    return held << 64 - LOTS_BITS >> 64 - LOTS_BITS


@helper
def lots_of(level):
    """Lots resting at a level."""
    return lots_in(level.held)


@helper
def orders_of(level):
    """Orders resting at a level."""
    return level.held + (1 << LOTS_BITS - 1) >> LOTS_BITS


@helper
def key_of(side, px):
    """px on a scale where larger is better for `side`."""
    return px if side == BID else -px


@helper
def is_crossed(sides):
    """True when the best bid is at or above the best ask."""
    return sides[BID].best != NO_KEY and sides[ASK].best != NO_KEY and sides[BID].best >= -sides[ASK].best


@helper
def level_index(pages, sides, side, px):
    """Index of the level of `px`; if its page does not exist, the index of a level that is always empty."""
    return (pages[(px >> SHIFT) - sides[0].first_slot] << (SHIFT + 1)) + (side << SHIFT) + (px & MASK)


@helper
def open_page(pages, free, sides, slot):
    """Take a page off the free list for table entry `slot`; 0 when none is left."""
    n = sides[0].n_free
    if n == 0:
        return 0
    sides[0].n_free = n - 1
    pages[slot] = free[n - 1]
    return free[n - 1]


@helper
def close_page_if_empty(levels, pages, words, free, sides, slot):
    """Free the page of `slot` if no level is in use, no order of the strategy rests there and free pages are running low.

    (A page at the touch empties and is needed again all the time: when each was freed, one row in 190 opened or closed a page.)
    """
    page = pages[slot]
    if page == 0 or words[page * 2] != 0 or words[page * 2 + 1] != 0 or sides[0].n_free >= sides[0].spare:
        return
    ours = 0
    for i in range(page * 2 * WORD, (page + 1) * 2 * WORD):  # no early exit and no branch, so the loop vectorises
        ours |= levels[i].own
    if ours != 0:
        return
    pages[slot] = 0
    free[sides[0].n_free] = page
    sides[0].n_free += 1


@helper
def set_slot_bit(tree, sides, side, slot):
    """A page's side became non-empty."""
    tree[sides[side].lower + (slot >> SHIFT)] |= 1 << (slot & MASK)
    tree[sides[side].upper + (slot >> (2 * SHIFT))] |= 1 << ((slot >> SHIFT) & MASK)


@helper
def clear_slot_bit(tree, sides, side, slot):
    """A page's side became empty."""
    tree[sides[side].lower + (slot >> SHIFT)] &= ~(1 << (slot & MASK))
    if tree[sides[side].lower + (slot >> SHIFT)] == 0:
        tree[sides[side].upper + (slot >> (2 * SHIFT))] &= ~(1 << ((slot >> SHIFT) & MASK))


@helper
def set_level_bit(pages, words, tree, sides, side, px):
    """A level became non-empty: set its bits; raise the best price if it is better."""
    slot = (px >> SHIFT) - sides[0].first_slot
    word = pages[slot] * 2 + side
    if words[word] == 0:
        set_slot_bit(tree, sides, side, slot)
    words[word] |= 1 << (px & MASK)
    sides[side].n_levels += 1
    key = key_of(side, px)
    if key > sides[side].best:
        sides[side].best = key


@helper
def clear_level_bit(pages, words, tree, sides, side, px):
    """A level became empty: clear its bits; find the next best price if this was the best."""
    slot = (px >> SHIFT) - sides[0].first_slot
    word = pages[slot] * 2 + side
    words[word] &= ~(1 << (px & MASK))
    sides[side].n_levels -= 1
    if words[word] == 0:
        clear_slot_bit(tree, sides, side, slot)
    if sides[side].best == key_of(side, px):
        sides[side].best = next_level(pages, words, tree, sides, side, px)


@helper
def below(word, i):
    """The bits of `word` under bit `i`."""
    return word & ((1 << i) - 1)


@helper
def above(word, i):
    """The bits of `word` over bit `i`."""
    return word & ~((2 << i) - 1)


@kernel
def next_level(pages, words, tree, sides, side, px):
    """Key of the best non-empty level of `side` that is worse than `px`; NO_KEY when there is none.

    pages  : i4[n_slots]   words : i8[2 * n_pages]   tree : i8[n]   sides : SIDE[2]
    side   : BID or ASK    px    : ticks, within the table's range
    Cost: one bit scan within the page, else three; linear only in the topmost words (a million prices each 1,024).
    """
    if sides[side].n_levels == 0:
        return NO_KEY
    slot = (px >> SHIFT) - sides[0].first_slot
    down = side == BID
    word = words[pages[slot] * 2 + side]
    word = below(word, px & MASK) if down else above(word, px & MASK)
    if word == 0:
        slot = next_slot(tree, sides, side, slot)
        if slot < 0:
            return NO_KEY
        word = words[pages[slot] * 2 + side]
    bit = 63 - leading_zeros(word) if down else trailing_zeros(word)
    return key_of(side, ((slot + sides[0].first_slot) << SHIFT) + bit)


@helper
def next_slot(tree, sides, side, slot):
    """The nearest slot worse than `slot` with a non-empty level, or -1."""
    down = side == BID
    i = slot >> SHIFT
    word = below(tree[sides[side].lower + i], slot & MASK) if down else above(tree[sides[side].lower + i], slot & MASK)
    if word == 0:
        first = sides[side].upper
        j = first + (i >> SHIFT)
        word = below(tree[j], i & MASK) if down else above(tree[j], i & MASK)
        while word == 0:
            j += -1 if down else 1
            if j < first or j >= first + sides[side].n_upper:
                return -1
            word = tree[j]
        i = ((j - first) << SHIFT) + (63 - leading_zeros(word) if down else trailing_zeros(word))
        word = tree[sides[side].lower + i]
    return (i << SHIFT) + (63 - leading_zeros(word) if down else trailing_zeros(word))


@kernel
def flip_page_side(px, side, is_born, levels, pages, words, tree, free, sides):
    """A page's side became non-empty or empty: update the tree; free the page if possible. Out of line: rare."""
    noinline()
    slot = (px >> SHIFT) - sides[0].first_slot
    if is_born:
        set_slot_bit(tree, sides, side, slot)
    else:
        clear_slot_bit(tree, sides, side, slot)
        if sides[side].best == key_of(side, px):
            sides[side].best = next_level(pages, words, tree, sides, side, px)
        close_page_if_empty(levels, pages, words, free, sides, slot)


@helper
def best_after(px, side, is_born, word, best, turns):
    """Key of the best level after the level of `px` turned, if `turns`, else 0; `word` has the levels of its page's side, at least one.

    Branch-free, because no one can predict which rows turn a level, and how; one comparison with `best`, on which the next row waits.
    """
    key = key_of(side, px)
    top = key_of(side, px - (px & MASK) + (63 - leading_zeros(word) if side == BID else trailing_zeros(word)))
    return (key if is_born else top) if key - is_born - (1 - turns) * BELOW_ALL >= best else best


@helper
def flip_level(px, side, is_born, page, levels, pages, words, tree, free, sides):
    """A level became non-empty or empty (6 % of rows): update its bit and the best price.

    Calls a function only when a page's side turns: calling one for every flip took a third of a backtest's time.
    """
    at = np.uint64(page * 2 + side)
    old = words[at]
    new = old ^ (1 << (px & MASK))
    words[at] = new
    sides[side].n_levels += 1 if is_born else -1
    if old == 0:
        sides[side].best = max(sides[side].best, key_of(side, px))
    if old == 0 or new == 0:
        flip_page_side(px, side, is_born, levels, pages, words, tree, free, sides)
    else:
        sides[side].best = best_after(px, side, is_born, new, sides[side].best, 1)


@helper
def find_level(px, side, pages, free, sides):
    """Index of the level of `px`, opening its page if necessary; -1 when a page is needed and none is left."""
    slot = np.uint64((px >> SHIFT) - sides[0].first_slot)  # unsigned, so that Numba omits the test for a negative index
    page = np.int64(pages[slot])
    if page == 0:
        page = np.int64(open_page(pages, free, sides, np.int64(slot)))
        if page == 0:
            return np.int64(-1)
    return (page << (SHIFT + 1)) + (side << SHIFT) + (px & MASK)


@helper
def add_to_level(level, qty, d_orders):
    """Change a level by `qty` lots and `d_orders` orders; True when it became empty or non-empty."""
    before = level.held
    after = before + held(qty, d_orders)
    level.held = after
    return (before == 0) != (after == 0)


@helper
def change_level(px, side, qty, d_orders, levels, pages, words, tree, free, sides):
    """Change the level of `px` by `qty` lots and `d_orders` orders; returns its index, or -1 when a page is needed and none is left.

    levels : LEVEL[n_pages * 64]   pages : i4[n_slots]   words : i8[2 * n_pages]
    tree   : i8[n]                 free  : i4[n_pages]   sides : SIDE[2]
    """
    px = np.int64(px)  # without the JIT an i4 would remain an i4, and 1 << 31 is negative
    i = find_level(px, side, pages, free, sides)
    if i >= 0 and add_to_level(levels[np.uint64(i)], qty, d_orders):
        flip_level(px, side, levels[np.uint64(i)].held != 0, i >> (SHIFT + 1), levels, pages, words, tree, free, sides)
    return i


@helper
def apply(row, levels, pages, words, tree, free, sides):
    """Apply one event row (EVENT) that changes the book (kind < TRADE); returns as `change_level`."""
    return change_level(row.px, np.int64(row.side), row.qty, row.d_orders, levels, pages, words, tree, free, sides)


@kernel
def seek(events, start, stop, levels, pages, words, tree, free, sides):
    """Move the book from before row `start` to before row `stop`, forwards or backwards: rows carry changes, so they can be undone.

    The caller has made sure that enough pages are free.
    """
    for i in range(start, stop):
        row = events[np.uint64(i)]
        if row.kind < TRADE:
            apply(row, levels, pages, words, tree, free, sides)
    for back in range(start - stop):
        row = events[start - 1 - back]
        if row.kind < TRADE:
            change_level(row.px, np.int64(row.side), -row.qty, -row.d_orders, levels, pages, words, tree, free, sides)


@kernel
def replay(events, start, stop, levels, pages, words, tree, free, sides):
    """Apply events[start:stop] to the book. Returns the index of the first row not applied (stop, unless pages ran out)."""
    for i in range(start, stop):
        row = events[np.uint64(i)]
        if row.kind < TRADE and apply(row, levels, pages, words, tree, free, sides) < 0:
            return i
    return stop


@helper
def apply_and_compare(row, levels, pages, words, tree, free, sides):
    """(as `apply`, whether the row's level became empty or non-empty)."""
    before = sides[BID].n_levels + sides[ASK].n_levels
    at = apply(row, levels, pages, words, tree, free, sides)
    return at, sides[BID].n_levels + sides[ASK].n_levels != before


@kernel
def flag_turns(events, start, stop, levels, pages, words, tree, free, sides):
    """`replay` rows without TURN flags and set the flags.

    Returns the same as `replay`, and the first row (applied) after which a level has more than MAX_LOTS or MOST_ORDERS.
    """
    for i in range(start, stop):
        row = events[np.uint64(i)]
        if row.kind < TRADE:
            at, turned = apply_and_compare(row, levels, pages, words, tree, free, sides)
            if at < 0:
                return i
            if turned:
                row["flags"] |= TURN
            if abs(lots_of(levels[at])) > MAX_LOTS or orders_of(levels[at]) > MOST_ORDERS:
                return i
    return stop


@kernel
def audit(events, start, stop, levels, pages, words, tree, free, sides, crossed, counts):
    """`replay`, checking the book at every event end.

    crossed : i8[n]  receives the rows of the first n crossed event ends
    counts  : i8[3]  events, crossed event ends, rows that take a level below zero or have a wrong TURN flag
    Returns the same as `replay`.
    """
    for i in range(start, stop):
        row = events[np.uint64(i)]
        if row.kind < TRADE:
            at, turned = apply_and_compare(row, levels, pages, words, tree, free, sides)
            if at < 0:
                return i
            counts[2] += lots_of(levels[at]) < 0 or orders_of(levels[at]) < 0 or turned != (row["flags"] & TURN != 0)
        if row["flags"] & LAST:
            counts[0] += 1
            if is_crossed(sides):
                if counts[1] < len(crossed):
                    crossed[counts[1]] = i
                counts[1] += 1
    return stop


@kernel
def depth(levels, pages, words, tree, sides, side, px, qty, n):
    """Write the best len(px) levels of `side`, best first; returns the number written.

    px, qty, n : i8[k]  out: ticks, lots, orders
    """
    key = sides[side].best
    k = 0
    while k < len(px) and key != NO_KEY:
        price = key_of(side, key)
        level = levels[level_index(pages, sides, side, price)]
        px[k] = price
        qty[k] = lots_of(level)
        n[k] = orders_of(level)
        k += 1
        key = next_level(pages, words, tree, sides, side, price)
    return k
