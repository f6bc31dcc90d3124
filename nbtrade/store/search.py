"""Search in ascending columns, from Python: the shell over kernels/search.py (one) and kernels/bulk_search.py (many).

    lower_bound(values, x)      first index whose value is >= x        len(values) if there is none
    upper_bound(values, x)      first index whose value is > x         len(values) if there is none
    binary_search(values, x)    first index whose value is x           -1 if there is none

`values` is an integer array of any width and stride, most often mapped, or a CompactColumn of any width, searched in place. One int `x`
gives an int; an array of any shape gives an i8 array of that shape. `how` is chosen by itself:

    one x      interpolates while the values turn out even, then halves
    many xs    they ascend: "ascending"; the first 1,024 are found by interpolation: "even"; else "binary"

One search calls the compiled function without Numba's look at the arguments' types, which is longer than the search itself: what
it does not check is checked here. Weak case: the first search in a process loads the kernel from the disk cache (some 10 ms), the
first ever compiles it. Speeds: README, `python benchmarks/search.py`.
"""

import operator
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.np import numpy_support

from nbtrade._jit import entry_point
from nbtrade.kernels import bulk_search
from nbtrade.kernels import search as kernels
from nbtrade.schema import NONE
from nbtrade.store.upgrade import Packed, unpacked

HOW = (None, "binary", "even", "ascending")
_SIDE = "left", "right"  # [upper]
_NO_HEAD = np.empty(0, np.int64)
_LOOK_AGAIN = AttributeError, TypeError, OverflowError  # no array, or x beyond int64: not a case for the fast way
SAMPLE_FROM = 1 << 16  # values: the sample pays from here on
EVEN_FROM = 1 << 14
I8, U8 = np.dtype(np.int64), np.dtype(np.uint64)


class Words(NamedTuple):
    r"""A packed column of an odd width as the kernels search it, in place: 8-byte words that overlap, each ending with its value.

        bytes   [v0 v0 v0][v1 v1 v1][v2 v2 v2][v3 ..        raw[0] = v2 << 40 | what lies before it, of v1 and v0
                     \______ word 0 ______/

    The upper bytes of a word are the value, so that `v < x` is `raw < x << 40` whatever the lower ones are: nothing is decoded. The first
    one or two values have no 8 bytes before their end: they are the head.
    """

    raw: np.ndarray  # i8[n - k] if signed, else u8[n - k]
    shift: int  # bits of a word before its value
    head: np.ndarray  # i8[k]


def words_of(values: Packed) -> Words:
    """The words of a packed column of 3, 5, 6 or 7 bytes a value."""
    width = values.bits >> 3
    k = min(-(-(8 - width) // width), values.n)
    head: np.ndarray = np.empty(k, np.int64)
    unpacked(values, 0, head)
    n = values.n - k
    offset = k * width - (8 - width) if n else 0
    raw: np.ndarray = np.ndarray(n, np.int64 if values.signed else np.uint64, buffer=values.data, offset=offset, strides=(width,))
    return Words(raw, 64 - values.bits, head)


class _Entries(dict[np.dtype, Any]):
    """dtype of the values -> the compiled kernel for them, of any strides, made when it is first asked for.

    after : types of the arguments after values and key(s)
    """

    def __init__(self, kernel: Any, *after: Any) -> None:
        super().__init__()
        self.kernel, self.after = kernel, after

    def __missing__(self, dtype: np.dtype) -> Any:
        self[dtype] = entry_point(self.kernel, _array(dtype, "A"), _key(dtype), *self.after)
        return self[dtype]


class _Bulk:
    """A kernel for many keys; called with values, then as the kernel. Compiled for contiguous values apart: 15 % faster."""

    def __init__(self, kernel: Any, *after: Any, sampled: bool = False) -> None:
        self.kernel, self.after, self.sampled = kernel, after, sampled
        self.compiled: dict[tuple[np.dtype, bool], Any] = {}

    def __call__(self, values: np.ndarray, *arguments: Any) -> Any:
        form = values.dtype, values.flags.c_contiguous and values.flags.aligned
        if form not in self.compiled:
            first = [_array(form[0], "C" if form[1] else "A")] + [types.Array(numpy_support.from_dtype(form[0]), 1, "C")] * self.sampled
            keys = types.Array(_key(form[0]), 1, "C", readonly=True)
            self.compiled[form] = entry_point(self.kernel, *first, keys, *self.after, nogil=True)
        return self.compiled[form](values, *arguments)


def _array(dtype: np.dtype, layout: str) -> Any:
    if dtype.kind not in "iu" or not dtype.isnative:
        raise TypeError(f"values of dtype {dtype} cannot be searched: only integers of this machine's byte order can. Pass a copy as such.")
    return types.Array(numpy_support.from_dtype(dtype), 1, layout, readonly=True, aligned=layout == "C")


def _key(dtype: np.dtype) -> Any:
    return types.uint64 if dtype == U8 else types.int64


_OUT = types.Array(types.int64, 1, "C")
# one x: [upper]
_EVEN = _Entries(kernels.lower_bound_even), _Entries(kernels.upper_bound_even)
_HALVE = _Entries(kernels.lower_bound), _Entries(kernels.upper_bound)
_NEAR = _Entries(kernels.lower_bound_near, types.int64), _Entries(kernels.upper_bound_near, types.int64)
# many
_all_near = _Bulk(bulk_search.search_near, types.int64, types.boolean, _OUT)
_all_ascending = _Bulk(bulk_search.search_ascending, types.boolean, _OUT)
_all_even = _Bulk(bulk_search.search_even, types.boolean, _OUT, _OUT)
_all_halve = _Bulk(bulk_search.search_block, types.boolean, _OUT)
_all_sampled = _Bulk(bulk_search.search_sampled, types.boolean, _OUT, sampled=True)


def _lower_i8(values: np.ndarray, x: int) -> int:
    """Stands for the compiled function until it is first asked for, and puts it in its own place."""
    globals()["_lower_i8"] = _EVEN[False][I8]
    return int(_lower_i8(values, x))


def _upper_i8(values: np.ndarray, x: int) -> int:
    globals()["_upper_i8"] = _EVEN[True][I8]
    return int(_upper_i8(values, x))


def lower_bound(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is >= x; len(values) if there is none. x: int -> int; integers of any shape -> i8 of that shape.

    values : ascending integers, duplicates allowed: an array, a Column, a CompactColumn (searched in place), or what its `packed` gave
    how    : None to choose; "binary" halves; "even" interpolates first, for values that rise evenly; "ascending" is for many ascending xs

    Raises TypeError for values or xs that are not integers, ValueError for an unknown `how`.
    """
    try:
        if values.dtype is I8 and type(x) is int and how is None and values.ndim == 1:
            return _lower_i8(values, x)
    except _LOOK_AGAIN:
        pass
    return _bound(values, x, None, how, upper=False)


def upper_bound(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is > x; len(values) if there is none. Arguments and errors as those of `lower_bound`."""
    try:
        if values.dtype is I8 and type(x) is int and how is None and values.ndim == 1:
            return _upper_i8(values, x)
    except _LOOK_AGAIN:
        pass
    return _bound(values, x, None, how, upper=True)


def lower_bound_near(values: Any, x: Any, hint: int) -> Any:
    """`lower_bound`, looked for from index `hint` on, both ways; of many xs, from the last one's bound on.

    hint : any int; len(values) begins at the end, as for a live tail
    """
    return _bound(values, x, hint, None, upper=False)


def upper_bound_near(values: Any, x: Any, hint: int) -> Any:
    """`upper_bound`, looked for from index `hint` on, as `lower_bound_near` does."""
    return _bound(values, x, hint, None, upper=True)


def binary_search(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is x; -1 if there is none. Arguments and errors as those of `lower_bound`."""
    values = _searchable(values)
    first, behind = lower_bound(values, x, how), upper_bound(values, x, how)
    return (first if first < behind else NONE) if isinstance(first, int) else np.where(first < behind, first, NONE)


def _searchable(values: Any) -> np.ndarray | Words:
    """What the kernels can search: an array, or the words of a packed column; a column stands for what it holds now."""
    if hasattr(values, "packed"):
        values = values.packed()
    if isinstance(values, Packed):
        if values.native is None and values.bits > 1:
            return words_of(values)
        bits: np.ndarray = np.empty(values.n if values.bits == 1 else 0, np.int64)
        unpacked(values, 0, bits)  # a column of bits is decoded
        return bits if values.native is None else values.native
    values = values if isinstance(values, Words) else np.asarray(values)
    if not isinstance(values, Words) and (values.ndim != 1 or values.dtype.kind not in "iu"):
        raise TypeError(f"values are {values.dtype}{list(values.shape)}; a search needs one dimension of integers")
    return values


def _bound(values: Any, x: Any, near: int | None, how: str | None, upper: bool) -> Any:
    if how not in HOW:
        raise ValueError(f"how is {how!r}; it is {', '.join(map(repr, HOW[:-1]))} or {HOW[-1]!r}")
    values = _searchable(values)
    words = values if isinstance(values, Words) else Words(values, 0, _NO_HEAD)
    if np.ndim(x) == 0:
        return _one(words, operator.index(x), near, how, upper)
    xs = np.asarray(x)
    if xs.dtype.kind not in "iu" and xs.size:
        raise TypeError(f"xs are {xs.dtype}; values are integers, and so must be what is searched among them")
    return _many(words, xs.reshape(-1), near, how, upper).reshape(xs.shape)


def _limits(words: Words) -> tuple[int, int]:
    """The lowest and highest value that is told apart: by the width of words, by the type of keys otherwise."""
    info = np.iinfo(words.raw.dtype if words.shift else (U8 if words.raw.dtype == U8 else I8))
    return int(info.min) >> words.shift, int(info.max) >> words.shift


def _one(words: Words, x: int, near: int | None, how: str | None, upper: bool) -> int:
    values, shift, head = words
    low, high = _limits(words)
    if not low <= x <= high:
        return len(head) + len(values) if x > high else 0
    key = x << shift | ((1 << shift) - 1 if upper else 0)  # behind or before all words that end with x
    if near is not None:
        found = int(_NEAR[upper][values.dtype](values, key, min(max(near - len(head), 0), len(values))))
    else:
        found = int((_HALVE if how == "binary" else _EVEN)[upper][values.dtype](values, key))
    return found + len(head) if found or not len(head) else int(np.searchsorted(head, x, _SIDE[upper]))


def _many(words: Words, xs: np.ndarray, near: int | None, how: str | None, upper: bool) -> np.ndarray:
    values, shift, head = words
    low, high = _limits(words)
    out = np.zeros(len(xs), np.int64)
    if len(xs) == 0 or len(values) + len(head) == 0:
        return out
    fit = _keys(xs, low, high, U8 if values.dtype == U8 else I8)
    if len(values):
        keys = fit << fit.dtype.type(shift) | fit.dtype.type((1 << shift) - 1 if upper else 0) if shift else fit
        _search(values, keys, None if near is None else near - len(head), how, upper, out)
    if len(head):
        out = np.where(out > 0, out + len(head), np.searchsorted(head, fit.astype(np.int64), _SIDE[upper]))
    if fit is not xs:  # were some beyond what the values' width holds?
        out[xs > high] = len(head) + len(values)
        out[xs < low] = 0
    return out


def _search(values: np.ndarray, keys: np.ndarray, near: int | None, how: str | None, upper: bool, out: np.ndarray) -> None:
    if near is not None:
        _all_near(values, keys, min(max(near, 0), len(values)), upper, out)
    elif how == "ascending" or (how is None and bulk_search.ascends(keys)):
        _all_ascending(values, keys, upper, out)
    elif how == "even" or (how is None and len(values) >= EVEN_FROM and len(keys) >= 2 * bulk_search.TRIAL):
        _even(values, keys, upper, out)
    else:
        _binary(values, keys, upper, out)


def _keys(xs: np.ndarray, low: int, high: int, dtype: np.dtype) -> np.ndarray:
    """xs as contiguous `dtype`, those beyond low..high (all that the values can be) brought to the nearest."""
    info = np.iinfo(xs.dtype) if xs.dtype.kind in "iu" else np.iinfo(np.int64)
    if info.min < low or info.max > high:
        xs = np.clip(xs, max(low, info.min), min(high, info.max))
    return np.ascontiguousarray(xs, dtype)


def _binary(values: np.ndarray, keys: np.ndarray, upper: bool, out: np.ndarray) -> None:
    n = len(values)
    if n < SAMPLE_FROM or len(keys) < n // bulk_search.STEP:
        _all_halve(values, keys, upper, out)
        return
    sample = np.ascontiguousarray(values[bulk_search.STEP - 1 :: bulk_search.STEP])  # a page each: 4 ms in 100 M values
    _all_sampled(values, sample, keys, upper, out)


def _even(values: np.ndarray, keys: np.ndarray, upper: bool, out: np.ndarray) -> None:
    if len(values) < bulk_search.AROUND:
        _all_halve(values, keys, upper, out)
        return
    left_over = np.empty(len(keys), np.int64)
    done, n_left = _all_even(values, keys, upper, out, left_over)
    again = np.concatenate((left_over[:n_left], np.arange(done, len(keys))))
    if len(again):
        found = np.empty(len(again), np.int64)
        _binary(values, keys[again], upper, found)
        out[again] = found
