"""From a strategy's function to the function pointer that the engine calls: six addresses in, 0 or 1 out.

    engine ── (market, account, params, state, features, record) ──> shim ── the arguments that the function names ──> function

All strategies share one pointer type, so the engine is compiled once. The disk cache's key contains the function's code, its argument list
and the dtypes of its arguments.
"""

import inspect
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import types

from nbtrade._numba import printing as _printing  # noqa: F401  print of arrays
from nbtrade._numba.jit import COMPILE_ERRORS, JIT, EntryPoint, use_cache
from nbtrade._numba.records import PYTHON_STRATEGIES
from nbtrade._numba.traceback import TracedFunction, traced_call
from nbtrade.engine import diagnostics
from nbtrade.engine.arguments import ARGUMENTS, shim, views
from nbtrade.engine.declaration import HIDDEN
from nbtrade.engine.kernels import account as _methods  # noqa: F401  the methods that strategies call


def compile_strategy(
    function: Callable[..., Any], params: np.dtype, state: np.dtype, features: tuple[str, ...], record: tuple[str, ...]
) -> tuple[int, Any]:
    """(address, object that keeps it alive) of the entry that the engine calls. Raises StrategyError that names the line."""
    fields = {"params": params.names or (), "state": state.names or (), "record": record}
    diagnostics.check_names(function, fields)
    names = tuple(inspect.signature(function).parameters)
    views_of = views(params, state, features, record)
    if not JIT:
        entry = shim(function.__name__, names, views_of, lambda state, *arguments: function(*arguments), __name__)
        address = id(entry)
        PYTHON_STRATEGIES[address] = partial(_call_python, function, entry, views_of)
        return address, entry
    traced = TracedFunction(function, tuple(views_of[name][1] for name in names), int(state.fields[HIDDEN][1]))  # type: ignore[index]
    entry = shim(function.__name__, names, views_of, traced_call(traced, names), __name__)
    callback: Any = EntryPoint(entry, ((types.int64,) * len(ARGUMENTS), types.int64), {}, {"nopython": True, "_nrt": False})
    use_cache(callback, entry)
    try:
        callback.compile()
    except COMPILE_ERRORS as error:
        raise diagnostics.compile_error(error, function, fields) from None
    return int(callback.address), callback


def _call_python(function: Callable[..., Any], entry: Callable[..., Any], views_of: dict[str, tuple[Any, Any]], *addresses: int) -> int:
    """Without the JIT: as the compiled entry; the line comes from the exception's traceback."""
    try:
        with np.errstate(divide="raise", invalid="raise"):  # a field is a NumPy number, which would only warn
            entry(*addresses)
    except Exception as error:
        file = function.__code__.co_filename
        lines = [frame.lineno for frame in traceback.extract_tb(sys.exc_info()[2]) if frame.filename == file]
        kind = ZeroDivisionError if isinstance(error, FloatingPointError) else type(error)
        market, state = (views_of[name][0](addresses[ARGUMENTS.index(name)]) for name in ("market", "state"))
        when = f"At {np.datetime64(int(market.ts), 'ns')} UTC"
        values = dict(zip(state.dtype.names, state.tolist(), strict=True))
        raise diagnostics.runtime_error(function, f"{kind.__name__}: {error}", lines[-1] or 0, when, values) from error
    return 0
