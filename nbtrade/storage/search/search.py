"""`lower_bound`, `upper_bound` and `binary_search`: search in ascending integers of any width, for one key or many.

    lower_bound(values, x)      first index whose value is >= x        len(values) if none is
    upper_bound(values, x)      first index whose value is > x         len(values) if none is
    binary_search(values, x)    first index whose value is x           -1 if none is

`values` is an integer array of any width and stride, usually mapped, or a CompactColumn of any width, searched in place. A single int `x`
returns an int, an array of any shape an i8 array of that shape. With `how=None` the method is chosen from the data:

    one x      reuses positions that earlier searches cached (cached_search.py); otherwise interpolates while values are even, then bisects
    many xs    ascending xs: "ascending"; if interpolation finds the first 1,024: "even"; otherwise "binary"

The four bounds are built-in functions (fastcall.py): they search for one x in an array themselves, with an overhead of 25 ns, and call
the Python functions here for everything else. Weak cases: a column (2 us to view its current rows) and a packed one of odd width
(2.5 us); the first search in a process loads the kernel from the disk cache (6 ms; 110 if it is the first kernel of all), the first on a
machine compiles it (2 s). Speeds: README, `python benchmarks/search.py`.
"""

import operator
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
from numba import types
from numba.np import numpy_support

from nbtrade._numba.jit import JIT, entry_point, helper
from nbtrade.schema import NONE
from nbtrade.storage.columns.column import ColumnReader
from nbtrade.storage.columns.compact_reader import CompactReader
from nbtrade.storage.columns.upgrade import Packed, unpacked
from nbtrade.storage.search.fastcall import FastCall
from nbtrade.storage.search.kernels import bulk_search, cached_search
from nbtrade.storage.search.kernels import search as kernels
from nbtrade.storage.search.words import I8, U8, Words, words_of

HOW = (None, "binary", "even", "ascending")
_SIDE = "left", "right"  # [upper]
SAMPLE_FROM = 1 << 16  # values: the sample pays from here on
EVEN_FROM = 1 << 14


class _Bulk:
    """A kernel for many keys, called with values and then its other arguments. Contiguous values have their own code: 15 % faster."""

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


# one x: (how its arguments are passed, [upper])
_SEARCHES = {
    None: (_search_cached, (cached_search.lower_bound_cached, cached_search.upper_bound_cached)),
    "even": (_search_by, (kernels.lower_bound_even, kernels.upper_bound_even)),
    "binary": (_search_by, (kernels.lower_bound, kernels.upper_bound)),
    "near": (_search_from_hint, (kernels.lower_bound_near, kernels.upper_bound_near)),
}
_FAST_CALLS: dict[tuple[str | None, bool], FastCall] = {}  # how, upper
F = TypeVar("F", bound=Callable[..., Any])


def _fast_call(how: str | None, upper: bool) -> Callable[[F], F]:
    """Decorator that returns a built-in function: it searches itself where it can, and calls the Python function otherwise."""

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
    """First index whose value is >= x; len(values) if none is.

    Parameters
    ----------
    values : array_like, Column, CompactColumn or Packed
        Ascending integers, duplicates allowed. Columns are searched in place, with the rows they have now.
    x : int or array_like of int
        One key, or keys of any shape.
    how : {None, "binary", "even", "ascending"}, optional
        None chooses. "binary" bisects; "even" interpolates first, for evenly rising values; "ascending" is for many ascending keys.

    Returns
    -------
    int or numpy.ndarray
        An int for one key, else int64 of the shape of `x`.

    Raises
    ------
    TypeError
        If `values` or `x` are not integers.
    ValueError
        If `how` is unknown.

    Notes
    -----
    That `values` ascend is not checked. In a kernel, call `nbtrade.storage.search.kernels.search.lower_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from nbtrade.storage.search import lower_bound
    >>> times = np.array([10, 20, 20, 30])
    >>> lower_bound(times, 20)
    1
    >>> lower_bound(times, [5, 25, 99])
    array([0, 3, 4])
    """
    return _bound(values, x, None, how, upper=False)


@_fast_call(None, upper=True)
def upper_bound(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is > x; len(values) if none is.

    Parameters
    ----------
    values, x, how
        As in `lower_bound`.

    Returns
    -------
    int or numpy.ndarray
        As `lower_bound`.

    Raises
    ------
    TypeError, ValueError
        As `lower_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from nbtrade.storage.search import upper_bound
    >>> upper_bound(np.array([10, 20, 20, 30]), 20)
    3
    """
    return _bound(values, x, None, how, upper=True)


@_fast_call("near", upper=False)
def lower_bound_near(values: Any, x: Any, hint: int) -> Any:
    """`lower_bound`, searched outward from an index, in time logarithmic in the distance.

    Parameters
    ----------
    values, x
        As in `lower_bound`. Of many keys, each search starts at the previous one's bound.
    hint : int
        Where to start; clipped to 0 .. len(values). `len(values)` suits the end of a growing column.

    Returns
    -------
    int or numpy.ndarray
        As `lower_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from nbtrade.storage.search import lower_bound_near
    >>> lower_bound_near(np.arange(1000), 990, 1000)
    990
    """
    return _bound(values, x, hint, None, upper=False)


@_fast_call("near", upper=True)
def upper_bound_near(values: Any, x: Any, hint: int) -> Any:
    """`upper_bound`, searched outward from an index.

    Parameters
    ----------
    values, x, hint
        As in `lower_bound_near`.

    Returns
    -------
    int or numpy.ndarray
        As `upper_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from nbtrade.storage.search import upper_bound_near
    >>> upper_bound_near(np.arange(1000), 990, 1000)
    991
    """
    return _bound(values, x, hint, None, upper=True)


def _not_asked(values: Any, x: Any) -> None:
    """Fallback of the searches that only `_one` calls, always with arguments that they handle themselves."""
    raise TypeError(f"{type(values)} {type(x)}")


for _how in ("even", "binary"):
    _fast_call(_how, upper=False)(_not_asked)
    _fast_call(_how, upper=True)(_not_asked)


def binary_search(values: Any, x: Any, how: str | None = None) -> Any:
    """First index whose value is x; -1 if none is.

    Parameters
    ----------
    values, x, how
        As in `lower_bound`.

    Returns
    -------
    int or numpy.ndarray
        As `lower_bound`.

    Raises
    ------
    TypeError, ValueError
        As `lower_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from nbtrade.storage.search import binary_search
    >>> binary_search(np.array([10, 20, 20, 30]), [20, 21])
    array([ 1, -1])
    """
    values = _searchable(values)
    first = lower_bound(values, x) if how is None else lower_bound(values, x, how)
    if isinstance(first, int):
        return first if first < upper_bound_near(values, x, first) else NONE
    return np.where(first < upper_bound(values, x, how), first, NONE)


def _searchable(values: Any) -> np.ndarray | Words:
    """A form that the kernels can search: an array, or the words of a packed column; of a column, the current rows."""
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
        unpacked(values, 0, bits)  # bits are decoded
        return bits
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise TypeError(f"values are {values.dtype}{list(values.shape)}; a search needs a one-dimensional array of integers")
    if not values.dtype.isnative:
        raise TypeError(
            f"values of dtype {values.dtype} cannot be searched: their byte order is not this machine's. Pass a converted copy."
        )
    return values


def _bound(values: Any, x: Any, near: int | None, how: str | None, upper: bool) -> Any:
    if how not in HOW:
        raise ValueError(f"how is {how!r}; use {', '.join(map(repr, HOW[:-1]))} or {HOW[-1]!r}")
    values = _searchable(values)
    words = values if isinstance(values, Words) else Words(values)
    if type(x) is int or np.ndim(x) == 0:
        return _one(words, operator.index(x), near, how, upper)
    xs = np.asarray(x)
    if xs.dtype.kind not in "iu" and xs.size:
        raise TypeError(f"x has dtype {xs.dtype}; the values are integers, so the keys must be integers too")
    return _many(words, xs.reshape(-1), near, how, upper).reshape(xs.shape)


@cache
def _limits(dtype: np.dtype, shift: int) -> tuple[int, int]:
    """The lowest and highest key that can be represented: by the width of words, otherwise by the type of keys."""
    info = np.iinfo(dtype if shift else (U8 if dtype == U8 else I8))
    return int(info.min) >> shift, int(info.max) >> shift


def _one(words: Words, x: int, near: int | None, how: str | None, upper: bool) -> int:
    values, shift, n_head, _ = words
    low, high = _limits(values.dtype, shift)
    if not low <= x <= high:
        return n_head + len(values) if x > high else 0
    key = x << shift | ((1 << shift) - 1 if upper else 0)  # after or before all words that end with x
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
    if fit is not xs:  # some were clipped
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
    """xs as contiguous `dtype`, clipped to low .. high, the range of the values' type."""
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
