"""The common part of Column and CompactColumn, for readers and writers: length, durable rows, closing.

    ColumnBase          len, epoch, n_durable, with                  ColumnReader, CompactReader
      └ WritableColumn  sync, truncate, close, the lock              Column, CompactColumn

A reader loads the live page at each `len` (0.8 us) and has no other connection to the writer.
"""

import os
from types import TracebackType
from typing import Self

from nbtrade.storage.columns.column_file import ColumnFile, WritableFile
from nbtrade.storage.disk import DISK, Disk
from nbtrade.storage.system import StrPath


class ColumnBase:
    """A named column, regardless of the type of its rows."""

    _file: ColumnFile

    def __init__(self, path: StrPath, disk: Disk = DISK) -> None:
        self.path = os.path.abspath(path)
        self._disk = disk

    def _now(self) -> ColumnFile:
        """The file that currently has the name."""
        return self._file

    def __len__(self) -> int:
        """Number of published rows at this moment."""
        return self._now().count

    @property
    def epoch(self) -> int:
        """Number that increases whenever published rows may change: after `truncate`, a failed sync, or an upgrade.

        Rows read since an epoch that is still current are valid.
        """
        return self._now().epoch

    @property
    def n_durable(self) -> int:
        """Number of rows known to survive a power failure: as of this writer's last `sync`, or when this reader opened the file."""
        return self._file.slot.rows

    def close(self) -> None:
        """Do nothing: a reader holds no lock, and its arrays remain valid. Exists for `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class WritableColumn(ColumnBase):
    """The common part of the writers, which hold the lock until they close. For one thread at a time."""

    _file: WritableFile

    def _open_file(self) -> WritableFile:
        if self._file.closed:
            raise ValueError(f"{self.path} is closed, or was opened by the parent process before a fork. Open it again to write.")
        return self._file

    def truncate(self, count: int) -> None:
        """Drop all rows after the first `count`, durably, and increase `epoch`.

        The file keeps its length, because readers may have it mapped.

        Parameters
        ----------
        count : int
            Rows to keep, 0 to `len(column)`.

        Raises
        ------
        ValueError
            If `count` is out of range, or the column is closed.
        StoreWriteError
            If the disk is full or failing.

        Examples
        --------
        >>> from nbtrade import Column
        >>> with Column("truncated.col", "i4") as column:
        ...     column.extend([1, 2, 3])
        ...     column.truncate(1)
        ...     column.array
        array([1], dtype=int32)
        """
        file = self._open_file()
        if not 0 <= count <= file.count:
            raise ValueError(f"{self.path} has {file.count:,} rows: it can be truncated to 0 to {file.count:,} rows, not {count:,}")
        file.truncate(count)

    def sync(self) -> None:
        """Make all rows durable: they survive a power failure from then on.

        Raises
        ------
        StoreWriteError
            If the disk is full or failing. Rows appended since the last successful `sync` may have been dropped: the message says how many
            remain, as does `len`.

        Examples
        --------
        >>> from nbtrade import Column
        >>> with Column("synced.col", "i4") as column:
        ...     column.extend([1, 2, 3])
        ...     before = column.n_durable
        ...     column.sync()
        ...     before, column.n_durable
        (0, 3)
        """
        self._open_file().commit()

    def close(self) -> None:
        """Make all rows durable and release the lock. Raises as `sync`; the column is closed even then."""
        if not self._file.closed:
            try:
                self._file.commit()
            finally:
                self._file.close()
