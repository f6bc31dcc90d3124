"""Bulk search in an ascending column: searches run in blocks, side by side, so that their waits for memory overlap.

    block of searches      x0   x1   x2  ...  x63           every search halves the same range,
    step 1   probe          |    |    |        |            so one step is a loop over the block
    step 2   probe           |  |      |      |             without a branch: the processor has
    ...                                                      dozens of loads in flight

A single search waits for memory about ten times, one wait after the other. The fastest method depends on the keys and values:

- `search_sampled`: xs in any order. Every STEPth value is copied once for all searches (0.2 % of the data) and searched first; the sample
  stays cached, and one page of memory remains to be searched: one translation miss, not ten. Weak case: few searches (the copy reads one
  page per sample), for which `search_block` is used.
- `search_ascending`: xs ascend. A block only searches the range between its first and last bound, found by galloping. Sparse
  searches guess within it, as long as values rise evenly there: 3 cache lines per search, not 5 (110 to 60 ns). Weak case: xs that jump.
- `search_even`: values rise evenly. Three rounds of guesses per block, then a search of the 32 values around the last. Searches that fail
  there are left over, and the kernel stops if many do. Weak case: skewed data, detected after the first 1,024 searches.

In all of them `values` is any integer array (or the words of a packed column, search.py), xs have the same signedness, and out : i8[k]
also serves as scratch. Speeds: README. Oracle: numpy.searchsorted.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel
from nbtrade._numba.prefetch import prefetch
from nbtrade.storage.search.kernels.search import distance, gallop, is_before, is_bound

BLOCK = 64  # searches per block: 32 to 256 are equally fast, 8 half as fast
SHORT_BLOCK = 32  # for ascending searches that bisect: short blocks have short ranges (512: half as fast where searches are dense)
LONG_BLOCK = 128  # for ascending searches that guess
SPARSE = 32  # values between searches above which guesses read fewer cache lines than bisecting
OFF = 32  # values by which guesses may be off on average
RETRY = 256  # blocks that bisect after one whose guesses were off
STEP = 512  # values between samples: a page of int64
ROUNDS = 3  # guesses; each error is about the square root of the previous one
AROUND = 32  # values searched around the last guess
TRIAL = 1024  # searches after which `search_even` may stop


@helper
def halve_block(values, n, xs, start, stop, out, upper):
    """Run searches start..stop, each within values[out[j] : out[j] + n]; the bounds replace out[j]."""
    while n > 1:
        half = n >> 1
        for j in range(start, stop):
            base = out[j]
            out[j] = base + (half if is_before(values[np.uint64(base + half - 1)], xs[j], upper) else 0)
        n -= half
    if n == 1:
        for j in range(start, stop):
            out[j] += 1 if is_before(values[np.uint64(out[j])], xs[j], upper) else 0


@kernel
def search_block(values, xs, upper, out):
    """Bounds of xs in any order, without a sample."""
    for start in range(0, len(xs), BLOCK):
        stop = min(start + BLOCK, len(xs))
        for j in range(start, stop):
            out[j] = 0
        halve_block(values, len(values), xs, start, stop, out, upper)


@kernel
def search_sampled(values, sample, xs, upper, out):
    """Bounds of xs in any order. sample : values[STEP - 1 :: STEP], contiguous, not empty"""
    last = len(values) - STEP
    for start in range(0, len(xs), BLOCK):
        stop = min(start + BLOCK, len(xs))
        for j in range(start, stop):
            out[j] = 0
        halve_block(sample, len(sample), xs, start, stop, out, upper)
        for j in range(start, stop):
            out[j] = min(out[j] * STEP, last)  # after the last sample: the last STEP values include the bound
            prefetch(values, out[j] + (STEP >> 1) - 1)
        halve_block(values, STEP, xs, start, stop, out, upper)


@helper
def guess_between(values, low, high, xs, start, stop, out, upper):
    """Bounds of searches start..stop, all within low..high, each from two guesses; returns the sum of their errors, in values."""
    first, last = max(low - 1, 0), min(high, len(values) - 1)
    value = values[np.uint64(first)]
    per_value = np.float64(last - first) / max(distance(values[np.uint64(last)], value), 1.0)
    for j in range(start, stop):
        out[j] = min(max(first + np.int64(distance(xs[j], value) * per_value), first), last)
        prefetch(values, out[j])
    for _ in range(2):
        for j in range(start, stop):
            nearer = out[j] + np.int64(distance(xs[j], values[np.uint64(out[j])]) * per_value)
            out[j] = min(max(nearer, first), last)
            prefetch(values, out[j])
    off = 0
    for j in range(start, stop):
        bound = gallop(values, out[j], xs[j], upper)
        off += abs(bound - out[j])
        out[j] = bound
    return off


@kernel
def search_ascending(values, xs, upper, out):
    """Bounds of ascending xs."""
    low = gallop(values, 0, xs[0], upper) if len(xs) else 0
    spacing = 0  # values between searches in the previous block, as an estimate for the next
    start, guess_from = 0, 0  # guess_from : search at which guessing resumes
    while start < len(xs):
        guesses = spacing > SPARSE and start >= guess_from
        stop = min(start + (LONG_BLOCK if guesses else SHORT_BLOCK), len(xs))
        high = gallop(values, low + spacing * (stop - start), xs[stop - 1], upper)
        if guesses:
            off = guess_between(values, low, high, xs, start, stop, out, upper)
            guess_from = stop if off < OFF * (stop - start) else stop + RETRY * SHORT_BLOCK
        else:
            for j in range(start, stop):
                out[j] = low
            halve_block(values, high - low, xs, start, stop, out, upper)
        spacing = (high - low) // (stop - start)
        low, start = high, stop


@kernel
def search_near(values, xs, hint, upper, out):
    """Bounds of xs, each close to the previous one; the first close to index `hint`."""
    for i in range(len(xs)):
        hint = gallop(values, hint, xs[i], upper)
        out[i] = hint


@helper
def guess(value, x, at, per_value, last):
    """Estimated index of x, given values[at] == value."""
    return np.int64(min(max(np.float64(at) + distance(x, value) * per_value, 0.0), last))


@helper
def guess_block(values, per_value, xs, start, stop, out):
    """Guess the indexes of searches start..stop, ROUNDS + 1 times, into `out`."""
    n = len(values)
    first = values[0]
    for j in range(start, stop):
        out[j] = guess(first, xs[j], 0, per_value, np.float64(n - 1))
    for _ in range(ROUNDS):
        for j in range(start, stop):
            out[j] = guess(values[np.uint64(out[j])], xs[j], out[j], per_value, np.float64(n - 1))
    for j in range(start, stop):
        out[j] = min(max(out[j] - AROUND // 2, 0), n - AROUND)


@kernel
def search_even(values, xs, upper, out, left_over):
    """Bounds of xs in evenly rising values[>= AROUND]. left_over : i8[k], receives the indexes of failed searches

    Returns (searches done, number left over); stops early if more than a quarter are left over.
    """
    per_value = np.float64(len(values) - 1) / max(distance(values[np.uint64(len(values) - 1)], values[0]), 1.0)
    n_left = 0
    for start in range(0, len(xs), BLOCK):
        stop = min(start + BLOCK, len(xs))
        guess_block(values, per_value, xs, start, stop, out)
        halve_block(values, AROUND, xs, start, stop, out, upper)
        for j in range(start, stop):
            left_over[n_left] = j
            n_left += 0 if is_bound(values, out[j], xs[j], upper) else 1
        if stop >= TRIAL and 4 * n_left > stop:
            return stop, n_left
    return len(xs), n_left


@kernel
def ascends(xs):
    """Whether xs[i] <= xs[i + 1] for all i. Without an exit inside a stretch the loop is vectorized."""
    for start in range(1, len(xs), TRIAL):
        falls = 0
        for i in range(start, min(start + TRIAL, len(xs))):
            falls += 1 if xs[i] < xs[i - 1] else 0
        if falls:
            return False
    return True
