"""Consistency checks of a block file's numbers before use: checksums detect accidents, not files that are wrong on purpose.

    slot      catalog and journal are inside the file, aligned to pages            each time a slot is read
    ROW[n]    blocks are inside the file; names and metadata inside the heap        of a record when it is read; of a base when the
                                                                                    writer opens it, otherwise when a row is first used

So every offset that a look-up returns is inside the file, and the mapping is never accessed beyond its end. Opening for reading does not
check all rows of the base: for 200,000 blocks that would take 8 ms instead of 2. Weak case: 30 ms per million for the writer.
"""

import numpy as np

from nbtrade.storage.blockfile.layout import (
    ARRAY,
    DELETED,
    FIRST_PAGE,
    MAX_NAME,
    OWN_PAGES,
    OWN_SIZE,
    PAGE,
    ROW_STRUCT,
    ZSTD,
    Slot,
)

FIRST = FIRST_PAGE * PAGE  # byte of the first extent
MOST = (1 << 63) - 1  # maximum of offsets and group numbers
FEW = 32  # up to this number rows are checked one by one: NumPy's calls take longer
AT_ONCE = 1 << 13  # rows per batch, 512 KiB: they stay in cache from one check to the next


def slot_fault(slot: Slot, size: int) -> str:
    """The fault of a slot in a file of `size` bytes, or "" if it is valid."""
    if slot.n_bytes > size:
        return f"the file has {size:,} bytes, its superblock expects {slot.n_bytes:,}: the copy is incomplete"
    for what, at, stop in (("journal", slot.journal_at, slot.journal_stop), ("tail", slot.tail_at, slot.tail_stop)):
        if not FIRST <= at <= stop <= slot.n_bytes or at % PAGE or stop % PAGE:
            return f"its superblock has the {what} at {at:,} to {stop:,}, outside the file of {slot.n_bytes:,} bytes"
    if slot.base_size and (slot.base_at < FIRST or slot.base_at % PAGE or slot.base_at + slot.base_size > slot.n_bytes):
        return f"its superblock has the base at {slot.base_at:,}, {slot.base_size:,} bytes, outside the file"
    if not slot.version or slot.base_group > slot.group or max(slot.group, slot.sequence, slot.file_id) > MOST:
        return f"its superblock is impossible: version {slot.version}, sequence {slot.sequence}, group {slot.group}, base {slot.base_group}"
    return f"its superblock claims {slot.n_blocks:,} blocks" if slot.n_blocks > slot.n_bytes else ""


def row_fits(fields: tuple[int, ...], size: int) -> bool:
    """Whether the block of an unpacked ROW is inside a file of `size` bytes."""
    _, offset, stored, raw, _, _, _, _, name_size, kind, how = fields
    if offset + stored > size or not 0 < name_size <= MAX_NAME or kind > ARRAY:
        return False
    if kind == DELETED:
        return True
    if offset < FIRST or how > ZSTD | OWN_PAGES or raw > MOST or (not how & ZSTD and raw != stored):
        return False
    return offset % PAGE == 0 and stored > 0 if how & OWN_PAGES else stored < OWN_SIZE


def rows_fit(rows: np.ndarray, start: int, size: int) -> int:
    """Check ROW[n]: blocks inside a file of `size` bytes, names and metadata consecutive in the heap starting at `start`.

    Returns where the last one ends in the heap; -1 if a row is invalid.
    """
    if len(rows) <= FEW:
        for fields in ROW_STRUCT.iter_unpack(rows.tobytes()):
            if fields[6] != start or not row_fits(fields, size):
                return -1
            start += fields[7] + fields[8]
        return start
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        name_at = some["name_at"]
        ends = name_at + some["name_size"] + some["meta_size"]
        if int(name_at[0]) != start or (name_at[1:] != ends[:-1]).any() or not _places_fit(some, size):
            return -1
        start = int(ends[-1])
    return start


def _places_fit(rows: np.ndarray, size: int) -> bool:
    offset, stored, kind, how, name_size = (rows[name] for name in ("offset", "stored", "kind", "how", "name_size"))
    if offset.max() > size or stored.max() > size or (offset + stored).max() > size:
        return False
    if kind.max() > ARRAY or how.max() > ZSTD | OWN_PAGES or name_size.min() == 0 or name_size.max() > MAX_NAME:
        return False
    if kind.min() == DELETED:
        live = kind != DELETED
        rows, offset, stored, how = rows[live], offset[live], stored[live], how[live]
    if offset.min(initial=FIRST) < FIRST:
        return False
    if not how.any():  # small uncompressed blocks: most files have no others
        return bool((rows["raw"] == stored).all() and stored.max(initial=0) < OWN_SIZE)
    own, plain, raw = how & OWN_PAGES != 0, how & ZSTD == 0, rows["raw"]
    at_pages = np.where(own, (offset % PAGE == 0) & (stored > 0), stored < OWN_SIZE)
    return bool((at_pages & (raw <= MOST) & (~plain | (raw == stored))).all())
