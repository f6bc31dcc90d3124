"""What Column and CompactColumn have in common, to read and to write: how long they are, what is durable, how they close.

    ColumnBase          len, epoch, n_durable, with                  ColumnReader, CompactReader
      └ WritableColumn  sync, truncate, close, the lock              Column, CompactColumn

A reader looks at the live page at each `len` (0.8 us) and has no other tie to the writer.
"""

import os
from types import TracebackType
from typing import Self

from nbtrade.storage.columns.column_file import ColumnFile, WritableFile
from nbtrade.storage.disk import DISK, Disk
from nbtrade.storage.system import StrPath


class ColumnBase:
    """A column's file under a name, and what is the same whatever its rows are."""

    _file: ColumnFile

    def __init__(self, path: StrPath, disk: Disk = DISK) -> None:
        self.path = os.path.abspath(path)
        self._disk = disk

    def _now(self) -> ColumnFile:
        """The file that has the name now."""
        return self._file

    def __len__(self) -> int:
        """Rows, now."""
        return self._now().count

    @property
    def epoch(self) -> int:
        """Raised whenever rows that were published may change: by `truncate`, by a failed sync, by an upgrade."""
        return self._now().epoch

    @property
    def n_durable(self) -> int:
        """Rows known to survive a crash of the machine: of this writer's last `sync`, or when this reader opened the file."""
        return self._file.slot.rows

    def close(self) -> None:
        """For `with`: a reader holds nothing that must be given back, and its arrays stay valid."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class WritableColumn(ColumnBase):
    """The same by its writer, who has the lock until it closes. One thread at a time."""

    _file: WritableFile

    def _open_file(self) -> WritableFile:
        if self._file.closed:
            raise ValueError(f"{self.path} is closed, or was opened before a fork by the parent. Open it again to write.")
        return self._file

    def truncate(self, count: int) -> None:
        """Go back to the first `count` rows, durably; raises `epoch`. The file keeps its length: readers may be in it."""
        file = self._open_file()
        if not 0 <= count <= file.count:
            raise ValueError(f"{self.path} has {file.count:,} rows: truncate to 0 .. {file.count:,}, not {count:,}")
        file.truncate(count)

    def sync(self) -> None:
        """Make all rows durable. Raises StoreWriteError: rows that were not durable before may be gone, see `len` and the message."""
        self._open_file().commit()

    def close(self) -> None:
        """Make all rows durable and let the next writer in. Raises as `sync`; it is closed all the same."""
        if not self._file.closed:
            try:
                self._file.commit()
            finally:
                self._file.close()
