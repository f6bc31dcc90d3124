"""The peer: hftbacktest 2.4.4, L3 FIFO, on Databento MBO records, with the market maker of the benchmarks.

Runs in a separate environment (see README.md in this folder) and imports nothing from nbtrade:

    python hftbacktest_l3.py RECORDS.npy RESULT.json --tick 0.01 --interval 100000000 --entry NS --response NS
        --half-spread TICKS --skew TICKS --max-position LOTS [--depth auto] [--repeats 7] [--interleave]

    RECORDS.npy -> resolve -> hftbacktest rows -> check pass (touch at every wake against `replay`)
                                               -> timed passes -> RESULT.json
The exchange of hftbacktest rejects partial cancels and unknown ids (the run stops with status 12) and has no
auctions, so `resolve` converts them, which hftbacktest's own converter does not: partial cancel -> modify to the
remainder, unknown modify -> add, unknown cancel or fill -> dropped and counted. Both clocks are the running
maximum of the vendor's, which keeps file order on both and lets one row serve both (the fewest rows, hence the
fastest for the peer). Only `elapse` and the strategy are timed; conversion, compilation, building and closing are
not.

With --interleave every timed pass waits for a line on stdin and answers with its seconds on stdout.
Exits with 3 if the touch check fails (the JSON is still written); any other failure leaves no JSON.
Weak case: its cancel scans a whole price level, so its speed falls with the orders per level.
"""

import argparse
import json
import os
import platform
import sys
from math import ceil, floor
from pathlib import Path
from statistics import median
from time import perf_counter

import hftbacktest as hb
import numba
import numpy as np
from hftbacktest.data.validation import validate_event_order
from hftbacktest.types import event_dtype
from numba import njit, types

# One Databento MBO record, the field list of nbtrade/schema.py.
_NAMES = "length rtype publisher_id instrument_id ts_event order_id price size flags channel_id action side"
_FORMATS = "u1 u1 <u2 <u4 <i8 <i8 <i8 <u4 u1 u1 u1 u1 <i8 <i4 <u4".split()
_FIELDS = [*_NAMES.split(), "ts_recv", "ts_in_delta", "sequence"]
RECORD = np.dtype(list(zip(_FIELDS, _FORMATS, strict=True)), align=True)
UNDEF_PRICE, F_LAST, F_TOB, F_SNAPSHOT = 2**63 - 1, 128, 64, 32
A, C, M, R, T, F = (ord(c) for c in "ACMRTF")
BID, ASK = ord("B"), ord("A")
NO_BID, NO_ASK = -(2**63), 2**63 - 1  # hftbacktest's best ticks of an empty side
BOTH, BUY, SELL = int(hb.EXCH_EVENT | hb.LOCAL_EVENT), int(hb.BUY_EVENT), int(hb.SELL_EVENT)
ADD, CANCEL, MODIFY = int(hb.ADD_ORDER_EVENT), int(hb.CANCEL_ORDER_EVENT), int(hb.MODIFY_ORDER_EVENT)
FILL, TRADE, CLEAR = int(hb.FILL_EVENT), int(hb.TRADE_EVENT), int(hb.DEPTH_CLEAR_EVENT)
# What `resolve` had to settle, by index of `counts`.
COUNTS = ("unknown_cancel", "unknown_modify", "unknown_fill", "own_fill", "re_add", "partial_cancel", "unusable")
UNKNOWN_CANCEL, UNKNOWN_MODIFY, UNKNOWN_FILL, OWN_FILL, RE_ADD, PARTIAL_CANCEL, UNUSABLE = range(len(COUNTS))
WORK = ("wakes", "submits", "cancels")  # by index of `tally`
TOUCH_DIFFERS, WARM_ROWS = 3, 20_000  # exit status; rows of the warm-up
PLACE = types.UniTuple(types.int64, 3)
ROI_MAX_TICKS = 4_000_000  # two books of two arrays of float64: 128 MB


# --- records -> hftbacktest rows ----------------------------------------------------------------
@njit
def resolve(records, rows, counts):
    """Write one hftbacktest row per usable record, side and price made explicit; return how many."""
    index = numba.typed.Dict.empty(types.int64, types.int64)  # live order -> the record that placed it
    prices, left = np.zeros(len(records), np.int64), np.zeros(len(records), np.int64)  # by that record
    n = 0
    taker, taker_side = -1, 0  # of the last T in this event
    for i in range(len(records)):
        r = records[i]
        action, key, price, size, side = r.action, r.order_id, r.price, np.int64(r.size), np.int64(r.side)
        slot = index[key] if key in index else -1
        if slot >= 0 and action != T:
            side = np.int64(records[slot].side)
        kind = 0
        if action == A or action == M:
            if price == UNDEF_PRICE or size == 0 or (side != BID and side != ASK):
                counts[UNUSABLE] += 1
            else:
                kind = MODIFY if slot >= 0 else ADD
                counts[RE_ADD] += action == A and slot >= 0
                counts[UNKNOWN_MODIFY] += action == M and slot < 0
                if slot < 0:
                    slot = index[key] = i
                prices[slot], left[slot] = price, size
        elif action == C and slot < 0:
            counts[UNKNOWN_CANCEL] += 1
        elif action == C:
            left[slot] = max(left[slot] - size, 0)
            price, size = prices[slot], left[slot]
            kind = MODIFY if size > 0 else CANCEL
            counts[PARTIAL_CANCEL] += size > 0
            if size == 0:
                del index[key]
        elif action == F:
            if key == taker and r.side == taker_side:
                counts[OWN_FILL] += 1
            elif slot < 0:
                counts[UNKNOWN_FILL] += 1
            else:
                kind = FILL
        elif action == T:
            kind, taker, taker_side = TRADE, key, side
        elif action == R:
            kind, side = CLEAR, 0
            index.clear()
        if r.flags & F_LAST:
            taker = -1
        if kind:
            row = rows[n]
            row.ev = BOTH | kind | (BUY if side == BID else SELL if side == ASK else 0)
            row.exch_ts, row.local_ts = r.ts_event, r.ts_recv
            row.px = 0.0 if price == UNDEF_PRICE else price * 1e-9
            row.qty, row.order_id, row.ival, row.fval = size, key, 0, 0.0
            n += 1
    return n


def clocks_of(records, feed):
    """Exchange and local time of every record, never falling; snapshot rows happen when they are received."""
    snapshot = (records["flags"] & F_SNAPSHOT != 0) | (records["action"] == R)
    exch = np.where(snapshot, records["ts_recv"], records["ts_event"])
    exch, local = np.maximum.accumulate(exch), np.maximum.accumulate(records["ts_recv"] + feed)
    # hftbacktest's rule for a receiving clock that runs behind: shift it by the worst case.
    return exch, local + max(0, int((exch - local).max()))


def aligned_rows(n):
    """Rows on cache lines, as hftbacktest's own loader places them."""
    raw = np.empty(n * event_dtype.itemsize + 64, "u1")
    start = -raw.ctypes.data % 64
    return raw[start : start + n * event_dtype.itemsize].view(event_dtype)


def convert(records, feed):
    """The records as hftbacktest's rows, and counts of the conversions."""
    exch, local = clocks_of(records, feed)
    timed = records.copy()
    timed["ts_event"], timed["ts_recv"] = exch, local
    counts = np.zeros(len(COUNTS), "i8")
    rows = aligned_rows(len(records))
    rows = rows[: resolve(timed, rows, counts)]
    validate_event_order(rows)
    moved = {"ts_event_moved": exch != records["ts_event"], "ts_recv_moved": local - feed != records["ts_recv"]}
    settled = dict(zip(COUNTS, counts.tolist(), strict=True))
    return rows, settled | {name: int(rows_moved.sum()) for name, rows_moved in moved.items()}


def checked(records):
    """The records. Exits with a message for records that this script cannot replay."""
    if records.dtype.itemsize != RECORD.itemsize:
        raise SystemExit(f"records of {records.dtype.itemsize} bytes; Databento MBO has {RECORD.itemsize}")
    if len(records) == 0:
        raise SystemExit("no records")
    records = np.ascontiguousarray(records).view(RECORD)
    books = np.unique(records[["publisher_id", "instrument_id"]])
    if len(books) != 1:
        raise SystemExit(f"{len(books)} books (publisher, instrument): {books[:5].tolist()}; pass one book's records")
    if (records["flags"] & F_TOB).any():
        raise SystemExit("top-of-book records (F_TOB) have no orders to queue behind")
    return records


# --- the answer, independently ----------------------------------------------------------------
@njit
def replay(records, local, level, n_levels, wakes, touch):
    """Best bid and ask level at each wake, straight from the records; -1 and n_levels when a side is empty."""
    live = numba.typed.Dict.empty(types.int64, PLACE)  # id -> side, level, lots
    lots = np.zeros((2, n_levels), np.int64)
    best, i = np.array([-1, n_levels]), 0
    for w in range(len(wakes)):
        while i < len(records) and local[i] <= wakes[w]:
            r = records[i]
            if r.action == R:
                live.clear()
                lots[:] = 0
                best[0], best[1] = -1, n_levels
            elif r.action == A or r.action == M or r.action == C:
                known = r.order_id in live
                side, at, rest = np.int64(0 if r.side == BID else 1), level[i], np.int64(0)
                if known:
                    side, old, rest = live.pop(r.order_id)
                    lots[side, old] -= rest
                    at = old if r.action == C else at
                rest = max(rest - np.int64(r.size), 0) if r.action == C else np.int64(r.size)
                if rest > 0 and at >= 0 and (known or r.side == BID or r.side == ASK):
                    live[r.order_id] = (side, at, rest)
                    lots[side, at] += rest
                    best[side] = max(best[0], at) if side == 0 else min(best[1], at)
                while best[0] >= 0 and lots[0, best[0]] == 0:
                    best[0] -= 1
                while best[1] < n_levels and lots[1, best[1]] == 0:
                    best[1] += 1
            i += 1
        touch[w, 0], touch[w, 1] = best[0], best[1]


def touch_of(records, tick, local, wakes):
    """Best bid and ask in ticks at each wake, with hftbacktest's sentinels for an empty side."""
    booked = np.isin(records["action"], (A, M)) & (records["price"] != UNDEF_PRICE)
    prices = np.unique(records["price"][booked])
    level = np.where(booked, np.searchsorted(prices, records["price"]), -1)
    touch = np.empty((len(wakes), 2), "i8")
    replay(records, local, level, len(prices), wakes, touch)
    ticks = np.rint(prices * 1e-9 / tick).astype("i8")
    bid = np.append(ticks, NO_BID)[touch[:, 0]]  # level -1 takes the appended sentinel
    return np.column_stack((bid, np.append(ticks, NO_ASK)[touch[:, 1]]))


def compare(ours, theirs, wakes):
    """Agreement of the two touches. hftbacktest never shows a crossed book, so crossed wakes are counted separately."""
    crossed = ours[:, 0] >= ours[:, 1]
    wrong = (ours != theirs).any(axis=1) & ~crossed
    report = {"ok": len(wakes) > 0 and not wrong.any(), "wakes": len(wakes), "differ": int(wrong.sum())}
    report["crossed_not_compared"] = int(crossed.sum())
    if wrong.any():
        w = int(np.argmax(wrong))
        report["first"] = {"ts": int(wakes[w]), "replay": ours[w].tolist(), "hftbacktest": theirs[w].tolist()}
    return report


# --- the backtest ---------------------------------------------------------------------------------
@njit
def quote(hbt, is_bid, order_id, next_id, px, wanted, tick, tally):
    """Keep, move, place or pull one side's quote of 1 lot; return the order id of that side."""
    order = hbt.orders(0).get(order_id)
    if order is not None:  # finished orders were cleared: it is working, or its request is in flight
        if (wanted and order.price_tick == px) or not order.cancellable:
            return order_id
        hbt.cancel(0, order_id, False)
        tally[2] += 1
    if not wanted:
        return order_id
    tally[1] += 1
    if is_bid:
        hbt.submit_buy_order(0, next_id, px * tick, 1.0, hb.GTC, hb.LIMIT, False)
    else:
        hbt.submit_sell_order(0, next_id, px * tick, 1.0, hb.GTC, hb.LIMIT, False)
    return next_id


@njit
def make_market(hbt, interval, half_spread, skew, max_position, tick, tally, wakes, touch):
    """Quote both sides at every wake until the data ends; return hftbacktest's status (1 at the end).

    tally : wakes, submits, cancels.   wakes, touch : filled when not empty (the check pass).
    """
    bid_id, ask_id = np.uint64(0), np.uint64(0)
    next_id = np.uint64(1)
    while True:
        status = hbt.elapse(interval)
        if status != 0:
            return status
        hbt.clear_inactive_orders(0)
        depth = hbt.depth(0)
        best_bid, best_ask = depth.best_bid_tick, depth.best_ask_tick
        if len(wakes):
            wakes[tally[0]] = hbt.current_timestamp
            touch[tally[0], 0], touch[tally[0], 1] = best_bid, best_ask
        tally[0] += 1
        if best_bid == NO_BID or best_ask == NO_ASK:
            continue
        position = hbt.position(0)
        centre = (best_bid + best_ask) / 2 - position * skew
        bid = min(np.int64(floor(centre - half_spread)), best_bid)
        ask = max(np.int64(ceil(centre + half_spread)), best_ask)
        bid_id = quote(hbt, True, bid_id, next_id, bid, position < max_position, tick, tally)
        ask_id = quote(hbt, False, ask_id, next_id + np.uint64(1), ask, position > -max_position, tick, tally)
        next_id += np.uint64(2)


def price_range(rows):
    """Lowest and highest price at which an order rests."""
    px = rows["px"][np.isin(rows["ev"] & 0xFF, (ADD, MODIFY))]
    return px.min(), px.max()


def new_backtest(rows, depth, a):
    """A fresh hftbacktest on the rows; `depth` is hashmap or roi."""
    asset = hb.BacktestAsset().data(rows).linear_asset(1.0).constant_order_latency(a.entry, a.response)
    asset.l3_fifo_queue_model().no_partial_fill_exchange().trading_qty_fee_model(a.maker_fee, a.taker_fee)
    asset.tick_size(a.tick).lot_size(1.0).last_trades_capacity(0).parallel_load(False)
    if depth == "hashmap":
        return hb.HashMapMarketDepthBacktest([asset])
    low, high = price_range(rows)
    return hb.ROIVectorMarketDepthBacktest([asset.roi_lb(low).roi_ub(high)])


def run(rows, depth, a, n_wakes=0):
    """One pass: (seconds, result, wake times, touch at each); the last two empty unless n_wakes is given."""
    hbt = new_backtest(rows, depth, a)
    tally, wakes, touch = np.zeros(3, "i8"), np.zeros(n_wakes, "i8"), np.zeros((n_wakes, 2), "i8")
    start = perf_counter()
    status = make_market(hbt, a.interval, a.half_spread, a.skew, float(a.max_position), a.tick, tally, wakes, touch)
    seconds = perf_counter() - start
    if status != 1:
        raise SystemExit(f"hftbacktest stopped with status {status} at {hbt.current_timestamp} ns ({depth})")
    result = result_of(hbt.state_values(0), tally)
    hbt.close()
    return seconds, result, wakes[: tally[0]], touch[: tally[0]]


def result_of(values, tally):
    """The final state of a run; must be read before the backtest is closed."""
    names = ("position", "balance", "fee", "trading_volume", "trading_value")
    ended = {name: float(getattr(values, name)) for name in names}
    return {"fills": int(values.num_trades), **ended, **dict(zip(WORK, tally.tolist(), strict=True))}


def check(rows, records, depths, a):
    """Two passes per depth, touch compared at every wake of the first: (result, reports, faster seconds)."""
    _, local = clocks_of(records, a.feed)
    n_wakes = int((rows["local_ts"][-1] - rows["exch_ts"][0]) // a.interval) + 2
    results, reports, seconds = [], {}, {}
    for depth in depths:
        first, result, wakes, touch = run(rows, depth, a, n_wakes)
        reports[depth] = compare(touch_of(records, a.tick, local, wakes), touch, wakes)
        second, again, _, _ = run(rows, depth, a)
        seconds[depth] = min(first, second)
        results += [result, again]
    if any(result != results[0] for result in results):
        raise SystemExit(f"passes of hftbacktest disagree: {results}")
    return results[0], reports, seconds


def depths_to_try(rows, a):
    """Both kinds of book; one if requested, or if the array book would be too large."""
    if a.depth != "auto":
        return [a.depth]
    low, high = price_range(rows)
    return ["hashmap", "roi"] if (high - low) / a.tick < ROI_MAX_TICKS else ["hashmap"]


def timed(rows, depth, expected, a):
    """Seconds of each repeat; every result must equal that of the check pass."""
    seconds = []
    for _ in range(a.repeats):
        if a.interleave and not sys.stdin.readline():
            break
        s, result, _, _ = run(rows, depth, a)
        if result != expected:
            raise SystemExit(f"a repeat ended with {result}, the check pass with {expected}")
        seconds.append(s)
        if a.interleave:
            print(s, flush=True)
    return seconds


OPTIONS = (  # name, default, meaning
    ("tick", 0.01, "currency units in one tick"),
    ("interval", 100_000_000, "ns between wakes"),
    ("feed", 0, "ns from ts_recv to the strategy"),
    ("entry", 1_000_000, "ns from the strategy to the exchange"),
    ("response", 1_000_000, "ns from the exchange to the strategy"),
    ("half-spread", 1.0, "ticks"),
    ("skew", 0.1, "ticks per lot of position"),
    ("max-position", 10, "lots"),
    ("maker-fee", 0.0, "currency units per lot"),
    ("taker-fee", 0.0, "currency units per lot"),
    ("repeats", 7, "timed passes"),
)


def arguments():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("records", type=Path)
    p.add_argument("result", type=Path)
    for name, default, meaning in OPTIONS:
        p.add_argument(f"--{name}", type=type(default), default=default, help=meaning)
    p.add_argument("--depth", choices=("auto", "hashmap", "roi"), default="auto", help="auto: the faster one")
    p.add_argument("--interleave", action="store_true", help="one line on stdin for each repeat")
    return p.parse_args()


def main():
    """Convert, warm up, check, time, report."""
    a = arguments()
    a.result.unlink(missing_ok=True)  # a failed run must not leave an old result
    records = checked(np.load(a.records))
    rows, settled = convert(records, a.feed)
    depths = depths_to_try(rows, a)
    for depth in depths:
        run(rows[:WARM_ROWS], depth, a)
    result, reports, check_seconds = check(rows, records, depths, a)
    depth = min(check_seconds, key=check_seconds.get)
    seconds = timed(rows, depth, result, a)
    middle = median(seconds) if seconds else check_seconds[depth]
    report = {"peer": f"hftbacktest {hb.__version__}", "depth": depth}
    report |= {"n_records": len(records), "n_rows": len(rows), "seconds": middle, "repeats": seconds}
    report |= {"events_per_second": len(records) / middle, **result}
    report |= {"touch_checked": reports[depth], "check_seconds": check_seconds, "settled": settled}
    report["arguments"] = {k: str(v) if isinstance(v, Path) else v for k, v in vars(a).items()}
    machine = f"{platform.machine()} python {platform.python_version()} numba {numba.__version__}"
    report |= {"machine": machine, "load": os.getloadavg()}
    a.result.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(r["ok"] for r in reports.values()) else TOUCH_DIFFERS


if __name__ == "__main__":
    sys.exit(main())
