"""User-defined features: one njit function with named state, as for strategies.

    @nbtrade.feature.own(state=[("weight", "f8"), ("held", "f8")], weight=0.1)
    def leaning(market, state):
        state.held += state.weight * (market.bid_qty[0] - market.ask_qty[0] - state.held)
        return state.held

    nbtrade.features(tape, [leaning(), leaning(weight=0.5).named("fast")])

`market` is the MARKET_SNAPSHOT record (snapshot.py): the event's flows, the last trade, 16 levels a side, as floats. The function is called
at every event's end. Inputs are features too: `leaning(nbtrade.feature.mid())` calls `leaning(market, state, mid)`. Parameters are initial
values of state fields: a different value compiles nothing.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nbtrade._numba.reached import needs_python
from nbtrade.errors import FeatureError
from nbtrade.feature.expression import Expression, Flow, Level, lift
from nbtrade.feature.kernels.snapshot import LEVELS


class OwnRecord(NamedTuple):
    """One use of a user-defined feature: the function, and its initial state."""

    function: Callable[..., Any]
    dtype: np.dtype
    initial: np.ndarray
    levels: int


class OwnFeature:
    """A user-defined feature: call it with input features and state values to get an expression."""

    def __init__(self, function: Callable[..., Any], state: Any, flow: bool, levels: int, defaults: dict[str, Any]) -> None:
        self.function, self.name, self.flow, self.levels = function, function.__name__, flow, levels
        self.__doc__ = function.__doc__
        self.dtype = np.dtype([*list(state), ("_", "i8")], align=True)
        self.defaults = defaults
        self.n_inputs = len(inspect.signature(function).parameters) - 2
        if self.n_inputs < 0:
            raise FeatureError(f"{self.name} takes {inspect.signature(function)}; a feature function takes (market, state, inputs...).")
        found = needs_python(function)
        if found:
            what, inner, line = found
            raise FeatureError(f"feature {self.name} cannot be compiled: {what}.\nIn {inner.__code__.co_filename}, line {line}")
        if not 1 <= levels <= LEVELS:
            raise FeatureError(f"{self.name}: levels={levels!r}; pass 1 to {LEVELS} levels")
        self.initial(defaults)

    def initial(self, values: dict[str, Any]) -> np.ndarray:
        """The initial state: one record. Raises FeatureError for an unknown field."""
        out = np.zeros(1, self.dtype)
        for name, value in values.items():
            if name not in (self.dtype.names or ())[:-1]:
                known = ", ".join((self.dtype.names or ())[:-1]) or "none"
                raise FeatureError(f"feature {self.name} has no state field {name!r}. Its fields: {known}.")
            out[name] = value
        return out

    def __call__(self, *inputs: Any, **values: Any) -> Expression:
        if len(inputs) != self.n_inputs:
            raise FeatureError(f"feature {self.name} takes {self.n_inputs} input features, but got {len(inputs)}")
        values = {**self.defaults, **values}
        initial = self.initial(values)
        label = f"{self.name}({', '.join([*(lift(i).label for i in inputs), *(f'{k}={v}' for k, v in values.items())])})"
        kind = Flow if self.flow else Level
        out = kind("own", tuple(lift(i) for i in inputs), (self.name, id(self.function)), (), label)
        out.key += initial.tobytes().hex()
        out.own = OwnRecord(self.function, self.dtype, initial, self.levels)
        return out


def own(*, state: Any = (), flow: bool = False, levels: int = 5, **defaults: Any) -> Callable[[Callable[..., Any]], OwnFeature]:
    """Turn a function (market, state, inputs...) -> number into a feature. Use it as a decorator.

    Parameters
    ----------
    state : list of (name, dtype) or (name, dtype, shape)
        Fields of the feature's state: parameters and memory.
    flow : bool
        True if the function returns an amount per event, False if it returns a value that holds until the next event.
    levels : int
        Number of levels of `market.bid_px[...]` and similar fields that the function reads.
    **defaults
        Initial values of state fields; all others start at 0.

    Returns
    -------
    decorator
        It returns an OwnFeature: call that with input features and state values to get a Level or Flow.

    Raises
    ------
    FeatureError
        The function has the wrong signature, or a default is not a field. Compile errors appear on first use.

    Examples
    --------
    >>> @nbtrade.feature.own(state=[("weight", "f8"), ("held", "f8")], weight=0.1)
    ... def leaning(market, state):
    ...     state.held += state.weight * (market.bid_qty[0] - market.ask_qty[0] - state.held)
    ...     return state.held
    >>> leaning(weight=0.5).named("fast")
    <Level fast>
    """
    return lambda function: OwnFeature(function, state, flow, levels, defaults)
