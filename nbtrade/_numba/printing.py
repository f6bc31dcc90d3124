"""`print` of an array inside compiled strategies and features: Numba boxes arrays only where it may allocate, and a strategy may not.

    print(state.window)  ──>  array_text(address, dtype, shape, strides)  ──>  NumPy's text

Numba's own lowering handles everything else. Importing this module registers the lowering.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_builtin
from numba.np import numpy_support
from numba.np.arrayobj import make_array

from nbtrade._numba.records import python_bytes


def array_text(address: int, dtype: np.dtype, *shape_and_strides: int) -> str:
    """The text of the array at an address."""
    n = len(shape_and_strides) // 2
    shape, strides = shape_and_strides[:n], shape_and_strides[n:]
    if 0 in shape:
        return str(np.empty(shape, dtype))
    spans = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
    first = sum(min(span, 0) for span in spans)
    last = sum(max(span, 0) for span in spans) + dtype.itemsize
    return str(np.ndarray(shape, dtype, python_bytes(address + first, last - first), -first, strides))


def print_text(context: Any, builder: Any, dtype: np.dtype, numbers: list[Any]) -> Any:
    """Print `array_text` of an address, sizes and strides (LLVM values). The GIL is held."""
    pyapi = context.get_python_api(builder)
    function, kind = (pyapi.unserialize(pyapi.serialize_object(one)) for one in (array_text, dtype))
    address, *sizes = [pyapi.long_from_ssize_t(number) for number in numbers]
    text = pyapi.call_function_objargs(function, [address, kind, *sizes])
    with builder.if_else(cgutils.is_not_null(builder, text), likely=True) as (then, otherwise):
        with then:
            pyapi.print_object(text)
            pyapi.decref(text)
        with otherwise:
            pyapi.err_write_unraisable(function)
    for one in (function, kind, address, *sizes):
        pyapi.decref(one)
    return context.get_dummy_value()


@lower_builtin("print_item", types.Array)
def _print_array(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind = sig.args[0]
    array = make_array(kind)(context, builder, value=args[0])
    numbers = [builder.ptrtoint(array.data, ir.IntType(64))]
    for field in (array.shape, array.strides):
        numbers += cgutils.unpack_tuple(builder, field, kind.ndim)
    return print_text(context, builder, numpy_support.as_dtype(kind.dtype), numbers)


@lower_builtin("print_item", types.Callable)
def _print_callable(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    raise TypingError("nbtrade: print needs a value, but got a function or method: call it")
