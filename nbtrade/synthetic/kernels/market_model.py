"""A synthetic market in one loop: it writes Databento MBO records and keeps the book that they describe.

    tables  i4[N_TABLES, 4096]   every distribution as its quantiles: a draw is 12 random bits and one load
    orders  ORDER[capacity]      slots; qty 0 is free; FIFO queues and the free list are linked through them
    levels  LEVEL[2, WIDTH]      head and tail of each queue for px in [low, low + WIDTH)
    best    i8[2]                best px of each side; low - 1 (bid) or low + WIDTH (ask): an empty side
    recent  i4[2**k]             ring of the slots last added
    market  MARKET[1]            random state, clock, counters, rates

`fair` is a latent price, a random walk of one-tick steps. New orders keep a drawn distance from it (never at
or through the opposite best), market orders lean towards it, so the touch follows it. Some cancels
take a young order (age log-uniform, hence heavy-tailed lifetimes), some the last order at the touch, the others
any order. Time runs in two regimes: bursts (gaps of some microseconds) and calm (gaps that follow a U over the day).

Weak cases: orders outside the levels' window (stub quotes, outliers) rest in no queue and are never
executed; when a side empties, the window is walked once; a distribution has 4,096 values, so tails end there.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel
from nbtrade.schema import ASK, BID, F_LAST, F_SNAPSHOT, NONE, RTYPE_MBO, UNDEF_PRICE

WIDTH = 1 << 13  # ticks of the window
MARGIN = 1_500  # `fair` keeps this far from the ends of the window; ordinary distances stay below 1,000
MAX_FILLS = 16
MAX_EVENT = 3 * MAX_FILLS + 1  # records: T, F and C for each fill, and an A for the remainder
TABLE = 4096
DISTANCE, SIZE, TAKE, BURST_GAP, CALM_GAP, LATENCY, ID_GAP, SEQUENCE_GAP, AGE, N_TABLES = range(10)
ORDINARY, STUB_QUOTES, OUTLIERS = 0, 1, 2
FIRST_ID = 1 << 42

# Out of 4,096 events; the others are adds and cancels
N_MARKET, N_MODIFY, N_ADD, MAX_PULL = 190, 165, 1_990, 500
STUB_SHARE, OUTLIER_SHARE = 64, 520  # of 4,096 adds
LEAVE_BURST, ENTER_BURST = 128, 1_365  # of 4,096 events in that regime: bursts of 32 events, calm of 3
CALM_SHARE = LEAVE_BURST / (LEAVE_BURST + ENTER_BURST)
CALM_UNIT = 1 << 16  # CALM_GAP holds a unit exponential times this
FAIR_STEP = 24  # of 4,096 events

ORDER = np.dtype([("id", "i8"), ("px", "i8"), ("qty", "i4"), ("side", "i4"), ("prev", "i4"), ("next", "i4")], align=True)
LEVEL = np.dtype([("head", "i4"), ("tail", "i4")], align=True)
# rng: random state; n_left: records, and n_opening: opening orders, still to be written; opened: 1 after the R;
# id_bits: opening ids permute this many bits; target: of n_live; free: first free slot; low: first px of the
# window; far_px: the stub ask and the end of the outliers; start, ts, ts_recv: ns; delta: ts_in_delta;
# calm_ns: mean gap in calm where the U's rate is 1; per_ns: 1 / duration
_INTEGERS = """n_left n_opening opened id_bits n_live target free n_added fair low far_px scenario last_id sequence
start ts ts_recv delta in_burst tick publisher_id instrument_id"""
MARKET = np.dtype([("rng", "u8"), ("calm_ns", "f8"), ("per_ns", "f8")] + [(name, "i8") for name in _INTEGERS.split()], align=True)

_GOLDEN, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _1 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(1)
_A, _C, _F, _M, _R, _T, _N = (ord(c) for c in "ACFMRTN")


@helper
def draw(market):
    """Sixty-three random bits as a non-negative int64 (splitmix64, Steele et al. 2014)."""
    market.rng = market.rng + _GOLDEN
    z = market.rng
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return np.int64((z ^ (z >> _31)) >> _1)


@helper
def look_up(tables, table, bits):
    """One draw from distribution `table` by the low 12 of `bits`."""
    return np.int64(tables[table, bits & 4095])


@helper
def advance(tables, market, bits):
    """Move `ts` to the next event, and occasionally `fair` by one tick. bits: 49 random ones."""
    if ((bits >> 36) & 4095) < FAIR_STEP:
        fair = market.fair + ((bits >> 48) & 1) * 2 - 1
        market.fair = min(max(fair, market.low + MARGIN), market.low + WIDTH - MARGIN)
    switch = bits & 4095
    if market.in_burst:
        market.ts += (look_up(tables, BURST_GAP, bits >> 12) * (4096 + ((bits >> 24) & 4095))) >> 12
        if switch < LEAVE_BURST:
            market.in_burst = 0
    else:
        x = min(2.0 * (market.ts - market.start) * market.per_ns - 1.0, 1.0)
        scale = market.calm_ns / (0.6 + 1.2 * x * x) / CALM_UNIT
        market.ts += np.int64(scale * (look_up(tables, CALM_GAP, bits >> 12) + ((bits >> 24) & 63))) + 1
        if switch < ENTER_BURST:
            market.in_burst = 1


@helper
def receive(tables, market, bits):
    """Start a new packet: ts_recv, ts_in_delta and sequence. bits: 60 random ones."""
    arrival = market.ts + look_up(tables, LATENCY, bits) + ((bits >> 12) & 1023)
    market.ts_recv = max(arrival, market.ts_recv + 48 + ((bits >> 22) & 511))
    market.delta = 10_200 + ((bits >> 31) & 4095) + ((bits >> 35) & 4095)
    market.sequence += look_up(tables, SEQUENCE_GAP, bits >> 48)


@helper
def write(out, i, market, action, side, order_id, px, qty, flags):
    """Write record `i`. px: ticks; side: BID, ASK, or NONE for an R. Returns i + 1."""
    row = out[i]
    row.length, row.rtype, row.channel_id = 14, RTYPE_MBO, 0
    row.publisher_id, row.instrument_id = market.publisher_id, market.instrument_id
    row.ts_event, row.ts_recv, row.ts_in_delta = market.ts, market.ts_recv, market.delta
    row.order_id = order_id
    row.price = px * market.tick if side >= 0 else UNDEF_PRICE
    row.size = qty
    row.flags = flags
    row.action = action
    row.side = 66 - side if side >= 0 else _N
    row.sequence = market.sequence & 0xFFFFFFFF
    return i + 1


@helper
def link(orders, levels, best, market, j):
    """Put order `j` at the back of the queue of its side and px; outside the window it has no queue."""
    order = orders[j]
    k = order.px - market.low
    order.prev = NONE
    order.next = NONE
    if 0 <= k < WIDTH:
        level = levels[order.side, k]
        if level.head < 0:
            level.head = j
        else:
            orders[level.tail].next = j
            order.prev = level.tail
        level.tail = j
        if order.side == BID:
            best[BID] = max(best[BID], order.px)
        else:
            best[ASK] = min(best[ASK], order.px)


@helper
def unlink(orders, levels, best, market, j):
    """Take order `j` out of its queue; walk to the next best level when it was the last there."""
    order = orders[j]
    side = order.side
    k = order.px - market.low
    if 0 <= k < WIDTH:
        level = levels[side, k]
        if order.prev >= 0:
            orders[order.prev].next = order.next
        else:
            level.head = order.next
        if order.next >= 0:
            orders[order.next].prev = order.prev
        else:
            level.tail = order.prev
        if level.head < 0 and order.px == best[side]:
            step = 2 * side - 1
            k += step
            while 0 <= k < WIDTH and levels[side, k].head < 0:
                k += step
            best[side] = k + market.low


@helper
def insert(orders, levels, best, recent, market, side, px, qty, order_id):
    """Take a free slot for a new order and queue it. The caller has made sure that a slot is free."""
    j = market.free
    order = orders[j]
    market.free = order.next
    order.id, order.px, order.qty, order.side = order_id, px, qty, side
    recent[market.n_added & (len(recent) - 1)] = j
    market.n_added += 1
    market.n_live += 1
    link(orders, levels, best, market, j)


@helper
def remove(orders, levels, best, market, j):
    """Remove order `j` from the book and free its slot."""
    unlink(orders, levels, best, market, j)
    orders[j].qty = 0
    orders[j].next = market.free
    market.free = j
    market.n_live -= 1


@helper
def ordinary_px(tables, best, market, side, bits):
    """A px at a random distance from fair, short of the opposite best."""
    distance = look_up(tables, DISTANCE, bits)
    if side == BID:
        return min(market.fair, best[ASK]) - 1 - distance
    return max(market.fair, best[BID] + 1) + distance


@helper
def outlier_px(best, market, side, bits):
    """A px outside the window, or occasionally inside a wide spread. bits: 35 random ones."""
    gap = best[ASK] - best[BID] - 1
    if market.scenario == STUB_QUOTES:
        return 1 if side == BID else market.far_px
    if (bits & 15) == 0 and 0 < gap < WIDTH // 2:
        return best[BID] + 1 + (bits >> 4) % gap
    if side == BID:
        return 1 + (bits >> 4) % (market.low - 1)
    high = market.low + WIDTH
    return high + (bits >> 4) % (market.far_px - high)


@helper
def choose(orders, levels, best, recent, tables, market, bits):
    """Slot of a live order: young, at the touch, or any. There must be one. bits: 60 random ones."""
    way = bits & 15
    if way < 4:
        side = (bits >> 4) & 1
        k = best[side] - market.low
        if 0 <= k < WIDTH and levels[side, k].head != levels[side, k].tail:  # not the only order there
            return np.int64(levels[side, k].tail)
    elif way < 12:
        for shift in (12, 24, 36):
            age = look_up(tables, AGE, bits >> shift)
            j = np.int64(recent[(market.n_added - age) & (len(recent) - 1)])
            if orders[j].qty > 0:
                return j
    # Free slots are adjacent: probing the next slot cost 500 ns an event at 1e5 orders, probing a random one 5
    for _ in range(32):
        j = ((bits >> 32) * len(orders)) >> 31
        if orders[j].qty > 0:
            return j
        bits = draw(market)
    while orders[j].qty == 0:
        j = j + 1 if j + 1 < len(orders) else 0
    return j


@helper
def open_book(out, i, orders, levels, best, recent, tables, market):
    """Write one record of the opening snapshot: the R, then an A per order in queue order."""
    if market.opened == 0:
        market.opened = 1
        flags = F_SNAPSHOT | (F_LAST if market.n_opening == 0 else 0)
        return write(out, i, market, _R, NONE, 0, 0, 0, flags)
    bits = draw(market)
    side = bits & 1
    px = ordinary_px(tables, best, market, side, bits >> 1)
    qty = look_up(tables, SIZE, bits >> 13)
    # Odd multiplier: a permutation, so the ids are unique and not in queue order, like a real snapshot's
    order_id = FIRST_ID + ((market.n_added * 0x9E3779B1) & ((1 << market.id_bits) - 1))
    market.ts = market.start - 1 - (bits >> 20)  # up to 2.4 hours old
    insert(orders, levels, best, recent, market, side, px, qty, order_id)
    market.n_opening -= 1
    i = write(out, i, market, _A, side, order_id, px, qty, F_SNAPSHOT | (F_LAST if market.n_opening == 0 else 0))
    market.ts = market.start
    return i


@helper
def add(out, i, orders, levels, best, recent, tables, market, bits):
    """One new resting order. bits: 60 random ones."""
    side = bits & 1
    share = STUB_SHARE if market.scenario == STUB_QUOTES else OUTLIER_SHARE
    if market.scenario != ORDINARY and ((bits >> 1) & 4095) < share:
        px = outlier_px(best, market, side, bits >> 20)
    else:
        px = ordinary_px(tables, best, market, side, bits >> 13)
    qty = look_up(tables, SIZE, bits >> 25)
    market.last_id += look_up(tables, ID_GAP, bits >> 37)
    order_id = market.last_id
    insert(orders, levels, best, recent, market, side, px, qty, order_id)
    return write(out, i, market, _A, side, order_id, px, qty, F_LAST)


@helper
def modify(out, i, orders, levels, best, tables, market, j, bits):
    """Size down in place; or size up, or a new px, to the back of the queue. bits: 60 random ones."""
    order = orders[j]
    if order.qty > 1 and ((bits & 3) == 0 or order.qty > 5_000):
        order.qty = 1 + ((((bits >> 2) & 4095) * (order.qty - 1)) >> 12)
    else:
        unlink(orders, levels, best, market, j)
        px = ordinary_px(tables, best, market, order.side, bits >> 14)
        if (bits & 3) == 1 or px == order.px:
            order.qty += look_up(tables, SIZE, bits >> 26)
        order.px = px if (bits & 3) != 1 else order.px
        link(orders, levels, best, market, j)
    return write(out, i, market, _M, order.side, order.id, order.px, order.qty, F_LAST)


@helper
def aggressor(best, market, bits):
    """Side of the next market order: a fair coin that leans towards `fair`."""
    lean = 2 * market.fair - 1 - best[BID] - best[ASK]
    return BID if (bits & 4095) < 2048 + min(max(256 * lean, -1920), 1920) else ASK


@helper
def execute(out, i, orders, levels, best, market, side, px_limit, qty, order_id):
    """Match `qty` lots against the other side up to `px_limit`: T and F records, in queue order.

    Returns the next i, the remaining lots, the lots left on a last order that was hit in part (else 0), the fills.
    """
    passive = 1 - side
    sign = 1 - 2 * side
    i_trade, px_trade, left, n_fills = i, np.int64(NONE), np.int64(0), 0
    while qty > 0 and n_fills < MAX_FILLS and (px_limit - best[passive]) * sign >= 0:
        px = best[passive]
        k = px - market.low
        if k < 0 or k >= WIDTH:  # the side is empty
            break
        if px != px_trade:
            i_trade, px_trade = i, px
            i = write(out, i, market, _T, side, order_id, px, 0, 0)
        j = np.int64(levels[passive, k].head)
        taken = min(qty, np.int64(orders[j].qty))
        i = write(out, i, market, _F, passive, orders[j].id, px, taken, 0)
        out[i_trade]["size"] += taken  # not .size: without the JIT that is the scalar's own, 1
        qty -= taken
        left = np.int64(orders[j].qty) - taken
        n_fills += 1
        if left > 0:
            orders[j].qty = left
        else:
            remove(orders, levels, best, market, j)
    return i, qty, left, n_fills


@helper
def trade(out, i, orders, levels, best, recent, tables, market, bits):
    """One marketable order: T and F, then C or M of the orders hit, then an A of the remainder. bits: 60."""
    first = i
    side = aggressor(best, market, bits)
    deeper = (bits >> 12) & 3 if ((bits >> 14) & 31) == 0 else 0
    px = best[1 - side] + deeper * (1 - 2 * side)
    market.last_id += look_up(tables, ID_GAP, bits >> 19)  # other instruments used the ids between
    order_id = market.last_id
    qty = look_up(tables, TAKE, bits >> 31)
    i, qty, left, n_fills = execute(out, i, orders, levels, best, market, side, px, qty, order_id)
    last_fill = i - 1
    receive(tables, market, draw(market))
    for f in range(first, i):
        if out[f].action == _F:
            partly = f == last_fill and left > 0
            action, size = (_M, left) if partly else (_C, np.int64(out[f]["size"]))
            i = write(out, i, market, action, 1 - side, out[f].order_id, out[f].price // market.tick, size, 0)
    if qty > 0 and n_fills < MAX_FILLS and ((bits >> 43) & 1) == 0 and market.free >= 0:
        insert(orders, levels, best, recent, market, side, px, qty, order_id)
        i = write(out, i, market, _A, side, order_id, px, qty, 0)
    out[i - 1].flags = F_LAST
    return i


@helper
def act(out, i, orders, levels, best, recent, tables, market):
    """Write one exchange event; returns the index after it."""
    advance(tables, market, draw(market))
    receive(tables, market, draw(market))
    kind, bits = draw(market) & 4095, draw(market)
    pull = min(max(4096 * (market.target - market.n_live) // market.target, -MAX_PULL), MAX_PULL)
    empty = best[BID] < market.low or best[ASK] >= market.low + WIDTH
    if kind < N_MARKET and not empty and market.n_left >= MAX_EVENT:
        return trade(out, i, orders, levels, best, recent, tables, market, bits)
    if market.n_live == 0 or (N_MARKET + N_MODIFY <= kind < N_MARKET + N_MODIFY + N_ADD + pull and market.free >= 0):
        return add(out, i, orders, levels, best, recent, tables, market, bits)
    j = choose(orders, levels, best, recent, tables, market, bits)
    if kind < N_MARKET + N_MODIFY:
        return modify(out, i, orders, levels, best, tables, market, j, draw(market))
    i = write(out, i, market, _C, orders[j].side, orders[j].id, orders[j].px, orders[j].qty, F_LAST)
    remove(orders, levels, best, market, j)
    return i


@kernel
def fill(out, orders, levels, best, recent, tables, market):
    """Write the market's next records into `out` until it is full or the market's `n_left` is 0.

    out     : RECORD[n]                  written from 0
    orders  : ORDER[capacity]            changed
    levels  : LEVEL[2, WIDTH]            changed
    best    : i8[2], ticks               changed
    recent  : i4[power of two]           changed
    tables  : i4[N_TABLES, TABLE]        one distribution a row
    market  : MARKET[1]                  changed; n_left falls by the number of records written

    Returns the number of records written. It stops at the end of an event, up to MAX_EVENT - 1 records
    before the end of `out` (0 written when `out` is shorter than that and n_left is more than its length).
    Cost: 40 to 70 ns a record at 1e3 to 1e5 live orders (EPYC, 2 shared cores, November 2026).
    No errors: the shell has checked the parameters.
    """
    state = market[0]
    i = 0
    while state.n_left > 0 and (len(out) - i >= MAX_EVENT or state.n_left <= len(out) - i):
        before = i
        if state.opened == 0 or state.n_opening > 0:
            i = open_book(out, i, orders, levels, best, recent, tables, state)
        else:
            i = act(out, i, orders, levels, best, recent, tables, state)
        state.n_left -= i - before
    return i
