"""Feature matrices cached in a BlockFile by the hash of their inputs: a repeated request is a memory map.

    name = hash(tape's content, its rows, features, sample, users' functions, version)  ->  {values, ts}

The interface to the other modules is `MatrixCache`: `get(name)` and `put(name, arrays)`.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from nbtrade._numba.jit import fingerprint
from nbtrade.errors import BlockFileLocked, BlockFileUnfinished
from nbtrade.feature.expression import Expression
from nbtrade.feature.sampling import Sampling
from nbtrade.storage.blockfile.blockfile import BlockFile
from nbtrade.tape.tape import Tape

VERSION = 1  # of the formulas: increase it when any of them changes


class MatrixCache:
    """Named sets of arrays in a BlockFile, as blocks "features/NAME/KEY"."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of `name`, as views of the file; None if they are missing, or the file has not been created yet."""
        with contextlib.suppress(FileNotFoundError, BlockFileUnfinished), BlockFile(self.path, mode="r") as blocks:
            keys = blocks.list(f"features/{name}/")
            return {key.rsplit("/", 1)[1]: blocks.get(key) for key in keys} or None
        return None

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Store all arrays under `name`, or none. Skipped while another process writes the file: a later request stores them."""
        with contextlib.suppress(BlockFileLocked), BlockFile(self.path) as blocks:
            blocks.put_many({f"features/{name}/{key}": array for key, array in arrays.items()})


def name_of(tape: Tape, columns: list[Expression], sampling: Sampling, extra: Any = "") -> str | None:
    """The name of a matrix; None if a user-defined function cannot be identified across processes."""
    functions = [fingerprint(function) for column in columns for function in _own_functions(column)]
    if None in functions:
        return None
    text = repr((VERSION, tape.content_hash, tape.start, tape.stop, [stable_key(c) for c in columns], sampling.key(), functions, extra))
    return xxhash.xxh3_128_hexdigest(text.encode())


def _own_functions(e: Expression) -> list[Any]:
    own = [e.own.function] if e.own is not None else []
    return own + [function for one in e.inputs for function in _own_functions(one)]


def stable_key(e: Expression) -> str:
    """A node's key without anything that differs between processes; user-defined functions are identified by their fingerprints."""
    if e.own is None:
        return f"{type(e).__name__}:{e.op}{e.shape}{e.params}({','.join(stable_key(i) for i in e.inputs)})"
    return f"own {e.own.function.__qualname__} {e.own.initial.tobytes().hex()} {e.own.levels}({','.join(stable_key(i) for i in e.inputs)})"
