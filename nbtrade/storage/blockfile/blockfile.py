"""BlockFile: many named blocks in one file, for what research makes: feature matrices, sweep results, book checkpoints.

    with BlockFile("research.blocks") as blocks:
        blocks.put("features/2025-01-06", matrix, metadata={"columns": names})
        blocks.flush()                                 # durable from here on; a `with` ends with it too
        matrix = blocks.get("features/2025-01-06")     # a view of the file, checked
    BlockFile("research.blocks", mode="r")             # any number of readers, in any process, also while one writes

    put, delete, rename ->  queue (reads look here first) -> writer thread -> groups: data, one record, one sync
    get, list, scan     <-  index (mapped base, changes over it) <- mapping

The package's docstring has the file's picture, each trick and its weak case. This module is the shell: it checks what it is given,
makes queued changes of it, and joins the parts.

Measured (python benchmarks/blockfile.py, Intel Sapphire Rapids, 2 shared virtual cores, 2026-11-26): 500 durable updates of 4 KiB 3.2 ms
(SQLite 15, LMDB 7.0), of 256 B 0.91 to 1.1 ms (SQLite 2.4 to 2.8, LMDB 1.0 to 1.15), a third of it the disk. Weak case: after seconds of
other work, and where the core of the writer thread is the slower one (a shared machine), 1.2 to 1.5 ms; LMDB has no second thread. 500
verified reads at once of 256 B 0.07 to 0.10 ms (SQLite 1.3 to 1.5, LMDB unverified 0.15 to 0.2), of 4 KiB 0.26 to 0.39 ms (2.2 to 2.9,
0.45 to 0.62), see bulk_read.py; one by one 0.19 to 0.27 and 0.43 to 0.62. A million small blocks: put in 7.5 s, opened in 0.3 s, found
in 4 us at first, listed in 0.3 s, verified in 3.5 s, up to 210 MB of private memory.
"""

import atexit
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from nbtrade.errors import BlockFileError, BlockNotFound
from nbtrade.storage.blockfile.index import CACHED
from nbtrade.storage.blockfile.layout import MAX_NAME, PAGE, STEP, Entry, check_name
from nbtrade.storage.blockfile.layout_batch import Batch, Op, Queued, as_op
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.blockfile.repair import corrupt, valid_copy
from nbtrade.storage.blockfile.session import Session, open_to_read, open_to_write
from nbtrade.storage.blockfile.vacuum import rewritten
from nbtrade.storage.blockfile.values import stored_form
from nbtrade.storage.blockfile.whole import FileReader
from nbtrade.storage.blockfile.writer import WriteQueue
from nbtrade.storage.disk import DISK, Disk

SNAPSHOT_MAX = 16 << 20  # arrays up to here are copied when they are put; for larger ones `put` waits until they are durable


class BlockFile(FileReader):
    """Many named blocks in one file.

    path     : the file; made when it is not there (mode "a")
    mode     : "a" reads and writes, one at a time; "r" reads, and follows the commits of whoever writes
    compress : zstd level for what is put, unless `put` says otherwise; None stores as it is
    mirror   : keep NAME.mirror, a second copy from which damage is healed; None: as the file had it
    queue    : changes that may wait;  group: changes that start a commit;  interval: s after which the first of them is committed anyway
    cached   : names of the base kept in memory
    step     : bytes by which the file grows, at least
    verify_writes : read what was committed back from the disk, in the writer's idle time; damage is healed or raised by the next write
    pool, disk    : buffers and disk operations, to share or to replace them

    Raises BlockFileLocked, BlockFileError, CorruptBlock, OSError. Errors of queued changes are raised by the next put, flush or close.
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
            raise ValueError(f'mode is "a" (read and write) or "r" (read), not {mode!r}')
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

    # --- writing --------------------------------------------------------------------------------------
    def put(self, name: str, value: Any, *, metadata: dict[str, Any] | None = None, compress: int | None = -1) -> None:
        """Queue a block: bytes (or what has a buffer), or a NumPy array. Reads see it at once, `flush` makes it durable.

        The value is copied unless it is `bytes`, so it may be changed afterwards; above 16 MiB it is not copied and `put`
        returns when it is durable. metadata : JSON;  compress : zstd level, None: as it is, -1: as the file was opened.
        """
        level = self.compress if compress == -1 else compress
        if type(value) is bytes and metadata is None and level is None:
            check_name(name)
            self._queue().put_batch({name: value})
        else:
            self._enqueue([self._op(name, value, metadata, level)])

    def put_many(
        self, blocks: Mapping[str, Any] | Iterable[tuple[str, Any]], *, metadata: dict[str, Any] | None = None, compress: int | None = -1
    ) -> None:
        """Queue many blocks. Up to `queue` of them (1,000) are one group: after a crash all are there or none."""
        batch = dict(blocks)
        level = self.compress if compress == -1 else compress
        if metadata is None and level is None and _is_plain(batch):
            for part in _parts(batch, self.queue_size):
                self._queue().put_batch(part)
            return
        ops: list[Op] = []
        try:
            for name, value in batch.items():
                ops.append(self._op(name, value, metadata, level))
        except BaseException:
            self._give_back(ops)
            raise
        self._enqueue(ops)

    def _enqueue(self, ops: list[Op]) -> None:
        done = 0
        try:
            writer = self._queue()
            for done in range(0, len(ops), self.queue_size):
                writer.put(ops[done : done + self.queue_size])
        except BaseException:
            self._give_back(ops[done:])
            raise
        if not all(op.rented is not None or type(op.data) is bytes for op in ops):
            self.flush()

    def _give_back(self, ops: list[Op]) -> None:
        for op in ops:
            if op.rented is not None:
                self.pool.give_back(op.rented)

    def _op(self, name: str, value: Any, metadata: dict[str, Any] | None, compress: int | None) -> Op:
        check_name(name)
        data, kind, how, raw, meta = stored_form(value, metadata, self.compress if compress == -1 else compress)
        rented = None
        if type(data) is not bytes and len(data) <= SNAPSHOT_MAX:
            rented = self.pool.rent(len(data))
            view = memoryview(rented)[: len(data)]
            view[:] = data
            data = view.toreadonly()
        return Op(name, data, kind, how, raw, meta, None, rented)

    def delete(self, name: str) -> None:
        """Queue a deletion. Raises BlockNotFound."""

        def deletion() -> list[Op]:
            self._existing(name)
            return [Op(name)]

        self._queue().change(deletion)

    def rename(self, old: str, new: str) -> None:
        """Queue a new name for a block; no data are written. A block of that name is replaced. Raises BlockNotFound."""
        check_name(new)
        self._queue().change(lambda: [self._existing(old)._replace(name=new), Op(old)] if old != new else [])

    def _existing(self, name: str) -> Op:
        """The block `name` as a change that would make it again. The queue's mutex is held."""
        queued = self.queued.get(name)
        op = Op(name, link=self.session.find(name)) if queued is None else as_op(name, queued)
        if op.data is None and op.link is None:
            raise BlockNotFound(f"there is no block {name!r} in {self.path}. `list(prefix)` shows what there is.")
        return op if op.rented is None else op._replace(data=bytes(op.data), rented=None)

    def flush(self) -> None:
        """Wait until everything that was put is durable. Raises BlockWriteError for changes that could not be written."""
        self._queue().flush()

    def _queue(self) -> WriteQueue:
        if self.writer is None:
            raise BlockFileError(f"{self.path} was opened to read (mode='r'). Open it with mode='a' to write.")
        if self.closed:
            raise BlockFileError(f"{self.path} was closed. Open it again.")
        return self.writer

    # --- the writer thread ----------------------------------------------------------------------------
    def _commit(self, ops: list[Op | Batch]) -> None:
        assert self.session.committer
        names = self.session.committer.commit(ops)
        if self.verify_writes:
            self.unchecked.extend(names)

    def _check_some(self) -> bool:
        """Check one block that was written lately, on the disk. Whether there are more."""
        if not self.unchecked:
            return False
        name = self.unchecked.popleft()
        entry = self.session.find(name)
        if entry is not None and not self.session.file.is_on_disk(entry.offset, entry.end, entry.check):
            self._repair(self.session, name, entry)
        return bool(self.unchecked)

    # --- reading (the rest is BlockReader's) --------------------------------------------------------------
    def _current(self) -> Session:
        if self.closed:
            raise BlockFileError(f"{self.path} was closed. Open it again.")
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
        """Write all blocks anew, in order, without gaps, to a file that takes this one's place. Arrays over the old one stay good.

        Needs room for a second file meanwhile. Raises CorruptBlock, and leaves everything as it was, when a block is damaged and
        cannot be healed.
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
        """Write the catalog's base anew, so that the next open has no journal to read. Happens by itself when the journal has grown."""
        self.flush()
        self._in_writer(lambda: self.session.committer and self.session.committer.checkpoint())

    def stats(self) -> dict[str, int]:
        """Counts and sizes; what is counted starts when the file is opened."""
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
        """Make everything durable and close. Arrays stay good. Raises what could not be written; it is closed nevertheless."""
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


def _is_plain(batch: dict[str, Any]) -> bool:
    """Whether these are `bytes` under ASCII names, checked without a Python call for each."""
    if set(map(type, batch.values())) != {bytes}:
        return not batch
    try:
        names = "".join(batch)
    except TypeError:
        return False
    return names.isascii() and "" not in batch and (len(names) <= MAX_NAME or max(map(len, batch)) <= MAX_NAME)


def _parts(batch: Batch, most: int) -> Iterator[Batch]:
    """The batch in parts of so many blocks."""
    if 0 < len(batch) <= most:
        yield batch
        return
    items = iter(batch.items())
    while part := dict(islice(items, most)):
        yield part
