"""Group commit: makes queued changes durable as one group, with at most two syncs and no reads.

    1  place the group's blocks on free pages, write them in offset order; the disk starts with them
    2  write one journal record: rows with checksums, names
    3  fdatasync                                                  the group is durable
       in parallel, in memory: add the group to the index (readers in this process find it in the queue anyway), count packed
       pages, retire old extents, and free those that the previous group retired
    4  write a slot (not synced)                                  other processes see the group

A failure in 1 or 2 (disk full) changes nothing, and later groups may succeed. A failed sync is different: data in the page cache may
never reach the disk, so the group is removed from the index, and nothing more is written until the file is opened again.
When the journal has outgrown its share, a checkpoint writes a new base, and moves blocks off sparsely used packed pages.
"""

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import xxhash

from nbtrade.errors import BlockWriteError
from nbtrade.storage.blockfile import journal
from nbtrade.storage.blockfile.allocator import Allocator, Extent
from nbtrade.storage.blockfile.catalog import Catalog
from nbtrade.storage.blockfile.file import PagedFile
from nbtrade.storage.blockfile.index import Index
from nbtrade.storage.blockfile.journal import Position
from nbtrade.storage.blockfile.layout import DELETED, MOVED, OWN_PAGES, PAGE, ROW, SEGMENT, SYNC_FIRST, Entry, pack_slot, padded, pages_of
from nbtrade.storage.blockfile.layout_batch import Batch, Op, Placement, Queued, give_back, latest_of, lay_out, puts_of
from nbtrade.storage.blockfile.leases import Leases
from nbtrade.storage.blockfile.snapshot_index import SnapshotIndex, merged, rows_of
from nbtrade.storage.blockfile.sync_worker import SyncWorker

GONE = Entry(0, 0, 0, DELETED, 0, 0, 0, b"")
Names = Sequence[str]
Metas = Sequence[bytes] | None  # None: no block has any
JOURNAL_MIN = 4 << 20  # bytes of journal below which there is no checkpoint,
JOURNAL_SHARE = 4  # nor below a quarter of the base's size
JOURNAL_MAX = 64 << 20
JOIN_BLOCKS = 1000  # blocks moved in one group
JOIN_MIN_BYTES = 1 << 18  # bytes of waste that are tolerated
START_SYNC_MIN = 64 << 10  # bytes from which writing back starts immediately: the call takes 50 us
_hash = xxhash.xxh3_64_intdigest


class Committer:
    """Writes groups to `file`, whose catalog is loaded. Used by one thread at a time."""

    def __init__(self, file: PagedFile, catalog: Catalog, leases: Leases) -> None:
        self.file = file
        self.catalog = catalog
        self.leases = leases
        self.allocator = Allocator(file)
        self.segment = padded(min(SEGMENT, max(4 * PAGE, file.step // 8)))
        self.sync_worker = SyncWorker()
        self.broken: OSError | None = None
        self.n_groups = self.n_records = self.n_checkpoints = 0
        self.journal_bytes = 0
        self.previous: tuple[Sequence[str], np.ndarray] = ((), np.zeros(0, ROW))  # that the last group replaced
        self.allocator.load(catalog.index.live_rows(), catalog.extents(), leases.foreign())

    def begin(self, features: int) -> None:
        """Make the previous writer's groups durable, and record that in a slot."""
        self._sync()
        self._write_slot(features=features)

    def finish(self) -> None:
        """Make the last slot durable too, so that the next open has no tail to check."""
        if not self.broken:
            self._sync()

    def mark_moved(self) -> None:
        """Tell readers that the file has been replaced."""
        self._write_slot(features=self.catalog.slot.features | MOVED)

    # --- one group ------------------------------------------------------------------------------------
    def commit(self, changes: Sequence[Op | Batch]) -> Sequence[str]:
        """Make changes durable as one group; the last change of a name wins. Returns the changed names.

        If it raises OSError or BlockWriteError, none of the group is stored.
        """
        names = self._commit(changes)
        if self.journal_bytes > min(JOURNAL_MAX, max(JOURNAL_MIN, self.catalog.slot.base_size // JOURNAL_SHARE)):
            self.checkpoint()
        return names

    def _commit(self, changes: Sequence[Op | Batch]) -> Sequence[str]:
        self._check_not_broken()
        latest = latest_of(changes)
        group = self.catalog.group + 1
        pieces = lay_out(puts_of(latest, all(isinstance(one, dict) for one in changes)), self.allocator)
        synced = False
        try:
            synced = self._write_data(pieces)
            names, metas, rows = _changes(latest, pieces, group)  # computes the checksums while the disk is writing
            position = self._write_record(group, names, metas, rows, synced)
        except OSError as error:
            if synced:  # its record may be on the disk and marks the data as synced: the pages must not be reused
                self.broken = error
            give_back(pieces, self.allocator)
            raise
        gone = self._sync_and(lambda: self._stage(names, metas, rows, pieces))
        self.previous = (names, gone)
        self.catalog.group, self.catalog.position = group, position
        self.n_groups += 1
        self._write_slot()
        return names

    def _sync_and(self, stage: Callable[[], np.ndarray]) -> np.ndarray:
        """Sync, and run `stage` in parallel."""
        try:
            gone: np.ndarray = self.sync_worker.run(stage, self._sync)
        except BaseException as error:  # its record may be on the disk
            self.broken = self.broken or OSError(errno.EIO, repr(error))
            self.catalog.index.take_back()
            raise
        return gone

    def _check_not_broken(self) -> None:
        if self.broken:
            raise broken_error(self.file.path, self.broken)

    def _write_data(self, pieces: list[Placement]) -> bool:
        """Returns whether the data were synced."""
        n = 0
        for piece in sorted(pieces, key=lambda piece: piece.at):
            if piece.extent[1]:
                self.file.write(piece.at, piece.buffers)
                if piece.extent[1] * PAGE >= START_SYNC_MIN:
                    self.file.start_sync(piece.at, piece.extent[1] * PAGE)
                n += piece.extent[1] * PAGE
        if n <= SYNC_FIRST:
            return False
        self._sync()
        return True

    def _write_record(self, group: int, names: Names, metas: Metas, rows: np.ndarray, synced: bool) -> Position:
        """Write the group's record, preceded by a jump if the segment is full. Returns the position after it."""
        heap = journal.pack_heap(rows, names, metas)
        pieces = journal.encode(self.catalog.slot.file_id, group, rows, heap, synced)
        n, at = sum(map(len, pieces)), self.catalog.position
        if not journal.fits(at, n):
            jumped, at = at, self._new_segment(n + PAGE)
            try:
                self._write_catalog(jumped.at, journal.encode_jump(self.catalog.slot.file_id, group, at))
                self._write_catalog(at.at, pieces)
            except OSError:
                self.allocator.free.add(at.at // PAGE, (at.stop - at.at) // PAGE)
                raise
            self.catalog.segments.append(at)
        else:
            self._write_catalog(at.at, pieces)
        self.n_records += 1
        self.journal_bytes += n
        return Position(at.at + n, at.stop)

    def _write_catalog(self, at: int, pieces: list[bytes]) -> None:
        try:
            self.file.write(at, pieces)
        except OSError as error:
            self._wipe(at, error)
            raise

    def _wipe(self, at: int, cause: OSError) -> None:
        """Wipe a partial record, so that it can never be read as one."""
        try:
            self.file.write(at, [bytes(PAGE)])
        except OSError:
            self.broken = cause

    def _new_segment(self, n: int) -> Position:
        n_pages = pages_of(max(n, self.segment))
        start = self.allocator.take(n_pages)
        return Position(start * PAGE, (start + n_pages) * PAGE)

    def _sync(self) -> None:
        try:
            self.file.sync()
        except OSError as error:
            self.broken = error
            raise broken_error(self.file.path, error) from error

    def _stage(self, names: Names, metas: Metas, rows: np.ndarray, pieces: list[Placement]) -> np.ndarray:
        """Apply the group in memory; returns ROW[n] of the replaced entries. Page counts may be wrong after a failed sync."""
        gone = self.catalog.index.replace(names, rows, metas)
        for piece in pieces:
            self.allocator.count(*piece.packed)
        others = rows[sum(len(piece.sizes) for piece in pieces) :]
        self._recycle(self.allocator.retire(gone, others["offset"][others["kind"] != DELETED] if len(others) else ()))
        return gone

    def _write_slot(self, **changes: int) -> None:
        r = self.catalog
        changes |= {"sequence": r.slot.sequence + 1, "group": r.group, "n_blocks": r.index.n_blocks}
        slot = r.slot._replace(tail_at=r.position.at, tail_stop=r.position.stop, n_bytes=self.file.n_bytes, **changes)
        try:
            self.file.write(slot.sequence % 2 * PAGE, [pack_slot(slot)])
        except OSError as error:
            self.broken = error
            raise broken_error(self.file.path, error) from error
        r.slot = slot

    def _recycle(self, retired: list[Extent]) -> None:
        """Free the extents that the last commit retired and no one has leased; `retired` waits for the next commit."""
        free, self.allocator.held = self.leases.split(self.allocator.waiting + self.allocator.held)
        for start, n in free:
            self.allocator.free.add(start, n)
        self.allocator.waiting = retired

    # --- checkpoint -----------------------------------------------------------------------------------
    def checkpoint(self) -> bool:
        """Write a new base and start a new journal. Returns whether there was room; otherwise the journal continues."""
        self._check_not_broken()
        self._join_sparse_pages()
        self.journal_bytes = 0  # also without room: tried again when the journal has grown by the same amount
        r = self.catalog
        names = list(r.index.overlay)
        numbers = r.index.numbers(names)
        metas = [r.index.metas.get(number, b"") for number in numbers.tolist()]
        pieces = merged(r.index.base, names, r.index.rows(numbers), metas)
        size = sum(map(len, pieces))
        try:
            start, segment = self._room_for_base(pages_of(size))
        except OSError:
            return False
        at, old = start * PAGE, r.extents()
        try:
            self.file.write(at, [*pieces, bytes(padded(size) - size)])
        except OSError as error:
            self.broken = error
            raise broken_error(self.file.path, error) from error
        self._sync()
        index = Index(SnapshotIndex(self.file.view[at : at + size], at), r.index.n_blocks, r.cached)
        r.segments, r.position = [segment], segment
        base = {"base_at": at, "base_size": size, "base_check": _check(pieces), "base_group": r.group}
        self._write_slot(**base, journal_at=segment.at, journal_stop=segment.stop)
        r.index = index
        self.allocator.waiting = self.allocator.waiting + old
        self.n_checkpoints += 1
        return True

    def _join_sparse_pages(self) -> None:
        """If packed pages are less than half full overall, move the blocks of the emptier ones together."""
        rows = self.catalog.index.live_rows()
        small = rows[rows["how"] & OWN_PAGES == 0]
        n_pages = np.count_nonzero(self.allocator.packed)
        if 2 * int(small["stored"].sum()) + JOIN_MIN_BYTES > n_pages * PAGE:
            return
        live = np.zeros(len(self.allocator.packed))
        np.add.at(live, small["offset"].astype(np.int64) // PAGE, small["stored"])
        sparse = set(np.flatnonzero((live > 0) & (live < PAGE // 2)).tolist())
        items = ((name, entry) for name, entry in self.catalog.index.items() if not entry.how & OWN_PAGES)
        try:
            self._move((name, entry) for name, entry in items if entry.offset // PAGE in sparse)
        except OSError:
            if self.broken:
                raise

    def _move(self, items: Iterable[tuple[str, Entry]]) -> None:
        """Copy blocks to new locations. A damaged one stays in place, with its checksum."""
        copies = ((name, entry, self.file.mapped[entry.offset : entry.end]) for name, entry in items)
        ops = (Op(name, data, entry.kind, entry.how, entry.raw, entry.meta) for name, entry, data in copies if _hash(data) == entry.check)
        while some := list(islice(ops, JOIN_BLOCKS)):
            self._commit(some)

    def _room_for_base(self, n_pages: int) -> tuple[int, Position]:
        start = self.allocator.take(n_pages)
        try:
            return start, self._new_segment(0)
        except OSError:
            self.allocator.free.add(start, n_pages)
            raise


def _changes(latest: Mapping[str, Queued], pieces: list[Placement], group: int) -> tuple[Names, Metas, np.ndarray]:
    """Names, metadata and ROWs of a group: placed blocks, then links and deletions."""
    if len(pieces) == 1 and len(pieces[0].sizes) == len(latest):
        names, metas = pieces[0].puts.names, pieces[0].metas
        return names, metas if metas and any(metas) else None, pieces[0].rows(group)
    rest = [op for op in latest.values() if type(op) is not bytes and op[1] is None]
    others = [op.link or GONE for op in rest]  # type: ignore[union-attr]
    names = [*(name for piece in pieces for name in piece.puts.names), *(op.name for op in rest)]  # type: ignore[union-attr]
    metas = [meta for piece in pieces for meta in piece.metas or [b""] * len(piece.sizes)] + [entry.meta for entry in others]
    rows = np.concatenate([*(piece.rows(group) for piece in pieces), rows_of(others)])
    return names, metas if any(metas) else None, rows


def _check(pieces: list[bytes]) -> int:
    digest = xxhash.xxh3_64()
    for piece in pieces:
        digest.update(piece)
    return digest.intdigest()


def broken_error(path: Any, cause: OSError) -> BlockWriteError:
    """The error for a failed write or sync of the catalog."""
    return BlockWriteError(
        cause.errno or errno.EIO,
        f"the disk failed ({cause.strerror or cause}): earlier commits are intact, and nothing more will be written. "
        "Check the disk, close this object and open the file again.",
        str(path),
    )
