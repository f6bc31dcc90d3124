"""Search in ascending columns: for kernels to call, one value at a time. Bulk searches are in kernels/bulk_search.py.

    values   a  b  b  b  c  d          lower_bound(b) = 1    first index whose value is >= x
    index    0  1  2  3  4  5   (6)    upper_bound(b) = 4    first index whose value is > x;  both len(values) if there is none

`values` is an array of any integer dtype and stride, ascending, duplicates allowed. Packed columns of any width have two searches of their
own; from Python the odd widths are searched faster, as words that overlap (store/search.py).

- `lower_bound` halves without a branch on the data, and while the range is large fetches both values that it may compare next: half the
  waits for memory (1.35 to 1.08 us in 100 M values). Weak case: none worse than bisection; a few per cent on arrays that lie in cache.
- `lower_bound_near` gallops from a hint, both ways: O(log distance). Weak case: a far hint costs twice the halving.
- `lower_bound_even` halves 6 times among values that are always in the cache, then interpolates at most 3 times while each error is about
  the root of the last one, then looks a little way around (0.75 us in 100 M values). If one of that does not go as with even values, it
  goes on halving where it was. Weak case: even on a large scale, clustered on a small one; 12 probes in vain, most of them cached.

Midpoints are sums of offsets and differences are taken of halved values, so neither overflows at the ends of int64.
Measured speeds: README. Oracle: numpy.searchsorted.
"""

import numpy as np

from nbtrade._jit import helper, kernel
from nbtrade.kernels import packed
from nbtrade.kernels.hashing import prefetch
from nbtrade.schema import NONE

FETCH_ABOVE = 1 << 10  # values: below, the next probes lie in a page or two that are on their way already
EVEN_ABOVE = 1 << 14  # values: below, all are in the cache, and halving is as fast as a division
TOP_LEVELS = 6  # leaves an error of the first guess eight times smaller than that in the whole
N_GUESSES = 3
CLOSE = 512  # values: after a step below it the next guess is off by a dozen or two, so stop guessing and look around
LOOK_AROUND = 16  # values: two cache lines; doubled up to 64


@helper
def is_before(value, x, upper):
    """Whether the bound of x lies behind `value`. `upper` is a constant where this is used."""
    return value <= x if upper else value < x


@helper
def halve(values, base, n, x, upper):
    """The bound of x within values[base : base + n]; base + n when all are before it."""
    while n > 1:
        half = n >> 1
        base += half if is_before(values[np.uint64(base + half - 1)], x, upper) else 0
        n -= half
    return base + (1 if n == 1 and is_before(values[np.uint64(base)], x, upper) else 0)


@helper
def halve_ahead(values, base, n, x, upper):
    """`halve` of a large range: fetches both candidates of the next probe before it waits for this one."""
    while n > FETCH_ABOVE:
        half = n >> 1
        quarter = (n - half) >> 1
        prefetch(values, base + quarter - 1)
        prefetch(values, base + half + quarter - 1)
        base += half if is_before(values[np.uint64(base + half - 1)], x, upper) else 0
        n -= half
    return halve(values, base, n, x, upper)


@helper
def gallop(values, hint, x, upper):
    """The bound of x, by doubling steps from index `hint` (any integer; beyond the ends means the ends)."""
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
    """About a - b as a float, for a >= b. Halves first: the difference of two int64 need not fit one."""
    return np.float64((a >> 1) - (b >> 1))


@helper
def fetch_around(values, at):
    """Fetch the 17 cache lines (of int64) around `at`: the next guess is most often in one of them (750 to 610 ns a search)."""
    last = len(values) - 1
    for i in range(-8, 9):
        prefetch(values, min(max(at + i * 8, 0), last))


@helper
def look_around(values, at, low, high, x, upper):
    """Narrow (low, high), where values[low] is before x and values[high] is not, to a few values beside `at` if x is there."""
    step = LOOK_AROUND
    if is_before(values[np.uint64(at)], x, upper):
        low = at
        while step <= 4 * LOOK_AROUND and low + step < high:
            if not is_before(values[np.uint64(low + step)], x, upper):
                return low, low + step
            low += step
            step *= 2
        return low, high
    high = at
    while step <= 4 * LOOK_AROUND and high - step > low:
        if is_before(values[np.uint64(high - step)], x, upper):
            return high - step, high
        high -= step
        step *= 2
    return low, high


@helper
def guess_within(values, base, n, x, upper):
    """(found, low, high) of x in values[base : base + n] (n > 2): if found, low is before x, high is not, and both are near.

    Looks first whether the middle value lies where that of even values does, up to 8 times the scatter of random ones.
    """
    low, high = base, base + n - 1
    first, last = values[np.uint64(low)], values[np.uint64(high)]
    if not is_before(first, x, upper) or is_before(last, x, upper):
        return False, low, high
    half = (n - 1) >> 1
    per_value = np.float64(n - 1) / max(distance(last, first), 1.0)
    largest = 4.0 * np.sqrt(np.float64(n))  # a larger error says that values do not rise evenly here
    if abs(distance(values[np.uint64(base + half)], first) * per_value - half) > largest:
        return False, low, high
    at = base + np.int64(min(distance(x, first) * per_value, np.float64(n - 2)))
    fetch_around(values, at)
    for _ in range(N_GUESSES):
        value = values[np.uint64(at)]
        if is_before(value, x, upper):
            low = max(low, at)
            step = distance(x, value) * per_value
        else:
            high = min(high, at)
            step = -distance(value, x) * per_value
        if abs(step) > 2.0 * largest:
            return False, low, high
        at = min(max(at + np.int64(step), low), high)
        fetch_around(values, at)
        if abs(step) < CLOSE:
            break
        largest = 4.0 * np.sqrt(abs(step)) + LOOK_AROUND
    low, high = look_around(values, at, low, high, x, upper)
    return high - low <= 4 * LOOK_AROUND, low, high


@helper
def interpolate(values, x, upper):
    """The bound of x: halve TOP_LEVELS times, among values that every search looks at; then guess, or halve on where that fails."""
    base, n = 0, len(values)
    if n >= EVEN_ABOVE:
        for _ in range(TOP_LEVELS):
            half = n >> 1
            base += half if is_before(values[np.uint64(base + half - 1)], x, upper) else 0
            n -= half
        found, low, high = guess_within(values, base, n, x, upper)
        if found:
            return halve(values, low + 1, high - low - 1, x, upper)
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
    """First index with values[i] == x; NONE (-1) if there is none. O(log n)."""
    i = halve_ahead(values, 0, len(values), x, False)
    return i if i < len(values) and values[np.uint64(i)] == x else NONE


@kernel
def lower_bound_near(values, x, hint):
    """`lower_bound`, looked for from index `hint` on, both ways: O(log distance). len(values) as hint: from the end, for live tails."""
    return gallop(values, hint, x, False)


@kernel
def upper_bound_near(values, x, hint):
    """`upper_bound`, looked for from index `hint` on, both ways: O(log distance)."""
    return gallop(values, hint, x, True)


@kernel
def lower_bound_even(values, x):
    """`lower_bound` by interpolation, for values that rise about evenly; at most 12 probes more than halving when they do not."""
    return interpolate(values, x, False)


@kernel
def upper_bound_even(values, x):
    """`upper_bound` by interpolation, for values that rise about evenly."""
    return interpolate(values, x, True)


@helper
def halve_packed(data, bits, signed, n, x, upper):
    """The bound of x among the n values of a packed column; unsigned 64-bit values compare with their top bit flipped, as signed ones."""
    flip = np.int64(-(2**63)) if bits == 64 and not signed else np.int64(0)
    base = 0
    while n > 1:
        half = n >> 1
        base += half if is_before(packed.value_at(data, bits, signed, base + half - 1) ^ flip, x ^ flip, upper) else 0
        n -= half
    return base + (1 if n == 1 and is_before(packed.value_at(data, bits, signed, base) ^ flip, x ^ flip, upper) else 0)


@kernel
def lower_bound_packed(data, bits, signed, n, x):
    """`lower_bound` in a packed column as `CompactColumn.packed()` gives it, in place.

    data : u1[>= 8];  bits : of a value, 1 or 8 to 64;  n : values;  x : int64, any (of unsigned 64 bits the pattern)
    """
    return halve_packed(data, bits, signed, n, x, False)


@kernel
def upper_bound_packed(data, bits, signed, n, x):
    """`upper_bound` in a packed column, in place; arguments as for `lower_bound_packed`."""
    return halve_packed(data, bits, signed, n, x, True)
