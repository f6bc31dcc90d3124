"""Random numbers for strategies: a seeded generator whose state is the field `rng` of the strategy's state.

    @nbtrade.strategy(wake="1s", state={"rng": 7})
    def taker(market, account, state):
        if nbtrade.uniform(state) < 0.1: ...

The field holds the seed and a counter, so a run repeats exactly. For a different stream per parameter set of a sweep, make the seed a
parameter and set it first: `if market.wake & nbtrade.START: state.rng = params.seed`.
"""

import math

from nbtrade._numba.jit import helper
from nbtrade.engine.kernels.latency import LOW32, mix_bits


@helper
def uniform(state):
    """A uniform random number in [0, 1), with 32 random bits.

    Parameters
    ----------
    state : State
        The strategy's state. Its field `rng` is the seed; the call advances it.

    Returns
    -------
    float
        A multiple of 2**-32.

    Examples
    --------
    >>> import nbtrade
    >>> @nbtrade.strategy(wake="1s", state={"rng": 7})
    ... def taker(market, account, state):
    ...     if nbtrade.uniform(state) < 0.1:
    ...         account.market(nbtrade.BID, 1)
    """
    n = state.rng
    state.rng = n + 0x100000000  # the high half is the counter, the low half the seed
    return mix_bits(mix_bits((n >> 32) & LOW32) ^ mix_bits((n & LOW32) + 0x9E37)) * 2.0**-32


@helper
def normal(state):
    """A standard normal random number.

    Parameters
    ----------
    state : State
        The strategy's state. Its field `rng` is the seed; the call advances it twice.

    Returns
    -------
    float
        Mean 0, standard deviation 1.

    Notes
    -----
    Box-Muller transform of two uniform numbers of 32 bits, so absolute values stay below 6.67.

    Examples
    --------
    >>> import nbtrade
    >>> @nbtrade.strategy(wake="1s", state={"rng": 7})
    ... def noisy_quote(market, account, state):
    ...     account.quote(nbtrade.BID, market.bid_px - int(abs(nbtrade.normal(state))), 1)
    """
    u = 1.0 - uniform(state)
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * uniform(state))
