"""Arrays as bare addresses: one machine word each, where a Numba array takes seven.

The engine keeps the addresses of all its arrays in one record per instrument. A kernel receives that record and reads the addresses it
needs, so a call passes two or three words instead of a hundred: passing 17 arrays cost 50 ns a call, several times a wake.

    levels = levels_at(instrument.levels_at)      levels[i].qty += 1      like an array, but without a length or negative indices

The owner of the arrays keeps them alive and the addresses valid. Without the JIT an address maps to the array registered
for it (`array_address`), so indices are checked in that mode.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.imputils import lower_builtin
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, register_model
from numba.np import numpy_support

from nbtrade._numba.jit import JIT, as_record_array
from nbtrade._numba.records import record_type

ARRAYS: dict[int, np.ndarray] = {}  # without the JIT: address -> array


class Pointer(types.Type):
    """The address of items of one type."""

    def __init__(self, item: Any) -> None:
        self.item = item
        super().__init__(name=f"Pointer1({item})")


@register_model(Pointer)
class PointerModel(PrimitiveModel):
    """A pointer to bytes."""

    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, ir.IntType(8).as_pointer())


def _registered(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array, or the same bytes viewed as another dtype."""
    return array if dtype.names is None or array.dtype.names == dtype.names else as_record_array(np.asarray(array).view(dtype))


def pointer_to(dtype: np.dtype, item: Any = None) -> Any:
    """A function (address) -> an object with items of `dtype`. item : its Numba type, if it has methods"""
    if not JIT:
        return lambda address: _registered(ARRAYS[int(address)], dtype)
    kind = Pointer(item or (record_type(dtype) if dtype.names else numpy_support.from_dtype(dtype)))

    @intrinsic
    def at(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.int64), codegen

    return at


def array_address(array: np.ndarray) -> int:
    """The address of a C-contiguous array; its owner keeps it alive as long as kernels use the address."""
    address = int(array.ctypes.data)
    if not JIT:
        ARRAYS[address] = as_record_array(array)
    return address


@intrinsic
def copy_bytes(typingctx, target, source, n):  # type: ignore[no-untyped-def]
    """Copy n bytes from one address to another: inline if n is a constant, else by the C library's memcpy."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        target, source = (builder.inttoptr(address, ir.IntType(8).as_pointer()) for address in args[:2])
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0].item, *args)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], args[1], args[0].item)
        return None


def _item_address(context: Any, builder: Any, kind: Any, pointer: Any, index: Any, index_type: Any) -> Any:
    size = kind.item.size if isinstance(kind.item, types.Record) else context.get_abi_sizeof(context.get_data_type(kind.item))
    wide = context.cast(builder, index, index_type, types.intp)
    address = builder.gep(pointer, [builder.mul(wide, ir.Constant(wide.type, size))], inbounds=True)
    if isinstance(kind.item, types.Record):
        return builder.bitcast(address, context.get_value_type(kind.item))
    return builder.bitcast(address, context.get_data_type(kind.item).as_pointer())


@lower_builtin(operator.getitem, Pointer, types.Integer)
def _getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    address = _item_address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
    if isinstance(sig.args[0].item, types.Record):
        return address
    return context.unpack_value(builder, sig.args[0].item, address)


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)
def _setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    address = _item_address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
    context.pack_value(builder, sig.args[0].item, args[2], address)
    return context.get_dummy_value()


i4_at = pointer_to(np.dtype("i4"))
i8_at = pointer_to(np.dtype("i8"))
