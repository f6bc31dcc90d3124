"""Reading blocks: one, many, borrowed, or all in file order. Every byte that is handed out has been checked against its checksum.

    get    queued? -> index -> bytes at the entry's place -> checksum right? -> value
                                    |  wrong: another commit has come between (look again), or damage (heal, or raise)

No lock is taken, and there is no file position: bytes come from the mapping, or by positional reads. A block that is replaced while it
is read fails its checksum and is looked up again, so what comes back is always one whole version, current during the call.

Speed: see BlockFile. Weak case: arrays are verified as a whole at every `get`; `verify=False` skips it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import xxhash

from nbtrade.errors import BlockNotFound
from nbtrade.storage.blockfile.index import PLAIN_STRUCT
from nbtrade.storage.blockfile.layout import ARRAY, OWN_PAGES, PAGE, ZSTD, Entry, pages_of
from nbtrade.storage.blockfile.layout_batch import Op, Queued, as_op
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.blockfile.session import Session
from nbtrade.storage.blockfile.values import metadata_of, shape_of, value_of

MANY = 64  # blocks at once that are read by compiled code: 64 cold ones take 0.8 of the time, 32 as long as one by one

_hash = xxhash.xxh3_64_intdigest
_unpack = PLAIN_STRUCT.unpack


class BlockInfo(NamedTuple):
    """What is known about a block without reading it. size : bytes;  stored : of them in the file, after compression."""

    size: int
    stored: int
    compressed: bool
    dtype: "np.dtype | None"
    shape: tuple[int, ...] | None
    queued: bool  # not committed yet: the next two say nothing
    group: int  # number of the commit that wrote it
    offset: int  # in the file


class BlockReader:
    """The reading half of BlockFile."""

    session: Session  # the file as it is now; a vacuum replaces it
    queued: dict[str, Queued]  # newest change of each name that is not committed yet
    pool: Pool
    follows: bool  # `session` has to be asked for by `_current`: a reader, or closed

    def _current(self) -> Session:
        """The file as it is now, with what other processes committed. Raises BlockFileError when it was closed."""
        raise NotImplementedError

    def _repair(self, session: Session, name: str, entry: Entry) -> bytes:
        """A valid copy of a damaged block's stored bytes. Raises CorruptBlock when there is none."""
        raise NotImplementedError

    # --- looking up -----------------------------------------------------------------------------------
    def _look_up(self, name: str) -> tuple[Session, Queued | None, Entry]:
        """The file and the entry of a name; with the queued change that it comes from, if any."""
        session = self._current()
        op = self.queued.get(name)
        entry = session.find(name) if op is None else _entry_of(as_op(name, op))
        if entry is None:
            raise BlockNotFound(f"there is no block {name!r} in {session.file.path}. `list(prefix)` shows what there is.")
        return session, op, entry

    def _still(self, session: Session, name: str, op: Queued | None, entry: Entry) -> bool:
        """Whether a look-up would give the same again."""
        if op is not None:
            return self.queued.get(name) is op
        return name not in self.queued and self._current() is session and session.find(name) == entry

    def __contains__(self, name: str) -> bool:
        op = self.queued.get(name)
        return self._current().find(name) is not None if op is None else _exists(op)

    def list(self, prefix: str = "") -> "list[str]":
        """Names that start with `prefix`, ascending; queued ones included, queued deletions not."""
        queued = {name: op for name, op in self.queued.copy().items() if name.startswith(prefix)}
        names = self._current().names(prefix)
        if not queued:
            return names
        kept = [name for name in names if name not in queued]
        return sorted(kept + [name for name, op in queued.items() if _exists(op)])

    def __iter__(self) -> Iterator[str]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list()) if self.queued else self._current().catalog.index.n_blocks

    # --- one block ------------------------------------------------------------------------------------
    def get(self, name: str, *, verify: bool = True) -> Any:
        """The value of a block: bytes, or a read-only array with the dtype and shape that was put.

        An uncompressed array on pages of its own (16 KiB and more) is a zero-copy view of the file; it stays good, and keeps its
        pages, for as long as it or a view of it lives. verify : check such an array's checksum (all else always is).

        Raises BlockNotFound, CorruptBlock.
        """
        if name not in self.queued:  # the common case in line: a function call costs as much as a look-up
            session = self._current() if self.follows else self.session
            offset, end, check = _unpack(session.catalog.index.overlay.get(name) or session.place(name))
            data = session.mapped[offset:end]
            if _hash(data) == check:
                return data
        return self._get(name, verify)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def _get(self, name: str, verify: bool) -> Any:
        while True:
            session, op, entry = self._look_up(name)
            if isinstance(op, bytes):
                return op
            if op is not None and op.data is not None:
                data = op.data if type(op.data) is bytes else bytes(op.data)
                if op.rented is None or self.queued.get(name) is op:  # else its buffer may have been rented again
                    return value_of(data, entry, name)
                continue
            data = self._stored(session, name, op, entry, verify)
            if data is not None:
                return value_of(data, entry, name)

    def _stored(self, session: Session, name: str, op: Queued | None, entry: Entry, verify: bool) -> Any:
        """A block's stored bytes or a leased view of them, checked; None when it has to be looked up again."""
        if entry.kind == ARRAY and entry.how == OWN_PAGES:
            data: Any = np.frombuffer(session.view[entry.offset : entry.end], np.uint8)
            lease = session.leases.take((entry.offset // PAGE, pages_of(entry.end - entry.offset)), data)
            if not self._still(session, name, op, entry):
                session.leases.drop(lease)
                return None
        else:
            data, verify = session.mapped[entry.offset : entry.end], True
        if not verify or _hash(data) == entry.check:
            return data
        return self._repair(session, name, entry) if self._still(session, name, op, entry) else None

    def metadata(self, name: str) -> dict[str, Any]:
        """What was given with `put(..., metadata=...)`, else {}."""
        return metadata_of(self._look_up(name)[2].meta, name)

    def info(self, name: str) -> BlockInfo:
        """Sizes, dtype, shape and place of a block, without reading it."""
        _, op, entry = self._look_up(name)
        dtype, shape = shape_of(entry, name) if entry.kind == ARRAY else (None, None)
        queued = op is not None
        place = (-1, -1) if queued else (entry.group, entry.offset)
        return BlockInfo(entry.raw, entry.end - entry.offset, bool(entry.how & ZSTD), dtype, shape, queued, *place)

    @contextmanager
    def borrow(self, name: str) -> Iterator[memoryview]:
        """The bytes of a block in a rented buffer, for the length of a `with`: reading many blocks allocates nothing.

        Bytes and the elements of arrays; compressed blocks are unpacked into memory of their own.
        """
        session, op, entry = self._look_up(name)
        n = entry.end - entry.offset
        with self.pool.buffer(n) as view:
            if op is None and not entry.how & ZSTD:
                view[:] = session.view[entry.offset : entry.end]
                if _hash(view) == entry.check:
                    yield view.toreadonly()
                    return
        value = self._get(name, verify=True)
        yield memoryview(value).cast("B").toreadonly() if isinstance(value, bytes) else memoryview(value.reshape(-1).view(np.uint8))

    # --- many -----------------------------------------------------------------------------------------
    def get_many(self, names: Sequence[str]) -> Sequence[Any]:
        """Values of blocks, a list in the order of `names`. Raises as `get`.

        Where Numba is in use, as it is once kernels run, compiled code reads 64 or more at once: 500 of up to 4 KiB in 0.45 to 0.6 of the
        time that one by one takes, of 16 KiB in 0.85, larger bytes, arrays and compressed blocks in the same. The first such call of
        a process loads it, 8 ms; the first on a machine compiles it, 0.5 s. (Importing Numba for it would take 0.2 s: 600,000 blocks.)
        """
        session, names = self._current(), tuple(names)
        if len(names) < MANY or "numba" not in sys.modules or (self.queued and not self.queued.keys().isdisjoint(names)):
            return [self.get(name) for name in names]
        return _read_many()(names, session.places(names), session.mapped, self.get)


@cache
def _read_many() -> "Callable[..., list[Any]]":
    from nbtrade.storage.blockfile.bulk_read import read_many  # this line takes 12 us a time when it is not in the first cache

    return read_many


def _exists(op: Queued) -> bool:
    return type(op) is bytes or _entry_of(op) is not None  # type: ignore[arg-type]


def _entry_of(op: Op) -> Entry | None:
    """What a queued change makes of its name; without a place in the file."""
    if op.data is not None:
        return Entry(0, len(op.data), 0, op.kind, op.how, op.raw, 0, op.meta)
    return op.link
