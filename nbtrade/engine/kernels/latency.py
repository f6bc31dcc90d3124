"""Latency of messages and reports: constant, random, or interpolated from measurements.

A random latency depends on the seed and the time only: all messages sent at the same time take equally long, so an account's result does
not depend on the other accounts in the run. It is a lookup in a table of the distribution's quantiles.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.pointers import i8_at
from nbtrade.engine.kernels.records import CONSTANT, RANDOM

LOW32 = 0xFFFFFFFF
QUANTILE_BITS = 12
N_QUANTILES = 1 << QUANTILE_BITS


@helper
def mix_bits(x):
    """Hash 32 bits to 32 bits. Products fit an int64. (Constants: Wellons, "hash-prospector".)"""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & LOW32
    x = ((x ^ (x >> 15)) * 0x735A2D97) & LOW32
    return x ^ (x >> 15)


@helper
def draw_latency(table, seed, ts):
    """Latency drawn for the time `ts`: ns. table : i8[N_QUANTILES]"""
    x = mix_bits(seed & LOW32)
    x = mix_bits(x ^ ((ts >> 32) & LOW32))
    x = mix_bits(x ^ (ts & LOW32))
    return table[x >> (32 - QUANTILE_BITS)]


@helper
def interpolate(times, values, n, ts):
    """Interpolate linearly between samples; constant beyond them. times : i8[n], ascending   values : i8[n]"""
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
def varying_latency(instrument, ts, is_entry):
    """Random or measured latency at time `ts`: ns."""
    noinline()
    values = i8_at(instrument.sample_entry_at if is_entry else instrument.sample_response_at)
    if instrument.latency == RANDOM:
        return draw_latency(values, 2 * instrument.seed + (1 if is_entry else 0), ts)
    return interpolate(i8_at(instrument.sample_ts_at), values, instrument.n_latencies, ts)


@helper
def entry_latency(instrument, ts):
    """Latency to the exchange of a message sent at `ts`: ns."""
    return instrument.entry if instrument.latency == CONSTANT else varying_latency(instrument, ts, True)


@helper
def response_latency(instrument, ts):
    """Latency from the exchange of a report sent at `ts`: ns."""
    return instrument.response if instrument.latency == CONSTANT else varying_latency(instrument, ts, False)
