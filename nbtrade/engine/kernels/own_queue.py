"""The list of own entries at a price level: own orders, and the liquidity that accounts took there.

    levels[i].own ──> entry <──> entry <──> entry      circular, in order of arrival; OWN records of all accounts

A TAKEN entry holds the lots that an account took from the level, in `ahead` (`qty` is an i4, and several orders may take more than fits);
engine/kernels/match.py releases them.
"""

import numpy as np

from nbtrade._numba.bits import MASK, SHIFT, WORD
from nbtrade._numba.jit import helper
from nbtrade._numba.pointers import i4_at, i8_at
from nbtrade.engine.kernels.records import TAKEN
from nbtrade.engine.kernels.row_batch import NEAR_SLOTS


@helper
def count_own_level(instrument, side, px, step):
    """Count a level that got its first own entry (step 1) or lost its last (-1), and set or clear its filter bits (row_batch.py)."""
    counts, own_filter = i4_at(instrument.own_filter_counts_at), i8_at(instrument.own_filter_at)
    for at in ((side << SHIFT) + (px & MASK), NEAR_SLOTS * WORD + (px >> SHIFT & MASK)):
        counts[at] += step
        bit, word = 1 << (at & MASK), at >> SHIFT
        own_filter[word] = own_filter[word] | bit if counts[at] != 0 else own_filter[word] & ~bit


@helper
def link(instrument, levels, orders, i, o):
    """Append entry `o` to level `i`'s list."""
    head = levels[i].own - 1
    if head < 0:
        count_own_level(instrument, np.int64(orders[o].side), np.int64(orders[o].px), 1)
        levels[i].own = o + 1
        orders[o].next = o
        orders[o].prev = o
    else:
        tail = orders[head].prev
        orders[tail].next = o
        orders[o].prev = tail
        orders[o].next = head
        orders[head].prev = o
    orders[o].at = i


@helper
def unlink(instrument, levels, orders, o):
    """Remove entry `o` from its level's list."""
    i = orders[o].at
    after = orders[o].next
    if after == o:
        count_own_level(instrument, np.int64(orders[o].side), np.int64(orders[o].px), -1)
        levels[i].own = 0
        return
    before = orders[o].prev
    orders[before].next = after
    orders[after].prev = before
    if levels[i].own == o + 1:
        levels[i].own = after + 1


@helper
def has_no_own_order(levels, orders, i):
    """True when level `i` has no own order: only TAKEN entries, or nothing."""
    head = levels[i].own - 1
    o = head
    while o >= 0:
        if orders[o].instructions != TAKEN:
            return False
        o = orders[o].next
        if o == head:
            break
    return True


@helper
def taken_entry(levels, orders, i, k):
    """Account k's TAKEN entry at level `i`, or -1."""
    head = levels[i].own - 1
    o = head
    while o >= 0:
        if orders[o].instructions == TAKEN and orders[o].account == k:
            return o
        o = orders[o].next
        if o == head:
            break
    return -1


@helper
def add_taken(instrument, levels, orders, i, side, px, k, qty):
    """Record that account k took `qty` lots at level `i` (`px` on `side`). The caller makes sure that an entry is free."""
    o = taken_entry(levels, orders, i, k)
    if o < 0:
        o = instrument.free_taken
        instrument.free_taken = orders[o].next
        instrument.n_taken += 1
        orders[o].instructions = TAKEN
        orders[o].account = k
        orders[o].side = side
        orders[o].px = px
        orders[o].ahead = 0
        link(instrument, levels, orders, i, o)
    orders[o].ahead += qty


@helper
def remove_taken(instrument, levels, orders, o):
    """Free the TAKEN entry `o`: all its lots are released."""
    unlink(instrument, levels, orders, o)
    orders[o].next = instrument.free_taken
    instrument.free_taken = o
    instrument.n_taken -= 1
