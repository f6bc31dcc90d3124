"""Flag the rows that open or empty a level, and turn a book back into rows."""

import numpy as np

from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.errors import CapacityError
from nbtrade.schema import ASK, BID, CONTINUED, EVENT, MAX_ROW_LOTS


def flag_turns(events: np.ndarray, book: arrays.Book) -> arrays.Book:
    """Set the TURN flags in EVENT[n]. Returns the book after them; consumes `book`, which is the book before them.

    Raises CapacityError if more lots or orders rest at one price than a level can hold.
    """
    at = 0
    while (at := books.flag_turns(events, at, len(events), *book)) < len(events):
        if book.sides["n_free"][0]:
            raise CapacityError(
                f"more than {books.MAX_LOTS:,} lots or {books.MOST_ORDERS:,} orders rest at one price ({events['px'][at]:,} ticks), "
                "which is the limit of a level. Most likely sizes are damaged; if they are correct, choose a larger lot."
            )
        book = arrays.grown(book)
    return book


def rows_adding(px: np.ndarray, qty: np.ndarray, side: np.ndarray) -> np.ndarray:
    """EVENT rows that add one order per element: i8[n] ticks and lots, sides[n]."""
    n_rows = -(-qty // MAX_ROW_LOTS)
    order = np.repeat(np.arange(len(qty)), n_rows)
    k = np.arange(len(order)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)  # the row's number within its chain
    rows = np.zeros(len(order), EVENT).view(np.recarray)
    rows["px"], rows["side"], rows["d_orders"] = px[order], side[order], k == 0
    rows["flags"] = np.where(k == 0, 0, CONTINUED)
    rows["qty"] = np.minimum(qty[order] - k * MAX_ROW_LOTS, MAX_ROW_LOTS)
    return rows


def rows_of(book: arrays.Book) -> np.ndarray:
    """EVENT rows that turn an empty book into an equal one; all orders of a level have the same size, except the first."""
    levels, pages, words, tree, _, sides = book
    parts = []
    for side in (BID, ASK):
        px, qty, n = (np.zeros(int(sides["n_levels"][side]), np.int64) for _ in range(3))
        books.depth(levels, pages, words, tree, sides, side, px, qty, n)
        each = np.repeat(qty // n, n)
        each[np.cumsum(n) - n] += qty % n
        parts.append(rows_adding(np.repeat(px, n), each, np.full(len(each), side)))
    return np.concatenate(parts).view(np.recarray)
