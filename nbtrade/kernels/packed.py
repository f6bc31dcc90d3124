"""Integers of 1 bit and of 1 to 8 bytes, side by side in bytes: read one, read many, write many.

    24 bits  | 0  1  2 | 3  4  5 | 6  7  8 | 9 10 11 |      byte i * 3 is the lowest of value i
     1 bit   | 7 6 5 4 3 2 1 0 | 15 14 13 12 11 10 9 8 |    value i is bit i & 7 of byte i >> 3
                     i * bits, counted from bit 0 of byte 0: one rule for both

Little-endian, two's complement when signed. `data` is uint8[n] with n >= 8 (`padded` makes one of less), so that a value is one
unaligned 8-byte load that never leaves the array: at the end it starts earlier and shifts more. Loads cost the same aligned or not
on x86-64 unless they cross a cache line, one in eight at most.

`unpack` and `pack` move 8 bytes a value too, whatever the width: a load, a mask and a store. Packing stores 8 bytes at every
`bits // 8`: the next value overwrites the excess, the last few go byte by byte. Weak case: both stay below a vectorised loop
while all is in the first-level cache; from there on memory is what they wait for.

    unpack 24, 40, 48, 56 bits to int64     see benchmarks/bench_columns.py
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbtrade._jit import JIT, helper, kernel

WIDTHS = (1, 8, 16, 24, 32, 40, 48, 56, 64)  # bits
LOAD = 8  # bytes of one load or store


def _address(context, builder, array_type, array, offset):  # type: ignore[no-untyped-def]
    data = context.make_array(array_type)(context, builder, array)
    item = cgutils.get_item_pointer(context, builder, array_type, data, [offset], wraparound=False)
    return builder.bitcast(item, ir.IntType(64).as_pointer())


@intrinsic
def _load_word(typingctx, data, offset):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load(_address(context, builder, signature.args[0], *args), align=1)

    return types.int64(data, types.int64), codegen


@intrinsic
def _store_word(typingctx, data, offset, word):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.store(args[2], _address(context, builder, signature.args[0], *args[:2]), align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.int64), codegen


def _load_word_plain(data, offset):
    return int.from_bytes(data[offset : offset + LOAD].tobytes(), "little", signed=True)


def _store_word_plain(data, offset, word):
    data[offset : offset + LOAD] = np.frombuffer(int(word).to_bytes(LOAD, "little", signed=True), np.uint8)


# (uint8 array, byte offset): 8 bytes as an int64, at any offset; the array must have them
load_word = _load_word if JIT else _load_word_plain
# (uint8 array, byte offset, int64): the same, stored
store_word = _store_word if JIT else _store_word_plain


@helper
def mask_of(bits):
    """The low `bits` bits, 1 <= bits <= 64."""
    return np.int64(-1) if bits == 64 else (np.int64(1) << np.int64(bits)) - np.int64(1)


@helper
def sign_of(bits, signed):
    """The sign bit of a signed width below 64; else 0: a 64-bit load has its sign already."""
    return np.int64(1) << np.int64(bits - 1) if signed and bits < 64 else np.int64(0)


@helper
def value_at(data, bits, signed, i):
    """Value `i` as an int64 (unsigned 64-bit values as their bit pattern).

    data : uint8[n], n >= 8;  bits : one of WIDTHS;  signed : 1-bit values are unsigned;  0 <= i < n_values, not checked
    """
    bit = np.int64(i) * np.int64(bits)
    offset = bit >> 3
    if offset > len(data) - LOAD:
        offset = np.int64(len(data) - LOAD)
    sign = sign_of(bits, signed)
    return (((load_word(data, offset) >> (bit - (offset << 3))) & mask_of(bits)) ^ sign) - sign


@kernel
def unpack(data, bits, signed, start, out):
    """Values start .. start + len(out) into out.

    data : uint8[n], n >= 8, read-only;  bits, signed : as value_at;  out : i8[k], changed (unsigned 64-bit: a view of u8[k])
    """
    n = len(out)
    n_fast = n
    if bits > 1:
        n_bytes = np.int64(bits >> 3)
        n_fast = min(n, max((len(data) - LOAD) // n_bytes + 1 - start, 0))
        mask = mask_of(bits)
        sign = sign_of(bits, signed)
        offset = start * n_bytes
        for i in range(n_fast):
            out[i] = ((load_word(data, offset + i * n_bytes) & mask) ^ sign) - sign
    else:
        n_fast = 0
    for i in range(n_fast, n):
        out[i] = value_at(data, bits, signed, start + i)


@kernel
def pack(values, bits, data):
    """Values into data from its first byte on; only the low `bits` bits are taken.

    values : i8[k], read-only;  bits : one of WIDTHS but 1;  data : uint8[k * bits // 8], changed
    """
    n_bytes = np.int64(bits >> 3)
    n_fast = max((len(data) - LOAD) // n_bytes + 1, 0) if len(data) >= LOAD else 0
    for i in range(n_fast):
        store_word(data, i * n_bytes, values[i])
    for i in range(n_fast, len(values)):
        for k in range(n_bytes):
            data[i * n_bytes + k] = (values[i] >> (8 * k)) & 255


@kernel
def pack_bits(values, start, data):
    """Values 0 and 1 into the bits of data from bit `start` on; bits before it stay, bits after the last are 0 in its byte.

    values : i8[k], read-only;  0 <= start < 8;  data : uint8[(start + k + 7) // 8], changed
    """
    at = 0
    byte = np.int64(data[0]) & ((1 << start) - 1) if len(data) > 0 else 0
    bit = start
    for i in range(len(values)):
        byte |= (values[i] & 1) << bit
        bit += 1
        if bit == 8:
            data[at] = byte
            at += 1
            byte = 0
            bit = 0
    if bit > 0 and at < len(data):
        data[at] = byte


def padded(data: np.ndarray) -> np.ndarray:
    """`data` itself when it has 8 bytes, else a copy that has; read-only."""
    if len(data) < LOAD:
        data = np.concatenate([data, np.zeros(LOAD - len(data), np.uint8)])
    view = data.view()
    view.flags.writeable = False
    return view


def limits(bits: int, signed: bool) -> tuple[int, int]:
    """The least and the greatest value of a width."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def narrowest(low: int, high: int) -> tuple[int, bool]:
    """(bits, signed) of the smallest width that holds low .. high; unsigned where both fit.

    Raises OverflowError when no width of 64 bits does.
    """
    signed = low < 0
    for bits in WIDTHS[signed:]:
        least, greatest = limits(bits, signed)
        if least <= low and high <= greatest:
            return bits, signed
    raise OverflowError(f"{low} and {high} do not fit into one 64-bit integer type: signed goes to 2**63 - 1, unsigned from 0 to 2**64 - 1")
