"""Binary search over sorted columns: jitted, so that kernels and Python call the same function.

`lower_bound(a, x)` is the first index whose value is >= x, `upper_bound(a, x)` the first whose value is > x; both are
len(a) when there is none. `lower_bounds` and `upper_bounds` do many at once.

The loop halves the range without a branch on the data (the compare becomes a conditional move), so a random search costs its cache
misses and no mispredictions.
"""

import numpy as np

from nbtrade._jit import kernel


@kernel
def lower_bound(values, x):
    """First index with values[i] >= x; len(values) if none. values: ascending i8[n], duplicates allowed. O(log n)."""
    base = 0
    n = len(values)
    while n > 1:
        half = n >> 1
        base += half if values[base + half - 1] < x else 0
        n -= half
    return base + (n == 1 and values[base] < x)


@kernel
def upper_bound(values, x):
    """First index with values[i] > x; len(values) if none. values: ascending i8[n], duplicates allowed. O(log n)."""
    base = 0
    n = len(values)
    while n > 1:
        half = n >> 1
        base += half if values[base + half - 1] <= x else 0
        n -= half
    return base + (n == 1 and values[base] <= x)


@kernel
def lower_bounds(values, xs, out):
    """`lower_bound` of every x. xs, out: i8[k]."""
    for i in range(len(xs)):
        out[i] = lower_bound(values, xs[i])


@kernel
def upper_bounds(values, xs, out):
    """`upper_bound` of every x. xs, out: i8[k]."""
    for i in range(len(xs)):
        out[i] = upper_bound(values, xs[i])


def bounds(values: np.ndarray, x, upper: bool):
    """One index for a scalar `x`, an i8 array of them for an array of any shape."""
    if np.ndim(x) == 0:
        return int((upper_bound if upper else lower_bound)(values, np.int64(x)))
    xs = np.ascontiguousarray(x, np.int64)
    out = np.empty(xs.size, np.int64)
    (upper_bounds if upper else lower_bounds)(values, xs.reshape(-1), out)
    return out.reshape(xs.shape)
