"""The largest or smallest value of a moving window: a queue of values that no later one has beaten.

    rings   (end, y): y held until clock `end`     oldest first, ends rise, y falls     y = sign * value: a minimum is a maximum of -x
            the value in force is beside them (WINDOW.x): it has no end yet

A value that held for no time at all (several events at one moment) does not count, as in a mean. Each value comes and goes once, so an
event costs the same whatever the length. Weak case: a price that falls for a whole window, whose maximum keeps every value of it.
"""

import numpy as np

from nbtrade._numba.jit import helper
from nbtrade.feature.kernels.rolling import entry_at, is_warm, push


@helper
def hold_extreme(w, x):
    """From the window's clock on the value is `x`."""
    w.x = x
    if w.since == np.inf and x == x:  # noqa: PLR0124 - not NaN
        w.since = w.c


@helper
def forward_extreme(w, rings, c, sign, plan):
    """Bring the window to clock `c`: the value in force held until now; what ended before the window goes."""
    if c > w.c:
        if w.x == w.x:
            y = sign * w.x
            while w.n > 0 and rings[entry_at(w, w.n - 1) + 1] <= y:
                w.n -= 1
            push(w, rings, c, y, plan)
        w.c = c
        while w.n > 0 and rings[entry_at(w, 0)] <= c - w.length:
            w.head += 1
            w.n -= 1


@helper
def extreme_of(w, rings, sign):
    """The largest (sign 1) or smallest (-1) value over the window; NaN before it is full, or where nothing in it is defined."""
    if not is_warm(w):
        return np.nan
    best = sign * w.x
    if w.n > 0 and not best >= rings[entry_at(w, 0) + 1]:
        best = rings[entry_at(w, 0) + 1]
    return sign * best
