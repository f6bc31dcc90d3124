"""What is wrong with a strategy and where: one sentence and the user's own line, whatever Numba's text looks like.

    when it is made       the signature
    before it is compiled the bytecode's own words: fields and methods that do not exist, writes to what is not the state's
    when it is compiled   Numba's error, searched for what it is about
    when it runs          the exception and line that _numba/traceback.py found

A message is one sentence with the strategy's name, then file and line, and the line itself where the file (or the notebook's cell) is
known. Numba's own error, a page of compiler text, is not shown: it is the exception's __context__.
"""

import difflib
import dis
import inspect
import linecache
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np

from nbtrade._numba.jit import RECORD_METHODS
from nbtrade._numba.reached import needs_python
from nbtrade._numba.readonly import CANNOT
from nbtrade.engine.kernels.market import MARKET, MarketRecord
from nbtrade.engine.kernels.records import ACCOUNT
from nbtrade.engine.kernels.shown import AccountRecord
from nbtrade.errors import StrategyError

NUMBA = os.path.dirname(numba.__file__)
ARGUMENTS = ("market", "features", "account", "state")
NO_MEMORY = (
    "makes a list, dict, set, string or array, and a strategy may not allocate memory. Use an array field of the state: "
    'state=[("window", "f8", 100), ...]'
)
# fields of an account that are worth a look (the others are the engine's)
ACCOUNT_FIELDS = [
    "position",
    "cash",
    "n_open",
    "open_bid",
    "open_ask",
    "average_px",
    "realised",
    "n_orders",
    "reject_reason",
    "n_refused",
    "capacity",
]
# what Numba says (a regular expression) -> what it means
EXPLANATIONS = [
    (r"nbtrade: ([^\n]*)", "{0}."),
    (r"print\(\) function implementation does not support keyword", "print takes values only here: no sep=, end= or file=."),
    (r"name '(\w+)' is not defined", "the name {0!r} is not defined."),
    (
        r"Untyped global name '(\w+)'[^\n]*type of ([^\n]*)",
        "{0!r} is {1}, which cannot be used here: a plain function needs @numba.njit, data belong in fields of the state.",
    ),
    (r"NRT required|<class 'str'>|zeros\(|ones\(|empty\(|unicode_type.*NRT", "the line " + NO_MEMORY + "."),
    (r"Exception matching is limited", 'a strategy can only say "except Exception", no exception of its own.'),
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
    """File and line, and below it the line's own text where it is known."""
    file = function.__code__.co_filename
    while linecache.getline(file, line).strip().startswith("@") and line < function.__code__.co_firstlineno + 9:  # its decorators
        line += 1
    return _place_in(file, line)


def _place_in(file: str, line: int) -> str:
    text = linecache.getline(file, line).strip()
    return f"{file}, line {line}" + (f"\n    {text}" if text else "")


# --- when it is made ----------------------------------------------------------------------------------------
def check_signature(function: Callable[..., Any]) -> None:
    """Raise StrategyError for another number of arguments, and for a function that yields."""
    name, names = function.__name__, tuple(inspect.signature(function).parameters)
    where = source_line(function, function.__code__.co_firstlineno)
    if len(names) != len(ARGUMENTS):
        raise StrategyError(f"{name} takes ({', '.join(names)}); a strategy takes ({', '.join(ARGUMENTS)}).\nIn {where}")
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise StrategyError(f"{name} yields or is async: its body would never run. A strategy is a plain function.\nIn {where}")


# --- when it is compiled --------------------------------------------------------------------------------------
def check_names(function: Callable[..., Any], dtype: np.dtype) -> None:
    """Raise StrategyError for an unknown field or method of the arguments, and for a write to market or account."""
    found = needs_python(function)
    if found:
        what, inner, line = found
        raise _refused(function, what + ".", source_line(inner, line))
    names = tuple(inspect.signature(function).parameters)
    for line, role, attribute, is_write in _attributes(function, dict(zip(names, ARGUMENTS, strict=True))):
        fields, methods = known_names(role, dtype)
        if attribute not in fields + methods:
            raise _not_compiled(function, _unknown(role, attribute, fields, methods), line)
        if is_write and role != "state":
            raise _not_compiled(function, f"{role}.{attribute} {CANNOT}.", line)


def _not_compiled(function: Callable[..., Any], what: str, line: int) -> StrategyError:
    return _refused(function, what, source_line(function, line))


def _refused(function: Callable[..., Any], what: str, where: str) -> StrategyError:
    return StrategyError(f"{function.__name__} cannot be compiled: {what}\nIn {where}")


def known_names(role: str, dtype: np.dtype) -> tuple[list[str], list[str]]:
    """Fields and methods of market, account or state."""
    fields = {"market": MARKET, "account": ACCOUNT, "state": dtype}[role].names or ()
    record = {"market": MarketRecord, "account": AccountRecord}.get(role)
    return [f for f in fields if f != "_" or role != "state"], [m for m in RECORD_METHODS if m in vars(record)] if record else []


def _unknown(role: str, attribute: str, fields: list[str], methods: list[str]) -> str:
    close = difflib.get_close_matches(attribute, [*methods, *fields], 1)
    shown = ACCOUNT_FIELDS if role == "account" else [f for f in fields if not f.endswith("_at")]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    more = f" Methods: {', '.join(methods)}." if methods else ""
    return f"{role} has no field or method {attribute!r}.{hint} Fields: {', '.join(shown) or 'none'}.{more}"


def _attributes(function: Callable[..., Any], roles: dict[str, str]) -> Iterator[tuple[int, str, str, bool]]:
    """(line, market | account | state, attribute, is it set) for every such word in the bytecode."""
    roles = {name: role for name, role in roles.items() if role != "features"}
    code, line, before, is_copied = function.__code__, function.__code__.co_firstlineno, "", False
    set_later = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_FAST"}  # the argument's name means something else then
    for i in dis.get_instructions(code):
        line = (i.positions.lineno if i.positions else None) or line
        if i.opname in {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"} and before in roles and before not in set_later:
            yield line, roles[before], str(i.argval), is_copied or i.opname == "STORE_ATTR"
        is_copied = i.opname == "COPY" and before in roles  # state.n += 1
        if i.opname.startswith("LOAD_FAST"):
            before = str(i.argval[-1] if isinstance(i.argval, tuple) else i.argval)
        elif not is_copied:
            before = ""


def compile_error(error: BaseException, function: Callable[..., Any], dtype: np.dtype) -> StrategyError:
    """What a user needs of Numba's error."""
    text = str(error)
    if CANNOT in text:
        return _refused(function, *_store(text))
    if isinstance(error, KeyError):  # Numba's records raise it as it is, for an unknown field
        word = str(error.args[0])
        what = f"there is no field {word!r}. Fields of the state: {', '.join((dtype.names or ())[:-1]) or 'none'}."
    elif not isinstance(error, (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError, NotImplementedError)):
        what, word = f"Numba fails at it ({type(error).__name__}: {text.splitlines()[0] if text else 'no reason'}).", ""
    else:
        what, word = _explanation(text)
    line = _line_of(error, text, function, word)
    return _not_compiled(function, what, line)


def _store(text: str) -> tuple[str, str]:
    """(sentence, place) of a store into what cannot be set: in the strategy, or in a function of the user's that it calls."""
    lines = re.search(r"nbtrade: ([^\n]*)", text)
    assert lines is not None
    places = re.findall(r"During: [^\n]* at ([^\n]+) \((\d+)\)", text[lines.end() :])
    file, line = next((file, line) for file, line in places if not file.startswith(NUMBA))
    return lines[1] + ".", _place_in(file, int(line))


def _explanation(text: str) -> tuple[str, str]:
    """(sentence, the word that it is about)."""
    method = re.search(r"nbtrade_method_(\w+)", text)
    if method and "nbtrade: " not in text:
        names = inspect.signature(RECORD_METHODS[method[1]][0]).parameters.values()
        listed = ", ".join(str(p) for p in list(names)[1:])
        return f"{method[1]} is called with other arguments than it has: {method[1]}({listed}).", method[1]
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


def _line_of(error: BaseException, text: str, function: Callable[..., Any], word: str) -> int:
    """The user's line: where the error says, else where the word is, else where the function begins."""
    file = re.escape(function.__code__.co_filename)
    shown = re.escape(os.path.relpath(function.__code__.co_filename))  # Numba shows some by the working folder
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


# --- when it runs ---------------------------------------------------------------------------------------------
def runtime_error(function: Callable[..., Any], what: str, line: int, when: str, state: dict[str, Any]) -> StrategyError:
    """A strategy raised."""
    values = ", ".join(f"{name}={value}" for name, value in state.items() if name != "_")
    return StrategyError(
        f"strategy {function.__name__} raised {what}\nIn {source_line(function, line)}\n"
        f"{when}. State as that call left it: {values or 'no fields'}."
    )
