"""The best levels of both sides, updated row by row, and the measures taken on them.

    index e = side * 16 + k: the k-th best level of a side         obs[PX + e]  obs[QTY + e]  obs[ORDERS + e]     empty: NaN, 0, 0

A row worse than the last tracked level costs one comparison. The search for a price starts at the index that it has if no price in between
is empty, which in a dense book is its index, so no branch is mispredicted. Then two numbers are written, and the change of size is the
event's order-flow imbalance there: at the event's end only that number is compared and copied. A new or vanished level moves the
worse ones by one index and compares all levels with those of the previous event, out of line.

Weak case: streams whose levels at the touch appear and vanish all the time pay for the moves and the comparison; only as many levels are
tracked as the features need.
"""

import numpy as np

from nbtrade._numba.bits import trailing_zeros
from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade.book.kernels.arrays import NO_KEY
from nbtrade.book.kernels.book import key_of, level_index, lots_of, next_level, orders_of
from nbtrade.book.kernels.pointers import exchange_book
from nbtrade.feature.kernels.snapshot import COST, OFI, OLD_PX, OLD_QTY, ORDERS, PX, QTY, WIDTH, WITHIN, floats, pass_state_at
from nbtrade.schema import BID

FLIPPED = 1 << 32  # a level appeared or vanished; the bits below represent one index each
ALL_PLACES = FLIPPED - 1


@helper
def update_levels(row, level, n_levels, obs, w):
    """The level of a row changed: update the tracked levels. Returns bit e when the size at index e changed, FLIPPED, or 0."""
    first = np.int64(row.side) * WIDTH
    sign = 1.0 if row.side == BID else -1.0
    px = float(row.px)
    if sign * obs[PX + first + n_levels - 1] > sign * px:  # NaN: fewer levels than are tracked
        return 0
    e = find_place(px, sign, first, n_levels, obs)
    if obs[PX + e] != px or level.held == 0:
        level_flipped(px, e, float(lots_of(level)), float(orders_of(level)), w)
        return FLIPPED
    obs[QTY + e] = float(lots_of(level))
    obs[ORDERS + e] = float(orders_of(level))
    obs[OFI + e % WIDTH] += sign * float(row.qty)
    return 1 << e


@helper
def find_place(px, sign, first, n_levels, obs):
    """Index of a price, or where it would be inserted: its distance in ticks from the best price, minus the empty prices in between."""
    distance = sign * (obs[PX + first] - px)
    distance = max(0.0, distance)  # better than the best, or the side's first price
    e = first + (np.int64(distance) if distance < n_levels - 1 else n_levels - 1)
    if obs[PX + e] != px:
        while e > first and not sign * obs[PX + e] >= sign * px:  # NaN continues the loop
            e -= 1
        if sign * obs[PX + e] > sign * px:
            e += 1
    return e


@kernel
def level_flipped(px, e, qty, n, w):
    """A level appeared or vanished at index `e`: move the worse ones, and load one that comes into range. Out of line: rare."""
    noinline()
    obs = floats(w.snapshot_at)
    side = np.int64(e >= WIDTH)
    last = side * WIDTH + w.n_levels - 1
    if obs[PX + e] != px:
        if n != 0.0:
            for i in range(last, e, -1):
                copy_level(i - 1, i, obs)
            set_level(e, px, qty, n, obs)
        return
    worst = obs[PX + last]
    for i in range(e, last):
        copy_level(i + 1, i, obs)
    key = NO_KEY
    if worst == worst:  # noqa: PLR0124 - not NaN: a worse level may exist
        _, pages, words, tree, _, sides = exchange_book(w)
        key = next_level(pages, words, tree, sides, side, np.int64(worst))
    load_level(side, key, last, obs, w)


@helper
def set_level(e, px, qty, n, obs):
    """Write a level at index `e`."""
    obs[PX + e] = px
    obs[QTY + e] = qty
    obs[ORDERS + e] = n


@helper
def copy_level(e, to, obs):
    """Copy a level to another index."""
    set_level(to, obs[PX + e], obs[QTY + e], obs[ORDERS + e], obs)


@helper
def load_level(side, key, e, obs, w):
    """Write the level of `key` at index `e`; an empty one for NO_KEY."""
    if key == NO_KEY:
        set_level(e, np.nan, 0.0, 0.0, obs)
    else:
        levels, pages, _, _, _, sides = exchange_book(w)
        level = levels[level_index(pages, sides, side, key_of(side, key))]
        set_level(e, float(key_of(side, key)), float(lots_of(level)), float(orders_of(level)), obs)


@kernel
def load_all_levels(pass_at):
    """Write all tracked levels of a book, also as those of the previous event. pass_at : address of the PASS_STATE"""
    w = pass_state_at(pass_at)
    obs = floats(w.snapshot_at)
    _, pages, words, tree, _, sides = exchange_book(w)
    for side in range(2):
        key = sides[side].best
        for k in range(w.n_levels):
            load_level(side, key, side * WIDTH + k, obs, w)
            if key != NO_KEY:
                key = next_level(pages, words, tree, sides, side, key_of(side, key))
    save_all_levels(w)


# --- the event's end ---------------------------------------------------------------------------------
@kernel
def recompute_ofi(counts, w):
    """Compute the event's order-flow imbalance from all levels and those of the previous event; 0 unless it counts. Out of line: rare."""
    noinline()
    obs = floats(w.snapshot_at)
    for k in range(WIDTH):
        obs[OFI + k] = 0.0
    if counts:
        for k in range(w.n_ofi):
            obs[OFI + k] = inflow(k, 1.0, obs) - inflow(WIDTH + k, -1.0, obs)


@helper
def inflow(e, sign, obs):
    """Lots that joined a side at an index minus lots that left it (Cont, Kukanov and Stoikov 2014, eq. 2)."""
    px, before = sign * obs[PX + e], sign * obs[OLD_PX + e]
    # `not <`, not `>=`: a side that is or was empty (NaN, 0 lots) counts as worse than any price
    joined = 0.0 if px < before else obs[QTY + e]
    left = 0.0 if px > before else obs[OLD_QTY + e]
    return joined - left


@helper
def quote_moved(first, obs):
    """True when the best price of a side or its size differs from that of the previous event."""
    # an empty side's price is NaN, which differs from itself
    return obs[QTY + first] != obs[OLD_QTY + first] or (obs[QTY + first] > 0.0 and obs[PX + first] != obs[OLD_PX + first])


@helper
def save_changed_levels(event_bits, obs, w):
    """Save the event's levels as the old levels for the next event."""
    if event_bits & FLIPPED:
        save_all_levels(w)
        return
    places = event_bits & ALL_PLACES
    while places != 0:
        e = trailing_zeros(places)
        places &= places - 1
        obs[OLD_QTY + e] = obs[QTY + e]
        obs[OFI + e % WIDTH] = 0.0


@kernel
def save_all_levels(w):
    """Save all levels for the next event. Out of line: rare."""
    noinline()
    obs = floats(w.snapshot_at)
    for k in range(2 * WIDTH):
        obs[OLD_PX + k] = obs[PX + k]
        obs[OLD_QTY + k] = obs[QTY + k]
    for k in range(WIDTH):
        obs[OFI + k] = 0.0


# --- walks -------------------------------------------------------------------------------------------
@kernel
def walk_side(kind, side, amount, w):
    """Walk one side from its best level.

    WITHIN : lots at most `amount` ticks from the best price (0 when empty)
    COST   : ticks that filling `amount` lots costs, summed over each lot's distance from the best price; NaN if there are fewer lots
    """
    noinline()
    levels, pages, words, tree, _, sides = exchange_book(w)
    key = sides[side].best
    best = key
    total, cost = 0.0, 0.0
    while key != NO_KEY:
        px = key_of(side, key)
        qty = float(lots_of(levels[level_index(pages, sides, side, px)]))
        if kind == WITHIN and best - key > amount:
            return total
        if kind == COST:
            qty = min(qty, amount - total)
            cost += qty * (best - key)
        total += qty
        if kind == COST and total >= amount:
            return cost
        key = next_level(pages, words, tree, sides, side, px)
    return total if kind == WITHIN else np.nan
