"""Why an order filled, or did not: its life, from the tape's own rows.

    sent ──> arrived ──> queue: every row that moved it up, and the executions it met ──> filled, cancelled, rejected, or still there

Nothing is noted while the engine runs: an order's record says when and where it joined its queue, and the tape has every change at that
price. A replace to the back of a queue begins a new queue: the changes shown are those of the last one.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.errors import StrategyError
from nbtrade.kernels.records import REASONS, STATES
from nbtrade.schema import ADD, BID, CLEARED, EXEC, MARKET_ORDER, SNAPSHOT, TRADE

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.store.tape import Tape


def explain(orders: np.ndarray, fills: np.ndarray, order_id: int, tape: "Tape") -> "pd.DataFrame":
    """The life of one order. orders : OWN[n] by id   fills : FILL[m]

    Returns ts (exchange clock), row (of the tape), what, lots, ahead (after it), px. Raises StrategyError for an unknown order.
    """
    import pandas as pd

    at = int(np.searchsorted(orders["id"], order_id))
    if at == len(orders) or orders["id"][at] != order_id:
        raise StrategyError(f"there is no order {order_id}: the run has {len(orders):,}, numbered from 0")
    order = orders[at]
    steps = [_sent(order), *_arrived(order), *_queue(order, tape), *_fills(order, fills), *_ended(order, tape)]
    frame = pd.DataFrame(steps, columns=["ts", "row", "what", "lots", "ahead", "px"])
    frame = frame.sort_values(["ts", "row"], kind="stable", ignore_index=True)
    frame["px"] = int(order["px"]) if order["kind"] != MARKET_ORDER else frame["px"]
    return frame.assign(ts=pd.to_datetime(frame["ts"], utc=True))


def _sent(order: Any) -> tuple[Any, ...]:
    side = "buy" if order["side"] == BID else "sell"
    return int(order["sent"]), -1, f"sent: {side} {int(order['qty'])}", int(order["qty"]), -1, int(order["want_px"])


def _arrived(order: Any) -> list[tuple[Any, ...]]:
    if order["arrived"] == 0:
        return []
    return [(int(order["arrived"]), int(order["joined"]), "arrived", int(order["qty"]), int(order["ahead_first"]), int(order["px"]))]


def _queue(order: Any, tape: "Tape") -> list[tuple[Any, ...]]:
    """The rows that changed what was ahead, from when it joined its last queue to its end."""
    if order["arrived"] == 0 or order["kind"] == MARKET_ORDER:
        return []
    end = int(order["done"]) or int(tape.ts_event[-1])
    first, last = int(order["joined"]) - tape.start, int(np.searchsorted(tape.ts_event, end, side="right"))
    rows = tape.events[first:last]
    here = np.flatnonzero((rows["px"] == order["px"]) & (rows["side"] == order["side"]) & (rows["kind"] < TRADE))
    steps, ahead = [], int(order["ahead_first"])
    for i in here:
        row = rows[i]
        counts = row["kind"] == ADD and row["flags"] & SNAPSHOT if row["kind"] == ADD else row["prio"] < order["joined"]
        if counts:
            ahead += int(row["qty"])
            what = _cause(row)
            steps.append((int(tape.ts_event[first + i]), tape.start + first + int(i), what, int(row["qty"]), ahead, int(row["px"])))
    return steps


def _cause(row: Any) -> str:
    if row["kind"] == EXEC:
        return "ahead executed"
    if row["kind"] == ADD:
        return "ahead came back in a snapshot"
    return "ahead cleared" if row["flags"] & CLEARED else "ahead cancelled or reduced"


def _fills(order: Any, fills: np.ndarray) -> list[tuple[Any, ...]]:
    mine = fills[(fills["order_id"] == order["id"]) & (fills["account"] == order["account"])]
    return [(int(f["ts"]), int(f["row"]), f"filled as {'maker' if f['maker'] else 'taker'}", int(f["qty"]), 0, int(f["px"])) for f in mine]


def _ended(order: Any, tape: "Tape") -> list[tuple[Any, ...]]:
    state, reason = STATES[order["state"]], REASONS[order["reason"]]
    if order["done"] == 0:
        return [
            (
                int(tape.ts_event[-1]),
                2**62,
                f"at the end: {state}, {int(order['leaves'])} lots open, {int(order['ahead'])} ahead",
                0,
                int(order["ahead"]),
                0,
            )
        ]
    if state == "filled":
        return []
    return [(int(order["done"]), 2**62, state + (f": {reason}" if reason else ""), int(order["leaves"]), int(order["ahead"]), 0)]
