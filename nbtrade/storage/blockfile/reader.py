"""Reading blocks: one, many, or borrowed. Every returned byte has been checked against its checksum.

    get    queued? -> index -> bytes at the entry's offset -> checksum matches? -> value
                                    |  no: replaced by a commit in between (look up again), or damaged (repair or raise)

Reading takes no lock and uses no file position: bytes come from the mapping or from positional reads. A block that is replaced while it
is being read fails its checksum and is looked up again, so `get` always returns one complete version, current during the call.

Speed: see BlockFile. Weak case: every `get` of an array verifies all of it; `verify=False` skips that.
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

MANY = 64  # blocks from which compiled code reads them: 64 cold ones take 0.8 of the time, 32 as long as one by one

_hash = xxhash.xxh3_64_intdigest
_unpack = PLAIN_STRUCT.unpack


class BlockInfo(NamedTuple):
    """Properties of a block known without reading it. size : bytes;  stored : bytes in the file, after compression."""

    size: int
    stored: int
    compressed: bool
    dtype: "np.dtype | None"
    shape: tuple[int, ...] | None
    queued: bool  # not committed yet: the next two are meaningless
    group: int  # number of the commit that wrote it
    offset: int  # in the file


class BlockReader:
    """The reading half of BlockFile."""

    session: Session  # the current file; a vacuum replaces it
    queued: dict[str, Queued]  # newest change of each name that is not committed yet
    pool: Pool
    follows: bool  # call `_current` for the session: a reader, or closed

    def _current(self) -> Session:
        """The session, updated with the commits of other processes. Raises BlockFileError if it is closed."""
        raise NotImplementedError

    def _repair(self, session: Session, name: str, entry: Entry) -> bytes:
        """A valid copy of a damaged block's stored bytes. Raises CorruptBlock if none exists."""
        raise NotImplementedError

    # --- looking up -----------------------------------------------------------------------------------
    def _look_up(self, name: str) -> tuple[Session, Queued | None, Entry]:
        """The session and the entry of a name; with the queued change that it comes from, if any."""
        session = self._current()
        op = self.queued.get(name)
        entry = session.find(name) if op is None else _entry_of(as_op(name, op))
        if entry is None:
            raise BlockNotFound(f"{session.file.path} has no block {name!r}. `list(prefix)` shows the names.")
        return session, op, entry

    def _still(self, session: Session, name: str, op: Queued | None, entry: Entry) -> bool:
        """Whether another look-up would return the same."""
        if op is not None:
            return self.queued.get(name) is op
        return name not in self.queued and self._current() is session and session.find(name) == entry

    def __contains__(self, name: str) -> bool:
        op = self.queued.get(name)
        return self._current().find(name) is not None if op is None else _exists(op)

    def list(self, prefix: str = "") -> "list[str]":
        """List the names of blocks. Queued changes and deletions are taken into account.

        Parameters
        ----------
        prefix : str
            Of the names to include.

        Returns
        -------
        list of str
            Names, ascending.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("listed.blocks") as blocks:
        ...     blocks.put_many({"day/2": b"", "day/1": b"", "other": b""})
        ...     blocks.list("day/")
        ['day/1', 'day/2']
        """
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
        """The value of a block.

        Parameters
        ----------
        name : str
            Of the block.
        verify : bool
            Whether to check the checksum of a zero-copy array. All other values are always checked.

        Returns
        -------
        bytes or numpy.ndarray
            An array is read-only and has the dtype and shape that were stored. An uncompressed array of 16 KiB or more is a zero-copy view
            of the file; it remains valid, and its pages are not reused, while it or a view of it exists.

        Raises
        ------
        BlockNotFound
            If there is no block of that name.
        CorruptBlock
            If the block is damaged beyond repair.

        Examples
        --------
        >>> import numpy as np
        >>> from nbtrade import BlockFile
        >>> with BlockFile("read.blocks") as blocks:
        ...     blocks.put("a", np.array([1.5, 2.5]))
        ...     blocks.get("a")
        array([1.5, 2.5])
        """
        if name not in self.queued:  # the common case, inlined: a function call costs as much as a look-up
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
                if op.rented is None or self.queued.get(name) is op:  # otherwise its buffer may have been rented again
                    return value_of(data, entry, name)
                continue
            data = self._stored(session, name, op, entry, verify)
            if data is not None:
                return value_of(data, entry, name)

    def _stored(self, session: Session, name: str, op: Queued | None, entry: Entry, verify: bool) -> Any:
        """A block's stored bytes or a leased view of them, checked; None if it must be looked up again."""
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
        """The metadata that was passed to `put`, without reading the block.

        Parameters
        ----------
        name : str
            Of the block.

        Returns
        -------
        dict
            Empty if there is none.

        Raises
        ------
        BlockNotFound, CorruptBlock
            As `get`.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("described.blocks") as blocks:
        ...     blocks.put("a", b"1", metadata={"source": "demo"})
        ...     blocks.metadata("a")
        {'source': 'demo'}
        """
        return metadata_of(self._look_up(name)[2].meta, name)

    def info(self, name: str) -> BlockInfo:
        """Sizes, dtype, shape and location of a block, without reading it.

        Parameters
        ----------
        name : str
            Of the block.

        Returns
        -------
        BlockInfo

        Raises
        ------
        BlockNotFound
            If there is no block of that name.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("sized.blocks") as blocks:
        ...     blocks.put("a", bytes(1000), compress=3)
        ...     info = blocks.info("a")
        >>> info.size, info.compressed, info.stored < 100
        (1000, True, True)
        """
        _, op, entry = self._look_up(name)
        dtype, shape = shape_of(entry, name) if entry.kind == ARRAY else (None, None)
        queued = op is not None
        place = (-1, -1) if queued else (entry.group, entry.offset)
        return BlockInfo(entry.raw, entry.end - entry.offset, bool(entry.how & ZSTD), dtype, shape, queued, *place)

    @contextmanager
    def borrow(self, name: str) -> Iterator[memoryview]:
        """The bytes of a block in a reused buffer, for the duration of a `with`: reading many blocks allocates nothing.

        Parameters
        ----------
        name : str
            Of the block.

        Yields
        ------
        memoryview
            Read-only bytes, of an array its elements; invalid after the `with`. Compressed blocks are decompressed into new memory.

        Raises
        ------
        BlockNotFound, CorruptBlock
            As `get`.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("borrowed.blocks") as blocks:
        ...     blocks.put("a", b"12345")
        ...     with blocks.borrow("a") as view:
        ...         len(view)
        5
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
        """Values of many blocks.

        Parameters
        ----------
        names : sequence of str
            Of the blocks.

        Returns
        -------
        list
            Values as `get` returns them, in the order of `names`.

        Raises
        ------
        BlockNotFound, CorruptBlock
            As `get`.

        Notes
        -----
        If Numba is loaded, as it is once a kernel has run, compiled code reads 64 or more blocks per call: 500 blocks of up to 4 KiB take
        0.45 to 0.6 of the time of single reads, of 16 KiB 0.85; larger bytes, arrays and compressed blocks gain nothing. The first
        such call of a process loads the code in 8 ms; the first on a machine compiles it in 0.5 s. (Importing Numba for it would take
        0.2 s, the time of 600,000 blocks.)

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("bulk.blocks") as blocks:
        ...     blocks.put_many({"a": b"1", "b": b"2"})
        ...     blocks.get_many(["b", "a"])
        [b'2', b'1']
        """
        session, names = self._current(), tuple(names)
        if len(names) < MANY or "numba" not in sys.modules or (self.queued and not self.queued.keys().isdisjoint(names)):
            return [self.get(name) for name in names]
        return _read_many()(names, session.places(names), session.mapped, self.get)


@cache
def _read_many() -> "Callable[..., list[Any]]":
    from nbtrade.storage.blockfile.bulk_read import read_many  # this line takes 12 us if it is not in the first-level cache

    return read_many


def _exists(op: Queued) -> bool:
    return type(op) is bytes or _entry_of(op) is not None  # type: ignore[arg-type]


def _entry_of(op: Op) -> Entry | None:
    """The entry that a queued change creates, without an offset; None for a deletion."""
    if op.data is not None:
        return Entry(0, len(op.data), 0, op.kind, op.how, op.raw, 0, op.meta)
    return op.link
