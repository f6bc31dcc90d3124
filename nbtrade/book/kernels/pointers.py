"""A book and the rows that change it, as bare addresses, for the records that a pass over a tape carries along.

Any record with the fields BOOK_FIELDS holds a book: an instrument's state in a backtest, or the state of a feature pass.
"""

from nbtrade._numba.jit import helper
from nbtrade._numba.pointers import i4_at, i8_at, pointer_to
from nbtrade.book.kernels.arrays import LEVEL, SIDE
from nbtrade.schema import EVENT, ROW

BOOK_FIELDS = ("levels_at", "pages_at", "words_at", "tree_at", "free_at", "sides_at")

events_at = pointer_to(EVENT)
rows_at = pointer_to(ROW)  # the same bytes
levels_at = pointer_to(LEVEL)
sides_at = pointer_to(SIDE)


@helper
def exchange_book(record):
    """The exchange's Book as pointers: levels, pages, words, tree, free, sides."""
    return (
        levels_at(record.levels_at),
        i4_at(record.pages_at),
        i8_at(record.words_at),
        i8_at(record.tree_at),
        i4_at(record.free_at),
        sides_at(record.sides_at),
    )
