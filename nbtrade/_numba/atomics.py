"""A word that one process stores and others load, through shared memory: writes before the store are visible after the load.

`store_release` and `load_acquire` are plain moves on x86-64 (its memory order guarantees this) and use fences elsewhere. An int64 at an
address that is a multiple of 8 is read and written atomically. Called from Python they cost about 0.2 us, nearly all of it Numba's
dispatch.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbtrade._numba.jit import JIT, kernel


def _item(context, builder, array_type, array, i):  # type: ignore[no-untyped-def]
    data = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, data, [i], wraparound=False)


@intrinsic
def _load(typingctx, words, i):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load_atomic(_item(context, builder, signature.args[0], *args), "acquire", 8)

    return types.int64(words, types.int64), codegen


@intrinsic
def _store(typingctx, words, i, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        value = builder.bitcast(args[2], ir.IntType(64))
        builder.store_atomic(value, _item(context, builder, signature.args[0], *args[:2]), "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), codegen


def _load_plain(words, i):
    return np.int64(words[i])


def _store_plain(words, i, value):
    words[i] = value


_load_word = _load if JIT else _load_plain
_store_word = _store if JIT else _store_plain


@kernel
def load_acquire(words, i):
    """words[i]; everything written before it was stored is visible. words: i8[n], shared, 8-byte aligned."""
    return _load_word(words, i)


@kernel
def store_release(words, i, value):
    """words[i] = value, after everything written before. words: i8[n], shared, 8-byte aligned; changed."""
    _store_word(words, i, value)
