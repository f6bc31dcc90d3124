"""Matrices kept on disk by what they are made of: the second request is a memory map.

    name = hash(tape's content, its rows, features, sample, users' functions, version)  ->  {values, ts}

`Store` is all that the rest knows: `get(name)` and `put(name, arrays)`. This one is a folder of .npy files, each written whole and renamed.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from nbtrade._jit import fingerprint
from nbtrade.signals.expression import Expression
from nbtrade.signals.sampling import Sampling
from nbtrade.store.files import sync_folder
from nbtrade.store.tape import Tape

VERSION = 1  # of the formulas: a change of any of them is another number


class Store:
    """Named sets of arrays in a folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of `name`, mapped read-only; None when they are not there, or not whole."""
        folder = self.folder / name
        try:
            return {path.stem: _mapped(path) for path in sorted(folder.glob("*.npy"))} or None
        except (OSError, ValueError):
            return None

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays under `name`: all of them, or none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".part-") as part:
            whole = Path(part) / name
            whole.mkdir()
            for key, array in arrays.items():
                with open(whole / f"{key}.npy", "wb") as file:
                    np.save(file, array)
                    os.fsync(file.fileno())
            sync_folder(whole)
            try:
                os.rename(whole, self.folder / name)
            except OSError:
                if not (self.folder / name).exists():  # somebody else was first: the same arrays
                    raise
        sync_folder(self.folder)


def _mapped(path: Path) -> np.ndarray:
    array = np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None)
    array.flags.writeable = False
    return array.view(np.ndarray)


def name_of(tape: Tape, columns: list[Expression], sampling: Sampling, extra: Any = "") -> str | None:
    """The name of a matrix; None when a user's own function can't be told from others."""
    functions = [fingerprint(function) for column in columns for function in _own_functions(column)]
    if None in functions:
        return None
    text = repr((VERSION, tape.content_hash, tape.start, tape.stop, [stable_key(c) for c in columns], sampling.key(), functions, extra))
    return xxhash.xxh3_128_hexdigest(text.encode())


def _own_functions(e: Expression) -> list[Any]:
    own = [e.own.function] if e.own is not None else []
    return own + [function for one in e.inputs for function in _own_functions(one)]


def stable_key(e: Expression) -> str:
    """A node's key without what differs between processes; own functions are told apart by their fingerprints."""
    if e.own is None:
        return f"{type(e).__name__}:{e.op}{e.shape}{e.params}({','.join(stable_key(i) for i in e.inputs)})"
    return f"own {e.own.function.__qualname__} {e.own.initial.tobytes().hex()} {e.own.levels}({','.join(stable_key(i) for i in e.inputs)})"
