"""Bulk reads: compiled code that reads many blocks of plain bytes per call, for `get_many`.

    block i       copied to its new bytes object, line by line; the copy is verified against the checksum in its place
    block i + 1   its object exists already; with each line of block i, one line of the block and one of its object are prefetched
    block i + 4   its first line is prefetched: the address translation of a cold page is slow
    not plain bytes, damaged, replaced in the meantime, out of memory: `get` reads the block, or raises

Hardware prefetching stops at page boundaries, so a plain copy stalls at the start of each block and of each object. 500 blocks of 4 KiB
from 8 MB outside the second-level cache (Intel Sapphire Rapids, 2 shared virtual cores, 2026-11-26): 0.30 ms, against 0.48 with single
`get` calls; without prefetching 0.38, without the objects' lines 0.33, without block i + 4 0.33. Of that, looking up the names takes 0.04
and calling the checksum's Python function 0.02: the C function of the library would save that, but is not a public name of the module.

The code relies on CPython's stable interface, called with the interpreter's lock held. Every TURN bytes one block is read by `get`,
where Python can switch threads. Weak case: blocks of more than 16 KiB take as long as with single reads.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from numba import types
from xxhash import xxh3_64_intdigest

from nbtrade._numba.jit import JIT, c_function, helper
from nbtrade._numba.pointers import copy_bytes, pointer_to
from nbtrade._numba.prefetch import prefetch_line, prefetch_line_to_write
from nbtrade.storage.blockfile.index import PLACE

LINE = 64
AHEAD = 4096  # bytes of the next block to prefetch while this one is copied
FAR_AHEAD = 4  # blocks; 2 to 8 are equal
TURN = 4 << 20  # bytes, about a millisecond

_object, _size = types.int64, types.int64  # addresses; 0 if a Python error is set
_new_bytes = types.ExternalFunction("PyBytes_FromStringAndSize", _object(_size, _size))
_bytes_of = types.ExternalFunction("PyBytes_AsString", types.int64(_object))
_item = types.ExternalFunction("PyList_GetItem", _object(_object, _size))
_set_item = types.ExternalFunction("PyList_SetItem", types.int32(_object, _size, _object))
_name = types.ExternalFunction("PyTuple_GetItem", _object(_object, _size))
_call = types.ExternalFunction("PyObject_CallOneArg", _object(_object, _object))
_to_unsigned = types.ExternalFunction("PyLong_AsUnsignedLongLong", types.uint64(_object))
_let_go = types.ExternalFunction("Py_DecRef", types.void(_object))
_forget_error = types.ExternalFunction("PyErr_Clear", types.void())

_places = pointer_to(PLACE)


@helper
def _place(values, i):  # type: ignore[no-untyped-def]
    """values[i] as a PLACE."""
    return _places(_bytes_of(_item(values, i)))[0]


@helper
def _begin(values, i, mapped, n_mapped):  # type: ignore[no-untyped-def]
    """Replace the place by a new bytes object. Returns addresses of the block and of the object's bytes (0: none), size, checksum."""
    place = _place(values, i)
    source, size, check = mapped + place.offset, place.end - place.offset, place.check
    if not 0 <= place.offset <= place.end <= n_mapped:  # a damaged place: `get` raises the error
        return mapped, 0, 0, check
    new = _new_bytes(0, size)
    if new == 0:
        _forget_error()
        return source, 0, size, check
    _set_item(values, i, new)
    return source, _bytes_of(new), size, check


@helper
def _copy(source, copy, n, next_source, next_copy):  # type: ignore[no-untyped-def]
    """Copy n bytes, and prefetch the first lines of the next ones."""
    by_line = min(n, AHEAD) & -LINE
    for at in range(0, by_line, LINE):
        prefetch_line(next_source + at)
        prefetch_line_to_write(next_copy + at)
        copy_bytes(copy + at, source + at, LINE)
    copy_bytes(copy + by_line, source + by_line, n - by_line)


@helper
def _is_right(value, check, digest):  # type: ignore[no-untyped-def]
    """Whether digest(value) == check."""
    found = _call(digest, value)
    if found == 0:
        _forget_error()
        return False
    number = _to_unsigned(found)
    _let_go(found)
    return number == check


def _read_blocks(values, names, n, mapped, n_mapped, digest, get):  # type: ignore[no-untyped-def]
    """values : list of n PLACEs, replaced by the values;  names : tuple. Returns -1 if `get` raised, otherwise 0."""
    source, copy, size, check = _begin(values, 0, mapped, n_mapped)
    done = 0
    for i in range(n):
        following = _begin(values, i + 1, mapped, n_mapped) if i + 1 < n else (source, copy, size, check)
        if i + FAR_AHEAD < n:
            prefetch_line(mapped + _place(values, i + FAR_AHEAD).offset)
        done += size
        right = False
        if copy != 0 and done < TURN:
            _copy(source, copy, size, following[0], following[1])
            right = _is_right(_item(values, i), check, digest)
        if not right:
            done, value = 0, _call(get, _name(names, i))
            if value == 0:
                return -1
            _set_item(values, i, value)
        source, copy, size, check = following
    return 0


def _compiled() -> Any:
    code = c_function(_read_blocks, 7)
    python, size = ctypes.py_object, ctypes.c_ssize_t
    function: Any = ctypes.PYFUNCTYPE(size, python, python, size, ctypes.c_void_p, size, python, python)(code.address)
    function.code = code  # keeps it alive
    return function


_compiled_read = _compiled() if JIT else None


def read_many(names: tuple[str, ...], places: list[Any], mapped: Any, get: Callable[[str], Any]) -> list[Any]:
    """The values of blocks. Raises as `get`.

    names  : str[n], at least one
    places : PLACE[n], each in a separate bytes object; overwritten with the values and returned
    mapped : the mapped file, as characters
    get    : (name) -> value, for blocks that cannot be copied
    """
    if _compiled_read is None:
        return [get(name) for name in names]
    _compiled_read(places, names, len(names), mapped, len(mapped), xxh3_64_intdigest, get)
    return places
