"""Records that users' functions read and cannot change: the market, the account, an order, params, named features.

    engine      plain record of ACCOUNT      reads and writes
    strategy    AccountType, the same bytes  reads; a store does not compile; has methods (_numba/records.py)

The type decides, so an alias, a tuple, a condition, a loop variable or a helper function makes no difference: each is compiled for the
type it receives. Array fields are read-only arrays, and so are their slices. `method` casts to the plain record before nbtrade's code runs.
Without the JIT a class with the same fields raises at the store. Weak case: code that takes an address from a record and makes a pointer
from it can write anywhere, as in C.
"""

import difflib
import operator
from typing import Any

import numpy as np
from numba import types
from numba.core.datamodel.models import ArrayModel, NestedArrayModel
from numba.core.errors import TypingError
from numba.core.imputils import lower_setattr_generic
from numba.core.typing.npydecl import NdIter, NumpyRulesInplaceArrayOperator
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global
from numba.extending import intrinsic, register_model

from nbtrade._numba.jit import JIT
from nbtrade._numba.records import PUBLIC_FIELDS, PUBLIC_METHODS, record_at, record_type

CANNOT = "cannot be set: only fields of state and record can"


def unknown(role: str, name: str, fields: list[str]) -> str:
    """Error message for an unknown `role.name`, with the names that exist."""
    methods, fields = PUBLIC_METHODS.get(role, []), [*fields, *PUBLIC_FIELDS.get(role, [])]
    close = difflib.get_close_matches(name, [*methods, *fields], 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    more = f" Methods: {', '.join(methods)}." if methods else ""
    return f"{role} has no field or method {name!r}.{hint} Fields: {', '.join(fields) or 'none'}.{more}"


class ReadOnlyArray(types.Array):
    """A part of a read-only record's array field."""

    def __init__(self, dtype: Any, ndim: int, layout: str) -> None:
        super().__init__(dtype, ndim, layout, readonly=True)

    def copy(self, dtype: Any = None, ndim: int | None = None, layout: str | None = None, readonly: bool | None = None) -> Any:
        return ReadOnlyArray(dtype or self.dtype, self.ndim if ndim is None else ndim, layout or self.layout)


class ReadOnlyNested(types.NestedArray):
    """An array field of a read-only record."""

    mutable = False
    copy = ReadOnlyArray.copy


class ReadOnlyRecord(types.Record):
    """A record that cannot be set. role : its name in error messages"""

    role = "this record"

    def typeof(self, key: Any) -> Any:
        """Type of a field. Raises TypingError that lists the fields and methods."""
        if key not in self.fields:
            raise TypingError(f"nbtrade: {unknown(self.role, str(key), list(self.fields))}")
        return super().typeof(key)

    def can_convert_to(self, typingctx: Any, other: Any) -> Any:
        """Never: a record of the same fields might be writable."""


class ReadOnly(np.record):
    """The same without the JIT."""

    role = "this record"

    def __getattribute__(self, name: str) -> Any:
        try:
            return super().__getattribute__(name)
        except AttributeError:
            raise AttributeError(unknown(self.role, name, list(self.dtype.names or ()))) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"{self.role}.{name} {CANNOT}")

    def __setitem__(self, name: Any, value: Any) -> None:
        raise TypeError(f"{self.role}[{name!r}] {CANNOT}")


register_model(ReadOnlyArray)(ArrayModel)
register_model(ReadOnlyNested)(NestedArrayModel)


def read_only_type(dtype: np.dtype, cls: type) -> Any:
    """As `record_type`, for a subclass of ReadOnlyRecord: its array fields are read-only too."""
    record = record_type(dtype)
    fields = []
    for name, f in record.fields.items():
        kind = ReadOnlyNested(f.type.dtype, f.type.shape) if isinstance(f.type, types.NestedArray) else f.type
        fields.append((name, {"type": kind, "offset": f.offset, "alignment": f.alignment, "title": f.title}))
    return cls(fields, record.size, record.aligned)


@lower_setattr_generic(ReadOnlyRecord)
def _setattr(context: Any, builder: Any, sig: Any, args: Any, attr: str) -> None:
    raise TypingError(f"nbtrade: {sig.args[0].role}.{attr} {CANNOT}")


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> None:
        if isinstance(args[0], (ReadOnlyArray, ReadOnlyNested)):
            raise TypingError(f"nbtrade: an item of this array {CANNOT}")


def _refuse_read_only(template: Any, what: str) -> None:
    """Make one of Numba's templates refuse read-only arrays. (`a += 1` fails on them silently; np.nditer loses their type.)"""
    generic = template.generic

    def checked(self: Any, args: Any, kws: Any) -> Any:
        arrays = args[0] if args and isinstance(args[0], types.BaseTuple) else args[:1]
        if any(isinstance(array, (ReadOnlyArray, ReadOnlyNested)) for array in arrays):
            raise TypingError(f"nbtrade: this array {CANNOT}; {what}")
        return generic(self, args, kws)

    template.generic = checked


_refuse_read_only(NumpyRulesInplaceArrayOperator, "copy its items")
_refuse_read_only(NdIter, "np.nditer is not for reading only: use indices")


class _NoWayAround(AttributeTemplate):
    """Views of an array that would lose the read-only flag."""

    def resolve_flat(self, array: Any) -> Any:
        raise TypingError(f"nbtrade: this array {CANNOT}; .flat would allow writing: use indices")

    def resolve_ctypes(self, array: Any) -> Any:
        raise TypingError(f"nbtrade: this array {CANNOT}; .ctypes would allow writing: use indices")


for array_class in (ReadOnlyArray, ReadOnlyNested):
    infer_getattr(type("_NoWayAround", (_NoWayAround,), {"key": array_class}))


def view_dtype(dtype: np.dtype, names: dict[str, str]) -> np.dtype:
    """The same bytes with only some fields. names : name in the view -> in `dtype`"""
    fields = [dtype.fields[name] for name in names.values()]  # type: ignore[index]
    layout: Any = {
        "names": list(names),
        "formats": [field[0] for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }
    return np.dtype(layout, align=True)


def engine_record(dtype: np.dtype) -> Any:
    """A function (a strategy's view of a record of `dtype`) -> the engine's own record at that place, which can be set."""
    if not JIT:
        at = record_at(dtype, None)
        return lambda view: at(view.__array_interface__["data"][0])
    whole = record_type(dtype)

    @intrinsic
    def cast(typingctx, view):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return builder.bitcast(args[0], context.get_value_type(whole))

        return whole(view), codegen

    return cast
