"""Search for one key in ascending columns, to be called from kernels. Bulk searches are in bulk_search.py.

    values   a  b  b  b  c  d          lower_bound(b) = 1    first index whose value is >= x
    index    0  1  2  3  4  5   (6)    upper_bound(b) = 4    first index whose value is > x;  both len(values) if none is

`values` is an array of any integer dtype and stride, ascending, duplicates allowed. Packed columns of any width have two separate
searches; from Python the odd widths are searched faster, as overlapping words (storage/search/search.py).

- `lower_bound` bisects, and prefetches all seven values that its next three steps may compare before it waits for the first (20 M times of
  a real feed, one search from Python: 736 to 586 ns). Weak case: none worse than bisection. Its steps are branches: speculation past
  predicted branches loads ahead (with selects instead, 20 M values in bursts: 450 to 630 ns).
- `lower_bound_near` gallops from a hint in both directions: O(log distance). Weak case: a far hint costs twice the bisection.
- `lower_bound_even` bisects 6 times among values that are always cached, then guesses the index, refines the guess twice from the values
  there, and bisects among the 32 values around it: two waits for memory, and no branch that depends on values. Where values turn out not
  to be even, it resumes bisecting. Weak case: even on a large scale, clustered on a small one; 12 wasted probes.

Midpoints are sums of offsets, and differences are computed from halved values, so neither overflows at the limits of int64.
Measured speeds: README. Oracle: numpy.searchsorted.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel
from nbtrade._numba.prefetch import prefetch
from nbtrade.schema import NONE
from nbtrade.storage.columns.kernels import packed

CHILDREN = 8  # parts that one step of `halve_ahead` distinguishes: all boundaries between them are prefetched together
EVEN_ABOVE = 1 << 14  # values: below, all are cached, and bisecting is as fast as a division
TOP_LEVELS = 6  # makes the error of the first guess eight times smaller; 5 to 8 are equally fast
CLOSE = 512.0  # values: if the second guess is off by less, the third is off by a few
NEAR = 32.0  # values: if the second guess is off by less, no third is needed
AROUND = 32  # values searched around the last guess
LINE = 8  # values assumed to share a cache line


@helper
def is_before(value, x, upper):
    """Whether the bound of x comes after `value`. `upper` is a constant at each call."""
    return value <= x if upper else value < x


@helper
def is_bound(values, i, x, upper):
    """Whether index i is the bound of x."""
    after_left = i == 0 or is_before(values[np.uint64(i - 1)], x, upper)
    return after_left and (i == len(values) or not is_before(values[np.uint64(i)], x, upper))


@helper
def halve(values, base, n, x, upper):
    """The bound of x within values[base : base + n]; base + n if all are before it."""
    while n > 1:
        half = n >> 1
        base += half if is_before(values[np.uint64(base + half - 1)], x, upper) else 0
        n -= half
    return base + (1 if n == 1 and is_before(values[np.uint64(base)], x, upper) else 0)


@helper
def halve_ahead(values, base, n, x, upper):
    """`halve` for a large range: prefetches all seven values that the next three steps may compare before it waits for the first."""
    while n > CHILDREN:
        part = n >> 3
        for i in range(1, CHILDREN):
            prefetch(values, base + i * part - 1)
        for half in (4 * part, 2 * part, part):
            base += half if is_before(values[np.uint64(base + half - 1)], x, upper) else 0
        n -= 7 * part
    return halve(values, base, n, x, upper)


@helper
def gallop(values, hint, x, upper):
    """The bound of x, by doubling steps from index `hint` (any integer, clipped to the array)."""
    n = len(values)
    low = min(max(hint, 0), n) - 1  # values[low] is before x, or low is -1
    high = low + 1  # values[high] is not, or high is n
    step = 1
    if high < n and is_before(values[np.uint64(high)], x, upper):
        low = high
        while low + step < n and is_before(values[np.uint64(low + step)], x, upper):
            low += step
            step *= 2
        high = min(low + step, n)
    else:
        while high - step >= 0 and not is_before(values[np.uint64(high - step)], x, upper):
            high -= step
            step *= 2
        low = max(high - step, -1)
    return halve(values, low + 1, high - low - 1, x, upper)


@helper
def distance(a, b):
    """Approximately (a - b) / 2 as a float. Halves first, because the difference of two int64 may overflow."""
    return np.float64(np.int64(a >> 1) - np.int64(b >> 1))


@helper
def guess(values, base, n, at, x, per_value, largest):
    """(index closer to the bound of x, estimated error), from the value at `at`, within values[base : base + n]. Waits for memory once."""
    for i in range(-AROUND, AROUND + 1, LINE):  # often the bound or the next guess is here
        prefetch(values, at + i)
    step = distance(x, values[np.uint64(at)]) * per_value
    return min(max(at + np.int64(min(max(step, -largest), largest)), base), base + n - 1), abs(step)


@helper
def bound_around(values, at, x, upper):
    """(whether the bound of x is among the AROUND values around `at`, its index).

    No branch depends on values: a misprediction would discard the speculative work on the next search.
    """
    start = min(max(at - AROUND // 2, 0), len(values) - AROUND)
    i = halve(values, start, AROUND, x, upper)
    after_left = start == 0 or is_before(values[np.uint64(start)], x, upper)
    return after_left and (i < start + AROUND or i == len(values)), i


@helper
def guess_from(values, base, n, at, x, per_value, largest, upper):
    """(found, bound) of x in values[base : base + n], starting with the guess `at`, which is off by at most `largest`."""
    at, off = guess(values, base, n, at, x, per_value, 2.0 * largest)
    if off > 2.0 * largest:
        return False, base
    if off > NEAR:
        at, off = guess(values, base, n, at, x, per_value, CLOSE)
    return bound_around(values, at, x, upper) if off < CLOSE else (False, base)


@helper
def guess_within(values, base, n, x, upper):
    """(found, bound) of x in values[base : base + n] by three guesses; not found where values do not rise evenly enough.

    First compares the middle value with that of evenly rising values; it may differ by up to 8 times the scatter of random ones.
    """
    first, last = values[np.uint64(base)], values[np.uint64(base + n - 1)]
    half = (n - 1) >> 1
    per_value = np.float64(n - 1) / max(distance(last, first), 1.0)
    largest = 4.0 * np.sqrt(np.float64(n))  # a larger error means that values do not rise evenly here
    if abs(distance(values[np.uint64(base + half)], first) * per_value - half) > largest:
        return False, base
    at = base + np.int64(min(max(distance(x, first) * per_value, 0.0), np.float64(n - 1)))
    return guess_from(values, base, n, at, x, per_value, largest, upper)


@helper
def interpolate(values, x, upper):
    """The bound of x: bisects TOP_LEVELS times, among values that every search reads; then guesses, or bisects further if that fails."""
    base, n = 0, len(values)
    if n >= EVEN_ABOVE:
        for _ in range(TOP_LEVELS):
            half = n >> 1
            base += half if is_before(values[np.uint64(base + half - 1)], x, upper) else 0
            n -= half
        found, i = guess_within(values, base, n, x, upper)
        if found:
            return i
    return halve_ahead(values, base, n, x, upper)


@kernel
def lower_bound(values, x):
    """First index with values[i] >= x; len(values) if none. O(log n)."""
    return halve_ahead(values, 0, len(values), x, False)


@kernel
def upper_bound(values, x):
    """First index with values[i] > x; len(values) if none. O(log n)."""
    return halve_ahead(values, 0, len(values), x, True)


@kernel
def binary_search(values, x):
    """First index with values[i] == x; NONE (-1) if none. O(log n)."""
    i = halve_ahead(values, 0, len(values), x, False)
    return i if i < len(values) and values[np.uint64(i)] == x else NONE


@kernel
def lower_bound_near(values, x, hint):
    """`lower_bound`, searched outward from index `hint`: O(log distance). Pass len(values) for the end of a growing column."""
    return gallop(values, hint, x, False)


@kernel
def upper_bound_near(values, x, hint):
    """`upper_bound`, searched outward from index `hint`: O(log distance)."""
    return gallop(values, hint, x, True)


@kernel
def lower_bound_even(values, x):
    """`lower_bound` by interpolation, for roughly evenly rising values; at most 12 probes more than bisection for others."""
    return interpolate(values, x, False)


@kernel
def upper_bound_even(values, x):
    """`upper_bound` by interpolation, for roughly evenly rising values."""
    return interpolate(values, x, True)


@helper
def halve_packed(data, bits, signed, n, x, upper):
    """The bound of x among the n values of a packed column. Unsigned 64-bit values are compared as signed, with the top bit flipped."""
    flip = np.int64(-(2**63)) if bits == 64 and not signed else np.int64(0)
    base = 0
    while n > 1:
        half = n >> 1
        base += half if is_before(packed.value_at(data, bits, signed, base + half - 1) ^ flip, x ^ flip, upper) else 0
        n -= half
    return base + (1 if n == 1 and is_before(packed.value_at(data, bits, signed, base) ^ flip, x ^ flip, upper) else 0)


@kernel
def lower_bound_packed(data, bits, signed, n, x):
    """`lower_bound` in a packed column as returned by `CompactColumn.packed()`, in place.

    data : u1[>= 8];  bits : per value, 1 or 8 to 64;  n : values;  x : any int64 (for unsigned 64-bit values, the bit pattern)
    """
    return halve_packed(data, bits, signed, n, x, False)


@kernel
def upper_bound_packed(data, bits, signed, n, x):
    """`upper_bound` in a packed column, in place; with the arguments of `lower_bound_packed`."""
    return halve_packed(data, bits, signed, n, x, True)
