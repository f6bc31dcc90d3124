"""The order book: price levels of one instrument in preallocated pages.

A page holds 32 neighbouring prices of both sides. Which page a price lies in stands in a table over the whole
price range of the tape, so finding a level is two loads and no search, however far a stub quote is away:

    px ──>>5, -base──> pages[...] ──> page p ──> levels[p*64 + side*32 + (px & 31)]   qty, n, own
                                        │
                                        └──> words[p*2 + side]   one bit per non-empty level
                                             tree[side, ...]     one bit per non-empty page, and one per word of those

- Best prices are kept, not searched for: a better add replaces them; when the best level empties, the next one is found
  with at most a few bit scans (`next_level`), however wide the gap is.
- Pages are taken from a free list and given back when both sides are empty. Memory follows the live levels, not the
  prices ever seen: a stream that flickers over a million outlier prices needs one page at a time.
- Weak case: one live order on each of very many far-apart prices (1 KiB each), and gaps of more than a
  million prices, where the scan of the topmost words is linear.
- Prices of a side are compared by `key`: px for bids, -px for asks, so that better is larger on both sides.

Order counts make the book exact without order records: rows carry what they change (see `schema.EVENT`).
"""

from typing import NamedTuple

import numpy as np

from nbtrade._jit import apart, attributes, helper, kernel
from nbtrade.kernels.bits import MASK, SHIFT, WORD, leading_zeros, trailing_zeros
from nbtrade.schema import ASK, BID, LAST, TRADE

# own: in the exchange's book the first of our own entries here, plus one (0: none); see kernels/match.py
LEVEL = np.dtype([("qty", "i8"), ("n", "i4"), ("own", "i4")], align=True)
# Per side: the best key, levels in use, where its words of the tree begin; page bookkeeping is in side 0.
SIDE = np.dtype(
    [
        ("best", "i8"),  # key of the best level; NO_KEY when empty
        ("n_levels", "i8"),
        ("upper", "i8"),  # first word of the upper tree row
        ("n_upper", "i8"),
        ("first_slot", "i8"),  # page table entry 0 stands for prices base*32 .. base*32+31
        ("n_free", "i8"),
    ],
    align=True,
)
NO_KEY = -(2**62)

MARGIN = 1 << 20  # ticks kept free beyond the tape's prices for our own orders


class Book(NamedTuple):
    """The arrays of one book, in the order the kernels take them."""

    levels: np.ndarray  # LEVEL[n_pages * 64]
    pages: np.ndarray  # i4[n_slots]
    words: np.ndarray  # i8[n_pages * 2]
    tree: np.ndarray  # i8[2, n]
    free: np.ndarray  # i4[n_pages]
    sides: np.ndarray  # SIDE[2]


def new_book(px_min: int, px_max: int, n_pages: int = 1024) -> Book:
    """Allocate an empty book for prices px_min..px_max (ticks, inclusive) and MARGIN ticks beyond both.

    Untouched parts cost no memory: the arrays are zero pages of the operating system until used.
    """
    base = (px_min - MARGIN) >> SHIFT
    n_slots = ((px_max + MARGIN) >> SHIFT) - base + 1
    n_lower = (n_slots >> SHIFT) + 1
    n_upper = (n_lower >> SHIFT) + 1
    sides = np.zeros(2, SIDE)
    sides["best"] = NO_KEY
    sides["upper"], sides["n_upper"] = n_lower, n_upper
    sides["first_slot"] = base
    sides["n_free"] = n_pages - 1  # page 0 stays empty: it stands for all pages that do not exist
    free = np.arange(n_pages, 0, -1, dtype=np.int32) - 1 if n_pages else np.zeros(0, np.int32)
    return Book(
        attributes(np.zeros(n_pages * 2 * WORD, LEVEL)),
        np.zeros(n_slots, np.int32),
        np.zeros(n_pages * 2, np.int64),
        np.zeros((2, n_lower + n_upper), np.int64),
        free[:n_pages].copy(),
        attributes(sides),
    )


def copied(book: Book) -> Book:
    """An equal book that shares nothing with `book`."""
    return Book(*(array.copy() for array in book))


def widened(book: Book, px_min: int, px_max: int) -> Book:
    """The same book over the wider price range px_min..px_max (ticks), which holds all prices it has."""
    new = new_book(px_min + MARGIN, px_max - MARGIN, 1)
    shift = int(book.sides["first_slot"][0] - new.sides["first_slot"][0])
    new.pages[shift : shift + len(book.pages)] = book.pages
    sides = book.sides.copy()
    for name in ("first_slot", "upper", "n_upper"):
        sides[name] = new.sides[name]
    tree = new.tree
    for side in range(2):
        _set_tree(tree[side], int(sides["upper"][0]), np.flatnonzero(book.words[new.pages * 2 + side]))
    return Book(book.levels, new.pages, book.words, tree, book.free, sides)


def _set_tree(row: np.ndarray, upper: int, slots: np.ndarray) -> None:
    """Set the bits of non-empty slots in one side's tree."""
    np.bitwise_or.at(row, slots >> SHIFT, np.int64(1) << (slots & MASK))
    np.bitwise_or.at(row, upper + (slots >> (2 * SHIFT)), np.int64(1) << ((slots >> SHIFT) & MASK))


def grown(book: Book) -> Book:
    """The same book with twice the pages."""
    old = len(book.free)
    levels = attributes(np.zeros(len(book.levels) * 2, LEVEL))
    levels[: len(book.levels)] = book.levels
    words = np.zeros(old * 4, np.int64)
    words[: old * 2] = book.words
    free = np.zeros(old * 2, np.int32)
    n_free = int(book.sides["n_free"][0])
    free[:n_free] = book.free[:n_free]
    free[n_free : n_free + old] = np.arange(2 * old - 1, old - 1, -1)
    sides = book.sides.copy()
    sides["n_free"][0] += old
    return Book(levels, book.pages, words, book.tree, free, sides)


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
    """Index of the level of `px`, or of an always empty level when its page does not exist."""
    return (pages[(px >> SHIFT) - sides[0].first_slot] << (SHIFT + 1)) + (side << SHIFT) + (px & MASK)


@helper
def open_page(pages, free, sides, slot):
    """Take a page off the free list for table entry `slot`; 0 when there is none left."""
    n = sides[0].n_free
    if n == 0:
        return 0
    sides[0].n_free = n - 1
    pages[slot] = free[n - 1]
    return free[n - 1]


@helper
def close_page_if_empty(levels, pages, words, free, sides, slot):
    """Give the page of `slot` back when no level of it is in use and none of our own entries rest there."""
    page = pages[slot]
    if page == 0 or words[page * 2] != 0 or words[page * 2 + 1] != 0:
        return
    for i in range(page * 2 * WORD, (page + 1) * 2 * WORD):
        if levels[i].own != 0:
            return
    pages[slot] = 0
    free[sides[0].n_free] = page
    sides[0].n_free += 1


@helper
def mark_level(pages, words, tree, sides, side, px):
    """A level became non-empty: set its bits; raise the best price if it is better."""
    slot = (px >> SHIFT) - sides[0].first_slot
    word = pages[slot] * 2 + side
    if words[word] == 0:
        tree[side, slot >> SHIFT] |= 1 << (slot & MASK)
        upper = sides[side].upper + (slot >> (2 * SHIFT))
        tree[side, upper] |= 1 << ((slot >> SHIFT) & MASK)
    words[word] |= 1 << (px & MASK)
    sides[side].n_levels += 1
    key = key_of(side, px)
    if key > sides[side].best:
        sides[side].best = key


@helper
def unmark_level(pages, words, tree, sides, side, px):
    """A level became empty: clear its bits; find the next best price if it was the best."""
    slot = (px >> SHIFT) - sides[0].first_slot
    word = pages[slot] * 2 + side
    words[word] &= ~(1 << (px & MASK))
    sides[side].n_levels -= 1
    if words[word] == 0:
        tree[side, slot >> SHIFT] &= ~(1 << (slot & MASK))
        if tree[side, slot >> SHIFT] == 0:
            upper = sides[side].upper + (slot >> (2 * SHIFT))
            tree[side, upper] &= ~(1 << ((slot >> SHIFT) & MASK))
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

    pages  : i4[n_slots]   words : i8[2 * n_pages]   tree : i8[2, n]   sides : SIDE[2]
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
    word = below(tree[side, i], slot & MASK) if down else above(tree[side, i], slot & MASK)
    if word == 0:
        first = sides[side].upper
        j = first + (i >> SHIFT)
        word = below(tree[side, j], i & MASK) if down else above(tree[side, j], i & MASK)
        while word == 0:
            j += -1 if down else 1
            if j < first or j >= first + sides[side].n_upper:
                return -1
            word = tree[side, j]
        i = ((j - first) << SHIFT) + (63 - leading_zeros(word) if down else trailing_zeros(word))
        word = tree[side, i]
    return (i << SHIFT) + (63 - leading_zeros(word) if down else trailing_zeros(word))


@kernel
def turn_level(px, side, is_born, levels, pages, words, tree, free, sides):
    """A level became non-empty, or empty. Not inlined: it is rare (6 % of rows), and the loops around it keep their registers."""
    apart()
    if is_born:
        mark_level(pages, words, tree, sides, side, px)
    else:
        unmark_level(pages, words, tree, sides, side, px)
        close_page_if_empty(levels, pages, words, free, sides, (px >> SHIFT) - sides[0].first_slot)


@helper
def change(px, side, qty, d_orders, levels, pages, words, tree, free, sides):
    """Change the level of `px` by `qty` lots and `d_orders` orders; its index, or -1 when a page was needed and none is left.

    levels : LEVEL[n_pages * 64]   pages : i4[n_slots]   words : i8[2 * n_pages]
    tree   : i8[2, n]              free  : i4[n_pages]   sides : SIDE[2]
    """
    px = np.int64(px)  # without the JIT an i4 stays one, and 1 << 31 is negative
    slot = np.uint64((px >> SHIFT) - sides[0].first_slot)  # unsigned: Numba then leaves out the test for a negative index
    page = np.int64(pages[slot])
    if page == 0:
        page = np.int64(open_page(pages, free, sides, np.int64(slot)))
        if page == 0:
            return -1
    i = (page << (SHIFT + 1)) + (side << SHIFT) + (px & MASK)
    level = levels[np.uint64(i)]
    before = level.n
    after = before + d_orders
    level.qty += qty
    level.n = after
    if (before == 0) != (after == 0):
        turn_level(px, side, after != 0, levels, pages, words, tree, free, sides)
    return i


@helper
def apply(row, levels, pages, words, tree, free, sides):
    """Apply one event row (EVENT) that changes the book (kind < TRADE); returns as `change`."""
    return change(row.px, np.int64(row.side), row.qty, row.d_orders, levels, pages, words, tree, free, sides)


@kernel
def roll(events, start, stop, levels, pages, words, tree, free, sides):
    """Move the book from before row `start` to before row `stop`, forwards or backwards: rows say what they change, so they can be undone.

    There are free pages for all of them: the caller made sure.
    """
    for i in range(start, stop):
        row = events[np.uint64(i)]
        if row.kind < TRADE:
            apply(row, levels, pages, words, tree, free, sides)
    for back in range(start - stop):
        row = events[start - 1 - back]
        if row.kind < TRADE:
            change(row.px, np.int64(row.side), -row.qty, -row.d_orders, levels, pages, words, tree, free, sides)


@kernel
def replay(events, start, stop, levels, pages, words, tree, free, sides):
    """Apply events[start:stop] to the book. Returns the index of the first row not applied (stop, unless pages ran out)."""
    for i in range(start, stop):
        row = events[np.uint64(i)]
        if row.kind < TRADE and apply(row, levels, pages, words, tree, free, sides) < 0:
            return i
    return stop


@kernel
def audit(events, start, stop, levels, pages, words, tree, free, sides, crossed, counts):
    """`replay`, looking at the book at every event end.

    crossed : i8[n]  gets the rows of the first n crossed event ends
    counts  : i8[5]  events, crossed event ends, levels below zero, most orders at the touch, most levels of a side
    Returns as `replay`.
    """
    for i in range(start, stop):
        row = events[np.uint64(i)]
        if row.kind < TRADE:
            at = apply(row, levels, pages, words, tree, free, sides)
            if at < 0:
                return i
            counts[2] += levels[at].qty < 0 or levels[at].n < 0
        if row["flags"] & LAST:
            counts[0] += 1
            if is_crossed(sides):
                if counts[1] < len(crossed):
                    crossed[counts[1]] = i
                counts[1] += 1
            counts[4] = max(counts[4], sides[BID].n_levels, sides[ASK].n_levels)
    return stop


@kernel
def depth(levels, pages, words, tree, sides, side, px, qty, n):
    """Write the best len(px) levels of `side`, best first; returns how many there are.

    px, qty, n : i8[k]  out: ticks, lots, orders
    """
    key = sides[side].best
    k = 0
    while k < len(px) and key != NO_KEY:
        price = key_of(side, key)
        level = levels[level_index(pages, sides, side, price)]
        px[k] = price
        qty[k] = level.qty
        n[k] = level.n
        k += 1
        key = next_level(pages, words, tree, sides, side, price)
    return k
