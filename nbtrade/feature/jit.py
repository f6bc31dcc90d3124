"""Compile the source of a feature set to a function pointer, in the same way as strategies.

    def evaluate(plan_at, out_at, moment, what) -> 0, or 1 when a user-defined feature raised an exception

Compiled once for each structure of a set and kept in the disk cache (_numba/jit.py), whose key covers the source, the helpers it uses, and
user-defined functions. About a second for twenty features; 20 ms from the cache.
"""

import math
import traceback
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from nbtrade._numba import printing as _printing  # noqa: F401  enables print of arrays
from nbtrade._numba.jit import JIT, EntryPoint, use_cache
from nbtrade._numba.readonly import ReadOnly, ReadOnlyRecord, read_only_type
from nbtrade._numba.records import PYTHON_STRATEGIES, record_at, record_model, record_type
from nbtrade.errors import FeatureError
from nbtrade.feature.codegen import Program
from nbtrade.feature.kernels import interval_stats, rolling, rolling_extrema, scalar_math
from nbtrade.feature.kernels.snapshot import MARKET_SNAPSHOT, floats, plan_of

SIGNATURE = (types.int64,) * 4, types.int64
HELPERS = {
    scalar_math: ("ema_step", "flush_tiny", "difference", "sign_of", "clip", "table_of", "decay_of"),
    rolling: (
        "window_at", "pairs_at", "hold_value", "forward", "mean_of", "std_of", "zscore_of", "lag_of", "forward_flow", "add_flow", "sum_of",
    ),
    rolling_extrema: ("hold_extreme", "forward_extreme", "extreme_of"),
    interval_stats: (
        "close_intervals", "volatility_of", "bipower_of", "impact_of", "illiquidity_of", "step_trade", "roll_of", "fill_buckets", "vpin_of",
        "schedule", "release_due",
    ),
}  # fmt: skip


class ObservedRecord(ReadOnly):  # type: ignore[misc]
    """The market record of user-defined features, without the JIT."""

    role = "market"


@record_model
class ObservedType(ReadOnlyRecord):
    """The market record of user-defined features, with the JIT."""

    role = "market"


snapshot_at = record_at(MARKET_SNAPSHOT, read_only_type(MARKET_SNAPSHOT, ObservedType), ObservedRecord)
_compiled: dict[Any, tuple[int, Any]] = {}


def _scope(functions: list[Callable[..., Any]], dtypes: list[np.dtype]) -> dict[str, Any]:
    scope: dict[str, Any] = {name: getattr(module, name) for module, names in HELPERS.items() for name in names}
    scope |= {"math": math, "nan": math.nan, "inf": math.inf, "floats": floats, "plan_of": plan_of, "snapshot_at": snapshot_at}
    for k, (function, dtype) in enumerate(zip(functions, dtypes, strict=True)):
        scope[f"own_{k}"] = numba.njit(error_model="python", _nrt=False)(function)
        scope[f"own_record_{k}"] = record_at(dtype, record_type(dtype) if JIT else None)
    return scope


def address_of(program: Program) -> int:
    """The function pointer of a feature set. Raises FeatureError, naming the user-defined function that cannot be compiled."""
    functions = [record.function for record in program.own]
    key = (program.source, *functions)
    if key not in _compiled:
        _compiled[key] = _compile(program, functions, [record.dtype for record in program.own])
    return _compiled[key][0]


def _compile(program: Program, functions: list[Callable[..., Any]], dtypes: list[np.dtype]) -> tuple[int, Any]:
    scope = {**_scope(functions, dtypes), "__name__": __name__}  # an existing module: the disk cache imports it
    exec(compile(program.source, f"<features {program.digest}>", "exec"), scope)
    evaluate = scope["evaluate"]
    if functions:
        evaluate = _catching(evaluate) if JIT else _with_line(evaluate, functions)
    evaluate.__qualname__ = f"features_{program.digest}"
    if not JIT:
        PYTHON_STRATEGIES[id(evaluate)] = evaluate
        return id(evaluate), evaluate
    callback: Any = EntryPoint(evaluate, SIGNATURE, {}, {"nopython": True, "_nrt": False, "error_model": "numpy", "forceinline": True})
    use_cache(callback, evaluate, "form 3")
    try:
        callback.compile()
    except (numba.core.errors.NumbaError, KeyError) as error:
        names = ", ".join(function.__name__ for function in functions) or "none, so this is a bug in nbtrade: please report it"
        raise FeatureError(f"the features cannot be compiled; user-defined functions among them: {names}.\n{error}") from None
    return int(callback.address), callback


def _catching(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """Catch exceptions of user-defined functions: they end the pass instead of the process."""
    inner = numba.njit(error_model="numpy", _nrt=False)(evaluate)

    def catching(plan_at: int, out_at: int, moment: int, what: int) -> int:
        try:
            inner(plan_at, out_at, moment, what)
        except Exception:
            return 1
        return 0

    return catching


def _with_line(evaluate: Callable[..., Any], functions: list[Callable[..., Any]]) -> Callable[..., Any]:
    """Without the JIT: report the line of an exception in a user-defined function."""
    files = {function.__code__.co_filename for function in functions}

    def named(plan_at: int, out_at: int, moment: int, what: int) -> int:
        try:
            evaluate(plan_at, out_at, moment, what)
        except Exception as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
            where = f"{frames[-1].filename}, line {frames[-1].lineno}\n    {frames[-1].line}" if frames else "a user-defined feature"
            raise FeatureError(f"a user-defined feature raised {type(error).__name__}: {error}\nIn {where}") from error
        return 0

    return named
