"""Maximum or minimum of a moving window: a queue of the values that no later one has exceeded.

    rings   (end, y): y held until clock `end`     oldest first, ends rise, y falls     y = sign * value: a minimum is a maximum of -x
            the current value is stored separately (WINDOW.x): it has no end yet

A value that held for no time at all (several events at one moment) does not count, as in a mean. Each value enters and leaves once, so an
event costs the same for any length. Weak case: a price that falls for a whole window, whose maximum keeps every value of it.
"""

import numpy as np

from nbtrade._numba.jit import helper
from nbtrade.feature.kernels.rolling import entry_at, is_warm, push


@helper
def hold_extreme(w, x):
    """Set the value to `x` from the window's clock onward."""
    w.x = x
    if w.since == np.inf and x == x:  # noqa: PLR0124 - not NaN
        w.since = w.c


@helper
def forward_extreme(w, rings, c, sign, plan):
    """Advance the window to clock `c`: the current value held until now; values that ended before the window leave it."""
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
