"""Flag the rows that empty a level or open one, and turn a book back into rows."""

import numpy as np

from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.errors import CapacityError
from nbtrade.schema import ASK, BID, EVENT


def marked(events: np.ndarray, book: arrays.Book) -> arrays.Book:
    """Give EVENT[n] their TURN flags. Returns the book after them; `book`, before them, is used up.

    Raises CapacityError when more lots rest at one price than a level can hold.
    """
    at = 0
    while (at := books.mark(events, at, len(events), *book)) < len(events):
        if book.sides["n_free"][0]:
            raise CapacityError(
                f"more than {books.MOST_LOTS:,} lots rest at one price ({events['px'][at]:,} ticks): a level does not hold them. "
                "Most likely sizes are damaged; if they are right, they need a larger unit."
            )
        book = arrays.grown(book)
    return book


def rows_of(book: arrays.Book) -> np.ndarray:
    """EVENT[orders] that make an equal book of an empty one; each level's orders are equally large, but for the first."""
    levels, pages, words, tree, _, sides = book
    parts = []
    for side in (BID, ASK):
        px, qty, n = (np.zeros(int(sides["n_levels"][side]), np.int64) for _ in range(3))
        books.depth(levels, pages, words, tree, sides, side, px, qty, n)
        rows = np.zeros(int(n.sum()), EVENT).view(np.recarray)
        rows["px"], rows["side"], rows["d_orders"] = np.repeat(px, n), side, 1
        rows["qty"] = np.repeat(qty // n, n)
        rows["qty"][np.cumsum(n) - n] += qty % n
        parts.append(rows)
    return np.concatenate(parts).view(np.recarray)
