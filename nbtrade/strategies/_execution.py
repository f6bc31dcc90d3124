"""TWAP and VWAP: a parent order in slices, each first passive, then aggressive.

    |<-- slice 0 -->|<-- slice 1 -->| ...      target after slice i:  TWAP  total (i + 1) / slices
    | rest  | take  | rest  | take  |                                 VWAP  total (c_0 + ... + c_i) / (c_0 + ... + c_last)

For the first part of a slice (the fraction `passive`), the lots still due rest at the near touch and follow it. For the remainder, the
same order is moved to `cross` ticks beyond the opposite touch, where it takes. It is a single order, changed by replace, whose total size
is the lots filled plus the lots due. A fill whose report is in flight already counts at the exchange, so the parent size is never
exceeded.

VWAP's `curve` is the share of the day's volume expected in each of its 13 slices (half hours of a US stock's session): take it from
history; the default is a plain U. Compare the fills with the market's VWAP over the same time.

Source: R. Almgren, N. Chriss, "Optimal execution of portfolio transactions", J. of Risk 3 (2000), for TWAP as the least-impact schedule;
J. McCulloch, V. Kazakov, "Optimal VWAP trading strategy and relative volume" (2007).

    total      lots, > 0 buys, < 0 sells        begin    ns UTC, 0: the first wake      duration   s, of all slices
    passive    0 to 1, part of a slice          cross    ticks                          slices     number of them (TWAP)
    curve      13 weights; they need not sum to 1 (VWAP)
"""

from nbtrade._numba.jit import helper
from nbtrade.engine.strategy import strategy
from nbtrade.schema import ASK, BID, UNDEF_PRICE

N_BINS = 13
PARAMS = {"total": 10, "begin": 0, "duration": 60.0, "passive": 0.7, "cross": 1}
STATE = {"begin": 0, "held_first": 0, "target": 0}  # `begin` in effect, ns


@helper
def slice_of(market, account, params, state, slices):
    """(number of the slice, -1 before the first; True when it is time to take)."""
    if state.begin == 0:
        state.begin = market.ts if params.begin == 0 else params.begin
    if state.target == 0:
        state.held_first = account.position  # no own order is in flight yet
    passed = (market.ts - state.begin) * 1e-9 * slices / params.duration
    if passed < 0.0:
        return -1, False
    i = int(passed)
    return min(i, slices - 1), i >= slices or passed - i >= params.passive


@helper
def work(market, account, params, state, target, is_urgent):
    """Keep one order for the lots still missing to `target` (signed): at the near touch, or through the far one if urgent."""
    state.target = target
    owed = target - (account.position - state.held_first)
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.bid_px >= market.ask_px:
        return
    if params.total > 0 and owed > 0:
        account.quote(BID, market.ask_px + params.cross if is_urgent else market.bid_px, owed)
    elif params.total < 0 and owed < 0:
        account.quote(ASK, market.bid_px - params.cross if is_urgent else market.ask_px, -owed)


@strategy(wake="100ms", params={**PARAMS, "slices": 10}, state=STATE)
def twap(market, account, params, state):
    """Trade `total` lots in equal slices (TWAP)."""
    i, is_urgent = slice_of(market, account, params, state, params.slices)
    if i >= 0:
        lots = abs(params.total) * (i + 1) // params.slices
        work(market, account, params, state, lots if params.total > 0 else -lots, is_urgent)


U_CURVE = (13.0, 9.0, 8.0, 7.0, 6.0, 6.0, 5.0, 6.0, 6.0, 7.0, 7.0, 8.0, 12.0)


@strategy(wake="100ms", params={**PARAMS, "total": 13, "curve": U_CURVE}, state=STATE)
def vwap(market, account, params, state):
    """Trade `total` lots in slices proportional to the expected volume (VWAP)."""
    i, is_urgent = slice_of(market, account, params, state, N_BINS)
    if i >= 0:
        done, whole = 0.0, 0.0
        for n in range(N_BINS):
            whole += params.curve[n]
            done += params.curve[n] if n <= i else 0.0
        lots = int(abs(params.total) * (done / whole) + 1e-9)  # whole lots; all of them with the last slice
        work(market, account, params, state, lots if params.total > 0 else -lots, is_urgent)
