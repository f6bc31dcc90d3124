"""The feature pass: apply rows to the book and to MARKET_SNAPSHOT, and call the compiled set once at every event's end.

    rows ──> book (book/kernels/book.py) ──> MARKET_SNAPSHOT ──at LAST──> evaluate(plan, out row, now, what) ──> stage ──> matrix

This kernel is compiled once for all feature sets. A set is a function behind a pointer, like a strategy: it advances its averages and
windows to `now` (ADVANCE), absorbs the event (ABSORB) and writes a row (WRITE). The pointer costs 3 ns an event, not
a feature; in return a new set compiles in about a second, and the windows' lengths are data. All arrays are addresses in one record, so
rare work can be out of line and a call costs two words. Quantities that no feature of the set needs are not tracked.

Rows of the matrix are staged and written past the caches (feature/kernels/streaming_stores.py).

No look-ahead: `evaluate` is called at event ends only, with the event's ts_recv; a sample on the time grid is written after all rows with
ts_recv <= t and before any later one. Room is checked before anything changes, so a call may stop at any row and resume there.
"""

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.pointers import i8_at
from nbtrade._numba.prefetch import prefetch_line
from nbtrade._numba.records import call_feature as call
from nbtrade.book.kernels.arrays import NO_KEY
from nbtrade.book.kernels.book import apply, key_of, level_index
from nbtrade.book.kernels.pointers import events_at, exchange_book
from nbtrade.feature.kernels.event_flows import AT_END, BEGUN, CHAINED, FLAGS, NOBODYS, ORDERED, TRADED, note_order, note_trade
from nbtrade.feature.kernels.snapshot import (
    ABSORB,
    ADDS,
    ADVANCE,
    BUY_QTY,
    DONE,
    FAILED,
    FLOWS,
    FLOWS_END,
    LAST_QUOTE,
    MID_BEFORE,
    N_EVENTS,
    N_TRADES,
    NO_NEXT_TIME,
    NOW,
    OLD_PX,
    OUT_FULL,
    PAGES_FULL,
    RINGS_FULL,
    SAMPLE_EVENTS,
    SAMPLE_QUOTES,
    SAMPLE_TIME,
    SAMPLE_TIMES,
    SAMPLE_TRADES,
    SAMPLE_VALUE,
    SAMPLE_VOLUME,
    SCANS,
    SELL_QTY,
    SINCE,
    TRADE_VALUE,
    UNSIGNED_QTY,
    VOLUME,
    WIDTH,
    WRITE,
    floats,
    pass_state_at,
    plan_of,
    scans_at,
)
from nbtrade.feature.kernels.streaming_stores import unload, unload_all
from nbtrade.feature.kernels.top_levels import FLIPPED, quote_moved, recompute_ofi, save_changed_levels, update_levels, walk_side
from nbtrade.schema import LAST, NONE, TRADE

AHEAD = 16  # rows: by then a row's data is in the cache


# --- rows ------------------------------------------------------------------------------------------
@helper
def note_age(row, at, now, w):
    """Keep the sum of arrival times of the level's orders, ns since t0."""
    since = i8_at(w.since_at)
    if row.d_orders > 0:
        since[at] += now
    elif row.d_orders < 0:
        since[at] -= i8_at(w.first_seen_at)[row.prio] - w.t0


@helper
def apply_rows(start, stop, event_bits, n_levels, events, book, obs, w):
    """Apply rows up to an event's end (then its bits include AT_END) or `stop`: (the row reached, the event's bits)."""
    levels, pages, words, tree, free, sides = book
    i = start
    while i < stop:
        row = events[i]
        if row.kind < TRADE:
            at = apply(row, levels, pages, words, tree, free, sides)
            if at < 0:
                w.status = PAGES_FULL
                return i, event_bits
            event_bits |= update_levels(row, levels[at], n_levels, obs, w)
            if w.follow_orders:
                prefetch_line(w.order_id_at + 8 * (i + AHEAD))  # only some rows read it, too irregular for the hardware prefetcher
                event_bits |= note_order(row, i, levels[at], obs, w)
            if w.follow_more:
                note_more(row, i, at, stop, events, w)
        elif row.kind == TRADE:
            note_trade(row, i8_at(w.ts_recv_at)[i] - w.t0, obs, w)
            event_bits |= TRADED
        flags = int(row["flags"])
        event_bits |= flags << FLAGS
        i += 1
        if flags & LAST:
            return i, event_bits | AT_END
    return i, event_bits


@helper
def note_more(row, i, at, stop, events, w):
    """Pass a row to walks over the book and to ages at the touch."""
    w.changes[row.side] += 1
    if w.follow_ages:
        if i + AHEAD < stop:
            prefetch_line(w.first_seen_at + 8 * max(events[i + AHEAD].prio, 0))
        note_age(row, at, i8_at(w.ts_recv_at)[i] - w.t0, w)


# --- the event's end ---------------------------------------------------------------------------------
@kernel
def follow_touch(now, w):
    """The parts of an event's end that only some sets need. Returns True for a change at the touch, if that is tracked."""
    noinline()
    obs = floats(w.snapshot_at)
    if w.follow_ages:
        note_touch_ages(obs, w)
    if w.follow_quotes and (quote_moved(0, obs) or quote_moved(WIDTH, obs)):
        obs[LAST_QUOTE] = float(now)
        return True
    return False


@helper
def note_touch_ages(obs, w):
    """Store the sums of arrival times at both best levels."""
    _, pages, _, _, _, sides = exchange_book(w)
    for side in range(2):
        key = sides[side].best
        obs[SINCE + side] = 0.0 if key == NO_KEY else float(i8_at(w.since_at)[level_index(pages, sides, side, key_of(side, key))])


@kernel
def run_scans(all_of_them, w):
    """Do the walks whose side has changed."""
    noinline()
    scans, obs = scans_at(w.scans_at), floats(w.snapshot_at)
    for k in range(w.n_scans):
        s = scans[k]
        if (all_of_them or s.always) and s.seen != w.changes[s.side]:
            s.seen = w.changes[s.side]
            obs[SCANS + k] = walk_side(s.kind, s.side, s.amount, w)


@helper
def is_sample(quotes_changed, w):
    """Count towards the next sample; True if this event's end is a sample."""
    if w.mode != SAMPLE_EVENTS:
        return is_other_sample(quotes_changed, w)
    w.count += 1
    if w.count < w.every:
        return False
    w.count = 0
    return True


@kernel
def is_other_sample(quotes_changed, w):
    """The same for samples that are not at every n-th event."""
    noinline()
    obs = floats(w.snapshot_at)
    if w.mode == SAMPLE_TRADES:
        return obs[N_TRADES] > 0.0
    if w.mode == SAMPLE_QUOTES:
        return quotes_changed
    if w.mode == SAMPLE_VOLUME:
        w.done += obs[BUY_QTY] + obs[SELL_QTY] + obs[UNSIGNED_QTY]
    elif w.mode == SAMPLE_VALUE:
        w.done += abs(obs[TRADE_VALUE])
    else:
        return False
    if w.done < w.amount:
        return False
    w.done %= w.amount
    return True


@helper
def write_sample(now, what, w):
    """One row of the matrix at `now` (ns since t0). Returns False when the set failed."""
    i8_at(w.out_ts_at)[w.n_out] = now + w.t0
    w.n_out += 1
    fine = call(w.evaluate_at, w.plan_at, w.stage_at + w.staged, now, what) == 0
    w.staged += w.row_bytes
    unload(w)
    return fine


@helper
def end_event(now, event_bits, obs, w):
    """Process an event's end at `now` (ns since t0). Returns DONE, a reason why nothing was done, or FAILED if the set failed."""
    if w.n_out >= w.capacity:
        return OUT_FULL
    if plan_of(w.plan_at).full:
        return RINGS_FULL
    obs[NOW] = float(now)
    obs[N_EVENTS] += 1.0
    if event_bits & TRADED:
        obs[VOLUME] += obs[BUY_QTY] + obs[SELL_QTY] + obs[UNSIGNED_QTY]
        obs[MID_BEFORE] = 0.5 * (obs[OLD_PX] + obs[OLD_PX + WIDTH])
    if event_bits & (FLIPPED | NOBODYS):
        recompute_ofi(event_bits & NOBODYS == 0, w)
    sampled = is_sample(w.follows_touch != 0 and follow_touch(now, w), w)
    if w.n_scans:
        run_scans(sampled, w)
    fine = True
    if sampled:
        fine = write_sample(now, ADVANCE | ABSORB | WRITE, w)
    elif w.stateful:
        fine = call(w.evaluate_at, w.plan_at, 0, now, ADVANCE | ABSORB) == 0
    save_changed_levels(event_bits, obs, w)
    begin_event(event_bits, obs, w)
    return DONE if fine else FAILED


@helper
def begin_event(event_bits, obs, w):
    """Reset the flows for the next event."""
    if event_bits & TRADED:
        for k in range(FLOWS, ADDS):
            obs[k] = 0.0
    if event_bits & ORDERED:
        for k in range(ADDS, FLOWS_END):
            obs[k] = 0.0
    if event_bits & CHAINED:
        w.prev_kind = NONE
        w.exec_side = NONE

    # --- samples in time ---------------------------------------------------------------------------------


@kernel
def samples_before(until, w):
    """Write the samples on the time grid before `until` (ns since t0). Returns DONE, OUT_FULL or FAILED."""
    noinline()
    while w.next_time < until:
        if w.n_out >= w.capacity:
            return OUT_FULL
        run_scans(True, w)
        if not write_sample(w.next_time, ADVANCE | WRITE, w):
            return FAILED
        w.next_index += 1
        if w.mode == SAMPLE_TIME:
            w.next_time += w.every
        else:
            w.next_time = i8_at(w.times_at)[w.next_index] - w.t0 if w.next_index < w.n_times else NO_NEXT_TIME
    return DONE


@kernel
def pass_rows(start, stop, w):
    """Process rows start..stop; returns the row reached. `w.event_bits` has the facts about an event that is not complete yet."""
    noinline()
    # loaded from the record once: as far as the compiler knows, any store could change it
    events, ts_recv, obs, book, n_levels = events_at(w.events_at), i8_at(w.ts_recv_at), floats(w.snapshot_at), exchange_book(w), w.n_levels
    i, event_bits = start, w.event_bits
    while w.status == DONE:
        if event_bits & AT_END == 0:
            if i >= stop:
                break
            if event_bits == 0:
                now = ts_recv[i] - w.t0
                if w.next_time < now:
                    w.status = samples_before(now, w)
                    continue
                event_bits = BEGUN
            i, event_bits = apply_rows(i, stop, event_bits, n_levels, events, book, obs, w)
            if event_bits & AT_END == 0:  # no rows are left, or no free page
                break
        w.status = end_event(ts_recv[i - 1] - w.t0, event_bits, obs, w)
        if w.status == DONE or w.status == FAILED:
            event_bits = 0
    w.event_bits = event_bits
    return i


@kernel
def run_pass(pass_at, start, stop, final):
    """Process rows start..stop and write their samples. Returns the row reached; PASS_STATE.status has the reason.

    pass_at : address of the PASS_STATE, which has the addresses of all arrays
    final   : no rows follow, so samples at exactly the end are due

    status : DONE; OUT_FULL (use a larger matrix), PAGES_FULL (grow the book), RINGS_FULL (grow full rings): do that and call again;
             FAILED (a user-defined feature raised an exception)
    """
    w = pass_state_at(pass_at)
    w.status = DONE
    i = pass_rows(start, stop, w)
    if final and w.status == DONE and i == stop and w.event_bits == 0:
        until = NO_NEXT_TIME if w.mode == SAMPLE_TIMES else int(floats(w.snapshot_at)[NOW]) + 1
        w.status = samples_before(until, w)
    unload_all(w)
    return i
