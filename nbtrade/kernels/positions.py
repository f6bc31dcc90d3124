"""A position as a trader counts it: average price, and what closing parts of it realised."""

from nbtrade._jit import kernel
from nbtrade.schema import BID


@kernel
def realise(fills, realised, average):
    """Average-cost accounting over fills in order of time.

    fills : FILL[n]   realised : f8[n] out: tick-lots realised up to and with each fill   average : f8[n] out: ticks, of what is open
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
