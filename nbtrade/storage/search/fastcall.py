"""Fast calls: a built-in function f(values, x) that calls the compiled search directly, without Python code in between.

    f(values, x[, hint])                 values: 1-d array of any stride       x, hint: int or NumPy's 64-bit integer
      |  compiled checks of CPython's and NumPy's structures: are the arguments of these types?
      |  yes: table[type number] = the search compiled for this dtype ──> its int
      └─ no, or not compiled yet: the Python function of the same name, with the same arguments

Python calls it like `len` (METH_FASTCALL): 25 ns including all checks. Numba's entry point for one signature takes 60 and checks nothing;
checks by the caller take another 60. Its dispatcher takes 400; a Python function in between takes 30 to 45. An extension in C would do the
same, but Numba is the only compiler on a user's machine. The code relies on public, stable structures: the heads of PyArrayObject and
PyArray_Descr (NumPy 1 and 2) and of NumPy's scalars, PyMethodDef, and the arguments of PyObject_Vectorcall, which equal those of such a
method: before the first search, and without the JIT, PyObject_Vectorcall is the method, with the table as the callable.
tests/storage/test_search.py passes everything that it must reject.
"""

import ctypes
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import numpy_support

from nbtrade._numba.jit import JIT, c_function, helper
from nbtrade._numba.pointers import pointer_to
from nbtrade.storage.search.kernels.cached_search import N_NOTES

HEAD = object.__basicsize__ // 8  # words of a PyObject's head; its type is the last of them
TYPE, DATA, RANK, SHAPE, STRIDES, DTYPE = HEAD - 1, HEAD, HEAD + 1, HEAD + 2, HEAD + 3, HEAD + 5  # of an array, in words
ORDER, NUMBER = 8 * HEAD + 10, 2 * HEAD + 3  # of a dtype: byte order, in bytes; type number, in ints
N_TYPES = 11  # NumPy's numbers of bool and the integers: 0 to 10
ULONG, ULONGLONG = np.dtype(np.ulong).num, np.dtype(np.ulonglong).num
SWAPPED = ord(">")
# words of the table, after the addresses of the searches by type number
ARRAY, MAPPED, INT, I8, U8, PYTHON, N_ARGUMENTS, NOTES, OVERFLOW = range(N_TYPES, N_TYPES + 9)
_FASTCALL_KEYWORDS = 0x82

_NOTES: np.ndarray = np.zeros(N_NOTES + 8, np.int64)
_NOTES = _NOTES[-_NOTES.ctypes.data % 64 // 8 :][:N_NOTES]  # aligned to a cache line

_words, _ints, _bytes = (pointer_to(np.dtype(kind)) for kind in (np.int64, np.int32, np.uint8))
_to_int = types.ExternalFunction("PyLong_AsLongLongAndOverflow", types.int64(types.int64, types.int64))
_from_int = types.ExternalFunction("PyLong_FromLongLong", types.int64(types.int64))
_ask = types.ExternalFunction("PyObject_Vectorcall", types.int64(types.int64, types.int64, types.int64, types.int64))


@intrinsic
def _call(typingctx, address, data, n, stride, x, hint, notes):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        kind = ir.FunctionType(i64, [i64] * 6).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), args[1:])

    return types.int64(*[types.int64] * 7), codegen


def _view(dtype: np.dtype, layout: str = "A") -> Any:
    """(address, n, stride) -> the array at that address; writable if contiguous."""
    kind = types.Array(numpy_support.from_dtype(dtype), 1, layout, readonly=layout == "A", aligned=layout == "C")

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
    """(64 bits, whether `thing` is an int or a NumPy 64-bit integer that fits the values' type)."""
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


def _entry(owner, arguments, n, names):  # type: ignore[no-untyped-def]
    """The function that Python calls. owner : PyObject, the table;  arguments : PyObject[n];  names : of keyword arguments, or 0."""
    table = _words(_words(owner)[DATA])
    if n == table[N_ARGUMENTS] and names == 0:
        values = _words(_words(arguments)[0])
        kind = values[TYPE]
        if (kind == table[ARRAY] or kind == table[MAPPED]) and values[RANK] & 0xFFFFFFFF == 1 and _bytes(values[DTYPE])[ORDER] != SWAPPED:
            number = _ints(values[DTYPE])[NUMBER]
            search = table[number] if 0 <= number < N_TYPES else 0
            x, fits = _key(table, _words(arguments)[1], number == ULONG or number == ULONGLONG)
            hint, hint_fits = _key(table, _words(arguments)[2], False) if n == 3 else (0, True)
            if search != 0 and fits and hint_fits:
                return _from_int(_call(search, values[DATA], _words(values[SHAPE])[0], _words(values[STRIDES])[0], x, hint, table[NOTES]))
    return _ask(table[PYTHON], arguments, n, names)


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_new_function = ctypes.pythonapi.PyCFunction_NewEx
_new_function.restype, _new_function.argtypes = ctypes.py_object, (ctypes.POINTER(_Method), ctypes.py_object, ctypes.py_object)
_vectorcall = ctypes.cast(ctypes.pythonapi.PyObject_Vectorcall, ctypes.c_void_p)


class _Table(np.ndarray):
    """The words that `_entry` reads: i8[OVERFLOW + 2]. It is the `__self__` of the built-in function, and its fallback callable."""

    owner: "FastCall"  # keeps it alive

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Handle calls that the built-in function does not handle itself."""
        return self.owner.python(*arguments, **named)

    def __reduce__(self) -> Any:
        """Pickle the built-in function by its name in the module."""
        return importlib.import_module, (self.owner.python.__module__,)


def _documented(python: Callable[..., Any]) -> bytes:
    """The docstring for a built-in function: `inspect` reads the signature from its first line."""
    signature = inspect.signature(python)
    bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return f"{python.__name__}{signature.replace(parameters=bare, return_annotation=signature.empty)}\n--\n\n{python.__doc__}".encode()


class FastCall:
    """One search as a built-in function, for arrays of any integer dtype.

    search      : compiled (values, x, hint, known) -> int; known : N_NOTES words, kept between calls
    python      : function with the arguments of `call`, for calls that it does not handle itself
    n_arguments : number of arguments that it handles itself: 2, or 3 with a hint
    call        : f(values, x[, hint]), the built-in function, with the name and docstring of `python`
    """

    def __init__(self, search: Callable[..., int], python: Callable[..., Any], n_arguments: int) -> None:
        self.search, self.python, self.n_arguments = search, python, n_arguments
        self.searches: dict[int, Any] = {}  # keeps them alive
        self.table = np.zeros(OVERFLOW + 2, np.int64).view(_Table)
        self.table.owner = self
        looked_for = np.ndarray, np.memmap, int, np.int64, np.uint64, python
        self.table[ARRAY:] = [*map(id, looked_for), n_arguments, _NOTES.ctypes.data, self.table[-1:].ctypes.data, 0]
        self.method = _Method(python.__name__.encode(), _vectorcall.value, _FASTCALL_KEYWORDS, _documented(python))
        self.call = _new_function(self.method, self.table, python.__module__)

    def __call__(self, values: np.ndarray, x: Any, hint: int) -> int:
        """Search a plain 1-d array of integers in this machine's byte order; compiles the search for its dtype at the first call.

        x : np.uint64 for unsigned 64-bit values, otherwise an int of 64 bits
        """
        if not JIT:
            return int(self.search(values, x, hint, _NOTES.view(np.asarray(x).dtype)))
        if values.dtype.num not in self.searches:
            self._add(values.dtype)
        return int(self.call(*(values, x, hint)[: self.n_arguments]))

    def _add(self, dtype: np.dtype) -> None:
        key = np.uint64 if dtype.num in (ULONG, ULONGLONG) else np.int64
        search, view, memo = self.search, _view(dtype), _view(np.dtype(key), "C")

        def search_at(data, n, stride, x, hint, notes):  # type: ignore[no-untyped-def]
            return search(view(data, n, stride), key(x), hint, memo(notes, N_NOTES, 8))

        search_at.__qualname__ = f"{search.__name__}_of_{dtype}"
        self.searches[dtype.num] = c_function(search_at, 6)
        self.table[dtype.num] = self.searches[dtype.num].address
        self.entry = c_function(_entry, 4)
        self.method.address = self.entry.address  # from now on
