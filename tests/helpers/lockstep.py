"""Compare the resolve and book kernels with the oracle, event by event.

    records (model.Record) --array_of--> RECORD[n] --Resolver--> Kept rows --tape--> Tape in memory
          |                                                         |
          +--> model.Book --> changes, levels, queues, clocks  ==  rows, kernel book, book_before

Prices of the two are compared in raw 1e-9 units, orders by id, and priorities by the order of arrival.
"""

from pathlib import Path

import numpy as np

from model import ASK, BID, F_SNAPSHOT, F_TOB, UNDEF_SIZE, Book, Record
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.schema import (
    CHECKPOINT,
    CLEARED,
    COLUMNS,
    CONTINUED,
    LAST,
    LIVE,
    LOT_SCALE,
    MARK,
    MAX_ROW_LOTS,
    RECORD,
    ROW_COLUMNS,
    TRADE,
    TURN,
)
from nbtrade.storage import atomic
from nbtrade.tape import book_snapshot
from nbtrade.tape.resolver import Resolver
from nbtrade.tape.tape import Tape

KINDS = ("add", "cancel", "exec")
DEEP = 4096  # levels per side that a comparison can hold
# faults that the oracle counts too
COMMON = {"duplicate_add", "zero_size", "over_cancel", "unknown_cancel", "unknown_fill", "unknown_modify", "no_level", "no_size"}
MOST_SIZE = 2**32 - 2  # of a RECORD, whose largest number means "no size"
# a record whose size is an i8, for sources with more lots than Databento's
WIDE = np.dtype([(name, "<i8" if name == "size" else RECORD[name]) for name in RECORD.names], align=True)


class Kept:
    """A sink that keeps copies of everything it receives."""

    def __init__(self):
        self.parts, self.checkpoints, self.live = [], [], []
        self.n_live = self.n_rescales = 0
        self.resolver = None

    def rows(self, *columns):
        self.parts.append([column.copy() for column in columns])
        return len(columns[0])

    def checkpoint(self, row, live):
        self.checkpoints.append((row, self.n_live, len(live)))
        self.live.append(live[np.argsort(live["prio"])])
        self.n_live += len(live)

    def rescale(self, factor):
        from nbtrade.tape.off_tick_trades import correct

        self.n_rescales += 1
        if self.parts:
            events = np.concatenate([part[0] for part in self.parts])
            events["px"] *= factor
            correct(events, 0, self.resolver.off_tick_trades, self.resolver.tick // factor)
            columns = [np.concatenate(column) for column in list(zip(*self.parts, strict=True))[1:]]
            self.parts = [[events, *columns]]
        for live in self.live:
            live["px"] *= factor

    def columns(self):
        """Return the columns of the tape so far by name."""
        parts = self.parts or [[np.empty(0, COLUMNS[name]) for name in ROW_COLUMNS]]
        columns = dict(zip(ROW_COLUMNS, map(np.concatenate, zip(*parts, strict=True)), strict=True))
        columns["checkpoints"] = np.array(self.checkpoints, CHECKPOINT)
        columns["live"] = np.concatenate([np.empty(0, LIVE), *self.live])
        return {name: atomic.frozen(column.astype(COLUMNS[name])) for name, column in columns.items()}

    def tape(self):
        r = self.resolver
        manifest = {
            "instrument": {
                "symbol": "TEST",
                "instrument_id": 1,
                "publisher_id": 1,
                "tick": r.tick,
                "tick_from": r.tick_from,
                "lot_units": LOT_SCALE,
            },
            "px": {"min": 0, "max": 0} if r.get("px_min") > r.get("px_max") else {"min": r.get("px_min"), "max": r.get("px_max")},
            "faults": r.faults(),
        }
        return Tape(Path("memory"), manifest, self.columns())

    def bytes(self):
        return {name: column.tobytes() for name, column in self.columns().items()}


def array_of(records, instrument_id=1, publisher_id=1):
    """Return model records as RECORD[n], or as WIDE[n] when a size needs it."""
    is_wide = any(MOST_SIZE < record.size < UNDEF_SIZE for record in records)
    out = np.zeros(len(records), WIDE if is_wide else RECORD).view(np.recarray)
    out["length"], out["rtype"] = RECORD.itemsize // 4, 160
    out["instrument_id"], out["publisher_id"] = instrument_id, publisher_id
    for name in ("ts_event", "ts_recv", "price", "flags"):
        out[name] = [getattr(record, name) for record in records]
    undefined = np.iinfo(out["size"].dtype).max
    out["size"] = [undefined if record.size == UNDEF_SIZE else record.size for record in records]
    out["order_id"] = np.array([record.order_id for record in records], np.uint64).view(np.int64)
    for name in ("action", "side"):
        out[name] = [ord(getattr(record, name)) for record in records]
    out["sequence"] = np.arange(len(records))
    return out


def records_of(array):
    """Return RECORD[n] as model records."""
    names = ("ts_event", "ts_recv", "order_id", "price", "size", "flags", "action", "side")
    rows = zip(*(array[name].tolist() for name in names), strict=True)
    return [Record(*row[:6], chr(row[6]), chr(row[7])) for row in rows]


def resolved(array, tick=0, batch=65_536, finish=True):
    """Resolve RECORD[n] in batches and return the sink; `tick` 0 is inferred."""
    kept = Kept()
    kept.resolver = Resolver("test", 1, 1, kept, tick, "given" if tick else "inferred")
    for start in range(0, len(array), batch):
        kept.resolver.feed(array[start : start + batch])
    if finish:
        kept.resolver.finish()
    return kept


class Replay:
    """The kernel's book of a tape, replayed event by event."""

    def __init__(self, tape, n_pages=1024):
        self.tape, self.row = tape, 0
        self.book = arrays.new_book(tape.manifest["px"]["min"], tape.manifest["px"]["max"], n_pages)
        self.ends = np.flatnonzero(tape.events["flags"] & LAST) + 1
        self.out = np.zeros((3, DEEP), np.int64)

    def to(self, row):
        """Apply rows up to `row`; return the index of the first one and of the last plus one."""
        start, events = self.row, self.tape.events
        while (at := books.replay(events, self.row, row, *self.book)) < row:
            self.row, self.book = at, arrays.grown(self.book)
        self.row = row
        return start, row

    def levels(self, side):
        """Return [(price, size, count)], best first."""
        levels, pages, words, tree, _, sides = self.book
        n = books.depth(levels, pages, words, tree, sides, side, *self.out)
        px, qty, count = (column[:n].tolist() for column in self.out)
        return [(p * self.tape.tick_units, q, c) for p, q, c in zip(px, qty, count, strict=True)]


def model_changes(book, record):
    """Apply a record; return its changes, sorted if it is a clear (whose order is arbitrary)."""
    clears = record.action == "R" or record.flags & (F_SNAPSHOT | F_TOB)
    changes = [(c.kind, c.side, c.price, c.lots, c.order.place) for c in book.apply(record)]
    n = next((i for i, c in enumerate(changes) if c[0] != "cancel"), len(changes)) if clears else 0
    return sorted(changes[:n]) + changes[n:]


def row_changes(tape, start, stop, places):
    """Return the changes of tape rows like `model_changes`; `places` maps priorities to the model's and learns new ones."""
    changes, run = [], []
    for i in range(start, stop):
        row = tape.events[i]
        kind, flags = int(row["kind"]), int(row["flags"])
        if flags & CONTINUED:
            assert_continues(tape, i, start)
            if kind < TRADE:
                part = run if flags & CLEARED else changes
                part[-1] = (*part[-1][:3], part[-1][3] + abs(int(row["qty"])), part[-1][4])
            continue
        if kind == 0:
            assert row["prio"] == i
            places[i] = len(places)
        if not flags & CLEARED or kind == MARK:
            changes, run = changes + sorted(run), []
        if kind < TRADE:
            assert (kind == 0) == (row["qty"] > 0)
            change = KINDS[kind], int(row["side"]), int(row["px"]) * tape.tick_units, abs(int(row["qty"])), places[int(row["prio"])]
            (run if flags & CLEARED else changes).append(change)
    return changes + sorted(run)


def assert_continues(tape, i, start):
    """Assert that row i continues the change of the previous row, in the same event."""
    before, row = tape.events[i - 1], tape.events[i]
    assert i > start
    assert abs(int(before["qty"])) == MAX_ROW_LOTS
    assert before["flags"] & LAST == 0
    assert row["d_orders"] == 0
    assert before["qty"] * np.sign(row["qty"]) > 0
    assert before[["px", "prio", "kind", "side"]].tolist() == row[["px", "prio", "kind", "side"]].tolist()
    assert int(before["flags"] ^ row["flags"]) & ~(CONTINUED | LAST | TURN) == 0
    assert tape.order_id[i - 1] == tape.order_id[i]
    assert tape.sequence[i - 1] == tape.sequence[i]


def assert_turns(events):
    """Assert, with a dict of lots and orders, that a row is flagged if and only if its level becomes empty or non-empty."""
    levels, names = {}, ["px", "kind", "side", "flags", "qty", "d_orders"]
    for i, (px, kind, side, flags, qty, d_orders) in enumerate(events[names].tolist()):
        before = levels.get((side, px), (0, 0)) if kind < TRADE else (0, 0)
        after = (before[0] + qty, before[1] + d_orders) if kind < TRADE else (0, 0)
        assert (flags & TURN != 0) == ((before == (0, 0)) != (after == (0, 0))), (i, px, kind, side)
        if kind < TRADE:
            levels[side, px] = after


def queues_of(tape, row):
    """Return {(side, price): [(order_id, lots)]} before `row`, from the tape's checkpoints and rows."""
    at = book_snapshot.book_before(tape, row)
    queues = {}
    for order, order_id in zip(at.orders.tolist(), at.order_ids.tolist(), strict=True):
        _, px, qty, side = order
        queues.setdefault((side, px * tape.tick_units), []).append((order_id, qty))
    return queues


def model_queues(book, top_ids=None):
    """Return the oracle's queues like `queues_of`; `top_ids` renames the orders of top-of-book feeds."""
    names = top_ids or {}
    return {
        (side, price): [(names.get(order.id, order.id), order.qty) for order in queue.values()]
        for side in (BID, ASK)
        for price, queue in book.queues[side].items()
    }


TOP_IDS = {-1: -(2**63) + 1, -2: -(2**63) + 2}


def assert_lockstep(records, kept, every_levels=1, every_queues=1):
    """Assert that the tape agrees with the oracle after every event of `records`; return the oracle and its replay."""
    tape, book, places, changes = kept.tape(), Book(), {}, []
    replay = Replay(tape, n_pages=2)
    for record in records:
        changes += model_changes(book, record)
        if not book.at_event_end:
            continue
        k = book.n_events - 1
        start, stop = replay.to(int(replay.ends[k]))
        assert row_changes(tape, start, stop, places) == changes, (k, record)
        assert (int(tape.ts_event[start]), int(tape.ts_recv[start])) == book.clocks[-1]
        assert len(set(tape.ts_event[start:stop].tolist())) == len(set(tape.ts_recv[start:stop].tolist())) == 1
        if k % every_levels == 0:
            assert [replay.levels(side) for side in (BID, ASK)] == [book.levels(side) for side in (BID, ASK)], (k, record)
        if k % every_queues == 0:
            assert queues_of(tape, stop) == model_queues(book, TOP_IDS), (k, record)
        changes = []
    assert len(replay.ends) == book.n_events + (not book.at_event_end)
    faults = {name: fault["count"] for name, fault in tape.manifest["faults"].items()}
    assert {name: n for name, n in faults.items() if name in COMMON} == dict(book.faults)
    assert kept.resolver.get("n_live") == len(book.orders)
    assert_turns(tape.events)
    return book, replay
