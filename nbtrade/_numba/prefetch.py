"""Prefetch a cache line before it is needed: by address, or an item of an array by its index."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbtrade._numba.jit import JIT, helper


def _prefetch(to_write: int) -> Any:
    if not JIT:
        return lambda address: None

    @intrinsic
    def prefetch(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [builder.inttoptr(args[0], pointer), i32(to_write), i32(3), i32(1)])  # keep in all caches, data
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return prefetch


# (address): start loading the cache line there, to read or to write it; any address is allowed
prefetch_line = _prefetch(0)
prefetch_line_to_write = _prefetch(1)


@helper
def prefetch_lines(address, n):
    """Start loading n bytes at an address."""
    for line in range(0, n, 64):
        prefetch_line(address + line)


@intrinsic
def _prefetch_item(typingctx, array, i):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        array_type = signature.args[0]
        data = context.make_array(array_type)(context, builder, args[0])
        item = cgutils.get_item_pointer(context, builder, array_type, data, [args[1]], wraparound=False)
        pointer, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [builder.bitcast(item, pointer), i32(0), i32(3), i32(1)])  # to read, keep in all caches, data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


# (array, index): start loading an item that will be needed soon
prefetch = _prefetch_item if JIT else (lambda array, i: None)
