"""What must hold of a block file's numbers before anything is looked up by them: checksums find accidents, not wrong files.

    slot      catalog and journal lie in the file, at pages                        each time a slot is read
    ROW[n]    blocks lie in the file; names and metadata stand in the heap          of a record when it is read; of a base when the
                                                                                    writer opens it, else when a row is first used

So every offset that a look-up finds is inside the file, and the mapping is never touched beyond its end. A base is not read through
when it is opened to read: for 200,000 blocks that would take 8 instead of 2 ms. Weak case: 30 ms for a million, for the writer.
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
MOST = (1 << 63) - 1  # offsets and numbers of groups
FEW = 32  # rows that are checked one by one: NumPy's calls take longer
AT_ONCE = 1 << 13  # rows, 512 KiB: they stay in cache from one check to the next


def slot_fault(slot: Slot, size: int) -> str:
    """What is wrong with a slot of a file of `size` bytes, or "" when nothing is."""
    if slot.n_bytes > size:
        return f"the file has {size:,} bytes, its superblock says {slot.n_bytes:,}: the copy is cut short"
    for what, at, stop in (("journal", slot.journal_at, slot.journal_stop), ("tail", slot.tail_at, slot.tail_stop)):
        if not FIRST <= at <= stop <= slot.n_bytes or at % PAGE or stop % PAGE:
            return f"its superblock says that the {what} is at {at:,} to {stop:,}, which is not in the file of {slot.n_bytes:,} bytes"
    if slot.base_size and (slot.base_at < FIRST or slot.base_at % PAGE or slot.base_at + slot.base_size > slot.n_bytes):
        return f"its superblock says that the base is at {slot.base_at:,}, {slot.base_size:,} bytes, which is not in the file"
    if not slot.version or slot.base_group > slot.group or max(slot.group, slot.sequence, slot.file_id) > MOST:
        return f"its superblock says version {slot.version}, sequence {slot.sequence}, group {slot.group} over base {slot.base_group}"
    return f"its superblock says {slot.n_blocks:,} blocks" if slot.n_blocks > slot.n_bytes else ""


def row_fits(fields: tuple[int, ...], size: int) -> bool:
    """Whether the block of an unpacked ROW lies in a file of `size` bytes."""
    _, offset, stored, raw, _, _, _, _, name_size, kind, how = fields
    if offset + stored > size or not 0 < name_size <= MAX_NAME or kind > ARRAY:
        return False
    if kind == DELETED:
        return True
    if offset < FIRST or how > ZSTD | OWN_PAGES or raw > MOST or (not how & ZSTD and raw != stored):
        return False
    return offset % PAGE == 0 and stored > 0 if how & OWN_PAGES else stored < OWN_SIZE


def rows_fit(rows: np.ndarray, start: int, size: int) -> int:
    """Check ROW[n]: blocks in a file of `size` bytes, names and metadata one behind the other in the heap from `start` on.

    Returns where in the heap the last one ends; -1 when something is wrong.
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
    if not how.any():  # small blocks as they are: most files have no others
        return bool((rows["raw"] == stored).all() and stored.max(initial=0) < OWN_SIZE)
    own, plain, raw = how & OWN_PAGES != 0, how & ZSTD == 0, rows["raw"]
    at_pages = np.where(own, (offset % PAGE == 0) & (stored > 0), stored < OWN_SIZE)
    return bool((at_pages & (raw <= MOST) & (~plain | (raw == stored))).all())
