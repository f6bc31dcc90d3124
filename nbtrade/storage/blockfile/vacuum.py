"""Vacuum: rewrites all blocks, in file order and without gaps, to a new file that is renamed over the old one.

    NAME.vacuum   written, synced      then renamed to NAME, the folder synced, and the old file marked as moved

A file never shrinks in place: SIGBUS would kill a reader that has it mapped. Readers of the old file see the mark and open the
new one. An interrupted vacuum leaves the old file unchanged, and NAME.vacuum, which the next vacuum overwrites.
"""

from collections.abc import Iterator

import xxhash

from nbtrade.storage.blockfile.file import mirror_of
from nbtrade.storage.blockfile.layout import HAS_MIRROR, OWN_PAGES, Entry
from nbtrade.storage.blockfile.layout_batch import Op
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.blockfile.repair import corrupt, valid_copy
from nbtrade.storage.blockfile.session import Session, open_to_write
from nbtrade.storage.disk import Disk

BATCH = 1000
BATCH_BYTES = 64 << 20

_hash = xxhash.xxh3_64_intdigest


def rewritten(old: Session, disk: Disk, pool: Pool, step: int) -> Session:
    """The new file, after it has replaced the old one. If it raises CorruptBlock or OSError, the old file is unchanged."""
    path = old.file.path
    side = path.with_name(path.name + ".vacuum")
    for left_over in (side, mirror_of(side)):
        if left_over.exists():
            disk.unlink(left_over)
    mirrored = bool(old.catalog.slot.features & HAS_MIRROR)
    new = open_to_write(side, disk, pool, old.catalog.cached, step, mirrored)
    try:
        assert new.committer
        for batch in _batches(old):
            new.committer.commit(batch)
        new.committer.checkpoint()
        new.committer.finish()
        if mirrored:
            disk.rename(mirror_of(side), mirror_of(path))
        disk.rename(side, path)
        disk.sync_folder(path.parent)
    except BaseException:
        new.close()
        raise
    new.file.path = path
    return new


def _batches(old: Session) -> Iterator[list[Op]]:
    batch: list[Op] = []
    n_bytes = 0
    for name, entry in sorted(old.entries(""), key=lambda item: item[1].offset):
        batch.append(Op(name, _checked(old, name, entry), entry.kind, entry.how & ~OWN_PAGES, entry.raw, entry.meta))
        n_bytes += entry.end - entry.offset
        if len(batch) == BATCH or n_bytes > BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _checked(old: Session, name: str, entry: Entry) -> "memoryview | bytes":
    """A block's stored bytes, verified: damaged ones must not receive a new checksum. Raises CorruptBlock."""
    data = old.view[entry.offset : entry.end]
    if _hash(data) == entry.check:
        return data
    copy = valid_copy(old, name, entry)
    if copy is None:
        raise corrupt(old, name, entry)
    return copy
