"""Write a tape: into a hidden folder beside the target, renamed when complete.

    .NAME.ingesting/   lock, events.col, ts_event.col, ...     while it is written, by the lock's holder alone
    NAME/              the same files and manifest.json        after one rename

An interrupted writer leaves no tape. What a killed one leaves behind is removed by the next writer that gets the lock.
Columns (store/sealed.py) are hashed and written by a thread of their own. An error there (disk full) is raised by the next call here.
The two talk by SimpleQueues: Ctrl-C inside a queue.Queue, which is Python, can lose a wake-up, and leaving then waited for ever.
"""

import json
import os
import queue
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xxhash

from nbtrade.errors import StoreBusy, TapeExists
from nbtrade.schema import COLUMNS
from nbtrade.store import files, lock
from nbtrade.store.disk import DISK
from nbtrade.store.sealed import NewColumn

QUEUED = 1  # appends waiting for the writing thread, besides the one that it writes


class TapeWriter:
    """Context manager: `append` rows and checkpoints, then `finish`; leaving without `finish` removes everything.

    target  : folder of the tape to be;  replace : take the place of a tape that is there

    Raises TapeExists when the target is there (and not `replace`), or is being written by another process.
    """

    def __init__(self, target: str | os.PathLike[str], replace: bool = False) -> None:
        self.target = Path(target).absolute()
        self.replace = replace
        if self.target.exists() and not replace:
            raise TapeExists(f"{self.target} is there already. Pass replace=True (--replace) or another name.")
        if self.target.exists() and not (self.target / "manifest.json").exists():
            raise TapeExists(f"{self.target} is there and is not a tape: it is not replaced. Choose another name.")
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.building = self.target.parent / f".{self.target.name}.ingesting"
        self.building.mkdir(exist_ok=True)
        self.lock = self._locked()
        lock.held_by(self)
        for left_over in self.building.iterdir():
            if left_over.name != "lock":
                left_over.unlink()
        self.columns = {name: NewColumn(self.building / f"{name}.col", dtype) for name, dtype in COLUMNS.items()}
        self.n_live = 0
        self.finished = False
        self.error: BaseException | None = None
        self.todo: queue.SimpleQueue[dict[str, np.ndarray] | None] = queue.SimpleQueue()
        self.room: queue.SimpleQueue[None] = queue.SimpleQueue()  # one item for each append that need not wait
        for _ in range(QUEUED + 1):
            self.room.put(None)
        self.thread = threading.Thread(target=self._write, name="nbtrade-write", daemon=True)
        self.thread.start()

    def _locked(self) -> int:
        try:
            return lock.open_locked(DISK, self.building / "lock", os.O_RDWR | os.O_CREAT)
        except StoreBusy as busy:
            raise TapeExists(f"{self.target}: {busy}") from None

    def lose(self) -> None:
        """Let go of the lock; also in a forked child, whose parent has it."""
        fd, self.lock = self.lock, -1
        if fd >= 0:
            os.close(fd)

    def append(self, **columns: np.ndarray) -> None:
        """Append arrays to columns by name (see schema.COLUMNS for dtypes).

        They are written later: an array may be used again after QUEUED + 1 more calls.
        """
        self._raise()
        self.room.get()
        self.todo.put(columns)

    def _write(self) -> None:
        while (columns := self.todo.get()) is not None:
            if self.error is None:
                try:
                    for name, array in columns.items():
                        self.columns[name].append(array)
                except BaseException as error:  # raised by the next call of the owner's
                    self.error = error
            self.room.put(None)

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    def _drain(self) -> None:
        """Wait until all is written; raise what went wrong."""
        for _ in range(QUEUED + 1):
            self.room.get()
        for _ in range(QUEUED + 1):
            self.room.put(None)
        self._raise()

    def checkpoint(self, row: int, live: np.ndarray) -> None:
        """Note the orders live before row `row`. live: LIVE[n], in any order."""
        entry = np.array([(row, self.n_live, len(live))], COLUMNS["checkpoints"])
        self.append(checkpoints=entry, live=live[np.argsort(live["prio"])])
        self.n_live += len(live)

    def rescale(self, factor: int, correct: Callable[[np.ndarray, int], None]) -> None:
        """Multiply every px written so far: the tick turned out finer than the first prices said.

        correct : gets EVENT rows written so far and the number of the first, to put right those that had been rounded
        """

        def finer(rows: np.ndarray, first: int) -> None:
            rows["px"] *= factor

        def finer_and_right(rows: np.ndarray, first: int) -> None:
            finer(rows, first)
            correct(rows, first)

        self._drain()
        self.columns["events"].rewrite(finer_and_right)
        self.columns["live"].rewrite(finer)

    def finish(self, manifest: dict[str, Any]) -> Path:
        """Sync everything, write the manifest, give the tape its name. Returns the tape's folder."""
        self._drain()
        manifest["columns"] = {name: {"n": column.n_rows, "xxh3_128": column.hash.hexdigest()} for name, column in self.columns.items()}
        digests = "".join(manifest["columns"][name]["xxh3_128"] for name in sorted(COLUMNS))
        manifest["content_hash"] = xxhash.xxh3_128_hexdigest(digests.encode())
        for column in self.columns.values():
            column.seal()
        self._close_columns()
        with open(self.building / "manifest.json", "w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        DISK.sync_folder(self.building)
        files.publish(self.building, self.target, self.replace)
        self.finished = True
        (self.target / "lock").unlink(missing_ok=True)  # not earlier: the next writer would take the folder over
        return self.target

    def _close_columns(self) -> None:
        columns, self.columns = self.columns, {}
        for column in columns.values():
            column.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.todo.put(None)
        self.thread.join()
        if not self.finished:
            self._close_columns()
            shutil.rmtree(self.building, ignore_errors=True)
        self.lose()
