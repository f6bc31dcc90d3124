"""Rows of sweeps stored in a BlockFile: a stopped sweep resumes, and a larger grid runs only the new sets.

    name = "sweep/" + hash(tape's content and rows, strategy's code and values, models)  ->  {column: value} as JSON

The name covers everything a result depends on, so a changed strategy, fee or tape never returns an old result.
"""

import dataclasses
import dis
import json
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash

from nbtrade._numba.jit import fingerprint
from nbtrade._version import __version__
from nbtrade.engine.strategy import Strategy
from nbtrade.errors import BlockNotFound, CorruptBlock, StrategyError
from nbtrade.storage import dtypes
from nbtrade.storage.blockfile.blockfile import BlockFile
from nbtrade.tape.tape import Tape


class SweepCache:
    """Stored and new rows of one sweep.

    file : an open BlockFile, or its path, which is then opened and closed here
    """

    def __init__(self, file: BlockFile | str | os.PathLike[str], strategy: Strategy, options: Mapping[str, Any]) -> None:
        code = fingerprint(strategy.function)
        if code is None:
            raise StrategyError(
                f"{strategy.name} uses an object whose code cannot be fingerprinted, so a stored result could be out of date. "
                "Leave store= out, or use plain functions, numbers and arrays in it."
            )
        self.owns_file = not isinstance(file, BlockFile)
        self.blocks = file if isinstance(file, BlockFile) else BlockFile(file)
        self.common = hash_of((__version__, code, *strategy.key, dict(options)))

    def name(self, tape: Tape, values: Mapping[str, Any]) -> str:
        """The block name of one set's row on one tape."""
        return "sweep/" + hash_of((self.common, tape.content_hash, tape.start, len(tape), dict(values)))

    def get(self, tape: Tape, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """A stored row, or None. Raises CorruptBlock if the block is not a row of a sweep."""
        name = self.name(tape, values)
        try:
            row = dtypes.parsed(self.blocks.get(name))
        except BlockNotFound:
            return None
        except (dtypes.MalformedError, TypeError) as error:
            raise _not_a_row(name, str(error)) from None
        if not isinstance(row, dict):
            raise _not_a_row(name, f"it is {row!r:.40}")
        return row

    def put(self, tape: Tape, sets: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
        """Store the rows of these sets."""
        self.blocks.put_many({self.name(tape, one): json.dumps(row).encode() for one, row in zip(sets, rows, strict=True)})

    def close(self) -> None:
        """Make all stored rows durable."""
        if self.owns_file:
            self.blocks.close()
        else:
            self.blocks.flush()


def _not_a_row(name: str, reason: str) -> CorruptBlock:
    return CorruptBlock(f"block {name!r} is not a row of a sweep: {reason}. Delete it, or use another file for store=.", name)


def fingerprints(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprints of user-defined metrics by name. Raises StrategyError for code that has no fingerprint."""
    found = {name: fingerprint(_with_used_globals(function)) for name, function in metrics.items()}
    unknown = [name for name, code in found.items() if code is None]
    if unknown:
        raise StrategyError(
            f"the metric {unknown[0]} uses an object whose code cannot be fingerprinted, so a stored result could be out of date. "
            "Leave store= out, or use plain functions, numbers and arrays in it."
        )
    return {name: code for name, code in found.items() if code is not None}


def _with_used_globals(function: Any) -> Any:
    """The function with only those globals that it loads: `result.fills` is not the global `fills`, which `fingerprint` would include."""
    code = getattr(function, "__code__", None)
    if code is None:
        return function
    codes = [code]
    for one in codes:
        codes += [const for const in one.co_consts if isinstance(const, types.CodeType)]
    loaded = {step.argval for one in codes for step in dis.get_instructions(one) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    scope = {name: value for name, value in function.__globals__.items() if name in loaded}
    trimmed = types.FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    trimmed.__kwdefaults__, trimmed.__module__, trimmed.__qualname__ = function.__kwdefaults__, function.__module__, function.__qualname__
    return trimmed


def feature_keys(strategy: Strategy) -> list[str]:
    """A strategy's features as text that identifies them."""
    from nbtrade.feature.cache import stable_key

    return [f"{name}: {stable_key(expression)}" for name, expression in strategy.expressions.items()]


def hash_of(value: Any) -> str:
    """A hash of a value by content: numbers, text, arrays, dataclasses, functions, and tuples, lists and dicts of them."""
    h = xxhash.xxh3_128()
    _update(h, value)
    return str(h.hexdigest())


def _update(h: Any, value: Any) -> None:
    if hasattr(value, "names") and hasattr(value, "values") and hasattr(value, "ts"):  # a FeatureMatrix
        _update(h, (list(value.names), value.ts, value.values))
    elif isinstance(value, np.ndarray):
        h.update(f"array {value.dtype} {value.shape}".encode())
        h.update(np.ascontiguousarray(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        h.update(type(value).__name__.encode())
        for field in dataclasses.fields(value):
            _update(h, getattr(value, field.name))
    elif isinstance(value, Mapping):
        _update(h, sorted(value.items()))
    elif isinstance(value, (list, tuple)):
        h.update(f"({len(value)}".encode())
        for one in value:
            _update(h, one)
    elif callable(value):
        h.update(str(fingerprint(value) or id(value)).encode())
    else:
        h.update(f"{type(value).__name__} {value!r};".encode())
