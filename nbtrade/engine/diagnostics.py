"""Errors in a user's strategy: one sentence that explains the fault, and the offending line of the strategy.

    at definition          the signature
    before compilation     names in the bytecode: unknown fields and methods, writes to anything but state and record
    during compilation     Numba's error, searched for its cause
    at run time            the exception and line found by _numba/traceback.py

A message is one sentence with the strategy's name, then file and line, and the line's text if the source (a file or a notebook cell) is
available. Numba's error, a page of compiler text, is not shown; it remains the exception's __context__.
"""

import difflib
import dis
import inspect
import linecache
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numba

from nbtrade._numba.jit import RECORD_METHODS
from nbtrade._numba.reached import needs_python
from nbtrade._numba.readonly import CANNOT, unknown
from nbtrade._numba.records import PUBLIC_FIELDS, PUBLIC_METHODS
from nbtrade.engine.arguments import ARGUMENTS
from nbtrade.engine.declaration import HIDDEN
from nbtrade.engine.kernels.market import MARKET_VIEW
from nbtrade.engine.kernels.shown import ACCOUNT_VIEW
from nbtrade.errors import StrategyError

Declared = Mapping[str, Sequence[str]]  # names of the fields of params, state and record
NUMBA = os.path.dirname(numba.__file__)
NO_MEMORY = (
    "makes a list, dict, set, string or array, and a strategy may not allocate memory. Use an array field of the state: "
    'state=dict(window="(100,)f8")'
)
# pattern in Numba's error (a regular expression) -> explanation
EXPLANATIONS = [
    (r"nbtrade: ([^\n]*)", "{0}."),
    (r"print\(\) function implementation does not support keyword", "print takes values only here: no sep=, end= or file=."),
    (r"name '(\w+)' is not defined", "the name {0!r} is not defined."),
    (
        r"Untyped global name '(\w+)'[^\n]*type of ([^\n]*)",
        "{0!r} is {1}, which cannot be used here: a plain function needs @numba.njit, data belong in fields of the state.",
    ),
    (
        r"'NoneType' object has no attribute",
        "an operation in it has no compiled form, for example one that changes a part of an array that cannot be set.",
    ),
    (r"NRT required|<class 'str'>|zeros\(|ones\(|empty\(|unicode_type.*NRT", "the line " + NO_MEMORY + "."),
    (r"Exception matching is limited", 'a strategy can only use "except Exception", not a specific exception.'),
    (r"opcode \((\w+)\)", "this Python cannot be compiled ({0}): imports, classes, and globals that are set belong outside a strategy."),
    (r"The '([^']*)' construct is not supported", "{0!r} is Python that cannot be compiled."),
    (r"Unknown attribute '(\w+)' of type", "there is no field or method {0!r}."),
    (
        r"The use of a [^\n]*? type, assigned to variable '(\w+)' in globals",
        "{0!r} is a list or set from outside, which cannot be used here. Use fields of the state, numbers or tuples.",
    ),
    (r"Cannot cast (\S+) to (\w+)", "{0} does not fit {1}."),
    (r"Cannot unify ([^\n]*?) and ([^\n]*?) for '(\w+)", "the variable {2!r} is {0} on one way and {1} on another."),
    (
        r"No implementation of function Function\(<built-in function (\w+)>\) found for signature:\s*>>> ([^\n]*)",
        "{0} cannot be done with {1}.",
    ),
    (r"No implementation of function Function\(<(?:function|class) '?(\w+)[^\n]*", "{0} cannot be done with these arguments."),
]


def source_line(function: Callable[..., Any], line: int) -> str:
    """File and line number, and below them the line's text if it is available."""
    file = function.__code__.co_filename
    while linecache.getline(file, line).strip().startswith("@") and line < function.__code__.co_firstlineno + 9:  # its decorators
        line += 1
    return _place_in(file, line)


def _place_in(file: str, line: int) -> str:
    text = linecache.getline(file, line).strip()
    return f"{file}, line {line}" + (f"\n    {text}" if text else "")


# --- at definition ------------------------------------------------------------------------------------------
def check_signature(function: Callable[..., Any]) -> None:
    """Raise StrategyError for an unknown argument, and for a generator or async function."""
    name, parameters = function.__name__, inspect.signature(function).parameters.values()
    where = source_line(function, function.__code__.co_firstlineno)
    for one in parameters:
        if one.name not in ARGUMENTS or one.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            close = difflib.get_close_matches(one.name, ARGUMENTS, 1) if one.name not in ARGUMENTS else []
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise StrategyError(
                f"{name} takes {str(one)!r}; a strategy takes any of {', '.join(ARGUMENTS)}, by name and in any order.{hint}\nIn {where}"
            )
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise StrategyError(f"{name} yields or is async: its body would never run. A strategy is a plain function.\nIn {where}")


# --- compilation ----------------------------------------------------------------------------------------------
def check_names(function: Callable[..., Any], declared: Declared) -> None:
    """Raise StrategyError for an unknown field or method of an argument, and for a write to a read-only one.

    declared : names of the fields of params, state and record
    """
    found = needs_python(function)
    if found:
        what, inner, line = found
        raise _refused(function, what + ".", source_line(inner, line))
    for line, role, attribute, is_write in _attributes(function, set(inspect.signature(function).parameters)):
        fields, methods = known_names(role, declared)
        if attribute not in fields + methods:
            elsewhere = [other for other in declared if attribute in declared[other] and attribute != HIDDEN]
            hint = f" It is a field of {elsewhere[0]}." if elsewhere else ""
            raise _not_compiled(function, unknown(role, attribute, fields) + hint, line)
        if is_write and role not in ("state", "record"):
            raise _not_compiled(function, f"{role}.{attribute} {CANNOT}.", line)


def _not_compiled(function: Callable[..., Any], what: str, line: int) -> StrategyError:
    return _refused(function, what, source_line(function, line))


def _refused(function: Callable[..., Any], what: str, where: str) -> StrategyError:
    return StrategyError(f"{function.__name__} cannot be compiled: {what}\nIn {where}")


def known_names(role: str, declared: Declared) -> tuple[list[str], list[str]]:
    """Fields and methods of an argument."""
    fields = {"market": MARKET_VIEW.names, "account": ACCOUNT_VIEW.names, **declared}[role] or ()
    return [f for f in (*fields, *PUBLIC_FIELDS.get(role, ())) if f != HIDDEN], PUBLIC_METHODS.get(role, [])


def _attributes(function: Callable[..., Any], roles: set[str]) -> Iterator[tuple[int, str, str, bool]]:
    """(line, argument, attribute, True if written) for every use of an argument's attribute in the bytecode."""
    roles = roles - {"features"}
    code, line, before, is_copied = function.__code__, function.__code__.co_firstlineno, "", False
    set_later = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_FAST"}  # reassigned names are skipped
    for i in dis.get_instructions(code):
        line = (i.positions.lineno if i.positions else None) or line
        if i.opname in {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"} and before in roles and before not in set_later:
            yield line, before, str(i.argval), is_copied or i.opname == "STORE_ATTR"
        is_copied = i.opname == "COPY" and before in roles  # state.n += 1
        if i.opname.startswith("LOAD_FAST"):
            before = str(i.argval[-1] if isinstance(i.argval, tuple) else i.argval)
        elif not is_copied:
            before = ""


def compile_error(error: BaseException, function: Callable[..., Any], declared: Declared) -> StrategyError:
    """Convert Numba's error to a StrategyError with the cause and the line."""
    text = str(error)
    if CANNOT in text:
        return _refused(function, *_store(text))
    if isinstance(error, KeyError):  # Numba's record types raise a bare KeyError for an unknown field
        word = str(error.args[0])
        fields = (f"{role}: {', '.join(f for f in declared[role] if f != HIDDEN) or 'none'}" for role in declared)
        what = f"there is no field {word!r}. Fields of {'; '.join(fields)}."
    elif not isinstance(error, (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError, NotImplementedError)):
        what, word = f"Numba fails on it ({type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}).", ""
    else:
        what, word = _explanation(text)
    line = _line_of(error, text, function, word)
    return _not_compiled(function, what, line)


def _store(text: str) -> tuple[str, str]:
    """(sentence, file and line) of a store into a read-only field: in the strategy, or in a user's function that it calls."""
    lines = re.search(r"nbtrade: ([^\n]*)", text)
    assert lines is not None
    places = re.findall(r"During: [^\n]* at ([^\n]+) \((\d+)\)", text[lines.end() :])
    file, line = next((file, line) for file, line in places if not file.startswith(NUMBA))
    return lines[1] + ".", _place_in(file, int(line))


def _explanation(text: str) -> tuple[str, str]:
    """(sentence, the name that it is about or "")."""
    method = re.search(r"nbtrade_method_(\w+)", text)
    if method and "nbtrade: " not in text:
        names = inspect.signature(RECORD_METHODS[method[1]][0]).parameters.values()
        listed = ", ".join(_text_of(p) for p in list(names)[1:])
        return f"{method[1]} is called with wrong arguments; its signature is {method[1]}({listed}).", method[1]
    for pattern, sentence in EXPLANATIONS:
        found = re.search(pattern, text)
        if found:
            return sentence.format(*found.groups()), found[1] if found.groups() else ""
    inner = re.findall(r"raised a specific error:\s+\w+: (?:Failed in [^\n]*\s+)*([^\n]+)", text)
    if inner:
        return f"{inner[-1].strip()[:300]}", ""
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("Failed in", "During", "No impl"))
    ]
    return lines[0] if lines else "for a reason that Numba does not give.", ""


def _text_of(parameter: inspect.Parameter) -> str:
    """A parameter as in a signature, a code by its name."""
    if parameter.default is parameter.empty:
        return parameter.name
    return f"{parameter.name}={getattr(parameter.default, 'name', parameter.default)}"


def _line_of(error: BaseException, text: str, function: Callable[..., Any], word: str) -> int:
    """The offending line: from the error if it names one, else the first line that uses `word`, else the function's first."""
    file = re.escape(function.__code__.co_filename)
    shown = re.escape(os.path.relpath(function.__code__.co_filename))  # Numba gives some paths relative to the working folder
    lines = re.findall(rf'(?:File "(?:{file}|{shown})", line |{file} \(|{file}:)(\d+)', text)
    loc = getattr(error, "loc", None)
    if loc is not None and loc.filename == function.__code__.co_filename:
        lines.append(str(loc.line))
    first = function.__code__.co_firstlineno
    inside = [int(n) for n in lines if int(n) > first]
    if inside:
        return inside[-1]
    wanted = {"BEFORE_WITH"} if "context manager" in text else {word}
    named = (i.positions.lineno for i in dis.get_instructions(function.__code__) if i.positions and {i.argval, i.opname} & wanted)
    return next((n for n in named if n), first)


# --- run time -------------------------------------------------------------------------------------------------
def runtime_error(function: Callable[..., Any], what: str, line: int, when: str, state: dict[str, Any]) -> StrategyError:
    """The error for an exception that a strategy raised."""
    values = ", ".join(f"{name}={value}" for name, value in state.items() if name != HIDDEN)
    return StrategyError(
        f"strategy {function.__name__} raised {what}\nIn {source_line(function, line)}\n"
        f"{when}. State as that call left it: {values or 'no fields'}."
    )
