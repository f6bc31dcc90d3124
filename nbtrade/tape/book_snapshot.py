"""What a tape says at one moment and as a whole: book states, audits, frames.

A book at any row is the checkpoint before it plus at most CHECKPOINT_ROWS rows of replay. Because an order is known by its
priority (the row that queued it), finding the order a row takes from is an index, not a search by id.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade._numba.jit import kernel
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.errors import CapacityError, TapeError
from nbtrade.schema import ADD, ASK, BID, EVENT, LIVE, TRADE, UNDEF_PRICE
from nbtrade.storage.search.search import upper_bound

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.tape.tape import Tape

KINDS = ("add", "cancel", "exec", "trade", "mark")


@kernel
def orders_at(events, first, last, live, n, out):
    """Orders live before row `last`, from the n in `live`, which were live before row `first`.

    events : EVENT[m]   live : LIVE[>= n], ordered by prio   out : LIVE[n + last - first]
    Returns how many; those with qty 0 are left in between: filter. Order stays that of prio.
    """
    for i in range(n):
        out[i] = live[i]
    for i in range(first, last):
        row = events[i]
        at = n + i - first
        out[at].qty = 0
        if row.kind >= TRADE:
            continue
        if row.kind == ADD:
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
    """A book at one moment.

    orders : LIVE[n] in priority order;  order_ids : i8[n];  ts_recv : ns of the last event in it (-1: none)
    """

    tape: "Tape"
    ts_recv: int
    orders: np.ndarray
    order_ids: np.ndarray

    def side(self, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(px, qty, n_orders) of one side's levels, best first; i8 each."""
        mine = self.orders[self.orders["side"] == side]
        px, level, n = np.unique(mine["px"], return_inverse=True, return_counts=True)
        qty = np.zeros(len(px), np.int64)
        np.add.at(qty, level, mine["qty"])
        order = slice(None, None, -1 if side == BID else 1)
        return px[order].astype(np.int64), qty[order], n[order]

    @property
    def bid_px(self) -> int:
        """Best bid in ticks, UNDEF_PRICE when there is none."""
        px = self.orders["px"][self.orders["side"] == BID]
        return int(px.max()) if len(px) else UNDEF_PRICE

    @property
    def ask_px(self) -> int:
        """Best ask in ticks, UNDEF_PRICE when there is none."""
        px = self.orders["px"][self.orders["side"] == ASK]
        return int(px.min()) if len(px) else UNDEF_PRICE

    def levels(self, n: int | None = None) -> "pd.DataFrame":
        """Depth by level, Databento's names without the index: bid_px, bid_sz, bid_ct, ask_px, ask_sz, ask_ct."""
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
        """Every resting order, best price first and in queue order: side, price, size, order_id, place."""
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


def book_before(tape: "Tape", row: int) -> BookState:
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


def book_arrays(tape: "Tape") -> arrays.Book:
    """The kernel's book before the tape's first row."""
    px = tape.manifest["px"]
    book = arrays.new_book(px["min"], px["max"])
    if tape.start:
        orders = book_before(tape, tape.start).orders
        rows = np.zeros(len(orders), tape.whole["events"].dtype).view(np.recarray)
        rows["px"], rows["qty"], rows["side"] = orders["px"], orders["qty"], orders["side"]
        rows["d_orders"] = 1
        book = marked(rows, book)
    return book


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


@dataclass(frozen=True)
class Audit:
    """What a replay of a tape finds. `crossed_rows`: i8, rows (of the whole tape) of the first crossed event ends."""

    n_rows: int
    n_events: int
    n_crossed: int
    n_negative: int
    crossed_rows: np.ndarray
    faults: dict[str, Any]

    def __str__(self) -> str:
        lines = [f"{self.n_events:,} events in {self.n_rows:,} rows", f"{self.n_crossed:,} crossed event ends"]
        if self.n_negative:
            lines.append(f"{self.n_negative:,} rows took a level below zero or turn it without saying so: the tape is damaged")
        lines += [f"{fault['count']:,} {name}, first at record {fault['first']}" for name, fault in self.faults.items()]
        return "\n".join(lines)


def audit(tape: "Tape") -> Audit:
    """See Tape.audit."""
    check_hashes(tape)  # first: a replay of damaged rows may go anywhere
    book, at = book_arrays(tape), 0
    crossed, counts = np.zeros(10_000, np.int64), np.zeros(3, np.int64)
    while (at := books.audit(tape.events, at, len(tape), *book, crossed, counts)) < len(tape):
        book = arrays.grown(book)
    n_crossed = int(counts[1])
    rows = crossed[: min(n_crossed, len(crossed))] + tape.start
    return Audit(len(tape), int(counts[0]), n_crossed, int(counts[2]), rows, tape.manifest["faults"])


def check_hashes(tape: "Tape") -> None:
    """Raise TapeError for a column whose rows are not those that were written."""
    import xxhash

    for name, column in tape.manifest.get("columns", {}).items():
        if xxhash.xxh3_128_hexdigest(tape.whole[name].view(np.uint8)) != column["xxh3_128"]:
            raise TapeError(
                f"{tape.path / name}.col is damaged: its rows are not those that were written (xxh3-128 is not {column['xxh3_128']}). "
                "Restore the tape from a copy, or ingest the source again with replace=True (--replace)."
            )


def to_df(tape: "Tape") -> "pd.DataFrame":
    """See Tape.to_df."""
    import pandas as pd

    e = tape.events
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime(tape.ts_event, utc=True),
            "action": pd.Categorical.from_codes(e["kind"], list(KINDS)),
            "side": np.where(e["flags"] & 8, "N", np.where(e["side"] == BID, "B", "A")),
            "price": tape.price(e["px"].astype(np.int64)),
            "size": np.abs(e["qty"]),
            "order_id": tape.order_id,
            "flags": e["flags"],
            "sequence": tape.sequence,
            "prio": e["prio"],
        },
        index=pd.DatetimeIndex(pd.to_datetime(tape.ts_recv, utc=True), name="ts_recv"),
    )


def info(tape: "Tape") -> str:
    """See Tape.info."""
    m = tape.manifest
    instrument, counts = m["instrument"], m["counts"]
    lines = [
        repr(tape),
        f"folder      {tape.path}",
        f"source      {m['source']['name']} ({m['source']['kind']}, {m['source']['dataset'] or 'dataset unknown'})",
        f"instrument  {instrument['symbol']} (id {instrument['instrument_id']}, publisher {instrument['publisher_id']})",
        f"tick        {tape.tick:g} ({instrument['tick_from']})",
        f"records     {counts['records']:,} read, {counts['skipped']:,} of other instruments",
        f"rows        {counts['rows']:,} in {counts['events']:,} events, at most {counts['most_live']:,} live orders",
        f"prices      {tape.price(m['px']['min']):g} to {tape.price(m['px']['max']):g}",
        f"content     xxh3-128 {m['content_hash']}, format {m['format_version']}",
    ]
    faults = [f"  {name:20} {f['count']:>10,}   first at records {f['first']}" for name, f in m["faults"].items()]
    return "\n".join([*lines, "faults      " + ("none" if not faults else ""), *faults])
