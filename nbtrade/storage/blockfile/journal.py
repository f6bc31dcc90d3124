"""The journal: one record per group, in segments of pages; encoding and replay.

    segment  | record 41 | record 42 | jump ->          a record starts at a page and contains its length; the next one follows
    segment  | record 43 ............ | record 44 |     a jump has the number of the record that it leads to

Every segment keeps one page free for a jump, so a record of any length can follow. A record's checksum covers its
header, the file's id and its rows, so old bytes of recycled pages cannot pass as a record.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from nbtrade.storage.blockfile import snapshot_index
from nbtrade.storage.blockfile.checks import FIRST, rows_fit
from nbtrade.storage.blockfile.layout import (
    JUMP,
    PAGE,
    RECORD_MAGIC,
    RECORD_SIZE,
    RECORD_STRUCT,
    ROW,
    SYNCED,
    padded,
)


class Record(NamedTuple):
    """One group, read back. at, size : its location;  synced : its data were synced before the record was written."""

    group: int
    at: int
    size: int
    synced: bool
    names: list[str]
    rows: np.ndarray  # ROW[n]
    metas: list[bytes] | None


class Position(NamedTuple):
    """Location of a record, written or not: offset, and the end of its segment."""

    at: int
    stop: int


Read = Callable[[int, int], "bytes | memoryview"]


def pack_heap(rows: np.ndarray, names: Sequence[str], metas: Sequence[bytes] | None) -> bytes:
    """The heap with these names and metadata (None: no metadata); sets their locations in ROW[n]."""
    text = "".join(names)
    if metas is None and text.isascii():
        rows["name_size"] = np.fromiter(map(len, names), np.uint16, len(rows))
        heap = text.encode()
    else:
        heap = b"".join(snapshot_index.pack_heap(rows, list(map(str.encode, names)), metas))
    snapshot_index.set_heap_places(rows)
    return heap


def encode(file_id: int, group: int, rows: np.ndarray, heap: bytes, synced: bool) -> list[bytes]:
    """A record's bytes in pieces, padded to pages. rows : ROW[n];  heap : names and metadata."""
    body = rows.tobytes()
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


def replay(read: Read, file_id: int, group: int, start: Position, file_size: int) -> Iterator[tuple[Position, Record | None]]:
    """Records starting with number `group`, each with the position after it; a jump is yielded as (position of the segment, None).

    read : (offset, size) -> bytes. Ends at the first location without a valid record of the expected number. A record is also invalid if
    its numbers are inconsistent, or if its blocks are outside a file of `file_size` bytes.
    """
    position, jumped = start, False
    while position.at + PAGE <= position.stop:
        header = bytes(read(position.at, RECORD_SIZE))
        if len(header) < RECORD_SIZE:
            return
        magic, owner, number, n_rows, heap_size, size, what, _ = RECORD_STRUCT.unpack_from(header)
        if magic != RECORD_MAGIC or owner != file_id or number != group:
            return
        if what & JUMP:
            target = Position(heap_size, size)
            if jumped or not _is_segment(target, file_size):  # a jump leads to a record: two jumps could form a cycle
                return
            if _check(header[: RECORD_STRUCT.size], b"", b"") != header[RECORD_STRUCT.size :]:
                return
            position, jumped = target, True
            yield position, None
            continue
        record = _body(read, header, position, n_rows, heap_size, size, file_size)
        if record is None:
            return
        position, jumped = Position(position.at + size, position.stop), False
        group += 1
        yield position, record


def _is_segment(target: Position, file_size: int) -> bool:
    return FIRST <= target.at < target.stop <= file_size and target.at % PAGE == target.stop % PAGE == 0


def _body(read: Read, header: bytes, position: Position, n_rows: int, heap_size: int, size: int, file_size: int) -> Record | None:
    n_body = n_rows * ROW.itemsize
    if position.at + size > position.stop or RECORD_SIZE + n_body + heap_size > size or size % PAGE:
        return None
    data = read(position.at + RECORD_SIZE, n_body + heap_size)
    if len(data) < n_body + heap_size or _check(header[: RECORD_STRUCT.size], data[:n_body], data[n_body:]) != header[RECORD_STRUCT.size :]:
        return None
    if rows_fit(np.frombuffer(data, ROW, n_rows), 0, file_size) != heap_size:
        return None
    _, _, group, _, _, _, what, _ = RECORD_STRUCT.unpack_from(header)
    try:
        return Record(group, position.at, size, bool(what & SYNCED), *_decoded(data, n_rows))
    except UnicodeDecodeError:
        return None


def _decoded(data: "bytes | memoryview", n_rows: int) -> tuple[list[str], np.ndarray, list[bytes] | None]:
    """Names, rows and metadata of ROW[n] followed by its heap."""
    rows = np.frombuffer(data, ROW, n_rows)
    heap = bytes(data[n_rows * ROW.itemsize :])
    starts = rows["name_at"].astype(np.int64)
    stops = starts + rows["name_size"]
    names = [heap[a:b].decode() for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    if not rows["meta_size"].any():
        return names, rows, None
    return names, rows, [heap[a:b] for a, b in zip(stops.tolist(), (stops + rows["meta_size"]).tolist(), strict=True)]


def fits(position: Position, n_bytes: int) -> bool:
    """Whether a record of n bytes fits here with a page left for a jump."""
    return position.at + n_bytes + PAGE <= position.stop
