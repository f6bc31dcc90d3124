"""`BlockFile`: many named blocks in one file, for feature matrices, sweep results and book checkpoints.

    with BlockFile("research.blocks") as blocks:
        blocks.put("features/2025-01-06", matrix, metadata={"columns": names})
        blocks.flush()                                 # durable from here on; leaving the `with` flushes too
        matrix = blocks.get("features/2025-01-06")     # a view of the file, verified
    BlockFile("research.blocks", mode="r")             # any number of readers, in any process, even while one process writes

    put, delete, rename ->  queue (reads look here first) -> writer thread -> groups: data, one record, one sync
    get, list, scan     <-  index (mapped base, changes over it) <- mapping

The package's docstring shows the file and explains each technique and its weak case. This module is the interface: it validates
arguments, turns them into queued changes, and connects the parts.

Measured (python benchmarks/blockfile.py, Intel Sapphire Rapids, 2 shared virtual cores, 2026-11-26): 500 durable updates of 4 KiB 3.2 ms
(SQLite 15, LMDB 7.0), of 256 B 0.91 to 1.1 ms (SQLite 2.4 to 2.8, LMDB 1.0 to 1.15), a third of it disk time. Weak case: after seconds of
other work, and where the writer thread runs on the slower core (a shared machine), 1.2 to 1.5 ms; LMDB has no second thread. 500
verified reads in one call of 256 B 0.07 to 0.10 ms (SQLite 1.3 to 1.5, LMDB unverified 0.15 to 0.2), of 4 KiB 0.26 to 0.39 ms (2.2 to 2.9,
0.45 to 0.62), see bulk_read.py; one by one 0.19 to 0.27 and 0.43 to 0.62. A million small blocks: put in 7.5 s, opened in 0.3 s, looked
up in 4 us the first time, listed in 0.3 s, verified in 3.5 s, up to 210 MB of private memory.
"""

import atexit
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from nbtrade.errors import BlockFileError
from nbtrade.storage.blockfile.block_writer import BlockWriter
from nbtrade.storage.blockfile.index import CACHED
from nbtrade.storage.blockfile.layout import PAGE, STEP, Entry
from nbtrade.storage.blockfile.layout_batch import Batch, Op, Queued
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.blockfile.repair import corrupt, valid_copy
from nbtrade.storage.blockfile.session import Session, open_to_read, open_to_write
from nbtrade.storage.blockfile.vacuum import rewritten
from nbtrade.storage.blockfile.whole import FileReader
from nbtrade.storage.blockfile.writer import WriteQueue
from nbtrade.storage.disk import DISK, Disk


class BlockFile(FileReader, BlockWriter):
    """Many named blocks in one file: a dict of arrays and bytes that is durable, verified and readable while it is being written.

    Parameters
    ----------
    path : str or os.PathLike
        The file; mode "a" creates it if it does not exist.
    mode : {"a", "r"}
        "a" reads and writes, for one object at a time; "r" reads and follows the writer's commits.
    compress : int, optional
        Default zstd level for `put`; None stores blocks uncompressed.
    mirror : bool, optional
        Keep NAME.mirror, a second copy from which damage is repaired. None keeps the present state of the file.
    queue, group : int
        Changes that may wait in memory, and changes that start a commit.
    interval : float
        Seconds after which a smaller group is committed anyway.
    cached : int
        Names of the base to cache in memory.
    step : int
        Bytes by which the file grows, at least.
    verify_writes : bool
        Read committed blocks back from the disk when the writer is idle; damage is repaired, or raised by the next write.
    pool : Pool, optional
        Buffers, to share between files.
    disk : Disk, optional
        File operations; tests replace it to inject faults.

    Raises
    ------
    BlockFileLocked
        If the file is open for writing elsewhere.
    BlockFileError, CorruptBlock
        If it is not a block file, or its catalog is damaged.
    OSError
        From the system. Errors of queued changes are raised by the next `put`, `flush` or `close`.

    Notes
    -----
    Changes are visible to this object at once, to other processes when their group is committed, and durable after `flush` or `close`.
    The file format is documented in `nbtrade.storage.blockfile`.

    Examples
    --------
    >>> import numpy as np
    >>> from nbtrade import BlockFile
    >>> with BlockFile("research.blocks") as blocks:
    ...     blocks.put("features/monday", np.eye(2), metadata={"columns": ["imbalance", "spread"]})
    ...     blocks.put("note", b"first run")
    >>> blocks = BlockFile("research.blocks", mode="r")
    >>> blocks.list(), blocks["note"]
    (['features/monday', 'note'], b'first run')
    >>> blocks.get("features/monday").shape, blocks.metadata("features/monday")["columns"]
    ((2, 2), ['imbalance', 'spread'])
    >>> blocks.close()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Literal["a", "r"] = "a",
        *,
        compress: int | None = None,
        mirror: bool | None = None,
        queue: int = 1000,
        group: int = 500,
        interval: float = 0.1,
        cached: int = CACHED,
        step: int = STEP,
        verify_writes: bool = False,
        pool: Pool | None = None,
        disk: Disk = DISK,
    ) -> None:
        if mode not in ("a", "r"):
            raise ValueError(f'mode must be "a" (read and write) or "r" (read), not {mode!r}')
        self.path = Path(path).absolute()
        if self.path.is_dir():
            raise BlockFileError(
                f"{self.path} is a folder: open it with nbtrade.storage.blockfile.folder.BlockFolder, or choose another name."
            )
        self.mode, self.compress, self.queue_size = mode, compress, queue
        self.pool = Pool() if pool is None else pool
        self.disk, self.cached, self.step = disk, cached, step
        self.verify_writes = verify_writes
        self.unchecked: deque[str] = deque()
        self.queued: dict[str, Queued] = {}
        self.writer: WriteQueue | None = None
        self.follows = mode == "r"
        self.closed = False
        if mode == "r":
            self.session: Session = open_to_read(self.path, disk, self.pool, cached)
        else:
            self.session = open_to_write(self.path, disk, self.pool, cached, step, mirror)
            self.writer = WriteQueue(self._commit, self.pool, queue, min(group, queue), interval, self._check_some)
            self.queued = self.writer.queued
            atexit.register(self.close)

    # --- the writer thread ----------------------------------------------------------------------------
    def _commit(self, ops: list[Op | Batch]) -> None:
        assert self.session.committer
        names = self.session.committer.commit(ops)
        if self.verify_writes:
            self.unchecked.extend(names)

    def _check_some(self) -> bool:
        """Verify one recently written block on the disk; returns whether more remain."""
        if not self.unchecked:
            return False
        name = self.unchecked.popleft()
        entry = self.session.find(name)
        if entry is not None and not self.session.file.is_on_disk(entry.offset, entry.end, entry.check):
            self._repair(self.session, name, entry)
        return bool(self.unchecked)

    # --- hooks of BlockReader and FileReader -------------------------------------------------------------------
    def _current(self) -> Session:
        if self.closed:
            raise BlockFileError(f"{self.path} is closed. Open it again.")
        session = self.session
        if self.mode == "r" and not session.refresh():
            self.session = open_to_read(self.path, self.disk, self.pool, self.cached)
            session.close()
            return self.session
        return session

    def _repair(self, session: Session, name: str, entry: Entry) -> bytes:
        data = valid_copy(session, name, entry)
        if data is None:
            raise corrupt(session, name, entry)
        if self.writer is not None:
            self.writer.offer(Op(name, data, entry.kind, entry.how, entry.raw, entry.meta), lambda: self.session.find(name) == entry)
        return data

    def _settle(self) -> Session:
        if self.writer is not None:
            self.flush()
        return self._current()

    def _in_writer(self, function: Callable[[], Any]) -> Any:
        return function() if self.writer is None else self._queue().call(function)

    # --- the file as a whole --------------------------------------------------------------------------
    def vacuum(self) -> None:
        """Rewrite the file without gaps, in file order. Arrays over the old file remain valid.

        Raises
        ------
        CorruptBlock
            If a block is damaged beyond repair. Nothing has changed then.
        OSError
            If there is no disk space for the second file.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("compact.blocks") as blocks:
        ...     blocks.put("a", b"1")
        ...     blocks.vacuum()
        ...     blocks["a"]
        b'1'
        """
        self.flush()
        self._in_writer(self._vacuum)

    def _vacuum(self) -> None:
        old = self.session
        self.session = rewritten(old, self.disk, self.pool, self.step)
        try:
            assert old.committer
            old.committer.mark_moved()
        finally:
            old.close()

    def checkpoint(self) -> None:
        """Rewrite the base of the catalog, so that opening reads no journal. Happens automatically when the journal has grown.

        Raises
        ------
        BlockWriteError
            If the disk is failing. Without disk space for a new base nothing happens.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("checkpointed.blocks") as blocks:
        ...     blocks.put("a", b"1")
        ...     blocks.checkpoint()
        ...     blocks.stats()["journal_bytes"]
        0
        """
        self.flush()
        self._in_writer(lambda: self.session.committer and self.session.committer.checkpoint())

    def stats(self) -> dict[str, int]:
        """Sizes, and counts since the file was opened.

        Returns
        -------
        dict of str to int
            Names that end in `_bytes` are sizes in bytes; the others are counts.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("counted.blocks") as blocks:
        ...     blocks.put("a", b"1")
        ...     blocks.flush()
        ...     blocks.stats()["blocks"]
        1
        """
        session = self._current()
        catalog, found = session.catalog, {"blocks": len(self), "queued": len(self.queued), "group": session.catalog.group}
        found |= {"file_bytes": os.fstat(session.file.fd).st_size, "base_bytes": catalog.slot.base_size}
        found |= {"cached_entries": len(catalog.index.recent), "leases": len(session.leases.live)}
        found |= {"rented_buffers": self.pool.rented, "allocated_bytes": self.pool.allocated_bytes}
        if committer := session.committer:
            allocator = committer.allocator
            found |= {"free_bytes": allocator.free.n_pages * PAGE, "free_extents": len(allocator.free)}
            found |= {"waiting_bytes": sum(n for _, n in allocator.waiting) * PAGE, "held_bytes": sum(n for _, n in allocator.held) * PAGE}
            found |= {"groups": committer.n_groups, "checkpoints": committer.n_checkpoints, "syncs": session.file.n_syncs}
            found |= {"extensions": session.file.n_extended, "journal_bytes": committer.journal_bytes}
        return found

    def close(self) -> None:
        """Make all changes durable and close the file; arrays remain valid. A `with` does the same.

        Raises
        ------
        BlockWriteError
            As `flush`; the file is closed even then.
        """
        if self.closed:
            return
        atexit.unregister(self.close)
        self.closed = self.follows = True
        try:
            if self.writer is not None:
                self.writer.close()
                assert self.session.committer
                self.session.committer.finish()
        finally:
            self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
