"""The journal: one record a group, in segments of pages; how it is written and read back.

    segment  | record 41 | record 42 | jump ->          a record starts at a page and knows how long it is; the next one follows
    segment  | record 43 ............ | record 44 |     a jump carries the number of the record that it leads to

Writing always leaves one page of a segment for a jump, so that a record of any length can follow. A record's checksum covers its
header, the file's id and its rows: old bytes of recycled pages are never taken for a record.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from nbtrade.store.blocks.layout import (
    JUMP,
    PAGE,
    RECORD_MAGIC,
    RECORD_SIZE,
    RECORD_STRUCT,
    ROW,
    ROW_STRUCT,
    SYNCED,
    Entry,
    entry_of,
    padded,
)


class Record(NamedTuple):
    """One group, read back. at, size : where it is;  synced : its data were on the disk before it."""

    group: int
    at: int
    size: int
    synced: bool
    names: list[str]
    entries: list[Entry]


class Position(NamedTuple):
    """Where a record is or will be: offset, and the end of its segment."""

    at: int
    stop: int


Read = Callable[[int, int], "bytes | memoryview"]


def encode(file_id: int, group: int, rows: np.ndarray, items: Sequence[bytes], synced: bool) -> list[bytes]:
    """A record's bytes in pieces, padded to pages. rows : ROW[n];  items : name and metadata of each."""
    heap, body = b"".join(items), rows.tobytes()
    size = padded(RECORD_SIZE + len(body) + len(heap))
    header = RECORD_STRUCT.pack(RECORD_MAGIC, file_id, group, len(rows), len(heap), size, SYNCED if synced else 0, 0)
    pad = bytes(size - RECORD_SIZE - len(body) - len(heap))
    return [header + _check(header, body, heap), body, heap, pad]


def encode_jump(file_id: int, group: int, target: Position) -> list[bytes]:
    """A page that leads to the segment `target`."""
    header = RECORD_STRUCT.pack(RECORD_MAGIC, file_id, group, 0, target.at, target.stop, JUMP, 0)
    return [header + _check(header, b"", b""), bytes(PAGE - RECORD_SIZE)]


def _check(header: bytes, body: "bytes | memoryview", heap: "bytes | memoryview") -> bytes:
    digest = xxhash.xxh3_64(header)
    digest.update(body)
    digest.update(heap)
    return digest.digest()


def replay(read: Read, file_id: int, group: int, start: Position) -> Iterator[tuple[Position, Record | None]]:
    """Records from number `group` on, each with the position behind it; jumps come as (segment's position, None).

    read : (offset, size) -> bytes. Ends before the first place that holds no valid record of the number that is due.
    """
    position = start
    while position.at + PAGE <= position.stop:
        header = bytes(read(position.at, RECORD_SIZE))
        if len(header) < RECORD_SIZE:
            return
        magic, owner, number, n_rows, heap_size, size, what, _ = RECORD_STRUCT.unpack_from(header)
        if magic != RECORD_MAGIC or owner != file_id or number != group:
            return
        if what & JUMP:
            if _check(header[: RECORD_STRUCT.size], b"", b"") != header[RECORD_STRUCT.size :]:
                return
            position = Position(heap_size, size)
            yield position, None
            continue
        record = _body(read, header, position, n_rows, heap_size, size)
        if record is None:
            return
        position = Position(position.at + size, position.stop)
        group += 1
        yield position, record


def _body(read: Read, header: bytes, position: Position, n_rows: int, heap_size: int, size: int) -> Record | None:
    n_body = n_rows * ROW.itemsize
    if position.at + size > position.stop or RECORD_SIZE + n_body + heap_size > size:
        return None
    data = read(position.at + RECORD_SIZE, n_body + heap_size)
    if len(data) < n_body + heap_size or _check(header[: RECORD_STRUCT.size], data[:n_body], data[n_body:]) != header[RECORD_STRUCT.size :]:
        return None
    names, entries = decode_rows(data, n_rows)
    _, _, group, _, _, _, what, _ = RECORD_STRUCT.unpack_from(header)
    return Record(group, position.at, size, bool(what & SYNCED), names, entries)


def decode_rows(data: "bytes | memoryview", n_rows: int) -> tuple[list[str], list[Entry]]:
    """Names and entries of ROW[n] with its heap behind it."""
    n_body = n_rows * ROW.itemsize
    heap = bytes(data[n_body:])
    names, entries = [], []
    for fields in ROW_STRUCT.iter_unpack(data[:n_body]):
        names.append(heap[fields[6] : fields[6] + fields[8]].decode())
        entries.append(entry_of(fields, heap))
    return names, entries


def fits(position: Position, n_bytes: int) -> bool:
    """Whether a record of n bytes can be written here with a page left for the jump after it."""
    return position.at + n_bytes + PAGE <= position.stop
