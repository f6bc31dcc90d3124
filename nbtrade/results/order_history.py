"""Why an order filled, or did not: its life, from the rows of the tape.

    sent ──> arrived ──> queue: every row that moved it up, and its fills ──> filled, cancelled, rejected, or still open

The engine records nothing extra for this: an order's record has its arrival and the row where it joined its queue, and the tape has
every change at that price. A replace that loses queue position starts over at the back, and only the last queue is shown. `ahead` follows
the engine's rule, change by change, and tests compare it with the oracle's queues.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nbtrade.errors import StrategyError
from nbtrade.schema import ADD, BID, CLEARED, CONTINUED, EXEC, IOC, NONE, OPTIMISTIC, REASONS, SNAPSHOT, STATES, TRADE

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.tape.tape import Tape

ARRIVAL, TAKEN, CHANGE, MADE, END = range(5)  # the order of steps at one row


class Step(NamedTuple):
    ts: int  # exchange's clock
    row: int  # of the tape; for a step between two rows, the later one
    what: str
    lots: int
    ahead: int  # after it; -1: not known, or it is in no queue
    px: int
    rank: int


def order_history(orders: np.ndarray, fills: np.ndarray, order_id: int, tapes: "Tape | Sequence[Tape]") -> "pd.DataFrame":
    """The life of one order. orders : ORDER[n] by id   fills : FILL[m]

    Returns ts (exchange clock), row (of the tape), what, lots, ahead (after it; -1 before it is in a queue), px.
    Raises StrategyError for an unknown order, and for a tape that is not the order's.
    """
    import pandas as pd

    at = int(np.searchsorted(orders["id"], order_id))
    if at == len(orders) or orders["id"][at] != order_id:
        raise StrategyError(f"there is no order {order_id}: the run has {len(orders):,}, numbered from 0")
    order = orders[at]
    if order["joined"] == NONE:
        raise StrategyError(f"the queue position of order {order_id} is unknown: the result was made from frames, not by a run")
    mine = fills[fills["order_id"] == order["id"]]
    earlier, mine = mine[mine["ts"] < order["arrived"]], mine[mine["ts"] >= order["arrived"]]
    tape = _tape_of(order, tapes)
    first, ahead = _beginning(order, mine, tape)
    steps = [*_arrived(order, tape, first, ahead), *_queue(order, mine, tape, first, ahead), *(_filled(order, fill, tape) for fill in mine)]
    steps.sort(key=lambda step: (step.row, step.rank))
    steps = _with_ahead([_sent(order), *map(_filled_earlier, earlier), *steps, *_ended(order, tape)])
    frame = pd.DataFrame(steps).drop(columns="rank")
    return frame.assign(ts=pd.to_datetime(frame["ts"], utc=True))


# --- where its queue begins ---------------------------------------------------------------------------
def _tape_of(order: Any, tapes: "Tape | Sequence[Tape]") -> "Tape":
    """The session in which the order arrived; for an order that arrived again, the last one."""
    if not isinstance(tapes, Sequence):
        return tapes
    begun = [tape for tape in tapes if len(tape) and tape.ts_recv[0] <= max(order["arrived"], order["sent"])]
    return begun[-1] if begun else tapes[0]


def _row_at(tape: "Tape", ts: int) -> int:
    """The first row after `ts` on the exchange's clock: messages that arrive at `ts` come before it."""
    return tape.start + int(np.searchsorted(tape.ts_event, ts, side="right"))


def _rests(order: Any, fills: np.ndarray) -> bool:
    """True for an order that joined a queue and stayed: it did not end on arrival, or on arrival of a replace."""
    if order["arrived"] == 0 or STATES[order["state"]] == "rejected" or order["tif"] >= IOC:
        return False
    return STATES[order["state"]] != "filled" or bool(fills["maker"][-1])


def _requeued(order: Any) -> bool:
    return bool(order["requeued"])


def _beginning(order: Any, fills: np.ndarray, tape: "Tape") -> tuple[int, int]:
    """(first row after joining the queue, lots ahead there). A snapshot at the order's price moved `joined` to a later row."""
    joined, came = int(order["joined"]), _row_at(tape, int(order["arrived"]))
    if not _rests(order, fills):
        return (int(fills["row"][-1]) if _requeued(order) else came), -1
    back = joined - tape.start - 1
    while 0 <= back < len(tape) and _is_snapshot(tape.events[back]) and back + tape.start >= came:
        back -= 1
    before = back + 1 + tape.start
    if not _requeued(order):
        if joined != came and before == joined:
            _refuse(order, tape, came)
        return came, int(order["ahead"])
    return (joined, int(order["ahead"])) if before == joined else (before, 0)


def _refuse(order: Any, tape: "Tape", came: int) -> None:
    raise StrategyError(
        f"order {order['id']} joined its queue before row {order['joined']:,}, but by its arrival time that is row {came:,} of "
        f"{tape}: it is not the tape of the run. For sessions in sequence, pass the list of tapes."
    )


def _is_snapshot(row: Any) -> bool:
    return bool(row["kind"] == ADD and row["flags"] & SNAPSHOT)


# --- its steps ------------------------------------------------------------------------------------------
def _sent(order: Any) -> Step:
    side = "buy" if order["side"] == BID else "sell"
    return Step(int(order["sent"]), -1, f"sent: {side} {int(order['qty'])}", int(order["qty"]), -1, int(order["px"]), ARRIVAL)


def _arrived(order: Any, tape: "Tape", first: int, ahead: int) -> Iterator[Step]:
    """Its arrival, and the arrival of the replace that sent it to the back of its last queue."""
    if order["arrived"] == 0:
        return
    qty, px = int(order["qty"]), int(order["px"])
    came = _row_at(tape, int(order["arrived"]))
    yield Step(int(order["arrived"]), came, "arrived", qty, -1 if _requeued(order) else ahead, px, ARRIVAL)
    if _requeued(order):
        ts = max(int(order["arrived"]), int(tape.ts_event[max(0, first - tape.start - 1)]))  # the exact time is not recorded
        yield Step(ts, first, "replaced: to the back of its queue", qty, ahead, px, ARRIVAL)


def _queue(order: Any, fills: np.ndarray, tape: "Tape", first: int, ahead: int) -> Iterator[Step]:
    """The rows that changed the lots ahead, from when it joined its last queue to its end."""
    if not _rests(order, fills) or order["rule"] == OPTIMISTIC:
        return
    stop, joined = _end_row(order, fills, tape), first
    rows = tape.events[first - tape.start : stop - tape.start]
    here = (rows["px"] == order["px"]) & (rows["side"] == order["side"]) & (rows["kind"] < TRADE)
    for i in np.flatnonzero(here & (rows["flags"] & CONTINUED == 0)):
        row, n = rows[i], first + int(i)
        lots, n_rows = _whole_change(rows, int(i))
        if _is_snapshot(row):
            joined = n + n_rows
        elif row["kind"] == ADD or row["prio"] >= joined:
            continue
        ahead += lots
        yield Step(int(tape.ts_event[n - tape.start]), n, _cause(row), lots, ahead, int(row["px"]), CHANGE)


def _whole_change(rows: np.ndarray, i: int) -> tuple[int, int]:
    """(lots, rows) of the change that begins with rows[i]; a change too large for one row continues in the next."""
    stop = i + 1
    while stop < len(rows) and rows["flags"][stop] & CONTINUED:
        stop += 1
    return int(rows["qty"][i:stop].sum(dtype=np.int64)), stop - i


def _end_row(order: Any, fills: np.ndarray, tape: "Tape") -> int:
    """The row before which the order is done."""
    if order["done"] == 0:
        return tape.stop
    if STATES[order["state"]] != "filled":
        return min(tape.stop, _row_at(tape, int(order["done"])))
    return int(fills["row"][-1]) + 1


def _cause(row: Any) -> str:
    if row["kind"] == EXEC:
        return "ahead executed"
    if row["kind"] == ADD:
        return "ahead came back in a snapshot"
    return "ahead cleared" if row["flags"] & CLEARED else "ahead cancelled or reduced"


def _filled(order: Any, fill: Any, tape: "Tape") -> Step:
    maker = bool(fill["maker"])
    what = f"filled as maker: {_met_row(order, fill, tape)}" if maker else "filled as taker"
    return Step(int(fill["ts"]), int(fill["row"]), what, int(fill["qty"]), -1, int(fill["px"]), MADE if maker else TAKEN)


def _filled_earlier(fill: Any) -> Step:
    """A fill of a good-till-cancelled order in an earlier session."""
    how = "maker" if fill["maker"] else "taker"
    return Step(int(fill["ts"]), int(fill["row"]), f"filled as {how}, in an earlier session", int(fill["qty"]), -1, int(fill["px"]), MADE)


def _met_row(order: Any, fill: Any, tape: "Tape") -> str:
    """Which row filled a resting order."""
    at = int(fill["row"]) - tape.start
    row = tape.events[at] if 0 <= at < len(tape) else None
    if row is None or row["kind"] != EXEC or row["side"] != order["side"]:
        return "opposite orders reached its price"
    return "an order behind it was executed" if row["px"] == fill["px"] else f"orders at {int(row['px'])} were executed"


def _ended(order: Any, tape: "Tape") -> list[Step]:
    state, reason = STATES[order["state"]], REASONS[order["reason"]]
    px, leaves, ahead = int(order["px"]), int(order["leaves"]), int(order["ahead_last"])
    if order["done"] == 0:
        where = f", {ahead} ahead" if state == "working" else ""
        return [Step(int(tape.ts_event[-1]), tape.stop, f"at the end: {state}, {leaves} lots open{where}", 0, -1, px, END)]
    if state == "filled":
        return []
    return [Step(int(order["done"]), _row_at(tape, int(order["done"])), state + (f": {reason}" if reason else ""), leaves, -1, px, END)]


def _with_ahead(steps: list[Step]) -> list[Step]:
    """Steps with the lots ahead filled in for fills and the end."""
    out, ahead = [], -1
    for step in steps:
        ahead = step.ahead if step.rank in (ARRIVAL, CHANGE) else ahead
        out.append(step._replace(ahead=ahead))
    return out
