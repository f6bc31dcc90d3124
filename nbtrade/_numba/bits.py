"""Count zeros in an int64 word: one machine instruction each.

Words hold 32 bits in an int64, so no shift ever reaches the sign and plain Python gives the same result.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nbtrade._numba.jit import JIT

WORD = 32  # bits used of a word
SHIFT = 5
MASK = WORD - 1


@intrinsic
def _count_trailing(typingctx, word):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@intrinsic
def _count_leading(typingctx, word):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


def _trailing_zeros(word: int) -> int:
    return (int(word) & -int(word)).bit_length() - 1


def _leading_zeros(word: int) -> int:
    return 64 - int(word).bit_length()


# Undefined for zero words: callers test first.
trailing_zeros = _count_trailing if JIT else _trailing_zeros
leading_zeros = _count_leading if JIT else _leading_zeros
