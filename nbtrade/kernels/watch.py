"""The pass that features are computed in: rows into the book and into OBSERVED, and at every event's end one call of the compiled set.

    rows ──> book (kernels/book.py) ──> OBSERVED ──at LAST──> evaluate(plan, out row, now, what) ──> one row of the matrix

This kernel is compiled once for all feature sets. A set is a function behind a pointer, as a strategy is: it brings its averages and
windows forward to `now` (ADVANCE), takes in what the event brought (ABSORB) and writes a row (WRITE). The pointer costs 3 ns an event, not
a feature; in exchange a new set compiles in about a second, and the windows' lengths are data.

No look-ahead: `evaluate` is called at event ends only, with the event's ts_recv; a sample in time t is written when all rows with
ts_recv <= t are in and before any later one. Room is checked before anything changes, so a call may stop at any row and go on.
"""

import numpy as np

from nbtrade._jit import apart, helper, kernel
from nbtrade.kernels.book import apply, key_of, level_index
from nbtrade.kernels.hashing import prefetch
from nbtrade.kernels.memory import NO_KEY
from nbtrade.kernels.observed import (
    ABSORB,
    ADDS,
    ADVANCE,
    BUY_QTY,
    CANCELS,
    DONE,
    FAILED,
    FAR,
    FLOWS,
    FLOWS_END,
    LAST_PX,
    LAST_QTY,
    LAST_QUOTE,
    LAST_SIGN,
    LAST_TRADE,
    MID_BEFORE,
    MODIFIES,
    N_EVENTS,
    N_TRADES,
    NOW,
    OFI,
    OLD,
    OLD_FLOATS,
    OUT_FULL,
    PAGES_FULL,
    REFILLED,
    REFILLS,
    RINGS_FULL,
    RUN,
    SAMPLE_EVENTS,
    SAMPLE_QUOTES,
    SAMPLE_TIME,
    SAMPLE_TIMES,
    SAMPLE_TRADES,
    SAMPLE_VALUE,
    SAMPLE_VOLUME,
    SCANS,
    SELL_QTY,
    SIGNED_VALUE,
    SINCE,
    SWEEP,
    SWEPT,
    TRADE_VALUE,
    UNSIGNED_QTY,
    VOLUME,
    WRITE,
)
from nbtrade.kernels.tops import add_inflow, keep_old, moved, scan, touch
from nbtrade.kernels.views import call_strategy as call
from nbtrade.schema import ADD, ASK, BID, CANCEL, CLEARED, EXEC, LAST, NO_SIDE, NONE, SNAPSHOT, TRADE

TRADED, ORDERED = 1, 2  # kinds of flows that an event has
AHEAD = 16  # rows: by then the arrival time of the order that a row removes is in the cache


# --- rows ------------------------------------------------------------------------------------------
@helper
def note_trade(row, obs, w, now):
    """Take in a trade: the event's flows, and the last trade."""
    qty = float(row.qty)
    value = qty * row.px
    w.flowed |= TRADED
    obs[N_TRADES] += 1.0
    obs[TRADE_VALUE] += value
    obs[LAST_PX] = row.px
    obs[LAST_QTY] = qty
    obs[LAST_TRADE] = now
    if row["flags"] & NO_SIDE:
        obs[UNSIGNED_QTY] += qty
        return
    sign = 1.0 if row.side == BID else -1.0
    obs[BUY_QTY if row.side == BID else SELL_QTY] += qty
    obs[SIGNED_VALUE] += sign * value
    run = obs[RUN]
    obs[RUN] = run + sign if run * sign > 0.0 else sign
    obs[LAST_SIGN] = sign


@kernel
def note_execution(px, side, emptied, order_id, ts_event, obs, w):
    """An order was executed: what a refill is known by, and levels that executions empty. Out of line: rare."""
    apart()
    w.exec_id = order_id
    w.exec_px = px
    w.exec_side = side
    if ts_event != w.sweep_ts:
        w.sweep_ts = ts_event
        obs[SWEEP] = 0.0
        obs[SWEEP + 1] = 0.0
    if emptied:
        obs[SWEPT + side] += 1.0
        obs[SWEEP + side] += 1.0


@kernel
def note_return(px, side, qty, order_id, obs, w):
    """An order came back right after its removal: it was moved or made larger, or is an iceberg's refill. Out of line: rare."""
    apart()
    if w.prev_kind == CANCEL:
        obs[CANCELS + w.prev_side] -= 1.0
    if w.exec_id == order_id and w.exec_px == px and w.exec_side == side:
        obs[REFILLS + side] += 1.0
        obs[REFILLED + side] += qty
    else:
        obs[MODIFIES + side] += 1.0


@helper
def note_order(row, level, order_id, ts_event, obs, w):
    """Count what a row does to an order; snapshots and clears are nobody's doing. Adds and cancels without a branch: they alternate."""
    if row["flags"] & (SNAPSHOT | CLEARED):
        return
    side = np.int64(row.side)
    kind = np.int64(row.kind)
    w.flowed |= ORDERED
    if kind == EXEC:
        note_execution(row.px, side, level.n == 0, order_id, ts_event, obs, w)
    elif kind == ADD and w.prev_kind != NONE and w.prev_id == order_id:
        note_return(row.px, side, row.qty, order_id, obs, w)
    else:
        removal = CANCELS if row.d_orders != 0 else MODIFIES
        obs[np.uint64((ADDS if kind == ADD else removal) + side)] += 1.0
    w.prev_kind = kind
    w.prev_side = side
    w.prev_id = order_id


@helper
def note_age(row, at, now, since, first_seen, t0):
    """Keep the sum of arrival times of the level's orders, ns since t0. first_seen: ts_recv of the whole tape."""
    if row.kind == ADD:
        since[at] += now
    elif row.d_orders < 0:
        since[at] -= first_seen[row.prio] - t0


@helper
def take_rows(
    events, ts_event, ts_recv, order_id, first_seen, start, stop, w, obs, since, levels, pages, words, tree, free, sides,
):  # fmt: skip
    """Apply rows up to an event's end (w.at_end is 1 then) or `stop`; the row reached."""
    i = start
    n_levels = w.n_levels
    while i < stop:
        row = events[np.uint64(i)]
        if row.kind < TRADE:
            at = apply(row, levels, pages, words, tree, free, sides)
            if at < 0:
                w.status = PAGES_FULL
                return i
            side = np.int64(row.side)
            level = levels[np.uint64(at)]
            if w.n_scans:
                w.changes[side] += 1
            if touch(row.px, side, level, obs, n_levels, levels, pages, words, tree, sides):
                w.top_changes |= 1 + side
            if w.follow_orders:
                note_order(row, level, order_id[np.uint64(i)], ts_event[np.uint64(i)], obs, w)
            if w.follow_ages:
                if i + AHEAD < stop:
                    prefetch(first_seen, np.int64(max(events[i + AHEAD].prio, 0)))
                note_age(row, at, ts_recv[np.uint64(i)] - w.t0, since, first_seen, w.t0)
        elif row.kind == TRADE:
            note_trade(row, obs, w, ts_recv[np.uint64(i)] - w.t0)
        w.event_flags |= row["flags"]
        i += 1
        if row["flags"] & LAST:
            w.at_end = 1
            return i
    return i


# --- the event's end ---------------------------------------------------------------------------------
@helper
def note_side(side, obs, w):
    """A side's followed levels changed: its part of the order-flow imbalance. Returns True for a change at the touch."""
    changed = moved(obs, side)
    if w.n_ofi and not w.event_flags & (SNAPSHOT | CLEARED):
        w.ofi_live = 1
        add_inflow(obs, side, w.n_ofi)
    keep_old(obs, side, w.n_levels)
    return changed


@helper
def note_quotes(obs, w, now):
    """What the event did to the followed levels. Returns True for a change at the touch."""
    if w.ofi_live:
        w.ofi_live = 0
        for k in range(w.n_ofi):
            obs[OFI + k] = 0.0
    changed = False
    if w.top_changes:
        changed = note_side(np.int64(w.top_changes == 2), obs, w)  # not one branch a side: which one it is can't be predicted
    if w.top_changes == 3:
        changed |= note_side(ASK, obs, w)
    if changed:
        obs[LAST_QUOTE] = now
    w.top_changes = 0
    return changed


@helper
def note_touch_ages(obs, since, pages, sides):
    """The sums of arrival times at both best levels."""
    for side in range(2):
        key = sides[side].best
        obs[SINCE + side] = 0.0 if key == NO_KEY else float(since[level_index(pages, sides, side, key_of(side, key))])


@helper
def run_scans(scans, obs, w, all_of_them, levels, pages, words, tree, sides):
    """Do the walks that are wanted and whose side has changed."""
    for k in range(len(scans)):
        s = scans[k]
        if (all_of_them or s.always) and s.seen != w.changes[s.side]:
            s.seen = w.changes[s.side]
            obs[SCANS + k] = scan(s.kind, s.side, s.amount, levels, pages, words, tree, sides)


@helper
def is_sample(w, obs, quotes_changed):
    """Count up to the next sample; True when this event's end is one."""
    if w.mode == SAMPLE_EVENTS:
        w.count += 1
        if w.count < w.every:
            return False
        w.count = 0
        return True
    if w.mode == SAMPLE_TRADES:
        return obs[N_TRADES] > 0.0
    if w.mode == SAMPLE_QUOTES:
        return quotes_changed
    if w.mode == SAMPLE_VOLUME or w.mode == SAMPLE_VALUE:
        if w.mode == SAMPLE_VOLUME:
            w.done += obs[BUY_QTY] + obs[SELL_QTY] + obs[UNSIGNED_QTY]
        else:
            w.done += abs(obs[TRADE_VALUE])
        if w.done < w.amount:
            return False
        w.done %= w.amount
        return True
    return False


@helper
def write_sample(w, plan, out_ts, now, what):
    """One row of the matrix at `now` (ns since t0). Returns False when the set failed."""
    at = w.n_out
    out_ts[at] = now + w.t0
    w.n_out = at + 1
    return call(w.evaluate_at, w.plan_at, w.out_at + at * w.row_bytes, now, what) == 0


@helper
def end_event(now, w, obs, plan, scans, out_ts, since, levels, pages, words, tree, sides):
    """Deal with an event's end at `now` (ns since t0). Returns DONE, or why nothing was done."""
    if w.n_out >= w.capacity:
        return OUT_FULL
    if plan[0].full:
        return RINGS_FULL
    obs[NOW] = now
    obs[N_EVENTS] += 1.0
    if w.flowed & TRADED:
        obs[VOLUME] += obs[BUY_QTY] + obs[SELL_QTY] + obs[UNSIGNED_QTY]
        obs[MID_BEFORE] = 0.5 * (obs[OLD] + obs[OLD + OLD_FLOATS])
    quotes_changed = False
    if w.top_changes | w.ofi_live:
        quotes_changed = note_quotes(obs, w, now)
    if w.follow_ages:
        note_touch_ages(obs, since, pages, sides)
    sampled = is_sample(w, obs, quotes_changed)
    if len(scans):
        run_scans(scans, obs, w, sampled, levels, pages, words, tree, sides)
    w.at_end = 0
    status = DONE
    if sampled:
        if not write_sample(w, plan, out_ts, now, ADVANCE | ABSORB | WRITE):
            status = FAILED
    elif w.stateful and call(w.evaluate_at, w.plan_at, 0, now, ADVANCE | ABSORB) != 0:
        status = FAILED
    if w.flowed & TRADED:
        for k in range(FLOWS, ADDS):
            obs[k] = 0.0
    if w.flowed & ORDERED:
        for k in range(ADDS, FLOWS_END):
            obs[k] = 0.0
    w.flowed = 0
    w.event_flags = 0
    w.prev_kind = NONE
    w.exec_side = NONE
    return status


# --- samples in time ---------------------------------------------------------------------------------
@kernel
def samples_before(until, w, obs, plan, scans, times, out_ts, levels, pages, words, tree, sides):
    """Write the samples in time before `until` (ns since t0). Returns DONE, OUT_FULL or FAILED."""
    apart()
    while w.next_time < until:
        if w.n_out >= w.capacity:
            return OUT_FULL
        run_scans(scans, obs, w, True, levels, pages, words, tree, sides)
        if not write_sample(w, plan, out_ts, w.next_time, ADVANCE | WRITE):
            return FAILED
        w.next_index += 1
        if w.mode == SAMPLE_TIME:
            w.next_time += w.every
        else:
            w.next_time = times[w.next_index] - w.t0 if w.next_index < len(times) else FAR
    return DONE


@kernel
def watch(
    events, ts_event, ts_recv, order_id, first_seen, start, stop, final,
    watching, obs, plan, scans, times, out_ts, since, levels, pages, words, tree, free, sides,
):  # fmt: skip
    """Pass over rows start..stop and write the samples that fall in them. Returns the row reached; why is in watching.status.

    events : EVENT[n], ts_event, ts_recv, order_id : i8[n]    first_seen : i8, ts_recv of the whole tape, which `prio` counts in
    final  : no rows follow, so samples in time at the very end are due
    watching : WATCH[1]   obs : f8[], the OBSERVED   plan : PLAN[1]   scans : SCAN[n]   times : i8[n] ns, ascending
    out_ts : i8[rows of the matrix]   since : i8[n_pages * 64] ns   levels .. sides : the Book

    status : DONE; OUT_FULL (larger matrix), PAGES_FULL (grow the book), RINGS_FULL (grow full rings): put it right and call again;
             FAILED (a user's own feature raised)
    """
    w = watching[0]
    w.status = DONE
    i = start
    while True:
        if w.at_end == 0:
            if i >= stop:
                break
            if w.begun == 0:
                now = ts_recv[i] - w.t0
                if w.next_time < now:
                    w.status = samples_before(now, w, obs, plan, scans, times, out_ts, levels, pages, words, tree, sides)
                    if w.status != DONE:
                        return i
                w.begun = 1
            i = take_rows(events, ts_event, ts_recv, order_id, first_seen, i, stop, w, obs, since, levels, pages, words, tree, free, sides)
            if w.status != DONE:
                return i
            if w.at_end == 0:
                break
        w.status = end_event(ts_recv[i - 1] - w.t0, w, obs, plan, scans, out_ts, since, levels, pages, words, tree, sides)
        if w.status != DONE:
            return i
        w.begun = 0
    if final and w.begun == 0:
        until = FAR if w.mode == SAMPLE_TIMES else np.int64(obs[NOW]) + 1
        w.status = samples_before(until, w, obs, plan, scans, times, out_ts, levels, pages, words, tree, sides)
    return i
