"""Small formulas used by compiled feature sets, apart from windows (rolling.py) and intervals (interval_stats.py)."""

import math

import numpy as np

from nbtrade._numba.jit import helper

TINY = 1e-200
EXP_UNDERFLOW = 600.0
SERIES_LIMIT = 1 / 64  # up to here six terms of exp are exact except for the last bit


@helper
def ema_step(mean, x, weight):
    """An average that moves towards `x`, keeping `weight` of itself; an undefined x leaves it unchanged."""
    return x + (mean - x) * weight if x == x else mean  # noqa: PLR0124 - not NaN


@helper
def flush_tiny(total):
    """Return a fading total, or 0 once it is almost denormal: each denormal number costs the processor 50 ns."""
    return total if abs(total) > TINY else 0.0


@helper
def difference(x, before):
    """x - before; 0 where one is undefined."""
    d = x - before
    return d if d == d else 0.0  # noqa: PLR0124


@helper
def sign_of(x):
    """1, 0, -1; NaN stays."""
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else x)


@helper
def clip(x, low, high):
    """Limit x to low..high; NaN stays."""
    return low if x < low else (min(x, high))


@helper
def table_of(rings, start, n_rows, n_columns, share, step):
    """Entry in row floor(share * n_rows) and column step - 1 of a table, or the nearest entry if that is out of range; NaN for NaN."""
    if not (share == share and step == step):  # noqa: PLR0124
        return np.nan
    row = min(max(int(share * n_rows), 0), int(n_rows) - 1)
    column = min(max(int(step) - 1, 0), int(n_columns) - 1)
    return rings[int(start) + row * int(n_columns) + column]


@helper
def decay_of(x):
    """exp(-x) for x >= 0: 2 ns where x is small, as between most events; a library call took 15 ns of an event's 60."""
    if x > SERIES_LIMIT:
        return math.exp(-x) if x < EXP_UNDERFLOW else 0.0
    square = x * x
    low = 1.0 - x + square * (0.5 - x * (1.0 / 6.0))
    return low + square * square * ((1.0 / 24.0 - x * (1.0 / 120.0)) + square * (1.0 / 720.0))
