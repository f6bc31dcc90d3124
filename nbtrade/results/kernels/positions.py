"""Average-cost accounting: average price, realised profit, and value at the mid."""

import numpy as np

from nbtrade._numba.jit import kernel
from nbtrade.schema import BID, UNDEF_PRICE


@kernel
def realise(fills, realised, average):
    """Average-cost accounting over fills in order of time.

    fills : FILL[n]   realised : f8[n] out: tick-lots, after each fill   average : f8[n] out: ticks, of the open position
    Same rule as `account.realised` and `account.average_px`, which a strategy sees.
    """
    position, cost, total = 0, 0.0, 0.0
    for i in range(len(fills)):
        f = fills[i]
        signed = f.qty if f.side == BID else -f.qty
        if position == 0 or (position > 0) == (signed > 0):
            cost = (cost * abs(position) + f.px * f.qty) / (abs(position) + f.qty)
        else:
            closed = min(f.qty, abs(position))
            total += closed * (f.px - cost) * (1 if position > 0 else -1)
            if abs(signed) > abs(position):
                cost = f.px * 1.0
            elif signed == -position:
                cost = 0.0
        position += signed
        realised[i] = total
        average[i] = cost


@kernel
def mark_to_mid(samples, mid, worth):
    """Accounts marked at the mid. One pass: the samples are a megabyte or more, and no longer in the caches.

    samples : SAMPLE[n]   mid : f8[n] out: ticks, NaN where a side is empty   worth : f8[n] out: tick-lots, NaN for a position without a mid
    """
    for i in range(len(samples)):
        s = samples[i]
        one_sided = s.bid_px == UNDEF_PRICE or s.ask_px == UNDEF_PRICE
        mid[i] = np.nan if one_sided else (s.bid_px + s.ask_px) / 2
        worth[i] = s.cash + (0.0 if s.position == 0 else s.position * mid[i])
