"""Fit Stoikov's micro-price: what the mid will have moved by when it has settled, by imbalance and spread.

    states x = (bucket of bid lots / (bid + ask lots), spread in ticks), sampled at changes of the touch
    Q  mid stays, state goes on     T  mid moves, state goes on     r(x) expected move of a step
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
    """g as f8[buckets, spreads], ticks, for `feature.microprice(g)`. It has seen the whole tape: use it on later ones.

    buckets : of the imbalance      spreads : 1 to so many ticks; wider ones count as the widest

    Raises FeatureError when the tape has no steps to learn from.
    """
    m = features(tape, {"b": feature.bid_qty(), "a": feature.ask_qty(), "s": feature.spread(), "mid": feature.mid()}, sample=sample)
    m = m.values[np.isfinite(m["mid"]) & (m["s"] > 0)]
    if len(m) < 2:
        raise FeatureError("the tape has fewer than two samples with both sides: there is nothing to fit")
    share, move = m[:, 0] / (m[:, 0] + m[:, 1]), np.diff(m[:, 3])
    column = np.minimum(m[:, 2].astype(np.int64), spreads) - 1
    bucket = np.minimum((share * buckets).astype(np.int64), buckets - 1)
    states = [row * spreads + column for row in (bucket, buckets - 1 - bucket)]  # as it is, and with bids and asks exchanged
    x, y = (np.concatenate([state[part] for state in states]) for part in (slice(-1), slice(1, None)))
    return adjustment(x, y, np.concatenate([move, -move]), buckets * spreads).reshape(buckets, spreads)


def adjustment(x: np.ndarray, y: np.ndarray, move: np.ndarray, n: int) -> np.ndarray:
    """g of n states from steps x -> y (i8) with their moves of the mid (f8, ticks); 0 for states never left."""
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
