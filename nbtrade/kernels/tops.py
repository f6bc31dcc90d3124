"""The best levels of both sides, kept up to date row by row, and what is measured on them.

    obs[TOP + side * 48 + 0..15]  px, best first    + 16..31  lots    + 32..47  orders      empty: NaN, 0, 0

A row worse than the last level followed costs one comparison. The search for a price begins at the place it has when no price between is
empty, which in a dense book is its place, so nothing is mispredicted. Then two numbers are written; a new or vanished level moves the worse
ones by one place, out of line.

Weak case: streams whose levels come and go at the touch all the time pay the moves (some 10 ns); no more levels are followed than the
features need.
"""

import numpy as np

from nbtrade._jit import apart, helper, kernel
from nbtrade.kernels.book import key_of, level_index, next_level
from nbtrade.kernels.memory import NO_KEY
from nbtrade.kernels.observed import COST, OFI, OLD, OLD_FLOATS, SIDE_FLOATS, TOP, WIDTH, WITHIN
from nbtrade.schema import ASK, BID


@helper
def touch(px, side, level, obs, n_levels, levels, pages, words, tree, sides):
    """The level of `px` changed: bring the followed levels up to date. Returns True when they changed."""
    base = TOP + side * SIDE_FLOATS
    sign = 1.0 if side == BID else -1.0
    key = sign * px
    if sign * obs[base + n_levels - 1] > key:  # NaN: fewer levels than are followed
        return False
    k = place_of(key, sign, base, obs, n_levels)
    at = np.uint64(k)
    if obs[at] == px:
        if level.n != 0:
            obs[at + np.uint64(WIDTH)] = level.qty
            obs[at + np.uint64(2 * WIDTH)] = level.n
        else:
            leave(side, k, base, obs, n_levels, levels, pages, words, tree, sides)
    elif level.n != 0:
        enter(px, level.qty, level.n, k, base, obs, n_levels)
    return True


@helper
def place_of(key, sign, base, obs, n_levels):
    """Where a price stands or would stand: as many places down as it is ticks from the best price, less the empty prices between."""
    distance = sign * obs[base] - key
    if not distance > 0.0:  # better than the best, the best itself, or the first of its side
        return base
    k = base + n_levels - 1
    if distance < n_levels - 1:
        k = base + np.int64(distance)
    while not sign * obs[np.uint64(k)] >= key:  # NaN goes on; the best price ends it
        k -= 1
    return k if sign * obs[np.uint64(k)] == key else k + 1


@kernel
def enter(px, qty, n, k, base, obs, n_levels):
    """A level appeared at place `k`: move the worse ones down."""
    apart()
    for i in range(base + n_levels - 1, k, -1):
        obs[i] = obs[i - 1]
        obs[i + WIDTH] = obs[i + WIDTH - 1]
        obs[i + 2 * WIDTH] = obs[i + 2 * WIDTH - 1]
    obs[k] = px
    obs[k + WIDTH] = qty
    obs[k + 2 * WIDTH] = n


@kernel
def leave(side, k, base, obs, n_levels, levels, pages, words, tree, sides):
    """The level at place `k` vanished: move the worse ones up, and look for the one that comes into sight."""
    apart()
    last = base + n_levels - 1
    px = obs[last]
    for i in range(k, last):
        obs[i] = obs[i + 1]
        obs[i + WIDTH] = obs[i + WIDTH + 1]
        obs[i + 2 * WIDTH] = obs[i + 2 * WIDTH + 1]
    key = NO_KEY
    if px == px:  # noqa: PLR0124 - not NaN: there may be a worse one
        key = next_level(pages, words, tree, sides, side, np.int64(px))
    show(side, key, last, obs, levels, pages, sides)


@helper
def show(side, key, at, obs, levels, pages, sides):
    """Write the level of `key` at place `at`; an empty one for NO_KEY."""
    if key == NO_KEY:
        obs[at] = np.nan
        obs[at + WIDTH] = 0.0
        obs[at + 2 * WIDTH] = 0.0
    else:
        level = levels[level_index(pages, sides, side, key_of(side, key))]
        obs[at] = key_of(side, key)
        obs[at + WIDTH] = level.qty
        obs[at + 2 * WIDTH] = level.n


@kernel
def show_all(obs, n_levels, levels, pages, words, tree, sides):
    """Write all followed levels of a book, and as those of the event before."""
    for side in range(2):
        key = sides[side].best
        for k in range(n_levels):
            show(side, key, TOP + side * SIDE_FLOATS + k, obs, levels, pages, sides)
            if key != NO_KEY:
                key = next_level(pages, words, tree, sides, side, key_of(side, key))
    keep_old(obs, BID, n_levels)
    keep_old(obs, ASK, n_levels)


@helper
def keep_old(obs, side, n_levels):
    """Remember a side's prices and sizes for the next event."""
    new = TOP + side * SIDE_FLOATS
    old = OLD + side * OLD_FLOATS
    for k in range(n_levels):
        obs[old + k] = obs[new + k]
        obs[old + WIDTH + k] = obs[new + WIDTH + k]


@helper
def moved(obs, side):
    """True when the best price of a side or its size is not that of the event before."""
    new = TOP + side * SIDE_FLOATS
    old = OLD + side * OLD_FLOATS
    if obs[new + WIDTH] != obs[old + WIDTH]:
        return True
    return obs[new + WIDTH] > 0.0 and obs[new] != obs[old]  # an empty side's price is NaN, which differs from itself


@helper
def add_inflow(obs, side, n):
    """Add to the order-flow imbalance of n levels what joined a side less what left it (Cont, Kukanov and Stoikov 2014, eq. 2)."""
    new = TOP + side * SIDE_FLOATS
    old = OLD + side * OLD_FLOATS
    sign = 1.0 if side == BID else -1.0
    for k in range(n):
        px = sign * obs[new + k]
        before = sign * obs[old + k]
        # `not <`, not `>=`: a side that is or was empty (NaN, 0 lots) counts as worse than any price
        joined = 0.0 if px < before else obs[new + WIDTH + k]
        left = 0.0 if px > before else obs[old + WIDTH + k]
        obs[OFI + k] += sign * (joined - left)


@kernel
def scan(kind, side, amount, levels, pages, words, tree, sides):
    """Walk one side from its best level.

    WITHIN : lots at most `amount` ticks from the best price (0 when empty)
    COST   : ticks that filling `amount` lots costs, each lot's distance from the best price summed; NaN when there are not so many
    """
    apart()
    key = sides[side].best
    best = key
    total, cost = 0.0, 0.0
    while key != NO_KEY:
        px = key_of(side, key)
        qty = float(levels[level_index(pages, sides, side, px)].qty)
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
