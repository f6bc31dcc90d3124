"""Ascending values of all shapes, and what to look for in them."""

import numpy as np

I8_MIN, I8_MAX = -(2**63), 2**63 - 1


def shapes(n, rng):
    """name -> n ascending int64: even, skewed, clustered, with many duplicates, over all that int64 holds."""
    if n == 0:
        return {"empty": np.zeros(0, np.int64)}
    return {
        "even": np.arange(n) * 1000 + 1_700_000_000_000_000_000,
        "jittered": np.sort(rng.integers(0, 2**60, n)),
        "extreme": np.sort(np.concatenate((rng.integers(I8_MIN, I8_MAX, n)[2:], [I8_MIN, I8_MAX]))[:n]),
        "powers": np.sort((2.0 ** rng.uniform(0, 62, n)).astype(np.int64)),
        "squares": np.arange(n) ** 2 - n,
        "bursts": np.cumsum((rng.random(n) < 0.01) * rng.integers(0, 10**9, n) + rng.integers(0, 2, n)),
        "steps": np.repeat(np.cumsum(rng.integers(1, 2**40, n // 100 + 1)), 100)[:n],
        "even with a hole": np.arange(n) * 8 + (np.arange(n) > n // 3) * 2**61,
        "two values": (np.arange(n) > n // 2).astype(np.int64),
        "one value": np.full(n, 7),
        "ends far away": np.concatenate(([I8_MIN], np.arange(n)[2:], [I8_MAX]))[:n],
    }


def questions(values, k, rng):
    """k keys: existing values, their neighbours, keys between and beyond them, and the limits of int64."""
    ends = np.array([I8_MIN, I8_MIN + 1, -1, 0, 1, I8_MAX - 1, I8_MAX])
    if len(values) == 0:
        return ends
    there = rng.choice(values, k)
    between = rng.integers(values[0], values[-1], k // 2, endpoint=True)
    return np.concatenate((there, np.clip(there, I8_MIN + 1, None) - 1, np.clip(there, None, I8_MAX - 1) + 1, between, ends))
