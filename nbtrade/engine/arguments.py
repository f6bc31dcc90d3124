"""The arguments of a strategy as typed records, built from the addresses that the engine passes.

    market, account   records of the engine, which have methods and cannot be set     params, named features   cannot be set
    state, record     can be set                                                      features[i]              a row of a matrix

Each role has its own Numba type, so messages name the argument even when another variable holds it. Without the JIT a record is a
NumPy record whose fields come before NumPy's own attributes: a field may be called `size` or `copy`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from nbtrade._numba.jit import JIT, helper
from nbtrade._numba.readonly import ReadOnly, ReadOnlyRecord, read_only_type
from nbtrade._numba.records import record_at, record_model, record_type
from nbtrade.engine.declaration import HIDDEN
from nbtrade.engine.kernels.feature_row import FEATURE_ROW, feature_row_at
from nbtrade.engine.kernels.market import MARKET_TYPE, shown_market_at
from nbtrade.engine.kernels.shown import ACCOUNT_TYPE, shown_account_at

ARGUMENTS = ("market", "account", "params", "state", "features", "record")


class _FieldsFirst(np.record):
    """A record without the JIT, for fields of any name."""

    def __getattribute__(self, name: str) -> Any:
        if name in (np.void.__getattribute__(self, "dtype").names or ()):
            return np.void.__getitem__(self, name)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in (np.void.__getattribute__(self, "dtype").names or ()):
            np.void.__setitem__(self, name, value)
        else:
            super().__setattr__(name, value)


class ParamsRecord(ReadOnly, _FieldsFirst):
    """Parameters without the JIT."""

    role = "params"


class FeaturesRecord(ReadOnly, _FieldsFirst):
    """Named features without the JIT."""

    role = "features"


class StateRecord(_FieldsFirst):
    """The state without the JIT."""


class RecordRecord(_FieldsFirst):
    """The fields to record without the JIT."""


@record_model
class ParamsType(ReadOnlyRecord):
    """Parameters with the JIT."""

    role = "params"


@record_model
class FeaturesType(ReadOnlyRecord):
    """Named features with the JIT."""

    role = "features"


@record_model
class StateType(types.Record):
    """The state with the JIT."""


@record_model
class RecordType(types.Record):
    """The fields to record with the JIT."""


def record_dtype(names: tuple[str, ...]) -> np.dtype:
    """dtype of a record of named floats; it has at least one field."""
    return np.dtype([(name, "f8") for name in names or (HIDDEN,)])


def _writable(dtype: np.dtype, numba_class: type, python_class: type) -> tuple[Any, Any]:
    kind = record_type(dtype, numba_class) if JIT else None
    return record_at(dtype, kind, python_class), kind


def _read_only(dtype: np.dtype, numba_class: type, python_class: type) -> tuple[Any, Any]:
    kind = read_only_type(dtype, numba_class) if JIT else None
    return record_at(dtype, kind, python_class), kind


def _features(names: tuple[str, ...]) -> tuple[Any, Any]:
    """(a function (address, market's address) -> features, its Numba type): a record of named floats, or a row of numbered ones."""
    if not names:
        return feature_row_at, FEATURE_ROW
    named_at, kind = _read_only(record_dtype(names), FeaturesType, FeaturesRecord)

    @helper
    def named_row_at(features: int, market: int) -> Any:
        return named_at(features)

    return named_row_at, kind


def views(params: np.dtype, state: np.dtype, features: tuple[str, ...], record: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """For each argument: (a function (address) -> it, its Numba type). That of features takes the market's address too."""
    return {
        "market": (shown_market_at, MARKET_TYPE),
        "account": (shown_account_at, ACCOUNT_TYPE),
        "params": _read_only(params, ParamsType, ParamsRecord),
        "state": _writable(state, StateType, StateRecord),
        "features": _features(features),
        "record": _writable(record_dtype(record), RecordType, RecordRecord),
    }


def shim(function_name: str, names: tuple[str, ...], views_of: dict[str, tuple[Any, Any]], call: Any, home: str) -> Callable[..., int]:
    """The function of six addresses that the engine calls: it builds the strategy's arguments, in order.

    call : (address of the state, the arguments) -> 0, or 1 when the strategy raised      home : the module it belongs to
    """
    made = {name: f"{name}_at({name}{', market' if name == 'features' else ''})" for name in names}
    scope: dict[str, Any] = {"call": call, "__name__": home, **{f"{name}_at": views_of[name][0] for name in names}}
    listed = "".join(f", {made[name]}" for name in names)
    source = f"def entry({', '.join(ARGUMENTS)}):\n    return call(state{listed})\n"
    exec(compile(source, "<nbtrade strategy>", "exec"), scope)
    entry: Callable[..., int] = scope["entry"]
    entry.__qualname__ = f"strategy_{function_name}"
    return entry
