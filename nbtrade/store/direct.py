"""One search from Python with nothing in between: a built-in function f(values, x) that calls the compiled search itself.

    f(values, x[, hint])                 values: 1-d array of any stride       x, hint: int or NumPy's 64-bit integer
      |  one compiled look at CPython's and NumPy's own structures: is it that?
      |  yes: table[type number] = the search compiled for this dtype ──> its int
      └─ no, or not compiled yet: None, and the caller looks closer

Python calls it as it calls `len` (METH_FASTCALL): 25 ns, all looks included. Numba's own entry for one signature takes 60 and trusts
its caller, who needs another 60 for the looks; its dispatcher takes 400. `len` would do it in C; there is no compiler where this is
installed but Numba. What is relied on is public and stable: the heads of PyArrayObject and PyArray_Descr (NumPy 1 and 2), of NumPy's
scalars, and PyMethodDef. tests/test_search.py asks it all that it must refuse.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic
from numba.np import numpy_support

from nbtrade._jit import JIT, helper, use_cache
from nbtrade.kernels.pointers import pointer_to

HEAD = object.__basicsize__ // 8  # words of a PyObject's head; its type is the last of them
TYPE, DATA, RANK, SHAPE, STRIDES, DTYPE = HEAD - 1, HEAD, HEAD + 1, HEAD + 2, HEAD + 3, HEAD + 5  # of an array, in words
ORDER, NUMBER = 8 * HEAD + 10, 2 * HEAD + 3  # of a dtype: byte order, in bytes; type number, in ints
N_TYPES = 11  # NumPy's numbers of bool and the integers: 0 to 10
ULONG, ULONGLONG = np.dtype(np.ulong).num, np.dtype(np.ulonglong).num
SWAPPED = ord(">")
# words of the table, after the addresses of the searches by type number
ARRAY, MAPPED, INT, I8, U8, NONE, OVERFLOW = range(N_TYPES, N_TYPES + 7)
_METH_FASTCALL = 0x80

_words, _ints, _bytes = (pointer_to(np.dtype(kind)) for kind in (np.int64, np.int32, np.uint8))
_to_int = types.ExternalFunction("PyLong_AsLongLongAndOverflow", types.int64(types.int64, types.int64))
_from_int = types.ExternalFunction("PyLong_FromLongLong", types.int64(types.int64))
_take = types.ExternalFunction("Py_IncRef", types.void(types.int64))


@intrinsic
def _call(typingctx, address, data, n, stride, x, hint):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        kind = ir.FunctionType(i64, [i64] * 5).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), args[1:])

    return types.int64(*[types.int64] * 6), codegen


def _view(dtype: np.dtype) -> Any:
    """(address, n, stride) -> the array there."""
    kind = types.Array(numpy_support.from_dtype(dtype), 1, "A", readonly=True, aligned=False)

    @intrinsic
    def view(typingctx, data, n, stride):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            array = context.make_array(kind)(context, builder)  # create_struct_proxy has no fingerprint: a second in each process
            array.data = builder.inttoptr(args[0], array.data.type)
            array.shape = _one(builder, args[1])
            array.strides = _one(builder, args[2])
            array.itemsize = ir.Constant(ir.IntType(64), dtype.itemsize)
            array.nitems = args[1]
            return array._getvalue()  # noqa: SLF001 - the way Numba gives for it

        return kind(types.int64, types.int64, types.int64), codegen

    return view


def _one(builder: Any, word: Any) -> Any:
    return builder.insert_value(ir.Constant(ir.ArrayType(word.type, 1), ir.Undefined), word, 0)


@helper
def _key(table, thing, unsigned):  # type: ignore[no-untyped-def]
    """(64 bits, whether they are those of an int or of a NumPy 64-bit integer that fits the values' type)."""
    kind = _words(thing)[TYPE]
    if kind == table[INT]:
        x = _to_int(thing, table[OVERFLOW])
        return x, _words(table[OVERFLOW])[0] & 0xFFFFFFFF == 0 and not (unsigned and x < 0)
    if kind == table[I8]:
        x = _words(thing)[HEAD]
        return x, not (unsigned and x < 0)
    if kind == table[U8]:
        x = _words(thing)[HEAD]
        return x, unsigned or x >= 0
    return 0, False


def _entry(owner, arguments, n):  # type: ignore[no-untyped-def]
    """What Python calls. owner : PyObject, the table;  arguments : PyObject[n].  Returns PyObject."""
    table = _words(_words(owner)[DATA])
    if n == 2 or n == 3:
        values = _words(_words(arguments)[0])
        kind = values[TYPE]
        if (kind == table[ARRAY] or kind == table[MAPPED]) and values[RANK] & 0xFFFFFFFF == 1 and _bytes(values[DTYPE])[ORDER] != SWAPPED:
            number = _ints(values[DTYPE])[NUMBER]
            search = table[number] if 0 <= number < N_TYPES else 0
            x, fits = _key(table, _words(arguments)[1], number == ULONG or number == ULONGLONG)
            hint, hint_fits = _key(table, _words(arguments)[2], False) if n == 3 else (0, True)
            if search != 0 and fits and hint_fits:
                return _from_int(_call(search, values[DATA], _words(values[SHAPE])[0], _words(values[STRIDES])[0], x, hint))
    _take(table[NONE])
    return table[NONE]


def _compiled(function: Callable[..., int], arguments: int) -> Any:
    callback: Any = CFunc(
        function, ((types.int64,) * arguments, types.int64), {}, {"nopython": True, "_nrt": False, "error_model": "numpy"}
    )
    use_cache(callback, function)
    callback.compile()
    return callback


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_new_function = ctypes.pythonapi.PyCFunction_NewEx
_new_function.restype, _new_function.argtypes = ctypes.py_object, (ctypes.POINTER(_Method), ctypes.py_object, ctypes.py_object)


class Direct:
    """One search as a built-in function, for arrays of any integer dtype. It lives as long as the process.

    search : compiled (values, x, hint) -> int
    call   : f(values, x[, hint]) -> int, or None for what is not its case or not compiled yet
    """

    def __init__(self, search: Callable[..., int]) -> None:
        self.search = search
        self.searches: dict[int, Any] = {}  # what keeps them alive
        if JIT:
            self.table = np.zeros(OVERFLOW + 2, np.int64)
            known = np.ndarray, np.memmap, int, np.int64, np.uint64, None
            self.table[ARRAY : OVERFLOW + 1] = [*map(id, known), self.table[-1:].ctypes.data]
            self.entry = _compiled(_entry, 3)
            self.method = _Method(b"search", self.entry.address, _METH_FASTCALL, None)
            self.call = _new_function(self.method, self.table, None)

    def __call__(self, values: np.ndarray, x: Any, hint: int) -> int:
        """The search in a plain 1-d array of integers of this machine's order, compiled for its dtype if it is not yet.

        x : np.uint64 for unsigned values of 64 bits, else an int of 64 bits
        """
        if not JIT:
            return int(self.search(values, x, hint))
        if values.dtype.num not in self.searches:
            self._add(values.dtype)
        return int(self.call(values, x, hint))

    def _add(self, dtype: np.dtype) -> None:
        search, view, key = self.search, _view(dtype), np.uint64 if dtype.num in (ULONG, ULONGLONG) else np.int64

        def search_at(data, n, stride, x, hint):  # type: ignore[no-untyped-def]
            return search(view(data, n, stride), key(x), hint)

        search_at.__qualname__ = f"{search.__name__}_of_{dtype}"
        self.searches[dtype.num] = _compiled(search_at, 5)
        self.table[dtype.num] = self.searches[dtype.num].address
