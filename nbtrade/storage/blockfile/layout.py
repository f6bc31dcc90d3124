"""The block file's bytes: slots, rows and records, as struct formats and dtypes. Little-endian, version 1.

    SLOT    magic, version, features, file_id, sequence, group, n_blocks, location of base and journal, n_bytes, checksum
    RECORD  magic, file_id, group, n_rows, heap_size, size, what, target, checksum
    ROW     one block's entry; its name and metadata are adjacent in the heap of the record or base that contains the row

Checksums are xxh3-64. Sizes and offsets are bytes from the start of the file, extents start and end at pages.
"""

import struct
from collections.abc import Iterable, Iterator
from operator import add
from typing import NamedTuple

import numpy as np
import xxhash

PAGE = 4096
FIRST_PAGE = 4  # preceded by two slots, the owner's page and an empty page
OWNER_AT = 2 * PAGE
STEP = 10 << 20  # bytes by which the file grows, at least
SEGMENT = 1 << 20  # a journal segment
VERSION = 1
MAX_NAME = 1024  # bytes
OWN_SIZE = 16 << 10  # blocks of at least this size start on a new page
SYNC_FIRST = 64 << 20  # groups with more data are synced before their record is written

MAGIC = b"NBBLOCKS"
RECORD_MAGIC = b"NBGROUP1"
BASE_MAGIC = b"NBBASE01"

# --- rows ------------------------------------------------------------------------------------------------
DELETED, BYTES, ARRAY = 0, 1, 2  # kind
ZSTD, OWN_PAGES = 1, 2  # how, bits

ROW = np.dtype(
    [
        ("hash", "<u8"),  # xxh3 of the name; 0 in the journal
        ("offset", "<u8"),
        ("stored", "<u8"),  # bytes in the file
        ("raw", "<u8"),  # bytes before compression
        ("check", "<u8"),  # xxh3 of the stored bytes
        ("group", "<u8"),  # the group that wrote it
        ("name_at", "<u8"),  # in the heap
        ("meta_size", "<u4"),
        ("name_size", "<u2"),
        ("kind", "u1"),
        ("how", "u1"),
    ]
)
ROW_STRUCT = struct.Struct("<QQQQQQQIHBB")


class Entry(NamedTuple):
    """Location and form of a block. `end` is the offset after its stored bytes; `meta` is JSON or empty."""

    offset: int
    end: int
    check: int
    kind: int
    how: int
    raw: int
    group: int
    meta: bytes


def entry_of(fields: tuple[int, ...], meta: bytes) -> Entry:
    """The entry of one unpacked ROW."""
    _, offset, stored, raw, check, group, _, _, _, kind, how = fields
    return Entry(offset, offset + stored, check, kind, how, raw, group, meta)


def entries_of(rows: np.ndarray, metas: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of ROW[n] with this metadata, in a third of the time of single conversions."""
    offset, stored, *others = (rows[name].tolist() for name in ("offset", "stored", "check", "kind", "how", "raw", "group"))
    return map(Entry._make, zip(offset, map(add, offset, stored), *others, metas, strict=True))


# --- slots ------------------------------------------------------------------------------------------------
SLOT_STRUCT = struct.Struct("<8sII13Q")  # 120 bytes
SLOT_SIZE = 128
SEQUENCE_AT = 24  # of a slot
CHECK_AT = SLOT_SIZE - 8
HAS_MIRROR, MOVED = 1, 2  # features; MOVED: a vacuum has replaced this file


class Slot(NamedTuple):
    """One of the two superblock slots."""

    version: int
    features: int
    file_id: int
    sequence: int
    group: int
    n_blocks: int
    base_at: int
    base_size: int
    base_check: int
    base_group: int
    journal_at: int  # first record after the base
    journal_stop: int  # end of its segment
    tail_at: int  # offset of the record of group + 1, written or not
    tail_stop: int  # end of its segment
    n_bytes: int  # of the file, at least


def pack_slot(slot: Slot) -> bytes:
    """SLOT_SIZE bytes, checksum last."""
    body = SLOT_STRUCT.pack(MAGIC, slot.version, slot.features, *slot[2:])
    return body + xxhash.xxh3_64_digest(body)


def unpack_slot(data: "bytes | memoryview") -> Slot | None:
    """The slot in these bytes, or None if they are damaged or were never written."""
    data = bytes(data[:SLOT_SIZE])
    if len(data) < SLOT_SIZE or data[:8] != MAGIC or xxhash.xxh3_64_digest(data[:CHECK_AT]) != data[CHECK_AT:]:
        return None
    return Slot(*SLOT_STRUCT.unpack_from(data)[1:])


# --- records ----------------------------------------------------------------------------------------------
RECORD_STRUCT = struct.Struct("<8sQQQQQII")  # 56 bytes and the checksum
RECORD_SIZE = 64
JUMP, SYNCED = 1, 2  # what, bits: the record is in the segment from heap_size to size; data were synced earlier


def pages_of(n_bytes: int) -> int:
    """Number of pages that hold `n_bytes` bytes."""
    return -(-n_bytes // PAGE)


def padded(n_bytes: int) -> int:
    """`n_bytes` rounded up to whole pages."""
    return pages_of(n_bytes) * PAGE


def check_name(name: str) -> None:
    """Raise TypeError or ValueError for an invalid block name."""
    if not isinstance(name, str):
        raise TypeError(f"a block's name must be a str, not {type(name).__name__}")
    if not 0 < len(name.encode()) <= MAX_NAME:
        raise ValueError(f"a block's name must have 1 to {MAX_NAME:,} bytes in UTF-8; {name[:40]!r}... has {len(name.encode()):,}")
