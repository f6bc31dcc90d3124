"""Every built-in feature a second time, slowly, in plain Python from its formula: the oracle. Imports nothing from nbtrade.

    rows (Row) --market--> Moment at each event's end --feature--> one value per moment

A level feature is a list with a value for each event's end; a flow feature the same. Undefined is NaN.
"""

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

NAN = math.nan
ADD, CANCEL, EXEC, TRADE, MARK = range(5)
LAST, SNAPSHOT, NO_SIDE, CLEARED, CONTINUED = 1, 2, 8, 32, 128


class Row(NamedTuple):
    px: int
    qty: int
    prio: int
    kind: int
    side: int
    flags: int
    d_orders: int
    ts_event: int
    ts: int
    order_id: int


@dataclass
class Moment:
    """An event's end: the book's levels [(px, lots, orders)] best first, and the event's effects."""

    ts: int
    levels: tuple = ((), ())
    arrivals: tuple = ((), ())  # ts at which the orders of each best level joined
    rows: list = field(default_factory=list)
    adds: list = field(default_factory=lambda: [0, 0])
    cancels: list = field(default_factory=lambda: [0, 0])
    modifies: list = field(default_factory=lambda: [0, 0])
    refills: list = field(default_factory=lambda: [0, 0])
    refilled: list = field(default_factory=lambda: [0, 0])
    swept: list = field(default_factory=lambda: [0, 0])
    sweep: list = field(default_factory=lambda: [0, 0])  # so far at this ts_event


def whole_changes(rows):
    """Combine changes and trades that take several rows."""
    out = []
    for row in rows:
        if row.flags & CONTINUED:
            out[-1] = out[-1]._replace(qty=out[-1].qty + row.qty, flags=out[-1].flags | row.flags & ~CONTINUED)
        else:
            out.append(row)
    return out


def market(rows):
    """Replay rows into moments."""
    orders, queues = {}, [defaultdict(dict), defaultdict(dict)]
    moments, event, sweep_ts, sweep = [], [], None, [0, 0]
    for row in whole_changes(rows):
        event.append(row)
        if not row.flags & LAST:
            continue
        m = Moment(row.ts, rows=event)
        for i, r in enumerate(event):
            emptied = False
            if r.kind == ADD:
                orders[r.prio] = [r.qty, r.ts]
                queues[r.side][r.px][r.prio] = orders[r.prio]
            elif r.kind < TRADE:
                orders[r.prio][0] += r.qty
                if r.d_orders < 0:
                    del queues[r.side][r.px][r.prio]
                    if not queues[r.side][r.px]:
                        del queues[r.side][r.px]
                        emptied = True
            if r.kind == EXEC and not r.flags & (SNAPSHOT | CLEARED):
                if r.ts_event != sweep_ts:
                    sweep_ts, sweep = r.ts_event, [0, 0]
                m.swept[r.side] += emptied
                sweep[r.side] += emptied
            count_order(m, event, i)
        m.sweep = list(sweep)
        best = (sorted(queues[0], reverse=True), sorted(queues[1]))
        m.levels = tuple([(px, sum(q for q, _ in queues[s][px].values()), len(queues[s][px])) for px in best[s]] for s in (0, 1))
        m.arrivals = tuple([t for _, t in queues[s][best[s][0]].values()] if best[s] else [] for s in (0, 1))
        moments.append(m)
        event = []
    return moments


def count_order(m, event, i):
    """The effect of row i of an event on an order: an add right after a removal of the same order returns it."""
    r = event[i]
    if r.kind >= TRADE or r.flags & (SNAPSHOT | CLEARED):
        return
    changes = [q for q in event[:i] if q.kind < TRADE and not q.flags & (SNAPSHOT | CLEARED)]
    if r.kind == CANCEL:
        (m.modifies if r.d_orders == 0 else m.cancels)[r.side] += 1
    elif r.kind == ADD and changes and changes[-1].order_id == r.order_id:
        if changes[-1].kind == CANCEL:
            m.cancels[changes[-1].side] -= 1
        executed = [q for q in changes if q.kind == EXEC]
        if executed and (executed[-1].order_id, executed[-1].px, executed[-1].side) == (r.order_id, r.px, r.side):
            m.refills[r.side] += 1
            m.refilled[r.side] += r.qty
        else:
            m.modifies[r.side] += 1
    elif r.kind == ADD:
        m.adds[r.side] += 1


# --- instantaneous ---------------------------------------------------------------------------------------
def px(ms, side, k=0):
    return [m.levels[side][k][0] if len(m.levels[side]) > k else NAN for m in ms]


def qty(ms, side, k=0):
    return [m.levels[side][k][1] if len(m.levels[side]) > k else 0 for m in ms]


def count(ms, side, k=0):
    return [m.levels[side][k][2] if len(m.levels[side]) > k else 0 for m in ms]


def spread(ms):
    return [a - b for a, b in zip(px(ms, 1), px(ms, 0), strict=True)]


def mid(ms):
    return [(a + b) / 2 for a, b in zip(px(ms, 1), px(ms, 0), strict=True)]


def ratio(a, b):
    return NAN if b == 0 else a / b


def weighted_mid(ms):
    return [ratio(b * y + a * x, x + y) for b, a, x, y in zip(px(ms, 0), px(ms, 1), qty(ms, 0), qty(ms, 1), strict=True)]


def microprice(ms, table):
    out = []
    for m, s, x, y in zip(mid(ms), spread(ms), qty(ms, 0), qty(ms, 1), strict=True):
        if math.isnan(m):
            out.append(NAN)
            continue
        bucket = min(int(x / (x + y) * len(table)), len(table) - 1)
        out.append(m + table[bucket][min(max(int(s) - 1, 0), len(table[0]) - 1)])
    return out


def depth(ms, side, n, of=1):
    return [sum(level[of] for level in m.levels[side][:n]) for m in ms]


def balance(a, b):
    return [ratio(x - y, x + y) for x, y in zip(a, b, strict=True)]


def depth_within(ms, side, ticks):
    return [sum(q for p, q, _ in m.levels[side] if abs(p - m.levels[side][0][0]) <= ticks) for m in ms]


def cost_to_fill(ms, side, lots):
    out = []
    for m, middle in zip(ms, mid(ms), strict=True):
        left, paid = lots, 0
        for p, q, _ in m.levels[side]:
            paid += min(q, left) * abs(p - middle) * (1 if (p - middle) * (1 if side else -1) >= 0 else -1)
            left -= min(q, left)
        out.append(paid / lots if left == 0 else NAN)
    return out


def slope(ms, side, n):
    out = []
    for m, middle in zip(ms, mid(ms), strict=True):
        levels = m.levels[side][:n]
        if len(levels) < n or math.isnan(middle):
            out.append(NAN)
            continue
        v = [math.log(sum(q for _, q, _ in levels[: k + 1])) for k in range(n)]
        total = ratio(v[0], abs(levels[0][0] / middle - 1))
        for k in range(n - 1):
            total += ratio(ratio(v[k + 1], v[k]) - 1, abs(levels[k + 1][0] / levels[k][0] - 1))
        out.append(total / n)
    return out


# --- order flow --------------------------------------------------------------------------------------------
def ofi(ms, n):
    """Cont, Kukanov and Stoikov, eq. 2, at each of n levels; an absent price is worse than all."""
    out, before = [], ((), ())
    for m in ms:
        total = 0
        if not any(r.flags & (SNAPSHOT | CLEARED) for r in m.rows):
            for k in range(n):
                (pb, qb), (pa, qa) = level_or_worst(m.levels, 0, k), level_or_worst(m.levels, 1, k)
                (pb0, qb0), (pa0, qa0) = level_or_worst(before, 0, k), level_or_worst(before, 1, k)
                total += (pb >= pb0) * qb - (pb <= pb0) * qb0 - (pa <= pa0) * qa + (pa >= pa0) * qa0
        before = m.levels
        out.append(total)
    return out


def level_or_worst(levels, side, k):
    return levels[side][k][:2] if len(levels[side]) > k else ((math.inf if side else -math.inf), 0)


def of_side(ms, name, side):
    return [getattr(m, name)[side] for m in ms]


def sweeps(ms, n):
    out = []
    for m in ms:
        reached = [m.sweep[s] >= n > m.sweep[s] - m.swept[s] for s in (0, 1)]
        out.append(reached[1] - reached[0])
    return out


# --- trades --------------------------------------------------------------------------------------------------
def trades_of(m):
    """[(sign or 0, px, lots)] of an event."""
    return [(0 if r.flags & NO_SIDE else (1, -1)[r.side], r.px, r.qty) for r in m.rows if r.kind == TRADE]


def volume(ms, signs=(1, 0, -1)):
    return [sum(q for s, _, q in trades_of(m) if s in signs) for m in ms]


def signed_volume(ms):
    return [sum(s * q for s, _, q in trades_of(m)) for m in ms]


def trade_value(ms):
    return [sum(p * q for _, p, q in trades_of(m)) for m in ms]


def n_trades(ms):
    return [len(trades_of(m)) for m in ms]


def last_trade(ms, what):
    """The last trade's sign (of those that have one), px, lots or ts."""
    out, value = [], NAN
    for m in ms:
        for t in trades_of(m):
            if what == "ts":
                value = m.ts
            elif what != 0 or t[0]:
                value = t[what]
        out.append(value)
    return out


def run_length(ms):
    out, run = [], 0
    for m in ms:
        for s, _, _ in trades_of(m):
            if s:
                run = run + s if run * s > 0 else s
        out.append(run)
    return out


def vpin(ms, bucket, n):
    """Process one lot at a time."""
    out, full, filled, net = [], [], 0, 0
    for m in ms:
        for sign in (1, -1, 0):
            for _ in range(sum(q for s, _, q in trades_of(m) if s == sign)):
                filled, net = filled + 1, net + sign
                if filled == bucket:
                    full.append(abs(net))
                    filled = net = 0
        out.append(sum(full[-n:]) / (n * bucket) if len(full) >= n else NAN)
    return out


def effective_spread(ms):
    out, value = [], NAN
    for k, m in enumerate(ms):
        signed = [t for t in trades_of(m) if t[0]]
        if signed:
            before = mid(ms[k - 1 : k])[0] if k else NAN
            value = 2 * sum(s * (p - before) * q for s, p, q in signed) / sum(q for _, _, q in signed)
        out.append(value)
    return out


def realised_spread(ms, after):
    """2 sign (px - mid `after` ns later) of the last event with trades for which that is known."""
    mids, out = mid(ms), []
    for k, m in enumerate(ms):
        value = NAN
        for j in range(k - 1, -1, -1):
            signed = [t for t in trades_of(ms[j]) if t[0]]
            if signed and ms[j].ts + after <= m.ts:
                due = ms[j].ts + after
                later = mids[max(i for i in range(k) if ms[i].ts < due or i <= j)]
                value = 2 * sum(s * (p - later) * q for s, p, q in signed) / sum(q for _, _, q in signed)
                break
        out.append(value)
    return out


def roll(ms, n):
    prices, out = [], []
    for m in ms:
        prices += [trades_of(m)[-1][1]] if trades_of(m) else []
        d = [b - a for a, b in itertools.pairwise(prices)]
        pairs = list(zip(d[1:], d, strict=False))[-n:]
        if len(pairs) < n:
            out.append(NAN)
            continue
        my, mx = sum(y for y, _ in pairs) / n, sum(x for _, x in pairs) / n
        cov = sum((y - my) * (x - mx) for y, x in pairs) / n
        out.append(2 * math.sqrt(max(-cov, 0)) if cov <= 1e-12 else NAN)
    return out


# --- time --------------------------------------------------------------------------------------------------------
def since(ms, stamps):
    return [(m.ts - t) * 1e-9 for m, t in zip(ms, stamps, strict=True)]


def last_quote(ms):
    out, value, before = [], NAN, ((), ())
    for m in ms:
        if any([x[:2] for x in m.levels[s][:1]] != [x[:2] for x in before[s][:1]] for s in (0, 1)):
            value = m.ts
        before = m.levels
        out.append(value)
    return out


def time_of_day(ms, offset=0):
    return [(m.ts + offset) % (86_400 * 10**9) * 1e-9 for m in ms]


def mean_age(ms, side):
    return [ratio(sum(m.ts - t for t in m.arrivals[side]), len(m.arrivals[side])) * 1e-9 for m in ms]


def mean_size(ms, side):
    return [ratio(q, n) for q, n in zip(qty(ms, side), count(ms, side), strict=True)]
