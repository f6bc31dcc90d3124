"""Search in ascending columns, from Python: the shell over kernels/search.py (one) and kernels/bulk_search.py (many).

    lower_bound(values, x)      first index whose value is >= x        len(values) if there is none
    upper_bound(values, x)      first index whose value is > x         len(values) if there is none
    binary_search(values, x)    first index whose value is x           -1 if there is none

`values` is an integer array of any width and stride, most often mapped, or a packed column's bytes as `packed` sees them: 1 to 8 bytes a
value, searched in place. One int `x` gives an int; an array of any shape gives an i8 array of that shape. `how` is chosen by itself:

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

HOW = (None, "binary", "even", "ascending")
_LOOK_AGAIN = AttributeError, TypeError, OverflowError  # no array, or x beyond int64: not a case for the fast way
SAMPLE_FROM = 1 << 16  # values: the sample pays from here on
EVEN_FROM = 1 << 14
I8, U8 = np.dtype(np.int64), np.dtype(np.uint64)


class Packed(NamedTuple):
    """A packed column as the kernels search it: words i8[n] (signed) or u8[n] that overlap; each ends with its value."""

    raw: np.ndarray
    shift: int  # bits of a word before its value

    @property
    def signed(self) -> bool:
        """Whether values may be negative."""
        return self.raw.dtype.kind == "i"

    def limits(self) -> tuple[int, int]:
        """The lowest and highest value that its width holds."""
        info = np.iinfo(self.raw.dtype)
        return int(info.min) >> self.shift, int(info.max) >> self.shift


def packed(data: np.ndarray, start: int, n: int, width: int, signed: bool) -> Packed:
    """View `n` little-endian values of `width` (1 to 8) bytes that begin at byte `start` of `data` (u1[...], contiguous).

    Each word begins before its value: `start` must be at least 8 - width, as it is behind any header. Raises ValueError.
    """
    first = start - (8 - width)
    if not 1 <= width <= 8 or first < 0 or start + n * width > data.nbytes:
        raise ValueError(
            f"{n} values of {width} bytes from byte {start} on do not lie in {data.nbytes} bytes, or have less than {8 - width} before them"
        )
    raw: np.ndarray = np.ndarray(n, np.int64 if signed else np.uint64, buffer=data, offset=first if n else 0, strides=(width,))
    return Packed(raw, 64 - 8 * width)


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

    values : ascending integers, duplicates allowed, or a Packed column
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
    i = lower_bound(values, x, how)
    words, shift = values if isinstance(values, Packed) else (np.asarray(values), 0)
    if isinstance(i, int):
        return i if i < len(words) and int(words[i]) >> shift == x else NONE
    if len(words) == 0:
        return np.full(i.shape, NONE, np.int64)
    found = words[np.minimum(i, len(words) - 1)] >> words.dtype.type(shift)
    return np.where((i < len(words)) & (found == np.asarray(x)), i, NONE)


def _bound(values: Any, x: Any, near: int | None, how: str | None, upper: bool) -> Any:
    if how not in HOW:
        raise ValueError(f"how is {how!r}; it is {', '.join(map(repr, HOW[:-1]))} or {HOW[-1]!r}")
    shift = 0
    if isinstance(values, Packed):
        low, high = values.limits()
        values, shift = values
    else:
        values = np.asarray(values)
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise TypeError(f"values are {values.dtype}{list(values.shape)}; a search needs one dimension of integers")
        low, high = (0, 2**64 - 1) if values.dtype == U8 else (-(2**63), 2**63 - 1)
    if np.ndim(x) == 0:
        return _one(values, operator.index(x), shift, low, high, near, how, upper)
    xs = np.asarray(x)
    if xs.dtype.kind not in "iu" and xs.size:
        raise TypeError(f"xs are {xs.dtype}; values are integers, and so must be what is searched among them")
    return _many(values, xs.reshape(-1), shift, low, high, near, how, upper).reshape(xs.shape)


def _one(values: np.ndarray, x: int, shift: int, low: int, high: int, near: int | None, how: str | None, upper: bool) -> int:
    if not low <= x <= high:
        return len(values) if x > high else 0
    key = x << shift | ((1 << shift) - 1 if upper else 0)  # behind or before all words that end with x
    if near is not None:
        return int(_NEAR[upper][values.dtype](values, key, min(max(near, 0), len(values))))
    return int((_HALVE if how == "binary" else _EVEN)[upper][values.dtype](values, key))


def _many(
    values: np.ndarray, xs: np.ndarray, shift: int, low: int, high: int, near: int | None, how: str | None, upper: bool
) -> np.ndarray:
    out = np.zeros(len(xs), np.int64)
    if len(values) == 0 or len(xs) == 0:
        return out
    keys = _keys(xs, low, high, U8 if values.dtype == U8 else I8)
    if shift:
        keys = keys << keys.dtype.type(shift) | keys.dtype.type((1 << shift) - 1 if upper else 0)
    if near is not None:
        _all_near(values, keys, min(max(near, 0), len(values)), upper, out)
    elif how == "ascending" or (how is None and bulk_search.ascends(keys)):
        _all_ascending(values, keys, upper, out)
    elif how == "even" or (how is None and len(values) >= EVEN_FROM and len(keys) >= 2 * bulk_search.TRIAL):
        _even(values, keys, upper, out)
    else:
        _binary(values, keys, upper, out)
    if keys is not xs:  # were some beyond what the values' width holds?
        out[xs > high] = len(values)
        out[xs < low] = 0
    return out


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
