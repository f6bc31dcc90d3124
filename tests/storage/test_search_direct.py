"""The searches from Python are built-in functions: they take what is theirs, leave the rest to Python, and look like Python's."""

import bisect
import inspect
import pickle
import sys

import numpy as np
import pytest

from nbtrade._numba.jit import JIT, fingerprint
from nbtrade.storage.search import search
from nbtrade.storage.search.fastcall import FastCall


@pytest.mark.parametrize("kind", "bhilqBHILQ")
def test_every_way_to_hold_values_and_x(kind):
    """Any integer type and layout, and x as Python's or NumPy's integer of any size, beyond the type's ends too; asked twice: the first
    call compiles, the second goes straight to what it compiled."""
    info = np.iinfo(kind)
    whole = np.sort(np.array([*range(90), info.min, info.max], kind))
    table = np.zeros(len(whole), [("x", "u1"), ("values", kind)])
    table["values"] = whole
    shifted = np.zeros(whole.nbytes + 1, np.uint8)[1:].view(kind)
    shifted[:] = whole
    for values in (whole, table["values"], shifted, whole.view(np.memmap), np.flip(whole)[::-1], whole[::7], whole[:0]):
        held = values.tolist()
        for x in (info.min, info.min - 1, -1, 0, 1, 45, 89, info.max, info.max + 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1):
            forms = [x] + [k(x) for k in (np.int8, np.int64, np.uint64) if np.iinfo(k).min <= x <= np.iinfo(k).max]
            for one in forms * 2:
                assert search.lower_bound(values, one) == bisect.bisect_left(held, x), (x, type(one))
                assert search.upper_bound(values, one) == bisect.bisect_right(held, x), (x, type(one))
                assert search.lower_bound_near(values, one, 45) == bisect.bisect_left(held, x), (x, type(one))


@pytest.mark.skipif(not JIT, reason="there is no built-in function without the JIT")
def test_the_built_in_function_refuses_what_is_not_its_case():
    """It reads the objects' own memory, so it looks first: None for all but 1-d arrays of native integers and integers of 64 bits."""
    values = np.arange(9)
    assert search.lower_bound(values, 3) == 3
    assert search.lower_bound_near(values, 3, 0) == 3

    class Own(np.ndarray):
        """Might mean anything by its items."""

    class Index:
        def __index__(self):
            return 3

    def refused(values=None, x=None, hint=None, more=None):
        return None

    call, near = (
        FastCall(search._FAST_CALLS[None, False].search, refused, 2),
        FastCall(search._FAST_CALLS["near", False].search, refused, 3),
    )
    assert call(values, 3, 0) == near(values, 3, 0) == 3
    call, near = call.call, near.call
    assert call(values, 3) == call(values.view(np.memmap), np.int64(3)) == call(values, np.uint64(3)) == near(values, 3, 10**9) == 3
    others = (
        [1, 2],
        None,
        3,
        "3",
        range(9),
        values.reshape(3, 3),
        np.array(3),
        values.astype(float),
        values.astype(bool),
        values.astype(object),
        values.astype(">i8"),
        values.view("m8[ns]"),
        values.view(Own),
        np.zeros(3, [("x", "i8")]),
        np.arange(9, dtype="f2"),
        memoryview(values),
    )
    for other in others:
        assert call(other, 3) is near(other, 3, 0) is None
    for x in (
        True,
        3.0,
        None,
        "3",
        Index(),
        np.int32(3),
        np.bool_(True),
        np.float64(3),
        np.array(3),
        2**63,
        -(2**63) - 1,
        np.uint64(2**63),
        values,
    ):
        assert call(values, x) is near(values, x, 0) is near(values, 3, x) is None
    assert call(np.arange(9, dtype="u8"), -1) is None
    assert call() is call(values) is call(values, 3, 3, 3) is None
    assert call(values, x=3) is near(values, 3, hint=0) is None
    count = sys.getrefcount(None), sys.getrefcount(values)
    for _ in range(1000):
        call(values, None), call(values, 3)
    assert abs(sys.getrefcount(None) - count[0]) < 100
    assert sys.getrefcount(values) == count[1]


def test_the_functions_look_like_pythons():
    """It has a name, module, signature and docstring, `pickle` returns the same function, and arguments may be named."""
    values = np.arange(9)
    for find in (search.lower_bound, search.upper_bound, search.lower_bound_near, search.upper_bound_near):
        near = "near" in find.__name__
        assert find.__module__ == "nbtrade.storage.search.search"
        assert str(inspect.signature(find)) == ("(values, x, hint)" if near else "(values, x, how=None)")
        assert find.__doc__.splitlines()[0].endswith(".")
        assert "Parameters\n" in find.__doc__
        assert pickle.loads(pickle.dumps(find)) is getattr(search, find.__name__) is find
        found = find(values, 4, 0) if near else find(values, 4)
        assert found == find(x=4, values=values, **({"hint": 0} if near else {"how": "binary"})) == 4 + ("upper" in find.__name__)
        with pytest.raises(TypeError):
            find(values)
        with pytest.raises(TypeError):
            find(values, 4, 0, 0)
    with pytest.raises(ValueError, match="how is 5"):
        search.lower_bound(values, 4, 5)


@pytest.mark.skipif(not JIT, reason="nothing is compiled without the JIT")
def test_searches_are_kept_in_the_disk_cache():
    """Each has a fingerprint. (One went without: it was compiled in each process, a second at the first search.)"""
    for direct in search._FAST_CALLS.values():
        direct(np.arange(9), 3, 0)
        assert fingerprint(direct.entry._pyfunc)
        assert all(fingerprint(one._pyfunc) for one in direct.searches.values())
