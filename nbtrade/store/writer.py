"""Write a tape: into a hidden folder beside the target, renamed when complete.

    .NAME.ingesting/   lock, events.bin, ts_event.bin, ...     while it is written, by the lock's holder alone
    NAME/              the same files and manifest.json        after one rename

An interrupted writer leaves no tape. What a killed one leaves behind is removed by the next writer that gets the lock.
Columns are hashed and written by a thread of their own, and handed to the disk while the ingest goes on, so that the final sync has little
left to wait for. An error there (disk full) is raised by the next call here.
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

from nbtrade.errors import TapeExists
from nbtrade.schema import COLUMNS
from nbtrade.store import files

SYNC_BYTES = 16 << 20  # start writing back after so many new bytes of a column

QUEUED = 1  # appends waiting for the writing thread


class _ColumnFile:
    """One append-only file: written, hashed, and synced in the background."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.hash = xxhash.xxh3_128()
        self.n_bytes = 0
        self.n_synced = 0
        self.syncing: threading.Thread | None = None

    def append(self, array: np.ndarray) -> None:
        data = memoryview(np.ascontiguousarray(array).view(np.uint8).reshape(-1))
        self.hash.update(data)
        while data:
            n = os.write(self.fd, data)
            self.n_bytes += n
            data = data[n:]
        if self.n_bytes - self.n_synced >= SYNC_BYTES and (self.syncing is None or not self.syncing.is_alive()):
            self.n_synced = self.n_bytes
            self.syncing = threading.Thread(target=os.fdatasync, args=(self.fd,), daemon=True)
            self.syncing.start()

    def close(self, sync: bool) -> None:
        if self.syncing is not None:
            self.syncing.join()
        try:
            if sync:
                os.fsync(self.fd)
        finally:
            os.close(self.fd)


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
        self.lock = files.lock(self.building / "lock")
        for left_over in self.building.iterdir():
            if left_over.name != "lock":
                left_over.unlink()
        self.columns = {name: _ColumnFile(self.building / f"{name}.bin") for name in COLUMNS}
        self.n_live = 0
        self.finished = False
        self.error: BaseException | None = None
        self.todo: queue.Queue[dict[str, np.ndarray] | None] = queue.Queue(maxsize=QUEUED)
        self.thread = threading.Thread(target=self._write, name="nbtrade-write", daemon=True)
        self.thread.start()

    def append(self, **columns: np.ndarray) -> None:
        """Append arrays to columns by name (see schema.COLUMNS for dtypes).

        They are written later: an array may be used again after QUEUED + 1 more calls.
        """
        self._raise()
        self.todo.put(columns)

    def _write(self) -> None:
        while (columns := self.todo.get()) is not None:
            if self.error is None:
                try:
                    for name, array in columns.items():
                        self.columns[name].append(array)
                except BaseException as error:  # raised by the next call of the owner's
                    self.error = error
            self.todo.task_done()
        self.todo.task_done()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    def _drain(self) -> None:
        """Wait until all is written; raise what went wrong."""
        self.todo.join()
        self._raise()

    def checkpoint(self, row: int, live: np.ndarray) -> None:
        """Note the orders live before row `row`. live: LIVE[n], in any order."""
        entry = np.array([(row, self.n_live, len(live))], COLUMNS["checkpoints"])
        self.append(checkpoints=entry, live=live[np.argsort(live["prio"])])
        self.n_live += len(live)

    def rescale(self, factor: int, correct: Callable[[np.ndarray], None]) -> None:
        """Multiply every px written so far: the tick turned out finer than the first prices said.

        correct : gets all EVENT rows written so far, to put right those that had been rounded
        """
        self._drain()
        for name in ("events", "live"):
            file, dtype = self.columns[name], COLUMNS[name]
            if file.n_bytes:
                rows = np.memmap(self.building / f"{name}.bin", dtype, "r+", shape=(file.n_bytes // dtype.itemsize,))
                rows["px"] *= factor
                if name == "events":
                    correct(rows)
                file.hash = xxhash.xxh3_128(rows.view(np.uint8))

    def finish(self, manifest: dict[str, Any]) -> Path:
        """Sync everything, write the manifest, give the tape its name. Returns the tape's folder."""
        self._drain()
        manifest["columns"] = {
            name: {"n": file.n_bytes // COLUMNS[name].itemsize, "xxh3_128": file.hash.hexdigest()} for name, file in self.columns.items()
        }
        digests = "".join(manifest["columns"][name]["xxh3_128"] for name in sorted(COLUMNS))
        manifest["content_hash"] = xxhash.xxh3_128_hexdigest(digests.encode())
        self._close_columns(sync=True)
        with open(self.building / "manifest.json", "w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        files.sync_folder(self.building)
        files.publish(self.building, self.target, self.replace)
        self.finished = True
        (self.target / "lock").unlink(missing_ok=True)  # not earlier: the next writer would take the folder over
        return self.target

    def _close_columns(self, sync: bool) -> None:
        columns, self.columns = self.columns, {}
        errors = []
        for file in columns.values():
            try:
                file.close(sync)
            except OSError as error:
                errors.append(error)
        if errors and sync:
            raise errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.todo.put(None)
        self.thread.join()
        if not self.finished:
            self._close_columns(sync=False)
            shutil.rmtree(self.building, ignore_errors=True)
        os.close(self.lock)
