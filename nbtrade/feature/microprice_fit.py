"""Fit Stoikov's micro-price: the expected total move of the mid until it settles, by imbalance and spread.

    states x = (bucket of bid lots / (bid + ask lots), spread in ticks), sampled at changes of the touch
    Q  mid stays, state continues     T  mid moves, state continues     r(x) expected move of a step
    g1 = (1 - Q)^-1 r     B = (1 - Q)^-1 T     g = g1 + B g1 + B^2 g1 + ...

Each step counts twice, once with bids and asks exchanged, so that g is odd in the imbalance and the sum converges.
Source: Stoikov 2018, The micro-price: a high-frequency estimator of future prices, section 3.
"""

from typing import Any

import numpy as np

from nbtrade import feature
from nbtrade.errors import FeatureError
from nbtrade.feature.compute import features
from nbtrade.tape.tape import Tape

ROUNDS = 1000


def fit(tape: Tape, *, buckets: int = 10, spreads: int = 2, sample: Any = "quote") -> np.ndarray:
    """Fit the adjustment g of Stoikov's micro-price to a tape.

    Parameters
    ----------
    tape : Tape
        The data. The fit uses all of it, so apply the result to later tapes only.
    buckets : int
        Number of equal buckets of the imbalance.
    spreads : int
        Largest spread in ticks; wider spreads count as this one.
    sample : str, int, tuple or i8 array
        As in `nbtrade.features`.

    Returns
    -------
    f8[buckets, spreads]
        Ticks, for `nbtrade.feature.microprice(g)`.

    Raises
    ------
    FeatureError
        The tape has fewer than two samples with both sides.

    References
    ----------
    Stoikov 2018, The micro-price: a high-frequency estimator of future prices, section 3.

    Examples
    --------
    >>> from nbtrade.feature import microprice_fit
    >>> microprice_fit.fit(tape, buckets=4).shape
    (4, 2)
    """
    m = features(tape, {"b": feature.bid_qty(), "a": feature.ask_qty(), "s": feature.spread(), "mid": feature.mid()}, sample=sample)
    m = m.values[np.isfinite(m["mid"]) & (m["s"] > 0)]
    if len(m) < 2:
        raise FeatureError("the tape has fewer than two samples with both sides, too few for a fit: use a longer tape")
    share, move = m[:, 0] / (m[:, 0] + m[:, 1]), np.diff(m[:, 3])
    column = np.minimum(m[:, 2].astype(np.int64), spreads) - 1
    bucket = np.minimum((share * buckets).astype(np.int64), buckets - 1)
    states = [row * spreads + column for row in (bucket, buckets - 1 - bucket)]  # unchanged, and with bids and asks exchanged
    x, y = (np.concatenate([state[part] for state in states]) for part in (slice(-1), slice(1, None)))
    return adjustment(x, y, np.concatenate([move, -move]), buckets * spreads).reshape(buckets, spreads)


def adjustment(x: np.ndarray, y: np.ndarray, move: np.ndarray, n: int) -> np.ndarray:
    """g of n states from steps x -> y (i8) and their moves of the mid (f8, ticks); 0 for states that are never left."""
    stay, go, drift, count = np.zeros((n, n)), np.zeros((n, n)), np.zeros(n), np.zeros(n)
    np.add.at(stay, (x[move == 0], y[move == 0]), 1)
    np.add.at(go, (x[move != 0], y[move != 0]), 1)
    np.add.at(drift, x, move)
    np.add.at(count, x, 1)
    each = np.maximum(count, 1)
    inverse = np.linalg.pinv(np.eye(n) - stay / each[:, None])
    first, onward = inverse @ (drift / each), inverse @ (go / each[:, None])
    total, term = first.copy(), first
    for _ in range(ROUNDS):
        term = onward @ term
        total += term
        if np.abs(term).max() < 1e-12:
            break
    return total
