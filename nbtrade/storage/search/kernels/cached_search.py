"""One search after another in the same array: the top of the bisection is remembered, so that what is left is a few pages.

    known[1]            what bisection compares first: the value before the middle
    known[2 3]          the same of the first and of the second half       NOT_NOTED: whoever comes here looks at the value
    known[4 5 6 7]      and of their halves ..                                      and notes it

13 steps of notes are 64 KiB, in the second cache, and take 40 ns; one look at 100 M values from Python takes 380. In the range that is
left the guess of evenly rising values is off by a line or two. It is made where the range and its neighbour rise evenly; elsewhere the
range is halved. More steps are no faster: their notes are in no near cache when it is their turn (16 steps take 200 to 300 ns).

Nothing is trusted: a bound is returned when the values at both sides of it say so, now. Else all notes are forgotten, as when the array is
another one. So an array that changes in place, one at the address of another, and threads that note at once cost time only.

Weak cases: arrays in turns that share a place for notes, and the first searches in an array: as fast as `interpolate`. One search from
Python in mapped int64, without notes and with them (Sapphire Rapids, 2026-11-26): 20 M in bursts 780 to 575 ns, 20 M over the powers of
two 675 to 430, in clusters of these 137 to 100, 100 M even 880 to 680, 1 M even 190 to 177; 30 of each is the call (fastcall.py).
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
MEMO_SIZE = 1 << LEVELS  # notes of an array; [0] says which
ARRAYS = 8  # places for their notes
N_NOTES = ARRAYS * MEMO_SIZE
LEAF_BITS = 8  # the smallest ranges are of 256 values or more
NOT_NOTED = 2**63 - 1  # of signed and unsigned words; a value that is this one is looked up each time


@helper
def memo_offset(values):
    """Where the notes of an array begin: most large ones lie a multiple of 2 MiB from each other."""
    page = np.int64(values.ctypes.data) >> 12
    return ((page * 0x9E37 >> 13) & (ARRAYS - 1)) << LEVELS


@helper
def claim(memo, values):
    """Forget what is known if it is of another array."""
    owner = np.int64(values.ctypes.data) + values.strides[0] + (len(values) << 16)
    if memo[0] != owner:
        memo[0] = owner
        memo[1] = NOT_NOTED


@helper
def note(values, i, memo, k):
    """Note values[i], the last one beyond the end, as known[k], and that nothing is known of its halves."""
    memo[np.uint64(k)] = values[np.uint64(min(i, len(values) - 1))]
    if 2 * k < MEMO_SIZE:
        memo[np.uint64(2 * k)] = NOT_NOTED
        memo[np.uint64(2 * k + 1)] = NOT_NOTED


@helper
def descend(values, x, memo, leaves, whole, upper):
    """(k, width): the smallest range that is known to hold the bound of x begins at value k * width - whole.

    What is not known of the top levels it looks up; below, it notes the next value without waiting for it.
    """
    k, width = 1, whole
    while k < leaves:
        prefetch(memo, 8 * k)  # all that the third step from here may compare
        if memo[np.uint64(k)] == NOT_NOTED:
            note(values, k * width - whole + (width >> 1) - 1, memo, k)
            if k >> TOP_LEVELS:
                break
        k = 2 * k + (1 if is_before(memo[np.uint64(k)], x, upper) else 0)
        width >>= 1
    return k, width


@helper
def guess_from_memo(values, x, memo, k, base, width, upper):
    """(found, bound) of x in the range k, by guesses; not found where it and its neighbour do not rise evenly together.

    At the ends of the array one border is not known: [0] stands for it, with which nothing looks even.
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
    """The bound of x, by what is known of `values`."""
    n = len(values)
    if n < EVEN_ABOVE:
        return interpolate(values, x, upper)
    place = memo_offset(values)
    memo = notes[place : place + MEMO_SIZE]
    claim(memo, values)
    levels = min(LEVELS, 63 - leading_zeros(n) - LEAF_BITS)
    whole = (((n - 1) >> levels) + 1 | 1) << levels  # odd ranges: those of a power of two are in the same sets of a cache
    k, width = descend(values, x, memo, 1 << levels, whole, upper)
    base = min(k * width - whole, n - 1)  # what is known of another array may lead beyond this one
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
    """`lower_bound`, for one after another in the same few arrays.

    notes : u8 or i8[N_NOTES], as x is, whatever it holds; changed. It makes the next searches faster, and none wrong.
    """
    return search_cached(values, x, notes, False)


@kernel
def upper_bound_cached(values, x, notes):
    """`upper_bound`, for one after another in the same few arrays; arguments as for `lower_bound_cached`."""
    return search_cached(values, x, notes, True)
