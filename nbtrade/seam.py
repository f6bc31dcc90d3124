"""The strategy seam: a Python function becomes a function pointer that the engine calls at every wake.

    @nbtrade.strategy(state=[("half_spread", "i8"), ("max_position", "i8")], wake="100ms")
    def market_maker(market, features, account, state):
        ...
        account.quote(BID, px, 1)

Parameters are initial values of named state fields: another value is another row of data, never another compile. Editing a
strategy compiles that function alone (about 0.3 s); the engine stays as it is, on disk.
"""

import dis
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numba
import numpy as np
from numba import types

from nbtrade._jit import JIT, use_cache
from nbtrade.errors import StrategyError
from nbtrade.kernels import account as _methods  # noqa: F401  the methods that strategies call
from nbtrade.kernels.market import MARKET, TRADE_FIELDS, market_at
from nbtrade.kernels.records import WAKES, account_at
from nbtrade.kernels.views import PYTHON_STRATEGIES, floats_at, record_at, record_type
from nbtrade.schema import TIMER
from nbtrade.times import ns_of

ARGUMENTS = ("market", "features", "account", "state")
SIGNATURE = types.int64(*[types.int64] * 4)

features_at = floats_at()


def _wakes(wake: str | int | Iterable[str | int]) -> tuple[int, int]:
    """(bits of kernels/records.py, timer interval in ns)."""
    wakes, interval = 0, 0
    for one in (wake,) if isinstance(wake, (str, int)) else wake:
        if one in WAKES:
            wakes |= WAKES[str(one)]
            continue
        wakes |= TIMER
        interval = ns_of(one)
        if interval <= 0:
            raise ValueError(f"wake={one!r}: the interval of a timer is more than 0 ns")
    if wakes == 0:
        raise ValueError(f"wake is empty: give a time span such as '100ms', one of {', '.join(WAKES)}, or several in a tuple")
    return wakes, interval or 1


def _reads_trades(function: Any, seen: frozenset[int] = frozenset()) -> bool:
    """True unless the function surely reads none of the market's trade fields: keeping them costs 1 ns a row."""
    inner = getattr(function, "py_func", function)
    if id(inner) in seen:
        return False
    code = getattr(inner, "__code__", None)
    if code is None:
        return not str(getattr(inner, "__module__", "")).startswith(("numpy", "math", "builtins"))
    if TRADE_FIELDS & {*code.co_names, *map(str, code.co_consts)}:
        return True
    scope = {**inner.__globals__, **inspect.getclosurevars(inner).nonlocals}
    called = [scope[name] for name in code.co_names if callable(scope.get(name))]
    return any(_reads_trades(one, seen | {id(inner)}) for one in called)


class Strategy:
    """A compiled strategy: call `with_(half_spread=2)` for other parameters; `address` is the function pointer.

    state    : record dtype of the state fields     defaults : their initial values
    wakes    : bits of kernels/records.py           interval : ns
    reads_trades : it reads the last trade, the volume or the number of events
    """

    def __init__(self, function: Callable[..., None], state: Any, wake: Any, defaults: Mapping[str, Any]) -> None:
        _check(function)
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.state = list(state)
        self.dtype = np.dtype([*list(state), ("_", "i8")] if state else [("_", "i8")], align=True)
        self.wakes, self.interval = _wakes(wake)
        self.reads_trades = _reads_trades(function)
        self.defaults = dict(defaults)
        self._compiled: list[Any] = []  # address, and what keeps it alive: shared by all `with_` other values
        self.states([{}])  # wrong names and values are said here

    def with_(self, **values: Any) -> "Strategy":
        """The same strategy with other initial values (no compile)."""
        other = object.__new__(Strategy)
        other.__dict__.update(self.__dict__)
        other.defaults = {**self.defaults, **values}
        other.states([{}])
        return other

    def states(self, rows: list[dict[str, Any]]) -> np.ndarray:
        """Initial state records, one for each dict of values. Raises StrategyError for an unknown field."""
        out = np.zeros(len(rows), self.dtype)
        for k, row in enumerate(rows):
            for name, value in {**self.defaults, **row}.items():
                if name not in (self.dtype.names or ())[:-1]:
                    known = ", ".join((self.dtype.names or ())[:-1]) or "none"
                    raise StrategyError(f"{self.name} has no state field {name!r}. Its fields: {known}.")
                try:
                    out[name][k] = value
                except (TypeError, ValueError, OverflowError) as error:
                    raise StrategyError(f"{self.name}: {value!r} does not fit state field {name!r} ({self.dtype[name]}): {error}") from None
        return out

    @property
    def address(self) -> int:
        """Compile if need be. Raises StrategyError that names the line."""
        if not self._compiled:
            self._compiled.extend(_compile(self.function, self.dtype))
        return int(self._compiled[0])

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v}" for k, v in self.defaults.items())
        return f"<Strategy {self.name}({values})>"


def strategy(*, state: Any = (), wake: Any = "100ms", **defaults: Any) -> Callable[[Callable[..., None]], Strategy]:
    """Make a function (market, features, account, state) a strategy.

    state    : list of (name, dtype[, shape]): parameters and memory, one record for each account
    wake     : a time span ("100ms", ns) for a timer; "event", "top" (a change of the best prices or lots), "trade"; "ack", "fill" (own
               orders' reports); "start" and "end" of the session; or several in a tuple. `market.wake` says which ones apply
    defaults : initial values of state fields; all others begin at 0

    Raises StrategyError for a wrong signature or field; compile errors come with the first run and name the line.
    """
    return lambda function: Strategy(function, state, wake, defaults)


def _check(function: Callable[..., None]) -> None:
    names = tuple(inspect.signature(function).parameters)
    if len(names) != len(ARGUMENTS):
        raise StrategyError(f"{function.__name__} takes ({', '.join(names)}); a strategy takes ({', '.join(ARGUMENTS)}).")


def _compile(function: Callable[..., Any], dtype: np.dtype) -> tuple[int, Any]:
    state_at = record_at(dtype, record_type(dtype) if JIT else None)
    if not JIT:
        address = id(function)
        PYTHON_STRATEGIES[address] = lambda m, f, a, s: function(market_at(m), features_at(f), account_at(a), state_at(s)) or 0
        return address, function
    inner = numba.njit(error_model="python", _nrt=False)(function)

    def entry(market: int, features: int, account: int, state: int) -> int:
        try:
            inner(market_at(market), features_at(features), account_at(account), state_at(state))
        except Exception:
            return 1
        return 0

    entry.__qualname__ = f"strategy_{function.__name__}"
    from numba.core.ccallback import CFunc

    callback: Any = CFunc(entry, ((types.int64,) * 4, types.int64), {}, {"nopython": True, "_nrt": False})
    use_cache(callback, entry)
    try:
        callback.compile()
    except numba.core.errors.NumbaError as error:
        raise StrategyError(f"{function.__name__} cannot be compiled.\n{_sentence(error, function)}") from None
    except KeyError as error:  # Numba's records raise it as it is, without a line
        raise StrategyError(f"{function.__name__} cannot be compiled.\n{_no_field(error.args[0], function, dtype)}") from None
    return int(callback.address), callback


def _no_field(name: Any, function: Callable[..., None], dtype: np.dtype) -> str:
    """What and where, for a field that no record has."""
    code = function.__code__
    line = next((i.positions.lineno for i in dis.get_instructions(code) if i.argval == name and i.positions), code.co_firstlineno)
    known = f"market: {', '.join(MARKET.names or ())}; state: {', '.join((dtype.names or ())[:-1]) or 'none'}"
    return f"There is no field {name!r}. Fields of {known}.\nIn {code.co_filename}, line {line}"


def _sentence(error: Exception, function: Callable[..., None]) -> str:
    """The part of Numba's message that a user needs: what, and the line of the user's own function."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    file = function.__code__.co_filename
    where = [line.strip() for line in lines if file in line]
    what = next((line.strip() for line in lines if "Error" not in line and "pipeline" not in line), lines[0])
    return f"{what}\n{where[-1] if where else f'In {file}, line {function.__code__.co_firstlineno}'}\nNumba says:\n{error}"
