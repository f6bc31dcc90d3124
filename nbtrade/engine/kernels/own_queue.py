"""The list of our entries at a price level: orders, and what we took there.

    levels[i].own ──> entry <──> entry <──> entry      circular, in order of arrival; OWN records of all accounts

A TAKEN entry is an account's liquidity that it took from the level, `ahead` says how many lots (an order's `qty` is an i4, and orders may
add up to more); see engine/kernels/match.py for what becomes of it.
"""

import numpy as np

from nbtrade._numba.bits import MASK, SHIFT, WORD
from nbtrade._numba.jit import helper
from nbtrade._numba.pointers import i4_at, i8_at
from nbtrade.engine.kernels.records import TAKEN
from nbtrade.engine.kernels.row_batch import NEAR_SLOTS


@helper
def count_own_level(instrument, side, px, step):
    """One level more, or less, has entries of ours: the bits by which rows at it are found (row_batch.py) are set, or not any more."""
    counts, own_filter = i4_at(instrument.own_filter_counts_at), i8_at(instrument.own_filter_at)
    for at in ((side << SHIFT) + (px & MASK), NEAR_SLOTS * WORD + (px >> SHIFT & MASK)):
        counts[at] += step
        bit, word = 1 << (at & MASK), at >> SHIFT
        own_filter[word] = own_filter[word] | bit if counts[at] != 0 else own_filter[word] & ~bit


@helper
def link(instrument, levels, orders, i, o):
    """Put entry `o` at the end of level `i`'s list."""
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
    """Take entry `o` off its level's list."""
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
    """True when no own order (only TAKEN entries, or nothing) rests at level `i`."""
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
    """Account k took `qty` lots at level `i`, that of `px` on `side`. There is a free entry: the caller made sure."""
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
    """All that the TAKEN entry `o` stood for is refreshed."""
    unlink(instrument, levels, orders, o)
    orders[o].next = instrument.free_taken
    instrument.free_taken = o
    instrument.n_taken -= 1
