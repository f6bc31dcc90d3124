"""From an address to a record, with methods: how a strategy sees the engine's memory.

The engine is compiled once for all strategies. It calls them through a plain function pointer with six integers: the addresses of the
market, account, params, state, features and record. On the strategy's side these turn into typed records again. `market` and `account`
are subclasses of Numba's Record type, so that they may have methods (`account.quote(...)`), which are inlined, and cannot be set
(_numba/readonly.py).

Without the JIT the same addresses become NumPy views, and the methods belong to the record class.
"""

import ctypes
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel.models import RecordModel
from numba.extending import intrinsic, overload_attribute, overload_method, register_model
from numba.np import numpy_support

from nbtrade._numba.jit import JIT, RECORD_METHODS

PUBLIC_METHODS: dict[str, list[str]] = {}  # market, account, ... -> names of the methods that a strategy may call
PUBLIC_FIELDS: dict[str, list[str]] = {}  # -> fields that are computed when they are read


def record_type(dtype: np.dtype, cls: type = types.Record) -> Any:
    """Numba type of one item of `dtype`, as an instance of the Record class `cls`."""
    plain = numpy_support.from_dtype(dtype)
    fields = [(name, {"type": f.type, "offset": f.offset, "alignment": f.alignment, "title": f.title}) for name, f in plain.fields.items()]
    return cls(fields, plain.size, plain.aligned)


def record_model(cls: type) -> type:
    """Decorator for a subclass of Numba's Record, so that it can have methods: in memory it is a record."""
    register_model(cls)(RecordModel)
    return cls


def record_at(dtype: np.dtype, numba_type: Any, python_class: type = np.record) -> Any:
    """A function (address) -> record, for kernels and for plain Python."""
    if not JIT:
        return lambda address: _python_record(address, dtype, python_class)

    @intrinsic
    def at(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return builder.inttoptr(args[0], context.get_value_type(numba_type))

        return numba_type(types.int64), codegen

    return at


def floats_at() -> Any:
    """A function (address) -> an object whose items are f8: a bare pointer for kernels, an array for plain Python."""
    if not JIT:
        return lambda address: _python_array(address, 1, np.dtype("f8"), np.record)
    pointer = types.CPointer(types.float64)

    @intrinsic
    def at(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return builder.inttoptr(args[0], context.get_value_type(pointer))

        return pointer(types.int64), codegen

    return at


def python_bytes(address: int, n: int) -> Any:
    """The n bytes at an address, as a buffer."""
    return (ctypes.c_char * n).from_address(address)


def _python_array(address: int, n: int, dtype: np.dtype, python_class: type) -> np.ndarray:
    memory = python_bytes(int(address), dtype.itemsize * int(n))
    return np.frombuffer(memory, dtype if dtype.names is None else np.dtype((python_class, dtype)))


def _python_record(address: int, dtype: np.dtype, python_class: type) -> Any:
    array = _python_array(address, 1, dtype, python_class)
    array.flags.writeable = not hasattr(python_class, "role")  # records of _numba/readonly.py and their array fields are read-only
    return array[0]


def _as_integer(method: str, value: Any) -> Any:
    """Return the argument if it is an integer. The counterpart of `_check_integers` without the JIT."""
    if not isinstance(value, (int, np.integer, np.bool_)):
        raise TypeError(
            f"{method}: {value!r} is not an integer. Prices are ticks, quantities lots, sides BID or ASK: use int, math.floor or math.ceil"
        )
    whole = int(value)  # NumPy's narrow integers would overflow in later arithmetic
    return whole if -(2**63) <= whole < 2**63 else -(2**63)  # the result of machine code for an invalid number


def _check_integers(method: str, names: tuple[str, ...], *kinds: Any) -> None:
    """Numba must neither truncate a float price nor compile the engine's kernels again for it."""
    for name, kind in zip(names, kinds, strict=True):
        plain = (
            getattr(kind, "value", kind)
            if isinstance(kind, types.Omitted)
            else types.unliteral(kind)
            if isinstance(kind, types.Type)
            else kind
        )
        if not isinstance(plain, (types.Integer, types.Boolean, int)):
            advice = (
                "convert it with int(), math.floor or math.ceil"
                if isinstance(plain, types.Float)
                else "prices are ticks, quantities lots, sides BID or ASK"
            )
            raise numba.core.errors.TypingError(f"nbtrade: the argument {name!r} of {method} must be an integer, not {plain}: {advice}")


def _python_method(inner: Any, name: str, inside: Any) -> Any:
    def call(self: Any, *args: Any, **kws: Any) -> Any:
        return inner(inside(self), *(_as_integer(name, a) for a in args), **{n: _as_integer(name, a) for n, a in kws.items()})

    return call


def method(numba_class: type, python_class: Any, name: str, inside: Any) -> Any:
    """Decorator: make a helper the method `name` of a strategy's record, with and without the JIT.

    inside : a function (the strategy's record) -> the engine's record, which the helper takes
    """

    def attach(function: Any) -> Any:
        inner = getattr(function, "py_func", function)
        names = inner.__code__.co_varnames[1 : inner.__code__.co_argcount]
        RECORD_METHODS.setdefault(name, []).append(inner)
        PUBLIC_METHODS.setdefault(python_class.role, []).append(name)
        setattr(python_class, name, _python_method(inner, name, inside))
        if JIT:
            # the overload must have the same signature as the function: an explicit argument list, not *args
            defaults = inner.__defaults__ or ()
            required = names[: len(names) - len(defaults)]
            listed = ", ".join([*required, *(f"{n}={int(d)}" for n, d in zip(names[len(required) :], defaults, strict=True))])
            # each argument as int64: an i4 field or a bool would compile the kernels behind it again
            passed = ", ".join([*(f"int64({n})" for n in required), *names[len(required) :]])
            typed = f"nbtrade_method_{name}"
            scope: dict[str, Any] = {
                "function": function,
                "inside": inside,
                "int64": types.int64,
                "check": partial(_check_integers, name, names),
            }
            exec(
                f"def {typed}(self, {listed}):\n    check({', '.join(names)})\n"
                f"    return lambda self, {listed}: function(inside(self), {passed})",
                scope,
            )
            overload_method(numba_class, name, inline="never", jit_options={"_nrt": False, "forceinline": True})(scope[typed])
        return function

    return attach


def computed_field(numba_class: type, python_class: Any, name: str, inside: Any) -> Any:
    """Decorator: make a helper (the engine's record) -> number the field `name` of a strategy's record."""

    def attach(function: Any) -> Any:
        inner = getattr(function, "py_func", function)
        RECORD_METHODS.setdefault(name, []).append(inner)
        PUBLIC_FIELDS.setdefault(python_class.role, []).append(name)
        setattr(python_class, name, property(lambda self: inner(inside(self))))
        if JIT:

            def typed(self):  # type: ignore[no-untyped-def]
                return lambda self: function(inside(self))

            overload_attribute(numba_class, name, inline="never", jit_options={"_nrt": False, "forceinline": True})(typed)
        return function

    return attach


# --- calling a strategy ---------------------------------------------------------------------------
PYTHON_STRATEGIES: dict[int, Any] = {}  # without the JIT: artificial address -> function


def _calling(n: int) -> Any:
    """The typing of a call of a function pointer with n addresses."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        kind = ir.FunctionType(i64, [i64] * n)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int64(*[types.int64] * (1 + n)), codegen


@intrinsic
def _call_strategy(typingctx, function, market, account, params, state, features, record):  # type: ignore[no-untyped-def]
    return _calling(6)


@intrinsic
def _call_feature(typingctx, function, plan, out, now, what):  # type: ignore[no-untyped-def]
    return _calling(4)


def _python_call(function: int, *addresses: int) -> int:
    return int(PYTHON_STRATEGIES[int(function)](*addresses))


# (function, then addresses) -> 0, or 1 when it raised
call_strategy = _call_strategy if JIT else _python_call
call_feature = _call_feature if JIT else _python_call
