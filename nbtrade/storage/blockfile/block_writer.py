"""The writing half of BlockFile: turns values into queued changes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nbtrade.errors import BlockFileError, BlockNotFound
from nbtrade.storage.blockfile.layout import check_name
from nbtrade.storage.blockfile.layout_batch import Op, Queued, as_op, is_plain, parts
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.blockfile.session import Session
from nbtrade.storage.blockfile.values import stored_form
from nbtrade.storage.blockfile.writer import WriteQueue

SNAPSHOT_MAX = 16 << 20  # larger arrays are not copied: `put` waits until they are durable


class BlockWriter:
    """Stores, deletes and renames blocks through a WriteQueue."""

    path: Path
    session: Session
    queued: dict[str, Queued]  # newest change of each name that is not committed yet
    writer: WriteQueue | None  # None if opened for reading
    pool: Pool
    compress: int | None
    queue_size: int
    closed: bool

    def put(self, name: str, value: Any, *, metadata: dict[str, Any] | None = None, compress: int | None = -1) -> None:
        """Store a block, replacing one of that name. Reads of this object see it at once; `flush` makes it durable.

        Parameters
        ----------
        name : str
            1 to 1,024 bytes in UTF-8.
        value : numpy.ndarray or bytes-like
            Copied, so it may be changed afterwards; above 16 MiB it is not copied, and `put` returns when it is durable.
        metadata : dict, optional
            Anything that JSON can hold.
        compress : int, optional
            zstd level; None stores uncompressed, -1 uses the file's default.

        Raises
        ------
        TypeError, ValueError
            For a value that is not bytes or an array of plain numbers, or an invalid name.
        BlockWriteError
            If an earlier change could not be written.

        Examples
        --------
        >>> import numpy as np
        >>> from nbtrade import BlockFile
        >>> with BlockFile("put.blocks") as blocks:
        ...     blocks.put("a", np.arange(3), metadata={"unit": "ticks"}, compress=3)
        ...     blocks["a"], blocks.metadata("a")
        (array([0, 1, 2]), {'unit': 'ticks'})
        """
        level = self.compress if compress == -1 else compress
        if type(value) is bytes and metadata is None and level is None:
            check_name(name)
            self._queue().put_batch({name: value})
        else:
            self._enqueue([self._op(name, value, metadata, level)])

    def put_many(
        self, blocks: Mapping[str, Any] | Iterable[tuple[str, Any]], *, metadata: dict[str, Any] | None = None, compress: int | None = -1
    ) -> None:
        """Store many blocks. Up to `queue` of them (1,000) form one group, of which a crash leaves all or none.

        Parameters
        ----------
        blocks : mapping or iterable of (name, value)
            Names and values as in `put`.
        metadata, compress
            As in `put`, for every block.

        Raises
        ------
        TypeError, ValueError, BlockWriteError
            As `put`.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("many.blocks") as blocks:
        ...     blocks.put_many({"a": b"1", "b": b"2"})
        ...     blocks.get_many(["b", "a"])
        [b'2', b'1']
        """
        batch = dict(blocks)
        level = self.compress if compress == -1 else compress
        if metadata is None and level is None and is_plain(batch):
            for part in parts(batch, self.queue_size):
                self._queue().put_batch(part)
            return
        ops: list[Op] = []
        try:
            for name, value in batch.items():
                ops.append(self._op(name, value, metadata, level))
        except BaseException:
            self._give_back(ops)
            raise
        self._enqueue(ops)

    def _enqueue(self, ops: list[Op]) -> None:
        done = 0
        try:
            writer = self._queue()
            for done in range(0, len(ops), self.queue_size):
                writer.put(ops[done : done + self.queue_size])
        except BaseException:
            self._give_back(ops[done:])
            raise
        if not all(op.rented is not None or type(op.data) is bytes for op in ops):
            self.flush()

    def _give_back(self, ops: list[Op]) -> None:
        for op in ops:
            if op.rented is not None:
                self.pool.give_back(op.rented)

    def _op(self, name: str, value: Any, metadata: dict[str, Any] | None, compress: int | None) -> Op:
        check_name(name)
        data, kind, how, raw, meta = stored_form(value, metadata, self.compress if compress == -1 else compress)
        rented = None
        if type(data) is not bytes and len(data) <= SNAPSHOT_MAX:
            rented = self.pool.rent(len(data))
            view = memoryview(rented)[: len(data)]
            view[:] = data
            data = view.toreadonly()
        return Op(name, data, kind, how, raw, meta, None, rented)

    def delete(self, name: str) -> None:
        """Delete a block; durable after `flush`.

        Parameters
        ----------
        name : str
            Of the block.

        Raises
        ------
        BlockNotFound
            If there is no block of that name.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("deleted.blocks") as blocks:
        ...     blocks.put("a", b"1")
        ...     blocks.delete("a")
        ...     "a" in blocks
        False
        """

        def deletion() -> list[Op]:
            self._existing(name)
            return [Op(name)]

        self._queue().change(deletion)

    def rename(self, old: str, new: str) -> None:
        """Rename a block without writing its data; durable after `flush`.

        Parameters
        ----------
        old, new : str
            Names. An existing block named `new` is replaced.

        Raises
        ------
        BlockNotFound
            If there is no block named `old`.
        TypeError, ValueError
            If `new` is not a valid name.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("renamed.blocks") as blocks:
        ...     blocks.put("a", b"1")
        ...     blocks.rename("a", "b")
        ...     blocks.list()
        ['b']
        """
        check_name(new)
        self._queue().change(lambda: [self._existing(old)._replace(name=new), Op(old)] if old != new else [])

    def _existing(self, name: str) -> Op:
        """A change that would store block `name` again. The caller holds the queue's mutex."""
        queued = self.queued.get(name)
        op = Op(name, link=self.session.find(name)) if queued is None else as_op(name, queued)
        if op.data is None and op.link is None:
            raise BlockNotFound(f"{self.path} has no block {name!r}. `list(prefix)` shows the names.")
        return op if op.rented is None else op._replace(data=bytes(op.data), rented=None)

    def flush(self) -> None:
        """Wait until all changes are durable.

        Raises
        ------
        BlockWriteError
            If changes could not be written: they are dropped, and the message names them. Earlier commits are intact.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("flushed.blocks") as blocks:
        ...     blocks.put("a", b"1")
        ...     blocks.flush()
        ...     blocks.info("a").queued
        False
        """
        self._queue().flush()

    def _queue(self) -> WriteQueue:
        if self.writer is None:
            raise BlockFileError(f"{self.path} was opened for reading (mode='r'). Open it with mode='a' to write.")
        if self.closed:
            raise BlockFileError(f"{self.path} is closed. Open it again.")
        return self.writer
