"""Layout of one group of queued changes: the offset of each block, and the buffers to write.

    own pages                          packed
    | block 7 ....pad| block 2 ....pad| b1 | b3| b4 |  b5 | b6 ..pad|       one write, in offset order

Large blocks, and small ones that nearly fill their pages, start on new pages: at most an eighth is wasted up to 16 KiB, and
less than a page above. The others are packed without gaps. If no free extent holds the whole group, it is split into pieces.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
import xxhash

from nbtrade.storage.blockfile.allocator import Allocator, Extent
from nbtrade.storage.blockfile.layout import BYTES, FIRST_PAGE, MAX_NAME, OWN_PAGES, OWN_SIZE, PAGE, ROW, Entry, pages_of

OWN_PAGES_MIN = PAGE * 8 // 9  # smaller blocks are always packed
SMALL = 1024  # bytes; smaller blocks are joined before they are written
_hash = xxhash.xxh3_64_intdigest
_zeros = memoryview(bytes(PAGE))


class Op(NamedTuple):
    """A queued change. data : bytes to store, or None;  link : an entry that receives this name; neither: the name is deleted."""

    name: str
    data: Any = None
    kind: int = 0
    how: int = 0
    raw: int = 0
    meta: bytes = b""
    link: Entry | None = None
    rented: bytearray | None = None  # to return once written


Batch = dict[str, bytes]  # queued `bytes`, stored verbatim: the common case, without one Op each
Queued = Op | bytes  # the pending value of a name: a change, or bytes stored verbatim


def as_op(name: str, queued: Queued) -> Op:
    """A queued value as an Op."""
    return Op(name, queued, BYTES, 0, len(queued)) if type(queued) is bytes else cast(Op, queued)


class Puts(NamedTuple):
    """Blocks to place. forms : (kind, how, raw size, meta) of each; None if all are bytes stored verbatim."""

    names: Sequence[str]
    data: Sequence[Any]
    forms: Sequence[tuple[Any, ...]] | None

    def cut(self, start: int | None, stop: int | None) -> "Puts":
        """The blocks from start to stop."""
        return Puts(self.names[start:stop], self.data[start:stop], self.forms and self.forms[start:stop])

    def pick(self, order: list[int]) -> "Puts":
        """The blocks in another order."""
        return Puts(*([column[i] for i in order] if column else column for column in self))  # type: ignore[arg-type]


class Placement(NamedTuple):
    """A piece of a group: `buffers` are written at offset `at`.

    sizes, offset : i8[n], of its blocks;  n_own : number of blocks, the first ones, that start on new pages
    """

    at: int
    buffers: list[Any]
    extent: Extent
    puts: Puts
    sizes: np.ndarray
    offset: np.ndarray
    n_own: int

    def rows(self, group: int) -> np.ndarray:
        """ROW[n], with checksums; locations of names and metadata are not set yet."""
        rows = np.zeros(len(self.sizes), ROW)
        rows["offset"], rows["stored"], rows["raw"], rows["group"], rows["kind"] = self.offset, self.sizes, self.sizes, group, BYTES
        rows["check"] = np.fromiter(map(_hash, self.puts.data), np.uint64, len(rows))
        if self.puts.forms is not None:
            rows["kind"], rows["how"], rows["raw"], _ = zip(*self.puts.forms, strict=True)
            rows["how"] &= ~np.uint8(OWN_PAGES)
        if self.n_own:
            rows["how"][: self.n_own] |= OWN_PAGES
        return rows

    @property
    def metas(self) -> Sequence[bytes] | None:
        """Metadata of each block, or None if no block has any."""
        return None if self.puts.forms is None else [meta for *_, meta in self.puts.forms]

    @property
    def packed(self) -> tuple[np.ndarray, np.ndarray]:
        """i8[n], offset and end of packed blocks."""
        offset = self.offset[self.n_own :]
        return offset, offset + self.sizes[self.n_own :]


def own_pages(sizes: np.ndarray) -> np.ndarray:
    """Which blocks start on a new page. sizes : i8[n]."""
    return (sizes >= OWN_PAGES_MIN) & ((sizes >= OWN_SIZE) | (-sizes % PAGE <= sizes // 8))


def latest_of(changes: "Sequence[Op | Batch]") -> Mapping[str, Queued]:
    """The final value of each name after all changes."""
    if len(changes) == 1 and isinstance(changes[0], dict):
        return changes[0]
    latest: dict[str, Queued] = {}
    for one in changes:
        if isinstance(one, dict):
            latest.update(one)
        else:
            latest[one.name] = one
    return latest


def puts_of(latest: "Mapping[str, Queued]", plain: bool) -> Puts:
    """The changes of a group that have data. plain : all are bytes stored verbatim."""
    if plain:
        return Puts(list(latest), list(latest.values()), None)
    ops = [op for name, one in latest.items() if (op := as_op(name, one)).data is not None]
    return Puts([op.name for op in ops], [op.data for op in ops], [op[2:6] for op in ops])


def lay_out(puts: Puts, allocator: Allocator) -> list[Placement]:
    """Place data on free pages. Raises OSError if the file cannot grow; then no page is taken."""
    sizes, n_own = np.fromiter(map(len, puts.data), np.int64, len(puts.data)), 0
    if np.count_nonzero(sizes >= OWN_PAGES_MIN):
        own = own_pages(sizes)
        n_own = int(np.count_nonzero(own))
        order = np.argsort(~own, kind="stable")
        puts, sizes = puts.pick(order.tolist()), sizes[order]
    taken = sizes
    if n_own:  # with padding
        taken = np.concatenate([-(-sizes[:n_own] // PAGE) * PAGE, sizes[n_own:]])
    pieces: list[Placement] = []
    while len(sizes):
        ends = taken.cumsum()
        used, k = pages_of(int(ends[-1])), len(sizes)
        try:
            start, n = allocator.take_some(used, pages_of(int(sizes[0]))) if used else (FIRST_PAGE, 0)
        except OSError:
            give_back(pieces, allocator)
            raise
        if n < used:
            k = int(np.searchsorted(ends, n * PAGE, "right"))
            used = pages_of(int(ends[k - 1]))
            if used < n:
                allocator.free.add(start + used, n - used)
        pieces.append(_piece(puts.cut(None, k), sizes[:k], taken[:k], ends[:k], min(k, n_own), (start, used)))
        puts, sizes, taken, n_own = puts.cut(k, None), sizes[k:], taken[k:], max(0, n_own - k)
    return pieces


def give_back(pieces: list[Placement], allocator: Allocator) -> None:
    """Free the pages of a group that was not committed."""
    for piece in pieces:
        if piece.extent[1]:
            allocator.free.add(*piece.extent)


def _piece(puts: Puts, sizes: np.ndarray, taken: np.ndarray, ends: np.ndarray, n_own: int, extent: Extent) -> Placement:
    """Blocks of these sizes in `extent`. taken : bytes that each occupies there;  ends : where each ends."""
    at = extent[0] * PAGE
    buffers = _padded(puts.data, (taken - sizes).tolist()) if n_own else list(puts.data)
    tail = extent[1] * PAGE - int(ends[-1])
    if tail:
        buffers.append(_zeros[:tail])
    if extent[1] * PAGE <= SMALL * len(buffers):  # a copy is cheaper than separate buffers
        buffers = [b"".join(buffers)]
    return Placement(at, buffers, extent, puts, sizes, ends - taken + at, n_own)


def _padded(data: Sequence[Any], pads: list[int]) -> list[Any]:
    buffers = []
    for one, pad in zip(data, pads, strict=True):
        buffers.append(one)
        if pad:
            buffers.append(_zeros[:pad])
    return buffers


def is_plain(batch: dict[str, Any]) -> bool:
    """Whether all values are `bytes` and all names ASCII, checked without a Python call for each."""
    if set(map(type, batch.values())) != {bytes}:
        return not batch
    try:
        names = "".join(batch)
    except TypeError:
        return False
    return names.isascii() and "" not in batch and (len(names) <= MAX_NAME or max(map(len, batch)) <= MAX_NAME)


def parts(batch: Batch, most: int) -> Iterator[Batch]:
    """The batch in parts of at most `most` blocks."""
    if 0 < len(batch) <= most:
        yield batch
        return
    items = iter(batch.items())
    while part := dict(islice(items, most)):
        yield part
