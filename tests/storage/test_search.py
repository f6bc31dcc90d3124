"""Searches find what numpy.searchsorted finds: one and many, every way, every width, from Python and inside kernels."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbtrade._numba.jit import JIT, kernel
from nbtrade.schema import NONE
from nbtrade.storage.columns.column import Column
from nbtrade.storage.columns.compact import CompactColumn
from nbtrade.storage.columns.kernels import packed
from nbtrade.storage.columns.upgrade import Packed
from nbtrade.storage.search import search
from nbtrade.storage.search.kernels import search as kernels
from search_cases import I8_MAX, I8_MIN, questions, shapes

HOW = search.HOW
FINDS = {"left": search.lower_bound, "right": search.upper_bound}
NEAR = {"left": search.lower_bound_near, "right": search.upper_bound_near}
any_i8 = st.integers(I8_MIN, I8_MAX) | st.integers(-5, 5) | st.sampled_from([I8_MIN, I8_MIN + 1, I8_MAX - 1, I8_MAX])
SIZES = [0, 1, 2, 3, 31, 32, 33, 511, 2047, 2048, 2500, 16_384, 70_001] if JIT else [0, 1, 33, 2100]


def test_a_million_searches_are_numpys():
    """Each way of searching many, in order and in none, on each shape of data; the bound of each is numpy's."""
    rng, n_cases = np.random.default_rng(1), 0
    for n in SIZES:
        for name, values in shapes(n, rng).items():
            xs = questions(values, 750 if JIT else 6, rng)
            for side, find in FINDS.items():
                for how in HOW:
                    mine = np.sort(xs) if how == "ascending" else xs
                    expected = np.searchsorted(values, mine, side)
                    assert np.array_equal(find(values, mine, how), expected), (n, name, side, how)
                    few = slice(None, None, 16)  # far apart: guesses, where they ascend
                    assert np.array_equal(find(values, mine[few], how), expected[few]), (n, name, side, how, "few")
                    n_cases += len(xs)
    assert n_cases > (1_000_000 if JIT else 3000)


def test_one_search_is_numpys():
    """One int alike, from Python, halving and interpolating, and from any hint."""
    rng = np.random.default_rng(2)
    for n in SIZES:
        for name, values in shapes(n, rng).items():
            xs = questions(values, 40 if JIT else 4, rng).tolist()
            for side, find in FINDS.items():
                expected = np.searchsorted(values, xs, side).tolist()
                hints = rng.integers(-2, n + 3, len(xs)).tolist()
                assert [find(values, x) for x in xs] == expected, (n, name, side)
                assert [find(values, x, "binary") for x in xs] == expected, (n, name, side)
                assert [NEAR[side](values, x, hint) for x, hint in zip(xs, hints, strict=True)] == expected, (n, name, side)
                assert NEAR[side](values, xs, n).tolist() == expected, (n, name, side)


@settings(max_examples=300 if JIT else 30, deadline=None)
@given(st.lists(any_i8, max_size=50), st.lists(any_i8, max_size=20), st.integers(-(2**70), 2**70))
def test_any_short_column(values, xs, hint):
    """Duplicates, limits of int64, no values or no keys, hints that are not an index."""
    values = np.sort(np.array(values, np.int64))
    for side, find in FINDS.items():
        expected = np.searchsorted(values, np.array(xs, np.int64), side).tolist()
        for how in HOW:
            mine, found = (sorted(xs), sorted(expected)) if how == "ascending" else (xs, expected)
            assert find(values, np.array(mine, np.int64), how).tolist() == found
        assert [find(values, x) for x in xs] == expected
        assert [NEAR[side](values, x, hint) for x in xs] == expected


@pytest.mark.parametrize("dtype", ["u4", "u8"])
def test_every_integer_dtype_and_stride(dtype):
    """Keys beyond the dtype sort before or after all of its values, for any integer type of the key."""
    info, rng = np.iinfo(dtype), np.random.default_rng(3)
    whole = np.sort(rng.integers(info.min, info.max, 6000 if JIT else 40, dtype, endpoint=True))
    xs = [int(info.min) - 1, int(info.min), 0, 1, int(info.max), int(info.max) + 1, -(2**80), 2**80, *whole[::99].tolist()]
    for values in (whole, whole[::3], whole[:1], whole[:0]):
        for find, is_behind in ((search.lower_bound, np.less), (search.upper_bound, np.less_equal)):
            expected = [int(is_behind(values.astype(object), x).sum()) for x in xs]
            assert [find(values, x) for x in xs] == expected
            for kind in (np.int64, np.uint64, np.int16):
                fit = [x for x in xs if np.iinfo(kind).min <= x <= np.iinfo(kind).max]
                wanted = [expected[xs.index(x)] for x in fit]
                assert find(values, np.array(fit, kind)).tolist() == wanted


def packed_of(values, bits, signed):
    """Values (Python ints) as a packed column, by Python's own bytes."""
    if bits == 1:
        data = sum(v << i for i, v in enumerate(values)).to_bytes(len(values) // 8 + 1, "little")
    else:
        data = b"".join((v % 2**bits).to_bytes(bits // 8, "little") for v in values)
    return Packed(packed.padded(np.frombuffer(data, np.uint8)), bits, signed, len(values))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", packed.WIDTHS)
def test_packed_columns_are_searched_in_place(bits, signed):
    """Every width; boundaries, the first values and what does not fit included; one, many, near, each way, and inside a kernel."""
    signed = signed and bits > 1
    rng = np.random.default_rng(bits)
    low, high = packed.limits(bits, signed)
    for n in (0, 1, 2, 3, 4, 700, 3000) if JIT else (0, 1, 2, 3, 30):
        some = rng.integers(low, high, n, np.int64 if signed else np.uint64, endpoint=True).tolist()
        values = sorted([low, high, *some][:n])
        column = packed_of(values, bits, signed)
        xs = [low, low + 1, 0, high - 1, high, *values[:4], *values[::50], *(v + 1 for v in values[::77])]
        wide = [*xs, low - 1, high + 1, -(2**63), 2**63 - 1]
        held = np.array(values, object)
        for side, (find, near, in_kernel) in {
            "left": (search.lower_bound, search.lower_bound_near, kernels.lower_bound_packed),
            "right": (search.upper_bound, search.upper_bound_near, kernels.upper_bound_packed),
        }.items():
            expected = {x: int((held < x).sum() if side == "left" else (held <= x).sum()) for x in wide}
            assert {x: find(column, x) for x in wide} == expected
            of_i8 = [x for x in wide if I8_MIN <= x <= I8_MAX]
            if bits in (40, 64):  # the same code for all odd widths, and for all that NumPy has
                for how in HOW:
                    mine = sorted(of_i8) if how == "ascending" else of_i8
                    assert find(column, np.array(mine), how).tolist() == [expected[x] for x in mine]
                assert near(column, np.array(of_i8), 1).tolist() == [expected[x] for x in of_i8]
                assert {x: near(column, x, n) for x in wide} == {x: near(column, x, 0) for x in wide} == expected
                assert {x: find(column, x, "binary") for x in wide} == expected
            assert find(column, np.array(of_i8)).tolist() == [expected[x] for x in of_i8]
            patterns = [x for x in wide if low <= x <= high] if bits == 64 else of_i8
            words = np.array([x % 2**64 for x in patterns], np.uint64).view(np.int64).tolist()
            assert [in_kernel(column.data, bits, signed, n, x) for x in words] == [expected[x] for x in patterns]
        for x in [*values[::60], high]:
            assert search.binary_search(column, x) == (values.index(x) if x in values else -1)


def test_columns_are_searched_as_they_are_now(tmp_path):
    """A Column, a CompactColumn and their readers are searched like their values, also after an upgrade."""
    values = np.cumsum(np.random.default_rng(6).integers(0, 9, 3000)) + 2**20
    with CompactColumn(tmp_path / "c.col") as compact, Column(tmp_path / "w.col", "i8") as whole:
        reader = CompactColumn.open(tmp_path / "c.col")
        for part in (values[:1000], values[1000:], values[-1:] + 2**40):
            compact.extend(part)
            whole.extend(part)
            xs = np.concatenate((whole.array[::7], whole.array[::5] + 1))
            for column in (compact, reader, whole):
                assert np.array_equal(search.lower_bound(column, xs), np.searchsorted(whole.array, xs))
                assert search.upper_bound(column, int(xs[5])) == np.searchsorted(whole.array, xs[5], "right")
                assert search.lower_bound_near(column, int(part[-1]), len(column)) == np.searchsorted(whole.array, part[-1])


def test_binary_search_says_the_first_or_none():
    """The first of equal values; -1 for missing keys, and in an empty column."""
    values = np.array([1, 3, 3, 3, 9])
    assert [search.binary_search(values, x) for x in (0, 1, 2, 3, 9, 10)] == [-1, 0, -1, 1, 4, -1]
    assert search.binary_search(values, np.array([[3, 4], [9, 1]])).tolist() == [[1, -1], [4, 0]]
    assert search.binary_search(values[:0], [1, 2]).tolist() == [-1, -1]
    assert [kernels.binary_search(values, x) for x in (3, 4, 11)] == [1, -1, -1]


def test_kernels_call_what_python_calls():
    """A user-defined kernel finds the rows between two times, near the previous ones, and by interpolation."""

    @kernel
    def rows_within(values, start, stop):
        first = kernels.lower_bound(values, start)
        last = kernels.upper_bound_near(values, stop, first)
        same = kernels.lower_bound_even(values, start) == first and kernels.upper_bound_even(values, stop) == kernels.upper_bound(
            values, stop
        )
        return last - first if same and kernels.lower_bound_near(values, start, last) == first else -1

    values = np.sort(np.random.default_rng(4).integers(0, 10**6, 5000))
    for start, stop in ((0, 10**6), (1000, 1000), (12_345, 67_890)):
        assert rows_within(values, start, stop) == np.searchsorted(values, stop, "right") - np.searchsorted(values, start)


def test_what_is_no_integer_is_refused():
    """Floats are not cut off, two dimensions not read as one, and an unknown way is named with the known ones."""
    values = np.arange(5)
    for bad in (2.5, "3", None):
        with pytest.raises(TypeError):
            search.lower_bound(values, bad)
    with pytest.raises(TypeError, match=r"x has dtype float64"):
        search.lower_bound(values, [1.5, 2.5])
    for table in (np.zeros((2, 2), np.int64), np.zeros(3), np.zeros(2, "U3")):
        with pytest.raises(TypeError, match="one-dimensional array of integers"):
            search.lower_bound(table, 1)
    with pytest.raises(TypeError, match="byte order"):
        search.lower_bound(values.astype(">i8"), 1)
    with pytest.raises(TypeError, match="byte order"):
        search.lower_bound(values.astype(">i8"), [1, 2])
    with pytest.raises(ValueError, match=r"how is 'guess'; use None, 'binary', 'even' or 'ascending'"):
        search.lower_bound(values, 1, "guess")


def test_many_keep_their_shape():
    """Lists and arrays of any shape give i8 of that shape; one NumPy integer gives an int."""
    values = np.arange(10)
    for xs in ([], [[1, 2], [3, 40]], np.zeros((0, 3), np.int64), np.arange(8).reshape(2, 2, 2)[:, ::-1]):
        found = search.lower_bound(values, xs)
        assert (found.shape, found.dtype) == (np.shape(xs), np.int64)
        assert found.tolist() == np.searchsorted(values, xs).tolist()
    assert type(search.upper_bound(values, np.int32(3))) is int
    assert type(search.upper_bound(np.arange(10, dtype="u2"), 3)) is int


COUNT = """
import numpy as np
from nbtrade.storage.search.kernels import search

class Counting(np.ndarray):
    reads = 0
    def __getitem__(self, i):
        Counting.reads += 1
        return np.int64(super().__getitem__(i))

rng, most = np.random.default_rng(5), 0
n = 20_000
for values in (np.arange(n) * 10, np.sort(rng.integers(0, 2**60, n)), np.arange(n) ** 2, np.repeat(np.arange(n // 100) * 1000, 100),
               np.sort(np.concatenate((np.arange(4) * 2**60, rng.integers(0, 9, n // 4), 2**60 + rng.integers(0, 9, n // 4),
                                       2 * 2**60 + rng.integers(0, 9, n // 2 - 4))))):
    values = np.sort(values).view(Counting)
    for x in rng.choice(np.asarray(values), 100).tolist():
        reads = []
        for find in (search.lower_bound, search.lower_bound_even):
            Counting.reads = 0
            assert find(values, x) == np.searchsorted(np.asarray(values), x)
            reads.append(Counting.reads)
        most = max(most, reads[1] - reads[0])
print(most)
"""


def test_interpolation_reads_at_most_12_values_more():
    """Counted without the JIT, on even, skewed and clustered data, clusters under even quartiles among them."""
    code = "import os; os.environ['NUMBA_DISABLE_JIT'] = '1'" + COUNT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert 0 < int(done.stdout) <= 12


def test_growing_columns_are_searched_as_they_are_now(tmp_path):
    """A column is searched like its rows: the writer's, a reader's, and after it has grown."""
    with Column(tmp_path / "a", "i8") as column, CompactColumn(tmp_path / "b") as compact:
        readers = column, Column.open(tmp_path / "a"), compact, CompactColumn.open(tmp_path / "b")
        for start in (0, 100, 300, 70_000):
            column.extend(np.arange(start, start + 100))
            compact.extend(np.arange(start, start + 100))
            for one in readers:
                assert search.lower_bound(one, start + 7) == len(one) - 93
                assert search.lower_bound_near(one, start + 7, len(one)) == len(one) - 93
                assert search.binary_search(one, start - 1) == (NONE if start in (0, 300, 70_000) else len(one) - 101)
