"""Search in ascending columns, from Python: the shell over search.py (one) and bulk_search.py (many).

    lower_bound(values, x)      first index whose value is >= x        len(values) if there is none
    upper_bound(values, x)      first index whose value is > x         len(values) if there is none
    binary_search(values, x)    first index whose value is x           -1 if there is none

`values` is an integer array of any width and stride, most often mapped, or a CompactColumn of any width, searched in place. One int `x`
gives an int; an array of any shape gives an i8 array of that shape. `how` is chosen by itself:

    one x      by what earlier ones saw of the array (cached_search.py), else guesses while values turn out even, then halves
    many xs    they ascend: "ascending"; the first 1,024 are found by interpolation: "even"; else "binary"

The four bounds are built-in functions (fastcall.py): one x in an array is searched by them, with nothing in between but 25 ns, and
all else by the Python functions here. Weak cases: a column (2 us for its rows as they are now) and a packed one of odd width (2.5 us); the
first search in a process loads the kernel from the disk cache (6 ms; 110 if it is the first of all kernels), the first ever compiles it
(2 s). Speeds: README, `python benchmarks/search.py`.
"""

import operator
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import types
from numba.np import numpy_support

from nbtrade._numba.jit import JIT, entry_point, helper
from nbtrade.schema import NONE
from nbtrade.storage.columns.column import ColumnReader
from nbtrade.storage.columns.compact import CompactReader
from nbtrade.storage.columns.upgrade import Packed, unpacked
from nbtrade.storage.search.fastcall import FastCall
from nbtrade.storage.search.kernels import bulk_search, cached_search
from nbtrade.storage.search.kernels import search as kernels

HOW = (None, "binary", "even", "ascending")
_SIDE = "left", "right"  # [upper]
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

    raw: np.ndarray  # i8[n - k] if signed, else u8[n - k]; or the values of an array, as they are
    shift: int = 0  # bits of a word before its value
    n_head: int = 0
    packed: Packed | None = None

    @property
    def head(self) -> np.ndarray:
        """The values before the first word, decoded: i8[n_head]."""
        out: np.ndarray = np.empty(self.n_head, np.int64)
        if self.packed is not None:
            unpacked(self.packed, 0, out)
        return out


def words_of(values: Packed) -> Words:
    """The words of a packed column of 3, 5, 6 or 7 bytes a value."""
    width = values.bits >> 3
    k = min(-(-(8 - width) // width), values.n)
    n = values.n - k
    offset = k * width - (8 - width) if n else 0
    raw: np.ndarray = np.ndarray(n, I8 if values.signed else U8, values.data, offset, (width,))
    return Words(raw, 64 - values.bits, k, values)


class _Bulk:
    """A kernel for many keys; called with values, then as the kernel. Compiled for contiguous values apart: 15 % faster."""

    def __init__(self, kernel: Any, *after: Any, sampled: bool = False) -> None:
        self.kernel, self.after, self.sampled = kernel, after, sampled
        self.compiled: dict[tuple[np.dtype, bool], Any] = {}

    def __call__(self, values: np.ndarray, *arguments: Any) -> Any:
        form = values.dtype, values.flags.c_contiguous and values.flags.aligned
        if form not in self.compiled:
            of, layout = numpy_support.from_dtype(form[0]), "C" if form[1] else "A"
            first = [types.Array(of, 1, layout, readonly=True, aligned=form[1])] + [types.Array(of, 1, "C")] * self.sampled
            keys = types.Array(types.uint64 if form[0] == U8 else types.int64, 1, "C", readonly=True)
            self.compiled[form] = entry_point(self.kernel, *first, keys, *self.after, nogil=True)
        return self.compiled[form](values, *arguments)


_OUT = types.Array(types.int64, 1, "C")
# many
_all_near = _Bulk(bulk_search.search_near, types.int64, types.boolean, _OUT)
_all_ascending = _Bulk(bulk_search.search_ascending, types.boolean, _OUT)
_all_even = _Bulk(bulk_search.search_even, types.boolean, _OUT, _OUT)
_all_halve = _Bulk(bulk_search.search_block, types.boolean, _OUT)
_all_sampled = _Bulk(bulk_search.search_sampled, types.boolean, _OUT, sampled=True)


def _search_by(find: Any) -> Any:
    return lambda values, x, hint, memo: find(values, x)


def _search_from_hint(find: Any) -> Any:
    return lambda values, x, hint, memo: find(values, x, hint)


def _search_cached(find: Any) -> Any:
    return lambda values, x, hint, memo: find(values, x, memo)


# one x: (how its arguments are given, [upper])
_SEARCHES = {
    None: (_search_cached, (cached_search.lower_bound_cached, cached_search.upper_bound_cached)),
    "even": (_search_by, (kernels.lower_bound_even, kernels.upper_bound_even)),
    "binary": (_search_by, (kernels.lower_bound, kernels.upper_bound)),
    "near": (_search_from_hint, (kernels.lower_bound_near, kernels.upper_bound_near)),
}
_FAST_CALLS: dict[tuple[str | None, bool], FastCall] = {}  # how, upper
F = TypeVar("F", bound=Callable[..., Any])


def _fast_call(how: str | None, upper: bool) -> Callable[[F], F]:
    """Decorates a Python function: the built-in one that searches itself where it can, and calls it where not."""

    def built_in(python: F) -> F:
        given, both = _SEARCHES[how]
        kernel = both[upper]
        search = given(helper(kernel.py_func) if JIT else kernel)  # inlined
        search.__name__ = kernel.__name__
        _FAST_CALLS[how, upper] = FastCall(helper(search), python, 3 if how == "near" else 2)
        return cast(F, _FAST_CALLS[how, upper].call)

    return built_in


@_fast_call(None, upper=False)
def lower_bound(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is >= x; len(values) if there is none. x: int -> int; integers of any shape -> i8 of that shape.

    values : ascending integers, duplicates allowed: an array, a Column, a CompactColumn (searched in place), or what its `packed` gave
    how    : None to choose; "binary" halves; "even" interpolates first, for values that rise evenly; "ascending" is for many ascending xs

    Raises TypeError for values or xs that are not integers, ValueError for an unknown `how`.
    """
    return _bound(values, x, None, how, upper=False)


@_fast_call(None, upper=True)
def upper_bound(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is > x; len(values) if there is none. Arguments and errors as those of `lower_bound`."""
    return _bound(values, x, None, how, upper=True)


@_fast_call("near", upper=False)
def lower_bound_near(values: Any, x: Any, hint: int) -> Any:
    """`lower_bound`, looked for from index `hint` on, both ways; of many xs, from the last one's bound on.

    hint : any int; len(values) begins at the end, as for a live tail
    """
    return _bound(values, x, hint, None, upper=False)


@_fast_call("near", upper=True)
def upper_bound_near(values: Any, x: Any, hint: int) -> Any:
    """`upper_bound`, looked for from index `hint` on, as `lower_bound_near` does."""
    return _bound(values, x, hint, None, upper=True)


def _not_asked(values: Any, x: Any) -> None:
    """Stands behind the searches that only `_one` calls, with nothing that they do not do themselves."""
    raise TypeError(f"{type(values)} {type(x)}")


for _how in ("even", "binary"):
    _fast_call(_how, upper=False)(_not_asked)
    _fast_call(_how, upper=True)(_not_asked)


def binary_search(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is x; -1 if there is none. Arguments and errors as those of `lower_bound`."""
    values = _searchable(values)
    first = lower_bound(values, x) if how is None else lower_bound(values, x, how)
    if isinstance(first, int):
        return first if first < upper_bound_near(values, x, first) else NONE
    return np.where(first < upper_bound(values, x, how), first, NONE)


def _searchable(values: Any) -> np.ndarray | Words:
    """What the kernels can search: an array, or the words of a packed column; a column stands for what it holds now."""
    if isinstance(values, Words):
        return values
    if isinstance(values, CompactReader):
        values = values.packed()
    elif isinstance(values, ColumnReader):
        values = values.array
    if isinstance(values, Packed):
        native = values.native
        if native is not None:
            return native
        if values.bits > 1:
            return words_of(values)
        bits: np.ndarray = np.empty(values.n, np.int64)
        unpacked(values, 0, bits)  # a column of bits is decoded
        return bits
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise TypeError(f"values are {values.dtype}{list(values.shape)}; a search needs one dimension of integers")
    if not values.dtype.isnative:
        raise TypeError(
            f"values of dtype {values.dtype} cannot be searched: only integers of this machine's byte order can. Pass a copy as such."
        )
    return values


def _bound(values: Any, x: Any, near: int | None, how: str | None, upper: bool) -> Any:
    if how not in HOW:
        raise ValueError(f"how is {how!r}; it is {', '.join(map(repr, HOW[:-1]))} or {HOW[-1]!r}")
    values = _searchable(values)
    words = values if isinstance(values, Words) else Words(values)
    if type(x) is int or np.ndim(x) == 0:
        return _one(words, operator.index(x), near, how, upper)
    xs = np.asarray(x)
    if xs.dtype.kind not in "iu" and xs.size:
        raise TypeError(f"xs are {xs.dtype}; values are integers, and so must be what is searched among them")
    return _many(words, xs.reshape(-1), near, how, upper).reshape(xs.shape)


@cache
def _limits(dtype: np.dtype, shift: int) -> tuple[int, int]:
    """The lowest and highest value that is told apart: by the width of words, by the type of keys otherwise."""
    info = np.iinfo(dtype if shift else (U8 if dtype == U8 else I8))
    return int(info.min) >> shift, int(info.max) >> shift


def _one(words: Words, x: int, near: int | None, how: str | None, upper: bool) -> int:
    values, shift, n_head, _ = words
    low, high = _limits(values.dtype, shift)
    if not low <= x <= high:
        return n_head + len(values) if x > high else 0
    key = x << shift | ((1 << shift) - 1 if upper else 0)  # behind or before all words that end with x
    hint = 0 if near is None else min(max(near - n_head, 0), len(values))
    find = _FAST_CALLS["near" if near is not None else None if how == "ascending" else how, upper]
    found = find(values, np.uint64(key) if values.dtype == U8 else key, hint)
    return found + n_head if found or not n_head else int(np.searchsorted(words.head, x, _SIDE[upper]))


def _many(words: Words, xs: np.ndarray, near: int | None, how: str | None, upper: bool) -> np.ndarray:
    values, shift, n_head, _ = words
    low, high = _limits(values.dtype, shift)
    out = np.zeros(len(xs), np.int64)
    if len(xs) == 0 or len(values) + n_head == 0:
        return out
    fit = _keys(xs, low, high, U8 if values.dtype == U8 else I8)
    if len(values):
        keys = fit << fit.dtype.type(shift) | fit.dtype.type((1 << shift) - 1 if upper else 0) if shift else fit
        _search(values, keys, None if near is None else near - n_head, how, upper, out)
    if n_head:
        out = np.where(out > 0, out + n_head, np.searchsorted(words.head, fit.astype(np.int64), _SIDE[upper]))
    if fit is not xs:  # were some beyond what the values' width holds?
        out[xs > high] = n_head + len(values)
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
