"""TWAP and VWAP: a parent order in slices, each of them first passive, then aggressive.

    |<-- slice 0 -->|<-- slice 1 -->| ...      target after slice i:  TWAP  total (i + 1) / slices
    | rest  | take  | rest  | take  |                                 VWAP  total (c_0 + ... + c_i) / (c_0 + ... + c_last)

In the first part of a slice, `passive` of it, the lots that the slice still owes rest at the touch of their own side and follow it. For the
rest of it the same order is moved up to `cross` ticks beyond the opposite touch, where it takes. It is one order, changed by replace, whose
total size is what was filled plus what is owed: a fill on its way to us meanwhile counts at the exchange, so the parent is never exceeded.

VWAP's `curve` is the share of the day's volume expected in each of its 13 slices (half hours of a US stock's session): take it from
history; the default is a plain U. Afterwards compare fills with the market's own average price over the same time.

Source: R. Almgren, N. Chriss, "Optimal execution of portfolio transactions", J. of Risk 3 (2000), for TWAP as the schedule of least impact;
J. McCulloch, V. Kazakov, "Optimal VWAP trading strategy and relative volume" (2007).

    total      lots, > 0 buys, < 0 sells        begin    ns UTC, 0: the first wake      duration   s, of all slices
    passive    0 to 1, part of a slice          cross    ticks                          slices     number of them (TWAP)
    curve      13 weights of any sum (VWAP)
"""

from nbtrade._numba.jit import helper
from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE

N_BINS = 13
PARAMETERS = [
    ("total", "i8"),
    ("begin", "i8"),
    ("duration", "f8"),
    ("passive", "f8"),
    ("cross", "i8"),
    ("held_first", "i8"),
    ("target", "i8"),
]


@helper
def slice_of(market, account, state, slices):
    """(number of the slice, -1 before the first; True when it is time to take)."""
    if state.begin == 0:
        state.begin = market.ts
    if state.target == 0:
        state.held_first = account.position  # nothing of ours is under way yet
    passed = (market.ts - state.begin) * 1e-9 * slices / state.duration
    if passed < 0.0:
        return -1, False
    i = int(passed)
    return min(i, slices - 1), i >= slices or passed - i >= state.passive


@helper
def work(market, account, state, target, is_urgent):
    """Have one order that owes what is left to `target` lots (signed): at our touch, or through the other one."""
    state.target = target
    owed = target - (account.position - state.held_first)
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    if state.total > 0 and owed > 0:
        account.quote(BID, market.ask_px + state.cross if is_urgent else market.bid_px, owed)
    elif state.total < 0 and owed < 0:
        account.quote(ASK, market.bid_px - state.cross if is_urgent else market.ask_px, -owed)


@strategy(state=[*PARAMETERS, ("slices", "i8")], wake="100ms", total=10, duration=60.0, passive=0.7, cross=1, slices=10)
def twap(market, features, account, state):
    """Equal slices."""
    i, is_urgent = slice_of(market, account, state, state.slices)
    if i >= 0:
        lots = abs(state.total) * (i + 1) // state.slices
        work(market, account, state, lots if state.total > 0 else -lots, is_urgent)


U_CURVE = (13, 9, 8, 7, 6, 6, 5, 6, 6, 7, 7, 8, 12)


@strategy(state=[*PARAMETERS, ("curve", "f8", N_BINS)], wake="100ms", total=13, duration=60.0, passive=0.7, cross=1, curve=U_CURVE)
def vwap(market, features, account, state):
    """Slices by the expected share of volume."""
    i, is_urgent = slice_of(market, account, state, N_BINS)
    if i >= 0:
        done, whole = 0.0, 0.0
        for n in range(N_BINS):
            whole += state.curve[n]
            done += state.curve[n] if n <= i else 0.0
        lots = int(abs(state.total) * (done / whole) + 1e-9)  # whole lots; all of them with the last slice
        work(market, account, state, lots if state.total > 0 else -lots, is_urgent)
