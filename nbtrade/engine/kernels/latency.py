"""How long messages and reports take: a constant, a draw, or an interpolation of measured times.

A draw is a function of the seed and the moment alone: all that leaves at one moment takes equally long, whatever else runs beside it, so
an account's result does not depend on its neighbours. It is a look-up in a table of the distribution's quantiles.
"""

import numpy as np

from nbtrade._numba.jit import apart, helper, kernel
from nbtrade.engine.kernels.records import CONSTANT, RANDOM, i8_at

LOW32 = 0xFFFFFFFF
QUANTILE_BITS = 12
N_QUANTILES = 1 << QUANTILE_BITS


@helper
def mixed(x):
    """32 bits that look random, from 32 bits. Multipliers fit an int64. (Constants: Wellons, "hash-prospector".)"""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & LOW32
    x = ((x ^ (x >> 15)) * 0x735A2D97) & LOW32
    return x ^ (x >> 15)


@helper
def drawn(table, seed, ts):
    """The table's value for this moment. table : i8[N_QUANTILES]"""
    x = mixed(seed & LOW32)
    x = mixed(x ^ ((ts >> 32) & LOW32))
    x = mixed(x ^ (ts & LOW32))
    return table[x >> (32 - QUANTILE_BITS)]


@helper
def interpolated(times, values, n, ts):
    """Linear between samples, constant beyond them. times : ascending i8[n]"""
    if ts <= times[0]:
        return values[0]
    if ts >= times[n - 1]:
        return values[n - 1]
    low, high = 0, n - 1
    while high - low > 1:
        mid = (low + high) >> 1
        if times[mid] <= ts:
            low = mid
        else:
            high = mid
    share = (ts - times[low]) / (times[high] - times[low])
    return values[low] + np.int64(share * (values[high] - values[low]))


@kernel
def varying(venue, ts, is_entry):
    """The latency at a moment, where it is not constant: ns."""
    apart()
    values = i8_at(venue.sample_entry_at if is_entry else venue.sample_response_at)
    if venue.latency == RANDOM:
        return drawn(values, 2 * venue.seed + (1 if is_entry else 0), ts)
    return interpolated(i8_at(venue.sample_ts_at), values, venue.n_latencies, ts)


@helper
def entry_latency(venue, ts):
    """From us to the exchange for what leaves at `ts`."""
    return venue.entry if venue.latency == CONSTANT else varying(venue, ts, True)


@helper
def response_latency(venue, ts):
    """From the exchange to us for what leaves at `ts`."""
    return venue.response if venue.latency == CONSTANT else varying(venue, ts, False)
