"""Repeated searches in the same array: the top of the bisection is cached, so that a search reads only a few pages.

    known[1]            the value that bisection compares first, before the middle
    known[2 3]          those of the first and the second half             NOT_NOTED: the first search to get here reads the value
    known[4 5 6 7]      those of their halves ..                                      and stores it

Notes of 13 steps are 64 KiB, in the second-level cache, and take 40 ns; a read of 100 M values from Python takes 380. In the remaining
range, interpolation of evenly rising values is off by a cache line or two. It is used if the range and its neighbour rise evenly; otherwise
the range is bisected. More steps are not faster, because their notes have left the near caches (16 steps take 200 to 300 ns).

Notes are never trusted: a bound is returned only if the current values on both sides confirm it. Otherwise all notes are discarded, as they
are for a different array. So an array that changes in place, another array at the same address, and concurrent threads only cost time.

Weak cases: alternating arrays that share a slot for notes, and the first searches in an array: as fast as `interpolate`. One search from
Python in mapped int64, without and with notes (Sapphire Rapids, 2026-11-26): 20 M in bursts 780 to 575 ns, 20 M over the powers of
two 675 to 430, in clusters of these 137 to 100, 100 M even 880 to 680, 1 M even 190 to 177; 30 of each is call overhead (fastcall.py).
"""

import numpy as np

from nbtrade._numba.bits import leading_zeros, trailing_zeros
from nbtrade._numba.jit import helper, kernel
from nbtrade._numba.prefetch import prefetch
from nbtrade.storage.search.kernels.search import (
    EVEN_ABOVE,
    TOP_LEVELS,
    distance,
    guess_from,
    halve_ahead,
    interpolate,
    is_before,
    is_bound,
)

LEVELS = 13
MEMO_SIZE = 1 << LEVELS  # notes of one array; [0] identifies it
ARRAYS = 8  # slots for notes
N_NOTES = ARRAYS * MEMO_SIZE
LEAF_BITS = 8  # the smallest ranges have at least 256 values
NOT_NOTED = 2**63 - 1  # for signed and unsigned words; a value equal to it is read each time


@helper
def memo_offset(values):
    """Offset of an array's notes. The hash suits large arrays, which are mostly multiples of 2 MiB apart."""
    page = np.int64(values.ctypes.data) >> 12
    return ((page * 0x9E37 >> 13) & (ARRAYS - 1)) << LEVELS


@helper
def claim(memo, values):
    """Discard the notes if they belong to another array."""
    owner = np.int64(values.ctypes.data) + values.strides[0] + (len(values) << 16)
    if memo[0] != owner:
        memo[0] = owner
        memo[1] = NOT_NOTED


@helper
def note(values, i, memo, k):
    """Store values[i] (the last value beyond the end) as note k, and mark the notes of its halves as missing."""
    memo[np.uint64(k)] = values[np.uint64(min(i, len(values) - 1))]
    if 2 * k < MEMO_SIZE:
        memo[np.uint64(2 * k)] = NOT_NOTED
        memo[np.uint64(2 * k + 1)] = NOT_NOTED


@helper
def descend(values, x, memo, leaves, whole, upper):
    """(k, width): the smallest range known to contain the bound of x starts at index k * width - whole.

    Missing notes of the top levels are filled in; below, a missing note is stored without waiting for the value.
    """
    k, width = 1, whole
    while k < leaves:
        prefetch(memo, 8 * k)  # every note that the third step from here may compare
        if memo[np.uint64(k)] == NOT_NOTED:
            note(values, k * width - whole + (width >> 1) - 1, memo, k)
            if k >> TOP_LEVELS:
                break
        k = 2 * k + (1 if is_before(memo[np.uint64(k)], x, upper) else 0)
        width >>= 1
    return k, width


@helper
def guess_from_memo(values, x, memo, k, base, width, upper):
    """(found, bound) of x in the range k, by guesses; not found if the range and its neighbour do not rise evenly together.

    At the ends of the array one boundary is unknown: [0] takes its place, with which no range appears even.
    """
    parent = k >> 1
    low, high = memo[np.uint64(parent >> (trailing_zeros(parent) + 1))], memo[np.uint64(parent >> (trailing_zeros(~parent) + 1))]
    middle = memo[np.uint64(parent)]
    per_value = np.float64(2 * width) / max(distance(high, low), 1.0)
    largest = 4.0 * np.sqrt(np.float64(2 * width))
    if abs(distance(middle, low) * per_value - width) > largest:
        return False, base
    n = min(width, len(values) - base)
    step = distance(x, middle if k & 1 else low) * per_value
    at = base + np.int64(min(max(step, 0.0), np.float64(n - 1)))
    return guess_from(values, base, n, at, x, per_value, largest, upper)


@helper
def search_cached(values, x, notes, upper):
    """The bound of x, using the notes of `values`."""
    n = len(values)
    if n < EVEN_ABOVE:
        return interpolate(values, x, upper)
    place = memo_offset(values)
    memo = notes[place : place + MEMO_SIZE]
    claim(memo, values)
    levels = min(LEVELS, 63 - leading_zeros(n) - LEAF_BITS)
    whole = (((n - 1) >> levels) + 1 | 1) << levels  # odd widths: powers of two would map to the same cache sets
    k, width = descend(values, x, memo, 1 << levels, whole, upper)
    base = min(k * width - whole, n - 1)  # notes of another array may lead beyond this one
    found, i = guess_from_memo(values, x, memo, k, base, width, upper)
    if found:
        return i
    i = halve_ahead(values, base, min(width, n - base), x, upper)
    if is_bound(values, i, x, upper):
        return i
    memo[1] = NOT_NOTED
    return interpolate(values, x, upper)


@kernel
def lower_bound_cached(values, x, notes):
    """`lower_bound`, for repeated searches in the same few arrays.

    notes : u8 or i8[N_NOTES], of x's signedness, with any contents; changed. It makes later searches faster, and never wrong.
    """
    return search_cached(values, x, notes, False)


@kernel
def upper_bound_cached(values, x, notes):
    """`upper_bound`, for repeated searches in the same few arrays, with the arguments of `lower_bound_cached`."""
    return search_cached(values, x, notes, True)
