"""Names that a compiled function uses from outside: globals, closures and members of modules, including those of functions it calls.

They are read from the bytecode, before anything is compiled. Names computed at run time (getattr, a table of functions) are not found.
"""

import dis
import inspect
import types as pytypes
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
from numba.core.ccallback import CFunc

from nbtrade._numba.jit import TRUSTED_MODULES


class Use(NamedTuple):
    """One name in one function's code."""

    function: Callable[..., Any]
    name: str
    value: Any


def plain(value: Any) -> Any:
    """The Python function behind a compiled one; any other value unchanged."""
    return getattr(value, "py_func", value)


def reached(function: Callable[..., Any], seen: set[int] | None = None) -> Iterator[Use]:
    """Every outside name that a function uses, including those used by the functions it calls."""
    seen = set() if seen is None else seen
    function = plain(function)
    if id(function) in seen or not isinstance(function, pytypes.FunctionType):
        return
    seen.add(id(function))
    scope = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    for name, value in _values(_names(function.__code__), scope):
        yield Use(function, name, value)
        yield from reached(value, seen)


def _names(code: pytypes.CodeType) -> list[str]:
    """Names in the code, and in functions defined inside it."""
    inner = [name for one in code.co_consts if isinstance(one, pytypes.CodeType) for name in _names(one)]
    return [*code.co_names, *code.co_freevars, *inner]


def _values(names: list[str], scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in names:
        if name not in scope:
            continue
        value = scope[name]
        yield name, value
        if isinstance(value, pytypes.ModuleType):
            is_known = value.__name__.split(".")[0] in TRUSTED_MODULES
            yield from ((n, getattr(value, n)) for n in names if hasattr(value, n) and (not is_known or n == "objmode"))


def needs_python(function: Callable[..., Any]) -> tuple[str, Callable[..., Any], int] | None:
    """(reason, the function that contains it, line) of code that runs in the interpreter; None if there is none.

    An exception there cannot leave compiled code: at best it ends the run without a line, at worst it holds the GIL forever.
    """
    for use in [Use(function, function.__name__, None), *reached(function)]:
        if use.value is numba.objmode:
            what = "numba.objmode runs the Python interpreter inside compiled code. `print` works without it; move the rest outside"
            return what, use.function, line_of(use)
        if isinstance(use.value, CFunc):
            what = f"{use.name!r} is a C callback (numba.cfunc), whose errors cannot propagate. Make it a function with @numba.njit"
            return what, use.function, line_of(use)
    return None


def line_of(use: Use) -> int:
    """The first line of the function that uses the name."""
    code = use.function.__code__
    lines = (i.positions.lineno for i in dis.get_instructions(code) if i.positions and i.argval == use.name)
    return next((line for line in lines if line), code.co_firstlineno)
