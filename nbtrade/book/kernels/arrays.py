"""The arrays of a book: allocate, copy, extend to a wider price range, add pages. See book/kernels/book.py for their meaning."""

from typing import NamedTuple

import numpy as np

from nbtrade._numba.bits import MASK, SHIFT, WORD
from nbtrade._numba.jit import as_record_array

# held: lots and orders packed into one number, so a row changes a level with one addition (book/kernels/book.py: lots_of, orders_of)
# own: in the exchange's book the index of our first order at this level, plus one (0: none); see engine/kernels/match.py
LEVEL = np.dtype([("held", "i8"), ("own", "i4")], align=True)
# Per side: the best key, the number of levels in use, the start of its words in the tree; side 0 also holds the page bookkeeping.
SIDE = np.dtype(
    [
        ("best", "i8"),  # key of the best level; NO_KEY when empty
        ("n_levels", "i8"),
        ("lower", "i8"),  # first word of the side's lower and upper row in the tree
        ("upper", "i8"),
        ("n_upper", "i8"),
        ("first_slot", "i8"),  # page table entry 0 covers the prices base*32 .. base*32+31
        ("n_free", "i8"),
        ("spare", "i8"),  # with at least this many free pages an empty page is kept, since it will be needed again
    ],
    align=True,
)
NO_KEY = -(2**62)

MARGIN = 1 << 20  # ticks kept free on both sides of the tape's prices for our own orders


class Book(NamedTuple):
    """The arrays of one book, in the order the kernels take them."""

    levels: np.ndarray  # LEVEL[n_pages * 64]
    pages: np.ndarray  # i4[n_slots]
    words: np.ndarray  # i8[n_pages * 2]
    tree: np.ndarray  # i8[n]
    free: np.ndarray  # i4[n_pages]
    sides: np.ndarray  # SIDE[2]


def new_book(px_min: int, px_max: int, n_pages: int = 256) -> Book:
    """Allocate an empty book for prices px_min..px_max (ticks, inclusive) and MARGIN ticks on both sides.

    Untouched parts cost no memory: the operating system maps the zero pages on first use.
    """
    base = (px_min - MARGIN) >> SHIFT
    n_slots = ((px_max + MARGIN) >> SHIFT) - base + 1
    n_lower = (n_slots >> SHIFT) + 1
    n_upper = (n_lower >> SHIFT) + 1
    sides = np.zeros(2, SIDE)
    sides["best"] = NO_KEY
    sides["lower"] = 0, n_lower + n_upper
    sides["upper"], sides["n_upper"] = sides["lower"] + n_lower, n_upper
    sides["first_slot"] = base
    sides["spare"] = n_pages // 2
    sides["n_free"] = n_pages - 1  # page 0 stays empty: it represents all pages that do not exist
    free = np.arange(n_pages, 0, -1, dtype=np.int32) - 1 if n_pages else np.zeros(0, np.int32)
    return Book(
        as_record_array(np.zeros(n_pages * 2 * WORD, LEVEL)),
        np.zeros(n_slots, np.int32),
        np.zeros(n_pages * 2, np.int64),
        np.zeros(2 * (n_lower + n_upper), np.int64),
        free[:n_pages].copy(),
        as_record_array(sides),
    )


def copied(book: Book) -> Book:
    """Return a deep copy of `book`."""
    return Book(*(array.copy() for array in book))


def widened(book: Book, px_min: int, px_max: int) -> Book:
    """Return the same book over the wider price range px_min..px_max (ticks), which must include all its prices."""
    new = new_book(px_min + MARGIN, px_max - MARGIN, 1)
    shift = int(book.sides["first_slot"][0] - new.sides["first_slot"][0])
    new.pages[shift : shift + len(book.pages)] = book.pages
    sides = book.sides.copy()
    for name in ("first_slot", "lower", "upper", "n_upper"):
        sides[name] = new.sides[name]
    tree = new.tree
    for side in range(2):
        lower, upper = int(sides["lower"][side]), int(sides["upper"][side])
        _set_tree(tree, lower, upper, np.flatnonzero(book.words[new.pages * 2 + side]))
    return Book(book.levels, new.pages, book.words, tree, book.free, sides)


def covers(book: Book, px_min: int, px_max: int) -> bool:
    """True when the book's price range includes px_min..px_max (ticks)."""
    first = int(book.sides["first_slot"][0])
    return first <= px_min >> SHIFT and px_max >> SHIFT < first + len(book.pages)


def _set_tree(tree: np.ndarray, lower: int, upper: int, slots: np.ndarray) -> None:
    """Set the bits of non-empty slots in one side's tree."""
    np.bitwise_or.at(tree, lower + (slots >> SHIFT), np.int64(1) << (slots & MASK))
    np.bitwise_or.at(tree, upper + (slots >> (2 * SHIFT)), np.int64(1) << ((slots >> SHIFT) & MASK))


def grown(book: Book) -> Book:
    """Return the same book with twice the pages."""
    old = len(book.free)
    levels = as_record_array(np.zeros(len(book.levels) * 2, LEVEL))
    levels[: len(book.levels)] = book.levels
    words = np.zeros(old * 4, np.int64)
    words[: old * 2] = book.words
    free = np.zeros(old * 2, np.int32)
    n_free = int(book.sides["n_free"][0])
    free[:n_free] = book.free[:n_free]
    free[n_free : n_free + old] = np.arange(2 * old - 1, old - 1, -1)
    sides = book.sides.copy()
    sides["n_free"][0] += old
    sides["spare"] = old
    return Book(levels, book.pages, words, book.tree, free, sides)
