"""Packed integers against Python's own int.from_bytes, for every width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrade._numba.atomics import load_acquire, store_release
from nbtrade._numba.jit import kernel
from nbtrade.storage.columns.kernels import packed
from nbtrade.storage.columns.kernels.packed import WIDTHS, limits, narrowest

TYPES = [(bits, signed) for bits in WIDTHS for signed in (False, True) if bits > 1 or not signed]


def value_list(bits, signed):
    low, high = limits(bits, signed)
    near = [value for edge in (low, high, 0, (low + high) // 2) for value in range(edge - 2, edge + 3)]
    return sorted({value for value in near if low <= value <= high})


def as_words(values):
    """Python integers of any 64-bit type as the int64 that has their bits."""
    words = np.array([value & (2**64 - 1) for value in values], np.uint64).view(np.int64)
    words.flags.writeable = False
    return words


def packed_by_python(values, bits):
    if bits == 1:
        return np.packbits(np.array(values, np.uint8), bitorder="little")
    return np.frombuffer(b"".join((value & (2**bits - 1)).to_bytes(bits // 8, "little") for value in values), np.uint8)


def packed_by_kernel(values, bits):
    data = np.full(-(-len(values) * bits // 8), 255, np.uint8)
    if bits == 1:
        packed.pack_bits(as_words(values), 0, data)
    else:
        packed.pack(as_words(values), bits, data)
    return data


@kernel
def value_in_kernel(data, bits, signed, i):
    return packed.value_at(data, bits, signed, i)


@pytest.mark.parametrize(("bits", "signed"), TYPES)
def test_boundary_values_come_back(bits, signed):
    """The least, the greatest, and those around zero of each width: the bytes are Python's, and they come back, one by one and in bulk."""
    for n in (1, 2, 3, 5, 40):
        values = (value_list(bits, signed) * 40)[:n] if n < 40 else value_list(bits, signed) * 3
        data = packed_by_kernel(values, bits)
        assert data.tobytes() == packed_by_python(values, bits).tobytes()
        data = packed.padded(data)
        out = np.empty(len(values), np.int64)
        packed.unpack(data, bits, signed, 0, out)
        assert out.tolist() == as_words(values).tolist()
        assert [value_in_kernel(data, bits, signed, i) for i in range(len(values))] == out.tolist()


@given(st.sampled_from(TYPES), st.data())
def test_any_part_comes_back(kind, data):
    """Any run of any values, from any start, in memory that ends with the last value."""
    bits, signed = kind
    low, high = limits(bits, signed)
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=60))
    start = data.draw(st.integers(0, len(values)))
    count = data.draw(st.integers(0, len(values) - start))
    out = np.empty(count, np.int64)
    packed.unpack(packed.padded(packed_by_kernel(values, bits)), bits, signed, start, out)
    assert out.tolist() == as_words(values[start : start + count]).tolist()


@given(st.lists(st.integers(0, 1), max_size=30), st.integers(0, 7), st.integers(0, 255))
def test_bits_are_added_behind_others(values, start, before):
    """Bits go behind those that are in the first byte; the rest of the last byte is zero."""
    data = np.full(-(-(start + len(values)) // 8), 255, np.uint8)
    if len(data):
        data[0] = before
    packed.pack_bits(as_words(values), start, data)
    expected = [before >> i & 1 for i in range(start)] + values
    assert np.unpackbits(data, bitorder="little").tolist() == expected + [0] * (len(data) * 8 - len(expected))


@given(st.integers(-(2**63), 2**64 - 1), st.integers(-(2**63), 2**64 - 1))
def test_the_narrowest_width_fits_and_no_narrower_does(a, b):
    """It holds both ends, the next narrower does not; what no 64-bit type holds is an OverflowError."""
    low, high = min(a, b), max(a, b)
    if low < 0 and high >= 2**63:
        with pytest.raises(OverflowError, match="do not fit into one 64-bit"):
            narrowest(low, high)
        return
    bits, signed = narrowest(low, high)
    fits = [kind for kind in TYPES if limits(*kind)[0] <= low and high <= limits(*kind)[1]]
    assert bits == min(fits)[0]
    assert (bits, signed) in fits


def test_a_word_in_shared_memory():
    """Stored words are loaded unchanged, extremes included."""
    words = np.zeros(3, np.int64)
    for value in (0, 1, -1, 2**63 - 1, -(2**63)):
        store_release(words, 1, value)
        assert load_acquire(words, 1) == value
    assert words.tolist() == [0, -(2**63), 0]
