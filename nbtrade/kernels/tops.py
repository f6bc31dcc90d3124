"""The best levels of both sides, kept up to date row by row, and what is measured on them.

    obs[TOP + side * 48 + 0..15]  px, best first    + 16..31  lots    + 32..47  orders      empty: NaN, 0, 0

A row worse than the last level followed costs one comparison. A row at a followed level finds it from the best one on (most
changes are at the first) and writes two numbers; a new or vanished level moves the worse ones by one place.

Weak case: streams whose levels come and go at the touch all the time pay the moves (16 levels: some 10 ns); follow no more levels than
the features need, which the compiled set sees to.
"""

import numpy as np

from nbtrade._jit import apart, helper, kernel
from nbtrade.kernels.book import key_of, level_index, next_level
from nbtrade.kernels.memory import NO_KEY
from nbtrade.kernels.observed import COST, LEVELS, OFI, OLD, OLD_FLOATS, SIDE_FLOATS, TOP, WITHIN
from nbtrade.schema import ASK, BID


@helper
def touch(px, side, level, obs, n_levels, levels, pages, words, tree, sides):
    """The level of `px` changed: bring the followed levels up to date. Returns True when they changed."""
    base = TOP + side * SIDE_FLOATS
    sign = 1.0 if side == BID else -1.0
    key = sign * px
    if sign * obs[base + n_levels - 1] > key:  # NaN: fewer levels than are followed
        return False
    k = base
    while sign * obs[k] > key:
        k += 1
    if obs[k] == px and level.n != 0:
        obs[k + LEVELS] = level.qty
        obs[k + 2 * LEVELS] = level.n
    elif obs[k] == px:
        leave(side, k, base, obs, n_levels, levels, pages, words, tree, sides)
    elif level.n != 0:
        enter(px, level.qty, level.n, k, base, obs, n_levels)
    return True


@kernel
def enter(px, qty, n, k, base, obs, n_levels):
    """A level appeared at place `k`: move the worse ones down."""
    apart()
    for i in range(base + n_levels - 1, k, -1):
        obs[i] = obs[i - 1]
        obs[i + LEVELS] = obs[i + LEVELS - 1]
        obs[i + 2 * LEVELS] = obs[i + 2 * LEVELS - 1]
    obs[k] = px
    obs[k + LEVELS] = qty
    obs[k + 2 * LEVELS] = n


@kernel
def leave(side, k, base, obs, n_levels, levels, pages, words, tree, sides):
    """The level at place `k` vanished: move the worse ones up, and look for the one that comes into sight."""
    apart()
    last = base + n_levels - 1
    px = obs[last]
    for i in range(k, last):
        obs[i] = obs[i + 1]
        obs[i + LEVELS] = obs[i + LEVELS + 1]
        obs[i + 2 * LEVELS] = obs[i + 2 * LEVELS + 1]
    key = NO_KEY
    if px == px:  # noqa: PLR0124 - not NaN: there may be a worse one
        key = next_level(pages, words, tree, sides, side, np.int64(px))
    show(side, key, last, obs, levels, pages, sides)


@helper
def show(side, key, at, obs, levels, pages, sides):
    """Write the level of `key` at place `at`; an empty one for NO_KEY."""
    if key == NO_KEY:
        obs[at] = np.nan
        obs[at + LEVELS] = 0.0
        obs[at + 2 * LEVELS] = 0.0
    else:
        level = levels[level_index(pages, sides, side, key_of(side, key))]
        obs[at] = key_of(side, key)
        obs[at + LEVELS] = level.qty
        obs[at + 2 * LEVELS] = level.n


@kernel
def show_all(obs, n_levels, levels, pages, words, tree, sides):
    """Write all followed levels of a book, and as those of the event before."""
    for side in range(2):
        key = sides[side].best
        for k in range(n_levels):
            show(side, key, TOP + side * SIDE_FLOATS + k, obs, levels, pages, sides)
            if key != NO_KEY:
                key = next_level(pages, words, tree, sides, side, key_of(side, key))
    keep_old(obs, n_levels)


@helper
def keep_old(obs, n_levels):
    """Remember prices and sizes for the next event."""
    for side in range(2):
        new = TOP + side * SIDE_FLOATS
        old = OLD + side * OLD_FLOATS
        for k in range(n_levels):
            obs[old + k] = obs[new + k]
            obs[old + LEVELS + k] = obs[new + LEVELS + k]


@helper
def inflow(obs, side, k):
    """Lots that joined less lots that left level `k` of one side since the event before (Cont, Kukanov and Stoikov 2014, eq. 2)."""
    new = TOP + side * SIDE_FLOATS + k
    old = OLD + side * OLD_FLOATS + k
    sign = 1.0 if side == BID else -1.0
    px = sign * obs[new]
    before = sign * obs[old]
    # `not <`, not `>=`: a side that is or was empty (NaN, 0 lots) counts as worse than any price
    joined = 0.0 if px < before else obs[new + LEVELS]
    left = 0.0 if px > before else obs[old + LEVELS]
    return joined - left


@helper
def find_ofi(obs, n):
    """The event's order-flow imbalance at each of the first n levels."""
    for k in range(n):
        obs[OFI + k] = inflow(obs, BID, k) - inflow(obs, ASK, k)


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
