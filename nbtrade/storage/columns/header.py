"""Format of a column's file: four header pages, followed by the rows.

    0       what        magic, version, description of a row (JSON)        written once, before the file has its name
    4096    slot 0      sequence, rows, epoch   = durable                  even sequences
    8192    slot 1      the same                                           odd sequences: a commit never overwrites the last one
    12288   live        boot, count, epoch, moving  = published            stored through a mapping, for readers in all processes
    16384   rows

The *durable* count is in the newest slot: it is written after its rows were synced, and only it is trusted after a crash of the machine.
The *published* count is in the live page: those rows are in the file, though perhaps only in the page cache. The live page is valid only
until the machine restarts, which its boot number detects. So rows survive `kill -9` without a sync, and a crash loses only unsynced rows.

The first three pages hold their record twice (at 0 and 2048), each with its own xxh3 checksum: a flipped bit is repaired from the other
copy, and a page without a valid copy is an error. (That cannot be a torn write: each copy fits in one 512-byte sector, and sectors are
written completely or not at all, so a torn write leaves the old copy or the new one.) Counts in the live page include a 15-bit checksum.
Weak case: 16 KiB before the first row.
"""

import json
import os
import stat
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import xxhash

from nbtrade.errors import StoreDamaged
from nbtrade.storage import dtypes
from nbtrade.storage.columns.kernels.live_page import MAX_COUNT
from nbtrade.storage.columns.kernels.packed import WIDTHS

PAGE = 4096
COPIES = (0, 2048)
SLOTS = (4096, 8192)
LIVE = 12288
ROWS = 16384  # offset of the first row
MAGIC = b"nbcolumn"
VERSION = 1
MAX_SEQUENCE = 1 << 62

_RECORD = struct.Struct("<8sIIQQ")  # magic, version, bytes of text, xxh3 of the text, xxh3 of the preceding bytes
_SLOT = struct.Struct("<8sQQQQQ")  # magic, sequence, rows, epoch, identity of the file, xxh3 of the preceding bytes


class Slot(NamedTuple):
    """The durable state after commit number `sequence`."""

    sequence: int
    rows: int
    epoch: int  # increases when rows below an earlier count may change, and when a wider file takes over


def check_regular(fd: int, path: object) -> os.stat_result:
    """The status of an open file. Raises StoreDamaged for a folder, a pipe or a device, which have no bytes to map."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise StoreDamaged(f"{path} is {kind}, not a file. Is the name right?")
    return status


def _page(record: bytes) -> bytes:
    """A page with two copies of the record, each within a sector."""
    return b"".join(record.ljust(PAGE // len(COPIES), b"\0") for _ in COPIES)


def what_page(what: dict[str, Any]) -> bytes:
    """The first page: `what` as JSON. Raises ValueError if it is too long for half a page."""
    text = json.dumps(what, separators=(",", ":")).encode()
    head = _RECORD.pack(MAGIC, VERSION, len(text), xxhash.xxh3_64_intdigest(text), 0)[:-8]
    record = head + xxhash.xxh3_64_digest(head) + text
    if len(record) > PAGE // len(COPIES):
        raise ValueError(
            f"the description of a row takes {len(text):,} bytes of {PAGE // 2 - _RECORD.size:,}. Use fewer fields or shorter names."
        )
    return _page(record)


def read_what(head: bytes, path: object) -> tuple[dict[str, Any], int]:
    """(description of a row, identity of the file) from its first bytes, validated.

    The description is {"dtype": np.dtype, "bits"} or {"bits", "signed"}. Raises StoreDamaged, naming `path`.
    """
    for at in COPIES:
        record = head[at : at + PAGE // len(COPIES)]
        if len(record) < _RECORD.size:
            break
        magic, version, n, digest, own = _RECORD.unpack_from(record)
        text = record[_RECORD.size : _RECORD.size + n]
        if own != int.from_bytes(xxhash.xxh3_64_digest(record[: _RECORD.size - 8]), "little") or digest != xxhash.xxh3_64_intdigest(text):
            continue
        if magic != MAGIC or version != VERSION:
            raise StoreDamaged(f"{path} has column format {version}, not {VERSION}. Read it with the version of nbtrade that wrote it.")
        try:
            return _what_of(text), digest
        except dtypes.MalformedError as error:
            raise StoreDamaged(
                f"{path}: the description of a row in its first page is invalid: {error}. Restore the file from a copy."
            ) from None
    raise StoreDamaged(f"{path} is not a column, or its first page is damaged (neither copy has its checksum). Restore it from a copy.")


@lru_cache(maxsize=256)
def _what_of(text: bytes) -> dict[str, Any]:
    return _checked(dtypes.parsed(text))


def _checked(what: Any) -> dict[str, Any]:
    """The description of a row, with a NumPy dtype. Raises MalformedError."""
    if not isinstance(what, dict) or set(what) not in ({"dtype", "bits"}, {"bits", "signed"}):
        raise dtypes.MalformedError("it must have dtype and bits, or bits and signed")
    bits = what["bits"]
    if "dtype" in what:
        dtype = dtypes.from_json(what["dtype"])
        if type(bits) is not int or bits != dtype.itemsize * 8:
            raise dtypes.MalformedError(f"rows of {dtype} have {dtype.itemsize * 8} bits, not {bits!r:.40}")
        return {"dtype": dtype, "bits": bits}
    signed = what["signed"]
    if type(bits) is not int or bits not in WIDTHS or type(signed) is not bool or (bits == 1 and signed):
        raise dtypes.MalformedError(f"integers of {bits!r:.40} bits, signed: {signed!r:.40}; bits must be one of {WIDTHS}")
    return {"bits": bits, "signed": signed}


def slot_page(slot: Slot, identity: int) -> bytes:
    """The page for a slot."""
    head = _SLOT.pack(MAGIC, *slot, identity, 0)[:-8]
    return _page(head + xxhash.xxh3_64_digest(head))


def read_slot(head: bytes, identity: int, path: object) -> Slot:
    """The newest durable slot. Raises StoreDamaged if either page has no valid copy: it may have been the newest."""
    found = []
    for parity, page in enumerate(SLOTS):
        copies = (_slot_of(head[page + at : page + at + _SLOT.size], identity) for at in COPIES)
        valid = [slot for slot in copies if slot is not None and slot.sequence & 1 == parity]
        if not valid:
            raise StoreDamaged(f"{path}: the page at byte {page} is damaged (neither copy has its checksum). Restore the file from a copy.")
        found += valid
    return max(found)


def _slot_of(record: bytes, identity: int) -> Slot | None:
    if len(record) < _SLOT.size or record[-8:] != xxhash.xxh3_64_digest(record[:-8]):
        return None
    magic, sequence, rows, epoch, owner, _ = _SLOT.unpack(record)
    in_range = sequence < MAX_SEQUENCE and rows < MAX_COUNT and epoch < MAX_COUNT
    return Slot(sequence, rows, epoch) if magic == MAGIC and owner == identity and in_range else None


def new_head(what: dict[str, Any], slot: Slot) -> bytes:
    """The four pages of a new file: both slots have the same rows, the live page is invalid."""
    first = what_page(what)
    identity = _RECORD.unpack_from(first)[3]  # the text's xxh3
    older = slot._replace(sequence=slot.sequence - 1)
    pages = sorted((slot, older), key=lambda slot: slot.sequence & 1)
    return b"".join([first, *(slot_page(slot, identity) for slot in pages), bytes(PAGE)])
