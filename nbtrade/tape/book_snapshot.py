"""The book of a tape at any row.

A book at any row is the latest earlier checkpoint plus a replay of at most CHECKPOINT_ROWS rows. Since an order is identified by its
priority (the row that queued it), finding the order that a row changes is an index, not a search by id.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade._numba.jit import kernel
from nbtrade.book.kernels import arrays
from nbtrade.schema import ADD, ASK, BID, CONTINUED, LIVE, TRADE, UNDEF_PRICE
from nbtrade.storage.search.search import upper_bound
from nbtrade.tape.rows import TapeRows
from nbtrade.tape.turn_flags import flag_turns, rows_adding

if TYPE_CHECKING:
    import pandas as pd


@kernel
def orders_at(events, first, last, live, n, out):
    """Orders live before row `last`, given the n in `live`, which were live before row `first`.

    events : EVENT[m]   live : LIVE[>= n], ordered by prio   out : LIVE[n + last - first]
    Returns the count, including removed orders, which have qty 0: filter them out. Sorted by prio.
    """
    for i in range(n):
        out[i] = live[i]
    for i in range(first, last):
        row = events[i]
        at = n + i - first
        out[at].qty = 0
        if row.kind >= TRADE:
            continue
        if row.kind == ADD and row["flags"] & CONTINUED == 0:
            out[at].prio = row.prio
            out[at].px = row.px
            out[at].side = row.side
        elif row.prio >= first:
            at = n + row.prio - first
        else:
            low, high = 0, n
            while high - low > 1:
                mid = (low + high) >> 1
                if live[mid].prio <= row.prio:
                    low = mid
                else:
                    high = mid
            at = low
        out[at].qty += row.qty
    return n + last - first


@dataclass(frozen=True)
class BookState:
    """The book at one moment. Get one from `Tape.book_at`.

    Parameters
    ----------
    tape : Tape
        The tape that it comes from.
    ts_recv : int
        Time of the last event in it, ns; -1 before the first event.
    orders : LIVE[n]
        Resting orders in priority order: px in ticks, qty in lots, prio, side.
    order_ids : i8[n]
        The exchange's ids of the orders.

    Examples
    --------
    >>> book = tape.book_at("2025-01-06 14:31")
    >>> len(book.orders), book.bid_px, book.ask_px
    (197, 499998, 499999)
    """

    tape: TapeRows
    ts_recv: int
    orders: np.ndarray
    order_ids: np.ndarray

    def side(self, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The levels of one side, best first.

        Parameters
        ----------
        side : int
            BID or ASK.

        Returns
        -------
        px, qty, n_orders : i8[n]
            Ticks, lots and number of orders.

        Examples
        --------
        >>> px, qty, n_orders = tape.book_at("2025-01-06 14:31").side(nbtrade.BID)
        >>> px[:2], qty[:2], n_orders[:2]
        (array([499998, 499997]), array([24,  5]), array([2, 2]))
        """
        mine = self.orders[self.orders["side"] == side]
        px, level, n = np.unique(mine["px"], return_inverse=True, return_counts=True)
        qty = np.zeros(len(px), np.int64)
        np.add.at(qty, level, mine["qty"])
        order = slice(None, None, -1 if side == BID else 1)
        return px[order].astype(np.int64), qty[order], n[order]

    @property
    def bid_px(self) -> int:
        """Best bid.

        Returns
        -------
        int
            Ticks; UNDEF_PRICE if the side is empty.

        Examples
        --------
        >>> tape.book_at("2025-01-06 14:31").bid_px
        499998
        """
        px = self.orders["px"][self.orders["side"] == BID]
        return int(px.max()) if len(px) else UNDEF_PRICE

    @property
    def ask_px(self) -> int:
        """Best ask.

        Returns
        -------
        int
            Ticks; UNDEF_PRICE if the side is empty.

        Examples
        --------
        >>> tape.book_at("2025-01-06 14:31").ask_px
        499999
        """
        px = self.orders["px"][self.orders["side"] == ASK]
        return int(px.min()) if len(px) else UNDEF_PRICE

    def levels(self, n: int | None = None) -> "pd.DataFrame":
        """Depth by level, with prices in currency.

        Parameters
        ----------
        n : int, optional
            Number of levels; default: all.

        Returns
        -------
        DataFrame
            Best level first, in Databento's names without the index: bid_px, bid_sz, bid_ct, ask_px, ask_sz, ask_ct.

        Examples
        --------
        >>> tape.book_at("2025-01-06 14:31").levels(1)
            bid_px  bid_sz  bid_ct   ask_px  ask_sz  ask_ct
        0  4999.98      24       2  4999.99      29      12
        """
        import pandas as pd

        columns: dict[str, Any] = {}
        for side, name in ((BID, "bid"), (ASK, "ask")):
            px, qty, count = (a[:n] for a in self.side(side))
            columns |= {
                f"{name}_px": pd.Series(self.tape.price(px)),
                f"{name}_sz": pd.Series(qty, dtype="Int64"),
                f"{name}_ct": pd.Series(count, dtype="Int64"),
            }
        return pd.DataFrame(columns)

    def to_df(self) -> "pd.DataFrame":
        """Every resting order, best price first and in queue order.

        Returns
        -------
        DataFrame
            side, price (currency), size (lots), order_id, place (0 is the front of the queue).

        Examples
        --------
        >>> tape.book_at("2025-01-06 14:31").to_df().head(2)
          side    price  size       order_id  place
        0    B  4999.98    19  4398047610808      0
        1    B  4999.98     5  4398047610751      1
        """
        import pandas as pd

        o = self.orders
        frame = pd.DataFrame(
            {
                "side": np.where(o["side"] == BID, "B", "A"),
                "price": self.tape.price(o["px"].astype(np.int64)),
                "size": o["qty"],
                "order_id": self.order_ids,
            }
        )
        distance = np.where(o["side"] == BID, -o["px"].astype(np.int64), o["px"])
        frame = frame.iloc[np.lexsort((o["prio"], distance, o["side"]))].reset_index(drop=True)
        frame["place"] = frame.groupby(["side", "price"]).cumcount()
        return frame


def book_before(tape: TapeRows, row: int) -> BookState:
    """The book before row `row` of the whole tape."""
    events, checkpoints = tape.whole["events"], tape.whole["checkpoints"]
    k = upper_bound(checkpoints["row"], row) - 1
    first, live = 0, tape.whole["live"][:0]
    if k >= 0:
        first = int(checkpoints["row"][k])
        start = int(checkpoints["start"][k])
        live = tape.whole["live"][start : start + int(checkpoints["n"][k])]
    out = np.empty(len(live) + row - first, LIVE).view(np.recarray)
    n = orders_at(events, first, row, live, len(live), out)
    orders = out[:n][out["qty"][:n] != 0]
    ts = int(tape.whole["ts_recv"][row - 1]) if row else -1
    return BookState(tape, ts, orders, tape.whole["order_id"][orders["prio"]])


def book_arrays(tape: TapeRows) -> arrays.Book:
    """The kernel's book before the tape's first row."""
    px = tape.manifest["px"]
    book = arrays.new_book(px["min"], px["max"])
    if tape.start:
        orders = book_before(tape, tape.start).orders
        book = flag_turns(rows_adding(orders["px"], orders["qty"], orders["side"]), book)
    return book
