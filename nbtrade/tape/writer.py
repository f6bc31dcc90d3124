"""Write a tape: into a hidden folder next to the target, renamed when complete.

    .NAME.ingesting/   lock, events.col, ts_event.col, ...     while it is written, by the lock's holder alone
    NAME/              the same files and manifest.json        after one rename

An interrupted writer leaves no tape. The next writer that gets the lock removes the files of a killed one.
Files are only removed if they have the name of a tape's file, see tape/tape_folder.py.
Columns (immutable.py) are hashed and written by the caller. (With a separate writer thread three threads shared two cores and slowed the
decoder, which is the bottleneck: ingest ran at 0.74 of decoding with it and at 0.83 without. 26 November 2026, Sapphire Rapids.)
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xxhash

from nbtrade.errors import StoreBusy, TapeExists
from nbtrade.schema import COLUMNS
from nbtrade.storage import lock
from nbtrade.storage.columns.immutable import NewColumn
from nbtrade.storage.disk import DISK
from nbtrade.storage.system import sync_file
from nbtrade.tape import manifest, tape_folder


class TapeWriter:
    """Context manager: `append` rows and checkpoints, then `finish`; exiting without `finish` removes everything.

    target  : folder of the new tape;  replace : replace an existing tape
    source  : the file being read, which is never removed, even with `replace`

    Raises TapeExists if the target exists (without `replace`, or with more than a tape in it), or another process is writing it.
    """

    def __init__(self, target: str | os.PathLike[str], replace: bool = False, source: Path | None = None) -> None:
        self.target = Path(target).absolute()
        if self.target.name in ("", ".."):
            self.target = self.target.resolve()
        self.replace, self.source = replace, source
        tape_folder.check_target(self.target, replace, source)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.building = self.target.parent / f".{self.target.name}.ingesting"
        tape_folder.check_building(self.building, source)
        self.building.mkdir(exist_ok=True)
        self.lock = self._locked()
        lock.held_by(self)
        self._clear()
        self.columns = {name: NewColumn(self.building / f"{name}.col", dtype) for name, dtype in COLUMNS.items()}
        self.n_live = 0
        self.finished = False

    def _clear(self) -> None:
        """Remove the files of a killed writer. Only for the lock's holder."""
        tape_folder.check_building(self.building, self.source)
        for name in tape_folder.FILES - {"lock"}:
            (self.building / name).unlink(missing_ok=True)
        tape_folder.recover(self.building, self.target)
        try:
            tape_folder.check_target(self.target, self.replace, self.source)  # it may have reappeared
        except TapeExists:
            tape_folder.remove(self.building)
            self.lose()
            raise

    def _locked(self) -> int:
        try:
            return lock.open_locked(DISK, self.building / "lock", os.O_RDWR | os.O_CREAT)
        except StoreBusy as busy:
            raise TapeExists(f"{self.target}: {busy}") from None

    def lose(self) -> None:
        """Release the lock; also in a forked child, whose parent keeps it."""
        fd, self.lock = self.lock, -1
        if fd >= 0:
            os.close(fd)

    def append(self, **columns: np.ndarray) -> None:
        """Append arrays to columns by name (see schema.COLUMNS for dtypes)."""
        for name, array in columns.items():
            self.columns[name].append(array)

    def checkpoint(self, row: int, live: np.ndarray) -> None:
        """Store the orders live before row `row`. live: LIVE[n], in any order."""
        entry = np.array([(row, self.n_live, len(live))], COLUMNS["checkpoints"])
        self.append(checkpoints=entry, live=live[np.argsort(live["prio"])])
        self.n_live += len(live)

    def rescale(self, factor: int, correct: Callable[[np.ndarray, int], None]) -> None:
        """Multiply every px written so far: the tick proved to be finer than the first prices suggested.

        correct : receives EVENT rows written so far and the number of the first, and corrects the rounded ones
        """

        def finer(rows: np.ndarray, first: int) -> None:
            rows["px"] *= factor

        def finer_and_right(rows: np.ndarray, first: int) -> None:
            finer(rows, first)
            correct(rows, first)

        self.columns["events"].rewrite(finer_and_right)
        self.columns["live"].rewrite(finer)

    def finish(self, about: dict[str, Any]) -> Path:
        """Sync everything, write the manifest (`about` plus the columns), publish the tape. Returns the tape's folder."""
        about["columns"] = {name: {"n": column.n_rows, "xxh3_128": column.hash.hexdigest()} for name, column in self.columns.items()}
        digests = "".join(about["columns"][name]["xxh3_128"] for name in sorted(COLUMNS))
        about["content_hash"] = xxhash.xxh3_128_hexdigest(digests.encode())
        for column in self.columns.values():
            column.seal()
        self._close_columns()
        with open(self.building / manifest.NAME, "w") as file:
            json.dump(about, file, indent=1)
            file.flush()
            sync_file(file.fileno())
        DISK.sync_folder(self.building)
        tape_folder.publish(self.building, self.target, self.replace, self.source)
        self.finished = True
        (self.target / "lock").unlink(missing_ok=True)  # not earlier: another writer could take over the folder
        return self.target

    def _close_columns(self) -> None:
        columns, self.columns = self.columns, {}
        for column in columns.values():
            column.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.finished:
            self._close_columns()
            tape_folder.remove(self.building)
        self.lose()
