"""Tick sizes: looked up for well-known futures, else inferred from the prices.

The table has outright futures whose tick is the same at any price; all other ticks are inferred, which the tape records.
Source: CME Group contract specifications.
"""

import re

import numpy as np

from nbtrade.schema import UNDEF_PRICE

GLBX_TICKS = {  # root: tick in 1e-9 units
    "ES": 250_000_000,
    "MES": 250_000_000,
    "NQ": 250_000_000,
    "MNQ": 250_000_000,
    "YM": 1_000_000_000,
    "MYM": 1_000_000_000,
    "RTY": 100_000_000,
    "M2K": 100_000_000,
    "CL": 10_000_000,
    "MCL": 10_000_000,
    "NG": 1_000_000,
    "HO": 100_000,
    "RB": 100_000,
    "GC": 100_000_000,
    "MGC": 100_000_000,
    "SI": 5_000_000,
    "HG": 500_000,
    "ZN": 15_625_000,
    "ZB": 31_250_000,
    "ZC": 250_000_000,
    "ZS": 250_000_000,
    "ZW": 250_000_000,
    "6E": 50_000,
}
OUTRIGHT = re.compile(r"^([A-Z0-9]{2,3})[FGHJKMNQUVXZ]\d{1,2}$")


def looked_up(dataset: str, symbol: str) -> int | None:
    """Tick in 1e-9 units, or None for an instrument not in the table."""
    match = OUTRIGHT.match(symbol)
    return GLBX_TICKS.get(match[1]) if match and dataset == "GLBX.MDP3" else None


def undef_size(records: np.ndarray) -> int:
    """The code for "no size" in RECORD[n]: the largest value of the field, as in Databento's format."""
    return int(np.iinfo(records.dtype["size"]).max)


def inferred(records: np.ndarray, so_far: int = 0) -> int:
    """Greatest common divisor (1e-9 units) of `so_far` and the prices in RECORD[n] that are certain to rest; 0 if there are none.

    Trades may print between ticks (midpoint matches): see `of_trades`.
    """
    action, side = records["action"], records["side"]
    rests = ((action == ord("A")) | (action == ord("M"))) & ((side == ord("A")) | (side == ord("B")))
    size = records["size"]
    prices = records["price"][rests & (size > 0) & (size != undef_size(records)) & (records["price"] != UNDEF_PRICE)]
    return int(np.gcd.reduce(np.unique(prices), initial=so_far))


def of_trades(records: np.ndarray) -> int:
    """Greatest common divisor (1e-9 units) of all prices in RECORD[n], for an instrument without resting orders; 0 if there are none."""
    return int(np.gcd.reduce(np.unique(records["price"][records["price"] != UNDEF_PRICE]), initial=0))
