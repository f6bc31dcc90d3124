"""Moving windows of features: by time, by events or by volume, with the same code on different clocks.

    rings  f8[...]   entries (c, x): the value is x from clock c onward    WINDOW.start, mask: a ring of 2**k entries
                                                                          head ... head + n - 1, oldest first
    level  x(c) is a step function; the window holds its integrals over (c - length, c]: mean, deviation, and the earlier value (lag)
    flow   x is the amount at clock c; the window holds the sum over (c - length, c]
    pairs  the last `max_pairs` pairs (y, x): sums for variances, regressions, covariances

A value that does not change makes no entry. Sums are updated by adding and subtracting, and recomputed each time the ring wraps, so
rounding errors do not accumulate over a day; levels are summed minus the first value, or the last that filled the window, so
variances keep their digits. An entry costs 16 bytes while the window holds it. A full ring sets PLAN.full: the pass stops before the next
event, and the caller doubles the ring. Weak case: an hour's window over every event holds them all.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.records import record_at, record_type

WINDOW = np.dtype(
    [
        ("length", "f8"),  # on the window's clock
        ("c", "f8"),  # clock so far
        ("x", "f8"),  # current value
        ("since", "f8"),  # clock at which the first value took effect; infinite before
        ("cut", "f8"),  # clock at which the sums start
        ("shift", "f8"),  # the first value, later the last that filled the window: sums are of x - shift
        ("max_distance", "f8"),  # the largest distance from it so far
        ("s0", "f8"),  # integrals of 1, x, x*x where x is defined
        ("s1", "f8"),
        ("s2", "f8"),
        ("start", "i8"),  # first float of the ring
        ("mask", "i8"),  # number of entries minus one
        ("head", "i8"),
        ("n", "i8"),
        ("stride", "i8"),  # floats per entry
        ("bounded", "i8"),  # 1: cannot fill up
    ],
    align=True,
)
PAIRS = np.dtype(
    [
        ("max_pairs", "i8"),  # pairs kept
        ("every", "f8"),  # step of a time grid; lots of a bucket
        ("next", "f8"),  # the grid's next point
        ("x", "f8"),  # current value
        ("last", "f8"),  # value at the last point
        ("before", "f8"),  # its change at that point
        ("flow", "f8"),  # the flow since then
        ("total", "f8"),  # lots in the bucket
        ("sy", "f8"),
        ("sx", "f8"),
        ("syy", "f8"),
        ("sxy", "f8"),
        ("sxx", "f8"),
        ("start", "i8"),
        ("mask", "i8"),
        ("head", "i8"),
        ("n", "i8"),
    ],
    align=True,
)


window_at, pairs_at = (record_at(dtype, record_type(dtype)) for dtype in (WINDOW, PAIRS))


# --- rings -------------------------------------------------------------------------------------------
@helper
def entry_at(w, k):
    """First float of entry `k` (counted from the oldest)."""
    return w.start + w.stride * ((w.head + k) & w.mask)


@helper
def push(w, rings, c, x, plan):
    """Append an entry. The pass has made sure that there is room."""
    at = entry_at(w, w.n)
    rings[at] = c
    rings[at + 1] = x
    w.n += 1
    if w.n > w.mask:
        plan.full = 1


# --- levels ------------------------------------------------------------------------------------------
@helper
def hold_value(w, rings, x, plan):
    """Set the value to `x` from the window's clock onward."""
    if x == w.x or (x != x and w.x != w.x):  # noqa: PLR0124 - both NaN
        return
    w.x = x
    if w.since == np.inf and x == x:  # noqa: PLR0124
        w.since = w.c
        w.shift = x
    if abs(x - w.shift) > w.max_distance:
        w.max_distance = abs(x - w.shift)
    if w.n > 0 and rings[entry_at(w, w.n - 1)] == w.c:
        rings[entry_at(w, w.n - 1) + 1] = x
        return
    if w.n == 0:
        w.cut = w.c
    push(w, rings, w.c, x, plan)
    if (w.head + w.n) & w.mask == 0:
        sum_level(w, rings)


@helper
def accumulate(w, x, length):
    """Add `x` for `length` of the clock; a negative length removes it."""
    if x == x:  # noqa: PLR0124
        y = x - w.shift
        w.s0 += length
        w.s1 += length * y
        w.s2 += length * y * y


@helper
def forward(w, rings, c):
    """Advance the window to clock `c`: the current value counts for the elapsed time; older parts leave the window."""
    if c > w.c:
        if w.n > 0:
            accumulate(w, w.x, c - w.c)
        w.c = c
        if c - w.length > w.cut:
            expire(w, rings, c - w.length)


@helper
def expire(w, rings, cut):
    """Remove everything before clock `cut`; the value that held at `cut` remains as the oldest entry."""
    while w.n > 1:
        end = rings[entry_at(w, 1)]
        if end > cut:
            break
        accumulate(w, rings[entry_at(w, 0) + 1], w.cut - end)
        w.cut = end
        w.head += 1
        w.n -= 1
    if w.n > 0 and cut > w.cut:
        accumulate(w, rings[entry_at(w, 0) + 1], w.cut - cut)
        w.cut = cut
    if w.n == 1:  # one value fills the window: drop any rounding errors of earlier values
        w.s0 = 0.0
        w.s1 = 0.0
        w.s2 = 0.0
        if w.x == w.x:  # from here the sums are relative to this value, so a change of it keeps all its digits
            w.shift = w.x
            w.max_distance = 0.0
        accumulate(w, w.x, w.c - w.cut)


@kernel
def sum_level(w, rings):
    """Recompute the sums from the entries."""
    noinline()
    w.s0 = 0.0
    w.s1 = 0.0
    w.s2 = 0.0
    for k in range(w.n):
        begin = max(rings[entry_at(w, k)], w.cut)
        end = rings[entry_at(w, k + 1)] if k + 1 < w.n else w.c
        accumulate(w, rings[entry_at(w, k) + 1], end - begin)


@helper
def is_warm(w):
    """True when a whole length has passed since the first value."""
    return w.c - w.since >= w.length


@helper
def mean_of(w):
    """Mean of the level over the window; NaN before it is full, or where nothing in it is defined."""
    return w.shift + w.s1 / w.s0 if is_warm(w) and w.s0 > 0.0 else np.nan


@helper
def variance_of(w):
    """Variance of the level over the window; 0 if it is only the rounding error of a constant. The window is warm."""
    mean = w.s1 / w.s0
    variance = w.s2 / w.s0 - mean * mean
    return variance if variance > 1e-13 * w.max_distance * w.max_distance else 0.0


@helper
def std_of(w):
    """Standard deviation of the level over the window (of the population); NaN as `mean_of`."""
    return np.sqrt(variance_of(w)) if is_warm(w) and w.s0 > 0.0 else np.nan


@helper
def zscore_of(w):
    """(x - mean) / std over the window; NaN as `mean_of`, or where the level did not move."""
    if not is_warm(w) or w.s0 <= 0.0:
        return np.nan
    variance = variance_of(w)
    return (w.x - w.shift - w.s1 / w.s0) / np.sqrt(variance) if variance > 0.0 else np.nan


@helper
def lag_of(w, rings):
    """The value that held one length ago."""
    return rings[entry_at(w, 0) + 1] if w.n > 0 and is_warm(w) else np.nan


# --- flows -------------------------------------------------------------------------------------------
@helper
def forward_flow(w, rings, c):
    """Advance a flow's window to clock `c`."""
    w.c = c
    cut = c - w.length
    while w.n > 0:
        at = entry_at(w, 0)
        if rings[at] > cut:
            break
        w.s1 -= rings[at + 1]
        w.head += 1
        w.n -= 1


@helper
def add_flow(w, rings, x, plan):
    """Add `x` at the window's clock."""
    if w.since == np.inf:
        w.since = w.c
    if x != 0.0:
        w.s1 += x
        push(w, rings, w.c, x, plan)
        if (w.head + w.n) & w.mask == 0:
            sum_flow(w, rings)


@kernel
def sum_flow(w, rings):
    """Recompute the sum from the entries."""
    noinline()
    w.s1 = 0.0
    for k in range(w.n):
        w.s1 += rings[entry_at(w, k) + 1]


@helper
def sum_of(w):
    """Sum of the flow over the window; NaN before a whole length has passed since the first event."""
    return w.s1 if is_warm(w) else np.nan


# --- pairs -------------------------------------------------------------------------------------------
@helper
def add_pair(p, y, x, sign):
    """Add a pair to the sums, or remove it."""
    p.sy += sign * y
    p.sx += sign * x
    p.syy += sign * y * y
    p.sxy += sign * x * y
    p.sxx += sign * x * x


@helper
def push_pair(p, rings, y, x):
    """Append a pair; the oldest is dropped when there are `max_pairs`."""
    if p.n == p.max_pairs:
        at = p.start + 2 * (p.head & p.mask)
        add_pair(p, rings[at], rings[at + 1], -1.0)
        p.head += 1
        p.n -= 1
    at = p.start + 2 * ((p.head + p.n) & p.mask)
    rings[at] = y
    rings[at + 1] = x
    p.n += 1
    add_pair(p, y, x, 1.0)
    if (p.head + p.n) & p.mask == 0:
        sum_pairs(p, rings)


@kernel
def sum_pairs(p, rings):
    """Recompute the sums."""
    noinline()
    p.sy = 0.0
    p.sx = 0.0
    p.syy = 0.0
    p.sxy = 0.0
    p.sxx = 0.0
    for k in range(p.n):
        at = p.start + 2 * ((p.head + k) & p.mask)
        add_pair(p, rings[at], rings[at + 1], 1.0)


@helper
def is_full(p):
    """True when the maximum number of pairs is stored."""
    return p.n == p.max_pairs
