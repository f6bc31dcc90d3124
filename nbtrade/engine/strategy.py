"""A strategy: a Python function becomes a function pointer that the engine calls at every wake.

    @nbtrade.strategy(state=[("half_spread", "i8"), ("max_position", "i8")], wake="100ms")
    def market_maker(market, features, account, state):
        ...
        account.quote(BID, px, 1)

Parameters are initial values of named state fields: another value is another row of data, never another compile. Editing a
strategy compiles that function alone (0.2 to 0.6 s); the engine stays as it is, on disk.
"""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numba import types

from nbtrade._numba import printing as _printing  # noqa: F401  print of arrays
from nbtrade._numba.jit import COMPILE_ERRORS, JIT, EntryPoint, helper, use_cache
from nbtrade._numba.reached import plain, reached
from nbtrade._numba.readonly import ReadOnly, ReadOnlyRecord, read_only_type
from nbtrade._numba.records import PYTHON_STRATEGIES, record_at, record_model, record_type
from nbtrade._numba.traceback import TracedFunction, traced_call
from nbtrade.engine import diagnostics
from nbtrade.engine.kernels import account as _methods  # noqa: F401  the methods that strategies call
from nbtrade.engine.kernels.feature_row import FEATURE_ROW, feature_row_at
from nbtrade.engine.kernels.market import MARKET_TYPE, TRADE_FIELDS, shown_market_at
from nbtrade.engine.kernels.records import WAKES
from nbtrade.engine.kernels.shown import ACCOUNT_TYPE, shown_account_at
from nbtrade.errors import StrategyError
from nbtrade.schema import TIMER
from nbtrade.times import ns_of


def _wakes(wake: str | int | Iterable[str | int]) -> tuple[int, int]:
    """(bits of engine/kernels/records.py, timer interval in ns)."""
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


def _reads_trades(function: Any) -> bool:
    """True unless the function surely reads none of the market's trade fields: keeping them costs 1 ns a row."""
    used = list(reached(function))
    for inner in {id(one): one for one in (plain(function), *(plain(use.value) for use in used))}.values():
        code = getattr(inner, "__code__", None)
        if code is not None and TRADE_FIELDS & {*code.co_names, *map(str, code.co_consts)}:
            return True
        if code is None and callable(inner) and not str(getattr(inner, "__module__", "")).startswith(("numpy", "math", "builtins")):
            return True
    return False


def _state_dtype(name: str, state: list[Any]) -> np.dtype:
    """The record of the state fields. Raises StrategyError, saying which field is wrong."""
    for field in state:
        try:
            dtype = np.dtype([field])
        except (TypeError, ValueError) as error:
            raise StrategyError(
                f'{name}: state field {field!r}: {error}. Write ("name", "f8"), or ("name", "i8", 100) for an array.'
            ) from None
        if dtype[0].base.kind not in "iufb":
            raise StrategyError(f'{name}: state field {field!r}: a field is a number or an array of numbers, such as "f8", "i8" or "u1".')
        if dtype[0].base.kind == "b" and dtype[0].shape:
            raise StrategyError(f'{name}: state field {field!r}: Numba has no arrays of booleans in records. Make it an array of "u1".')
    try:
        return np.dtype([*state, ("_", "i8")], align=True)
    except ValueError as error:
        raise StrategyError(f"{name}: the state's fields: {error}") from None


class Strategy:
    """A compiled strategy: call `with_(half_spread=2)` for other parameters; `address` is the function pointer.

    state    : record dtype of the state fields     defaults : their initial values
    wakes    : bits of engine/kernels/records.py           interval : ns
    expressions : name -> feature    feature_names : fields of `features`
    reads_trades : it reads the last trade, the volume or the number of events
    """

    def __init__(self, function: Callable[..., None], state: Any, wake: Any, defaults: Mapping[str, Any], features: Any = ()) -> None:
        diagnostics.check_signature(function)
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.state = list(state)
        self.dtype = _state_dtype(self.name, self.state)
        self.wakes, self.interval = _wakes(wake)
        self.reads_trades = _reads_trades(function)
        self.expressions = dict(features) if isinstance(features, Mapping) else {}
        self.feature_names = tuple(features)
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
                if self.dtype[name].base.kind in "iub" and np.any(out[name][k] != np.asarray(value)):  # NumPy cuts 0.5 to 0
                    raise StrategyError(
                        f"{self.name}: {value!r} does not fit state field {name!r} ({self.dtype[name]}): it would become {out[name][k]}. "
                        'Give a whole number, or make the field a float: "f8".'
                    )
        return out

    @property
    def address(self) -> int:
        """Compile if need be. Raises StrategyError that names the line."""
        if not self._compiled:
            self._compiled.extend(_compile(self.function, self.dtype, self.feature_names))
        return int(self._compiled[0])

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v}" for k, v in self.defaults.items())
        return f"<Strategy {self.name}({values})>"


def strategy(*, state: Any = (), wake: Any = "100ms", features: Any = (), **defaults: Any) -> Callable[[Callable[..., None]], Strategy]:
    """Make a function (market, features, account, state) a strategy.

    state    : list of (name, dtype[, shape]): parameters and memory, one record for each account
    wake     : a time span ("100ms", ns) for a timer; "event", "top" (a change of the best prices or lots), "trade"; "ack", "fill" (own
               orders' reports); "start" and "end" of the session; or several in a tuple. `market.wake` says which ones apply
    features : {name: expression of nbtrade.feature}, computed before the run, or names of columns of the matrix that `backtest(features=)`
               gets; features.name is the last value known at the wake. Without names, features[i] is column i of that matrix
    defaults : initial values of state fields; all others begin at 0

    Raises StrategyError for a wrong signature or field; compile errors come with the first run and name the line.
    """
    return lambda function: Strategy(function, state, wake, defaults, features)


class FeaturesRecord(ReadOnly):  # type: ignore[misc]
    """Named features without the JIT."""

    role = "features"


@record_model
class FeaturesType(ReadOnlyRecord):
    """Named features with the JIT."""

    role = "features"


def _features(names: tuple[str, ...]) -> tuple[Any, Any]:
    """(a function (address, market's address) -> features, its Numba type): a record of named floats, or a row of numbered ones."""
    if not names:
        return feature_row_at, FEATURE_ROW
    dtype = np.dtype([(name, "f8") for name in names])
    numba_type = read_only_type(dtype, FeaturesType) if JIT else None
    named_at = record_at(dtype, numba_type, FeaturesRecord)

    @helper
    def named_row_at(features: int, market: int) -> Any:
        return named_at(features)

    return named_row_at, numba_type


def _compile(function: Callable[..., Any], dtype: np.dtype, names: tuple[str, ...]) -> tuple[int, Any]:
    """(address, what keeps it alive) of the entry that the engine calls."""
    diagnostics.check_names(function, dtype)
    state_type = record_type(dtype) if JIT else None
    state_at = record_at(dtype, state_type)
    row_at, row_type = _features(names)
    if not JIT:
        address = id(function)
        PYTHON_STRATEGIES[address] = lambda m, f, a, s: _call_python(
            function, shown_market_at(m), row_at(f, m), shown_account_at(a), state_at(s)
        )
        return address, function
    argument_types = MARKET_TYPE, row_type, ACCOUNT_TYPE, state_type
    call = traced_call(TracedFunction(function, argument_types, int(dtype.fields["_"][1])))  # type: ignore[index]

    def entry(market: int, features: int, account: int, state: int) -> int:
        return call(shown_market_at(market), row_at(features, market), shown_account_at(account), state_at(state))

    entry.__qualname__ = f"strategy_{function.__name__}"
    callback: Any = EntryPoint(entry, ((types.int64,) * 4, types.int64), {}, {"nopython": True, "_nrt": False})
    use_cache(callback, entry)
    try:
        callback.compile()
    except COMPILE_ERRORS as error:
        raise diagnostics.compile_error(error, function, dtype) from None
    return int(callback.address), callback


def _call_python(function: Callable[..., Any], market: Any, features: Any, account: Any, state: Any) -> int:
    """Without the JIT: as the compiled entry, but an exception says its line by itself."""
    try:
        with np.errstate(divide="raise", invalid="raise"):  # a field is a NumPy number, which would only warn
            function(market, features, account, state)
    except Exception as error:
        file = function.__code__.co_filename
        lines = [frame.lineno for frame in traceback.extract_tb(sys.exc_info()[2]) if frame.filename == file]
        kind = ZeroDivisionError if isinstance(error, FloatingPointError) else type(error)
        words = f"{kind.__name__}: {error}"
        when = f"At {np.datetime64(int(market.ts), 'ns')} UTC"
        values = {name: state[name] for name in state.dtype.names}
        raise diagnostics.runtime_error(function, words, lines[-1] or 0, when, values) from error
    return 0
