"""Statistics over intervals: of a time grid (volatility, price impact), of volume buckets (VPIN), of trades (Roll, realised spread).

    current value    ──── ──────── ─── ──────      at each grid point the change since the previous point forms a pair (y, x),
    grid             |        |        |           the last `max_pairs` pairs are kept (feature/kernels/rolling.py)

The value at a grid point is the one just before it: an event at exactly that ns belongs to the next interval. Points with no event
in between have a change of 0; after a long silence at most `max_pairs` of them are created. An undefined value keeps the last defined one.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade.feature.kernels.rolling import entry_at, is_full, push, push_pair

REALISED, BIPOWER, IMPACT, ILLIQUIDITY = range(4)


@helper
def close_interval(p, rings, y, what):
    """Close an interval in which the value changed by `y`."""
    if what == REALISED:
        push_pair(p, rings, y * y, 0.0)
    elif what == BIPOWER:
        if p.before == p.before:
            push_pair(p, rings, abs(y) * abs(p.before), 0.0)
        p.before = y
    elif what == IMPACT:
        push_pair(p, rings, y, p.flow)
    elif p.flow > 0.0:
        push_pair(p, rings, abs(y) / p.flow, 1.0)
    else:
        push_pair(p, rings, 0.0, 0.0)
    p.flow = 0.0


@kernel
def close_intervals(p, rings, now, what):
    """Close the intervals that ended by `now`, which is at or after the next point."""
    noinline()
    skipped = np.floor((now - p.next) / p.every)
    x = p.x
    if p.last == p.last:
        close_interval(p, rings, x - p.last, what)
    p.last = x
    p.flow = 0.0
    if x == x:  # noqa: PLR0124
        for _ in range(int(min(skipped, p.max_pairs + 1))):
            close_interval(p, rings, 0.0, what)
    p.next += (skipped + 1.0) * p.every


@helper
def volatility_of(p):
    """Square root of the sum of squared changes."""
    return np.sqrt(max(p.sy, 0.0)) if is_full(p) else np.nan


@helper
def bipower_of(p):
    """pi / 2 times the sum of products of consecutive absolute changes (Barndorff-Nielsen and Shephard 2004)."""
    return 0.5 * np.pi * p.sy if is_full(p) else np.nan


@helper
def impact_of(p):
    """Slope of changes on flows: cov(y, x) / var(x)."""
    if not is_full(p):
        return np.nan
    n = float(p.n)
    variance = n * p.sxx - p.sx * p.sx
    return (n * p.sxy - p.sx * p.sy) / variance if variance > 0.0 else np.nan


@helper
def illiquidity_of(p):
    """Mean of |change| / value over the intervals that had trades."""
    return p.sy / p.sx if is_full(p) and p.sx > 0.0 else np.nan


# --- trades ------------------------------------------------------------------------------------------
@helper
def step_trade(p, rings, px):
    """A trade at `px`: pair its change with the previous change."""
    if p.last == p.last:
        change = px - p.last
        if p.before == p.before:
            push_pair(p, rings, change, p.before)
        p.before = change
    p.last = px


@helper
def roll_of(p):
    """2 * sqrt(-cov) of consecutive changes (Roll 1984); NaN where the covariance is positive."""
    if not is_full(p):
        return np.nan
    n = float(p.n)
    covariance = (n * p.sxy - p.sx * p.sy) / (n * n)  # exact sign, since the changes are whole ticks
    return 2.0 * np.sqrt(-covariance) if covariance <= 0.0 else np.nan


@helper
def fill_buckets(p, rings, qty, sign):
    """`qty` lots traded: fill buckets of `every` lots; each full one yields |bought - sold|."""
    while qty > 0.0:
        part = min(qty, p.every - p.total)
        p.total += part
        p.flow += sign * part
        qty -= part
        if p.total >= p.every:
            push_pair(p, rings, abs(p.flow), 0.0)
            p.total = 0.0
            p.flow = 0.0


@helper
def vpin_of(p):
    """Mean of |bought - sold| / bucket over the last buckets (Easley, Lopez de Prado and O'Hara 2012, using the trades' own signs)."""
    return p.sy / (float(p.n) * p.every) if is_full(p) else np.nan


# --- delayed values ----------------------------------------------------------------------------------------
@helper
def schedule(w, rings, now, a, b, plan):
    """An event's trades: `a` - `b` * mid will be due one length later. The ring has four floats per entry."""
    at = entry_at(w, w.n)
    rings[at + 2] = b
    push(w, rings, now, a, plan)


@helper
def release_due(w, rings, now):
    """Compute the values due by `now` with the current mid."""
    while w.n > 0:
        at = entry_at(w, 0)
        if rings[at] + w.length > now:
            break
        w.s1 = rings[at + 1] - rings[at + 2] * w.x
        w.head += 1
        w.n -= 1
