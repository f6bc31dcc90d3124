"""The flows of an event's rows: trades, orders that join, leave, change or return, levels emptied by executions.

A change or trade of several rows (schema.EVENT) counts once, with all of its lots: the first row counts, the others only add lots.
"""

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.pointers import i8_at
from nbtrade.feature.kernels.snapshot import (
    ADDS,
    BUY_QTY,
    CANCELS,
    LAST_PX,
    LAST_QTY,
    LAST_SIGN,
    LAST_TRADE,
    MODIFIES,
    N_TRADES,
    REFILLED,
    REFILLS,
    RUN,
    SELL_QTY,
    SIGNED_VALUE,
    SWEEP,
    SWEPT,
    TRADE_VALUE,
    UNSIGNED_QTY,
    floats,
)
from nbtrade.schema import ADD, BID, CANCEL, CLEARED, CONTINUED, EXEC, LAST, NO_SIDE, NONE, SNAPSHOT

# Facts about the event in progress, one number in a register: bits 0..32 belong to feature/kernels/top_levels.py, its rows' flags are
# in the bits above, starting at FLAGS. 0 between events.
BEGUN, AT_END, TRADED, ORDERED, CHAINED = (1 << k for k in range(33, 38))
FLAGS = 40
NOBODYS = (SNAPSHOT | CLEARED) << FLAGS
REFILL = -2  # PASS_STATE.prev_kind of an ADD that is an iceberg's refill


@helper
def note_trade(row, now, obs, w):
    """Add a trade to the event's flows, and store it as the last trade."""
    qty = float(row.qty)
    value = qty * row.px
    is_new = row["flags"] & CONTINUED == 0
    obs[N_TRADES] += 1.0 if is_new else 0.0
    obs[TRADE_VALUE] += value
    obs[LAST_PX] = float(row.px)
    obs[LAST_QTY] = qty if is_new else obs[LAST_QTY] + qty
    obs[LAST_TRADE] = float(now)
    if row["flags"] & NO_SIDE:
        obs[UNSIGNED_QTY] += qty
        return
    sign = 1.0 if row.side == BID else -1.0
    obs[BUY_QTY if row.side == BID else SELL_QTY] += qty
    obs[SIGNED_VALUE] += sign * value
    if not is_new:
        return
    run = obs[RUN]
    obs[RUN] = run + sign if run * sign > 0.0 else sign
    obs[LAST_SIGN] = sign


@kernel
def note_execution(px, side, emptied, i, w):
    """An order was executed: store the marks of a possible refill; count levels emptied by executions. Out of line: rare."""
    noinline()
    w.exec_id = i8_at(w.order_id_at)[i]
    w.exec_px = px
    w.exec_side = side
    if w.follow_sweeps:
        note_sweep(side, emptied, i8_at(w.ts_event_at)[i], w)


@helper
def note_sweep(side, emptied, ts_event, w):
    """Count the levels emptied by the executions of one ts_event."""
    obs = floats(w.snapshot_at)
    if ts_event != w.sweep_ts:
        w.sweep_ts = ts_event
        obs[SWEEP] = 0.0
        obs[SWEEP + 1] = 0.0
    if emptied:
        obs[SWEPT + side] += 1.0
        obs[SWEEP + side] += 1.0


@kernel
def note_return(px, side, qty, order_id, w):
    """An order returned right after its removal: return ADD if it was moved or enlarged, REFILL if it is an iceberg's refill. Rare."""
    noinline()
    obs = floats(w.snapshot_at)
    if w.prev_kind == CANCEL:
        obs[CANCELS + w.prev_side] -= 1.0
    if w.exec_id == order_id and w.exec_px == px and w.exec_side == side:
        obs[REFILLS + side] += 1.0
        obs[REFILLED + side] += qty
        return REFILL
    obs[MODIFIES + side] += 1.0
    return ADD


@kernel
def note_continued(kind, px, side, qty, emptied, i, w):
    """More lots of the change in the previous row, which has already been counted. Out of line: rare."""
    noinline()
    if kind == EXEC:
        note_execution(px, side, emptied, i, w)
    elif w.prev_kind == REFILL:
        floats(w.snapshot_at)[REFILLED + side] += qty


@helper
def note_order(row, i, level, obs, w):
    """Count the effect of a row on an order. Branch-free for adds and cancels, since they alternate."""
    side = int(row.side)
    kind = int(row.kind)
    if row["flags"] & (SNAPSHOT | CLEARED | CONTINUED):
        if row["flags"] & (SNAPSHOT | CLEARED) == 0:  # otherwise no participant caused it
            note_continued(kind, int(row.px), side, float(row.qty), level.held == 0, i, w)
        return 0
    if kind == EXEC:
        note_execution(int(row.px), side, level.held == 0, i, w)
    elif w.prev_kind != NONE and kind == ADD and w.prev_id == i8_at(w.order_id_at)[i]:
        kind = int(note_return(int(row.px), side, float(row.qty), w.prev_id, w))
    else:
        removal = CANCELS if row.d_orders != 0 else MODIFIES
        obs[(ADDS if kind == ADD else removal) + side] += 1.0
    if kind != EXEC and row["flags"] & LAST:
        return ORDERED
    w.prev_kind = kind
    w.prev_side = side
    w.prev_id = i8_at(w.order_id_at)[i]
    return ORDERED | CHAINED
