"""A strategy: a Python function becomes a function pointer that the engine calls at every wake.

    @nbtrade.strategy(wake="100ms", params={"half_spread": 1, "most": 5}, state={"n_quotes": 0})
    def maker(market, account, params, state):
        ...
        account.quote(BID, px, 1)

The function's arguments are any of `market, account, params, state, features, record`, matched by name. Changing parameters changes a row
of data and never recompiles. Editing a strategy compiles that function alone (0.2 to 0.6 s); the engine stays cached on disk.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nbtrade._numba.reached import plain, reached
from nbtrade.engine import diagnostics
from nbtrade.engine.declaration import Fields, record_names
from nbtrade.engine.kernels.market import TRADE_FIELDS
from nbtrade.engine.kernels.records import WAKES
from nbtrade.engine.strategy_compile import compile_strategy
from nbtrade.schema import Wake
from nbtrade.times import ns_of

Wakes = str | int | Iterable[str | int]


def _wakes(wake: Wakes) -> tuple[int, int]:
    """(bits of engine/kernels/records.py, timer interval in ns)."""
    wakes, interval = 0, 0
    for one in (wake,) if isinstance(wake, (str, int)) else wake:
        if one in WAKES:
            wakes |= WAKES[str(one)]
            continue
        wakes |= int(Wake.TIMER)
        interval = ns_of(one)
        if interval <= 0:
            raise ValueError(f"wake={one!r}: the interval of a timer must be positive")
    if wakes == 0:
        raise ValueError(f"wake is empty: give a time span such as '100ms', one of {', '.join(WAKES)}, or several in a tuple")
    return wakes, interval or 1


def _reads_trades(function: Any) -> bool:
    """False only if the function certainly reads no trade field of the market. Keeping these fields costs 1 ns per row."""
    used = list(reached(function))
    for inner in {id(one): one for one in (plain(function), *(plain(use.value) for use in used))}.values():
        code = getattr(inner, "__code__", None)
        if code is not None and TRADE_FIELDS & {*code.co_names, *map(str, code.co_consts)}:
            return True
        if code is None and callable(inner) and not str(getattr(inner, "__module__", "")).startswith(("numpy", "math", "builtins")):
            return True
    return False


class Strategy:
    """A strategy, made by `nbtrade.strategy`; it is compiled when it first runs.

    Attributes
    ----------
    function : callable
        The Python function.
    name : str
        Its name.
    arguments : tuple of str
        Names of its arguments, in order.
    params, state : Fields
        Names, dtypes and initial values (nbtrade/engine/declaration.py).
    record : tuple of str
        Fields that the strategy records.
    wakes, interval : int
        Bits of `nbtrade.Wake`; the timer's interval, ns.
    expressions : dict
        Features by name that are computed before the run.
    feature_names : tuple of str
        Fields of `features`.
    reads_trades : bool
        It reads the last trade, the volume or the number of events.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.market_maker
    <Strategy market_maker(half_spread=1.0, skew=0.1, max_position=10, qty=1)>
    >>> nbtrade.market_maker.arguments
    ('market', 'account', 'params')
    """

    def __init__(
        self,
        function: Callable[..., None],
        wake: Wakes,
        params: Mapping[str, Any],
        state: Mapping[str, Any],
        record: Iterable[str],
        features: Any,
    ) -> None:
        diagnostics.check_signature(function)
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.arguments = tuple(inspect.signature(function).parameters)
        self.params = Fields(self.name, "params", params)
        self.state = Fields(self.name, "state", state)
        self.record = record_names(self.name, record)
        self.wakes, self.interval = _wakes(wake)
        self.reads_trades = _reads_trades(function)
        self.expressions = dict(features) if isinstance(features, Mapping) else {}
        self.feature_names = tuple(features)
        self._compiled: list[Any] = []  # address, and the object that keeps it alive; shared by all `with_` copies

    def with_(self, /, **params: Any) -> "Strategy":
        """The same strategy with other parameters, without a compile.

        Parameters
        ----------
        **params
            Values by name.

        Returns
        -------
        Strategy
            Shares the compiled function.

        Raises
        ------
        StrategyError
            For an unknown parameter, and for a value that does not fit.

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.market_maker.with_(half_spread=2.0)
        <Strategy market_maker(half_spread=2.0, skew=0.1, max_position=10, qty=1)>
        """
        return self.with_params(params)

    def with_params(self, params: Mapping[str, Any]) -> "Strategy":
        """As `with_`, for any parameter names.

        Parameters
        ----------
        params : dict
            Values by name.

        Returns
        -------
        Strategy
            Shares the compiled function.

        Raises
        ------
        StrategyError
            For an unknown parameter, and for a value that does not fit.

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.market_maker.with_params({"skew": 0.5})
        <Strategy market_maker(half_spread=1.0, skew=0.5, max_position=10, qty=1)>
        """
        other = object.__new__(Strategy)
        other.__dict__.update(self.__dict__)
        other.params = self.params.changed(params)
        return other

    def states(self, n: int) -> np.ndarray:
        """Initial state of n accounts.

        Parameters
        ----------
        n : int
            Number of accounts.

        Returns
        -------
        numpy.ndarray
            One record per account, shape (n,).

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.market_maker.states(3).shape
        (3,)
        """
        return np.repeat(self.state.initial, n)

    @property
    def key(self) -> tuple[Any, ...]:
        """Everything a run depends on except the function's code, for a cache key.

        Returns
        -------
        tuple
            Fields and initial values of params and state, recorded fields, wakes, interval.

        Examples
        --------
        >>> import nbtrade
        >>> len(nbtrade.market_maker.key)
        5
        """
        return self.params.key, self.state.key, self.record, self.wakes, self.interval

    @property
    def recorded(self) -> tuple[str, ...]:
        """Fields that a run records: none if the function does not take `record`.

        Returns
        -------
        tuple of str
            Their names.

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.market_maker.recorded
        ()
        """
        return self.record if "record" in self.arguments else ()

    @property
    def address(self) -> int:
        """Address of the compiled function; compiles it if necessary.

        Returns
        -------
        int
            The engine calls it with six addresses (engine/strategy_compile.py).

        Raises
        ------
        StrategyError
            If the function does not compile. Names the line.

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.market_maker.address == nbtrade.market_maker.with_(skew=0.5).address
        True
        """
        if not self._compiled:
            self._compiled.extend(compile_strategy(self.function, self.params.dtype, self.state.dtype, self.feature_names, self.record))
        return int(self._compiled[0])

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.params.values(self.params.initial[0]).items())
        return f"<Strategy {self.name}({values})>"


def strategy(
    *,
    wake: Wakes = "100ms",
    params: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    record: Iterable[str] = (),
    features: Any = (),
) -> Callable[[Callable[..., None]], Strategy]:
    """Turn a function into a strategy.

    The function takes any of `market, account, params, state, features, record`, matched by name, in any order.

    Parameters
    ----------
    wake : str, int or tuple of them
        When it is called: a time span ("100ms", ns) for a timer; "event", "top" (a change of the best prices or lots), "trade"; "ack",
        "fill" (reports of own orders); "start" and "end" of the session. `market.wake` says which of several apply.
    params : dict, optional
        Parameters: name -> default, or a dtype (zeros). 1 is an i8, 1.0 an f8, True a u1; tuples and arrays are arrays of that length.
        They are read-only; `backtest(params=)`, `with_` and the sets of a sweep change them.
    state : dict, optional
        Memory of each account: name -> initial value or dtype, as above. A field `rng` is the seed of `nbtrade.uniform` and `normal`.
    record : list of str, optional
        Float fields of `record`. A call that assigns any of them adds a row (time, fields) to `Result.records`; unassigned fields are NaN.
    features : dict or sequence of str, optional
        {name: expression of nbtrade.feature}, computed before the run, or names of columns of the matrix that `backtest(features=)` gets:
        features.name is the last value known at the wake. Without names, features[i] is column i of that matrix.

    Returns
    -------
    callable
        Decorator that turns the function into a Strategy.

    Raises
    ------
    StrategyError
        For an invalid argument or field. Compile errors are raised by the first run and name the line.

    Examples
    --------
    >>> import nbtrade
    >>> @nbtrade.strategy(wake="100ms", params={"edge": 1, "most": 5}, state={"n_quotes": 0})
    ... def joiner(market, account, params, state):
    ...     state.n_quotes += 1
    ...     account.quote(nbtrade.BID, market.bid_px - params.edge, 1 if account.position < params.most else 0)
    >>> joiner.with_(edge=2)
    <Strategy joiner(edge=2, most=5)>
    """
    return lambda function: Strategy(function, wake, params or {}, state or {}, record, features)
