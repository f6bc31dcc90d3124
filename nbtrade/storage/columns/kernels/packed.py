"""Packed integers of 1 bit or 1 to 8 bytes: read one, read many, write many.

    24 bits  | 0  1  2 | 3  4  5 | 6  7  8 | 9 10 11 |      byte i * 3 is the lowest byte of value i
     1 bit   | 7 6 5 4 3 2 1 0 | 15 14 13 12 11 10 9 8 |    value i is bit i & 7 of byte i >> 3
                     bit i * bits, counted from bit 0 of byte 0: one rule for both

Little-endian, two's complement if signed. `data` is uint8[n] with n >= 8 (`padded` extends shorter ones), so a value is a single
unaligned 8-byte load inside the array: near the end it starts earlier and shifts more. Unaligned loads cost the same as aligned ones
on x86-64 unless they cross a cache line, at most one in eight.

`unpack` decodes the odd widths four values at a time: two 16-byte loads, one shuffle that moves each value's bytes into a separate word
(LLVM emits one instruction), and `(x ^ sign) - sign`, which extends the sign without a branch and changes no unsigned value.
One value at a time took 1.4 times as long as NumPy's u32 -> i64 copy in cache, one group of four per iteration 1.25 times, two groups 1.1.
`pack` stores 8 bytes every `bits // 8`: the next value overwrites the excess, the last few are stored byte by byte. Weak case: `value_at`
in a loop over neighbours, where each value takes a load, a shift and a mask.

    unpack 24, 40, 48, 56 bits to int64     1.03, 0.99, 0.98, 0.94 of the speed of np.copyto(int64, uint32): 0.9 to 1.0 G values/s of 20 M,
                                            0.94, 0.98, 0.91, 0.93 of 32 K values in cache: 6 G values/s
    Intel Xeon (Sapphire Rapids, 2 virtual cores), 2026-11-26, python benchmarks/columns.py --only decode
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbtrade._numba.jit import JIT, helper, kernel

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


# (uint8 array, byte offset): 8 bytes as an int64, at any offset; all inside the array
load_word = _load_word if JIT else _load_word_plain
# (uint8 array, byte offset, int64): stores 8 bytes
store_word = _store_word if JIT else _store_word_plain


@helper
def mask_of(bits):
    """The low `bits` bits, 1 <= bits <= 64."""
    return np.int64(-1) if bits == 64 else (np.int64(1) << np.int64(bits)) - np.int64(1)


@helper
def sign_of(bits, signed):
    """The sign bit of a signed width below 64, otherwise 0: a 64-bit load includes the sign."""
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


def _spread(n_bytes):
    """Decodes four values of `n_bytes` bytes (2 .. 8) to int64 together: two 16-byte loads, a byte shuffle, and sign extension."""

    @intrinsic
    def spread(typingctx, data, offset, sign, out, i):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            half, whole, words = (ir.VectorType(ir.IntType(n), k) for n, k in ((8, 16), (8, 32), (64, 4)))
            loads = []
            for k in (0, 2 * n_bytes):
                at = builder.add(args[1], ir.Constant(ir.IntType(64), k))
                address = _address(context, builder, signature.args[0], args[0], at)
                loads.append(builder.load(builder.bitcast(address, half.as_pointer()), align=1))
            both = builder.shuffle_vector(*loads, _bytes(range(32)))
            order = [16 * (k // 2) + k % 2 * n_bytes + j if j < n_bytes else 32 for k in range(4) for j in range(8)]  # 32: a zero
            values = builder.bitcast(builder.shuffle_vector(both, ir.Constant(whole, None), _bytes(order)), words)
            one = builder.insert_element(ir.Constant(words, ir.Undefined), args[2], ir.Constant(ir.IntType(32), 0))
            signs = builder.shuffle_vector(one, ir.Constant(words, ir.Undefined), _bytes([0] * 4))
            values = builder.sub(builder.xor(values, signs), signs)
            address = _address(context, builder, signature.args[3], args[3], args[4])
            builder.store(values, builder.bitcast(address, words.as_pointer()), align=8)
            return context.get_dummy_value()

        return types.void(data, types.int64, types.int64, out, types.int64), codegen

    def plain(data, offset, sign, out, i):
        for k in range(4):
            word = int.from_bytes(data[offset + k * n_bytes : offset + (k + 1) * n_bytes].tobytes(), "little")
            out[i + k] = (word ^ sign) - sign

    return spread if JIT else plain


def _bytes(order):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(order)), [ir.Constant(ir.IntType(32), k) for k in order])


_spread3, _spread5, _spread6, _spread7 = (_spread(n_bytes) for n_bytes in (3, 5, 6, 7))


@helper
def _unpack_odd(data, bits, sign, start, out):
    """Decode eight values per iteration while the 16-byte loads stay inside the array; returns how many are done."""
    n_bytes = np.int64(bits >> 3)
    n = min(len(out), (len(data) - 16) // n_bytes - 2 - start) & ~7
    offset = start * n_bytes
    if bits == 24:
        for i in range(0, n, 8):
            _spread3(data, offset + i * 3, sign, out, i)
            _spread3(data, offset + i * 3 + 12, sign, out, i + 4)
    elif bits == 40:
        for i in range(0, n, 8):
            _spread5(data, offset + i * 5, sign, out, i)
            _spread5(data, offset + i * 5 + 20, sign, out, i + 4)
    elif bits == 48:
        for i in range(0, n, 8):
            _spread6(data, offset + i * 6, sign, out, i)
            _spread6(data, offset + i * 6 + 24, sign, out, i + 4)
    elif bits == 56:
        for i in range(0, n, 8):
            _spread7(data, offset + i * 7, sign, out, i)
            _spread7(data, offset + i * 7 + 28, sign, out, i + 4)
    else:
        n = 0
    return max(n, 0)


@helper
def _unpack_bits(data, start, out):
    """Decode whole bytes, and the values before the first whole byte; returns how many are done."""
    n = min(-start & 7, len(out))
    for i in range(n):
        out[i] = value_at(data, 1, False, start + i)
    while n + 8 <= len(out):
        byte = np.int64(data[(start + n) >> 3])
        for k in range(8):
            out[n + k] = (byte >> k) & 1
        n += 8
    return n


@kernel
def unpack(data, bits, signed, start, out):
    """Decode values start .. start + len(out) into out.

    data : uint8[n], n >= 8, read-only;  bits, signed : as value_at;  out : i8[k], changed (unsigned 64-bit: a view of u8[k])
    """
    n = _unpack_bits(data, start, out) if bits == 1 else _unpack_odd(data, bits, sign_of(bits, signed), start, out)
    for i in range(n, len(out)):
        out[i] = value_at(data, bits, signed, start + i)


@kernel
def pack(values, bits, data):
    """Encode values into data, starting at its first byte; only the low `bits` bits are used.

    values : i8[k], read-only;  bits : one of WIDTHS except 1;  data : uint8[k * bits // 8], changed
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
    """Encode values 0 and 1 as bits of data, starting at bit `start`; earlier bits stay, later bits of the last byte become 0.

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
    """`data` itself if it has at least 8 bytes, otherwise a copy extended to 8; read-only."""
    if len(data) < LOAD:
        data = np.concatenate([data, np.zeros(LOAD - len(data), np.uint8)])
    view = data.view()
    view.flags.writeable = False
    return view


def limits(bits: int, signed: bool) -> tuple[int, int]:
    """The minimum and maximum of a width."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def narrowest(low: int, high: int) -> tuple[int, bool]:
    """(bits, signed) of the smallest width that holds low .. high; unsigned if both fit.

    Raises OverflowError if no width of up to 64 bits does.
    """
    signed = low < 0
    for bits in WIDTHS[signed:]:
        least, greatest = limits(bits, signed)
        if least <= low and high <= greatest:
            return bits, signed
    raise OverflowError(f"{low} and {high} do not fit into one 64-bit integer type: signed goes to 2**63 - 1, unsigned from 0 to 2**64 - 1")
