"""`BlockFolder`: the interface of BlockFile with one file per block, for object stores and as a baseline.

    FOLDER/features%2F2025-01-06.block      64-byte ROW, name, metadata, stored bytes

Each `put` writes and syncs a side file and renames it over the old one; `flush` syncs the folder, which makes the names durable.
A read opens, reads and checks one file. Long names are stored under their hash.
Weak cases: one sync per block, and no atomic groups.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import xxhash

from nbtrade.errors import BlockFileError, BlockNotFound, CorruptBlock
from nbtrade.storage.blockfile.layout import ARRAY, BYTES, ROW_STRUCT, ZSTD, Entry, check_name, entry_of
from nbtrade.storage.blockfile.reader import BlockInfo
from nbtrade.storage.blockfile.repair import Damage, Report
from nbtrade.storage.blockfile.values import metadata_of, shape_of, stored_form, value_of
from nbtrade.storage.disk import DISK, Disk

ENDING = ".block"
LONGEST = 200  # characters of a file name
HEAD = ROW_STRUCT.size
_SIDE = re.compile(r"\.block\.\d+-\d+\.new$")


class BlockFolder:
    """Blocks as files in a folder, with the methods and errors of BlockFile. Any number of processes may write.

    Parameters
    ----------
    path : str or os.PathLike
        The folder; created if it does not exist.
    compress : int, optional
        Default zstd level for `put`; None stores blocks uncompressed.
    disk : Disk, optional
        File operations; tests replace it to inject faults.

    Raises
    ------
    BlockFileError
        If `path` is a file.

    Examples
    --------
    >>> from nbtrade.storage.blockfile.folder import BlockFolder
    >>> with BlockFolder("blocks") as blocks:
    ...     blocks.put("features/monday", b"123", metadata={"rows": 3})
    >>> blocks.list(), blocks["features/monday"], blocks.metadata("features/monday")
    (['features/monday'], b'123', {'rows': 3})
    """

    def __init__(self, path: str | os.PathLike[str], *, compress: int | None = None, disk: Disk = DISK) -> None:
        self.path = Path(path).absolute()
        if self.path.exists() and not self.path.is_dir():
            raise BlockFileError(f"{self.path} is a file: open it with BlockFile, or choose another name.")
        self.path.mkdir(parents=True, exist_ok=True)
        self.compress, self.disk = compress, disk

    def _file(self, name: str) -> Path:
        check_name(name)
        quoted = quote(name, safe="")
        if len(quoted) > LONGEST:
            quoted = f"{quoted[:100]}%{xxhash.xxh3_128_hexdigest(name.encode())}"
        return self.path / (quoted + ENDING)

    # --- writing --------------------------------------------------------------------------------------
    def put(self, name: str, value: Any, *, metadata: dict[str, Any] | None = None, compress: int | None = -1) -> None:
        """Store a block, replacing one of that name. Its bytes are durable on return, its name after `flush`.

        Parameters
        ----------
        name, value, metadata, compress
            As in `BlockFile.put`.

        Raises
        ------
        TypeError, ValueError
            For an invalid value or name.
        OSError
            If the disk is full or failing. An existing block of that name is intact.

        Examples
        --------
        >>> from nbtrade.storage.blockfile.folder import BlockFolder
        >>> with BlockFolder("put") as blocks:
        ...     blocks.put("a/b", b"1")
        ...     blocks["a/b"]
        b'1'
        """
        file = self._file(name)
        data, kind, how, raw, meta = stored_form(value, metadata, self.compress if compress == -1 else compress)
        self._write(file, name.encode(), data, kind, how, raw, meta)

    def _write(self, file: Path, key: bytes, data: Any, kind: int, how: int, raw: int, meta: bytes) -> None:
        check = xxhash.xxh3_64_intdigest(data)
        at = HEAD + len(key) + len(meta)
        head = ROW_STRUCT.pack(0, at, len(data), raw, check, 0, 0, len(meta), len(key), kind, how)
        head = xxhash.xxh3_64_digest(head[8:] + key + meta)[::-1] + head[8:]
        side = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}.new")
        fd = self.disk.open(side, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self.disk.pwritev(fd, [head, key, meta, data], 0)
            self.disk.fdatasync(fd)
            self.disk.rename(side, file)
        except BaseException:
            with suppress(OSError):
                self.disk.unlink(side)
            raise
        finally:
            self.disk.close(fd)

    def put_many(
        self, blocks: Mapping[str, Any] | Iterable[tuple[str, Any]], *, metadata: dict[str, Any] | None = None, compress: int | None = -1
    ) -> None:
        """Store many blocks, one after the other; an error leaves the earlier ones stored.

        Parameters
        ----------
        blocks, metadata, compress
            As in `BlockFile.put_many`.

        Raises
        ------
        TypeError, ValueError, OSError
            As `put`.
        """
        for name, value in blocks.items() if isinstance(blocks, Mapping) else blocks:
            self.put(name, value, metadata=metadata, compress=compress)

    def delete(self, name: str) -> None:
        """Remove a block.

        Parameters
        ----------
        name : str
            Of the block.

        Raises
        ------
        BlockNotFound
            If there is no block of that name.
        """
        try:
            self.disk.unlink(self._file(name))
        except FileNotFoundError:
            raise self._not_found(name) from None

    def rename(self, old: str, new: str) -> None:
        """Rename a block. The file contains its name, so it is rewritten.

        Parameters
        ----------
        old, new : str
            Names. An existing block named `new` is replaced.

        Raises
        ------
        BlockNotFound, CorruptBlock
            If there is no block named `old`, or it is damaged.
        OSError
            If the disk is full or failing.
        """
        entry, data = self._read(old)
        if old != new:
            self._write(self._file(new), new.encode(), data, entry.kind, entry.how, entry.raw, entry.meta)
            self.delete(old)

    def flush(self) -> None:
        """Make the names of all blocks durable."""
        self.disk.sync_folder(self.path)

    # --- reading --------------------------------------------------------------------------------------
    def _not_found(self, name: str) -> BlockNotFound:
        return BlockNotFound(f"{self.path} has no block {name!r}. `list(prefix)` shows the names.")

    def _read(self, name: str) -> tuple[Entry, bytes]:
        try:
            content = self._file(name).read_bytes()
        except FileNotFoundError:
            raise self._not_found(name) from None
        _, entry = _parsed(content, len(content))
        if entry is None or xxhash.xxh3_64_intdigest(data := content[entry.offset : entry.end]) != entry.check:
            raise CorruptBlock(f"{self._file(name)}: block {name!r} is damaged (wrong checksum). Put it again or restore it.", name, 0)
        return entry, data

    def get(self, name: str, *, verify: bool = True) -> Any:
        """The value of a block, always verified.

        Parameters
        ----------
        name : str
            Of the block.
        verify : bool
            Ignored, for the common interface.

        Returns
        -------
        bytes or numpy.ndarray
            Arrays are read-only, with the dtype and shape that were stored.

        Raises
        ------
        BlockNotFound
            If there is no block of that name.
        CorruptBlock
            If its checksum is wrong.

        Examples
        --------
        >>> import numpy as np
        >>> from nbtrade.storage.blockfile.folder import BlockFolder
        >>> with BlockFolder("read") as blocks:
        ...     blocks.put("a", np.arange(3))
        ...     blocks.get("a")
        array([0, 1, 2])
        """
        entry, data = self._read(name)
        return value_of(data, entry, name)

    __getitem__ = get

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
        """
        return [self.get(name) for name in names]

    @contextmanager
    def borrow(self, name: str) -> Iterator[memoryview]:
        """As `BlockFile.borrow`, for the common interface; it allocates."""
        value = self.get(name)
        yield memoryview(value if isinstance(value, bytes) else value.reshape(-1).view("u1")).toreadonly()

    def metadata(self, name: str) -> dict[str, Any]:
        """The metadata that was passed to `put`, or {}. Raises BlockNotFound, CorruptBlock."""
        return metadata_of(self._read(name)[0].meta, name)

    def info(self, name: str) -> BlockInfo:
        """As `BlockFile.info`, except that it reads the block. Raises BlockNotFound, CorruptBlock."""
        entry, _ = self._read(name)
        dtype, shape = shape_of(entry, name) if entry.kind == ARRAY else (None, None)
        return BlockInfo(
            entry.raw, entry.end - entry.offset, bool(entry.how & ZSTD), dtype, shape, queued=False, group=0, offset=entry.offset
        )

    def __contains__(self, name: str) -> bool:
        return self._file(name).exists()

    def list(self, prefix: str = "") -> "list[str]":
        """List the names of blocks; reads the head of every file.

        Parameters
        ----------
        prefix : str
            Of the names to include.

        Returns
        -------
        list of str
            Names, ascending.
        """
        names = (_name_of(file) for file in self.path.glob("*" + ENDING))
        return sorted(name for name in names if name is not None and name.startswith(prefix))

    def __iter__(self) -> Iterator[str]:
        return iter(self.list())

    def __len__(self) -> int:
        return sum(1 for _ in self.path.glob("*" + ENDING))

    def scan(self, prefix: str = "", *, read_ahead: bool = True) -> Iterator[tuple[str, Any]]:
        """Iterate over all blocks in ascending order of names.

        Parameters
        ----------
        prefix : str
            Of the names to include.
        read_ahead : bool
            Ignored, for the common interface.

        Yields
        ------
        tuple of (str, bytes or numpy.ndarray)
            Name and value.

        Raises
        ------
        CorruptBlock
            If a block is damaged.
        """
        for name in self.list(prefix):
            with suppress(BlockNotFound):  # deleted in the meantime
                yield name, self.get(name)

    def verify(self, prefix: str = "") -> Report:
        """Read and check all blocks; nothing is repaired.

        Parameters
        ----------
        prefix : str
            Of the names to check. A file with a damaged head is always reported, because its name is unknown.

        Returns
        -------
        Report
            As of `BlockFile.verify`.

        Examples
        --------
        >>> from nbtrade.storage.blockfile.folder import BlockFolder
        >>> with BlockFolder("verified") as blocks:
        ...     blocks.put("a", b"1")
        ...     blocks.verify().ok
        True
        """
        damaged, n_blocks, n_bytes = [], 0, 0
        for file in sorted(self.path.glob("*" + ENDING)):
            content = file.read_bytes()
            name, entry = _parsed(content, len(content))
            if entry is not None and not name.startswith(prefix):
                continue
            n_blocks, n_bytes = n_blocks + 1, n_bytes + len(content)
            if entry is None or xxhash.xxh3_64_intdigest(content[entry.offset : entry.end]) != entry.check:
                damaged.append(Damage(name or file.name, 0, "block", healed=False))
        return Report(n_blocks, n_bytes, damaged)

    def vacuum(self) -> None:
        """Remove the side files of interrupted writes, recognised by their names."""
        for left_over in self.path.iterdir():
            if _SIDE.search(left_over.name) and left_over.is_file() and not left_over.is_symlink():
                self.disk.unlink(left_over)

    def stats(self) -> dict[str, int]:
        """Number of blocks and bytes of their files."""
        return {"blocks": len(self), "file_bytes": sum(file.stat().st_size for file in self.path.glob("*" + ENDING))}

    def close(self) -> None:
        """Make the names of all blocks durable."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _parsed(content: bytes, size: int) -> tuple[str, Entry | None]:
    """Name and entry in a block's file of `size` bytes; the entry is None if the head is damaged. content : at least its head."""
    if len(content) < HEAD:
        return "", None
    fields = ROW_STRUCT.unpack_from(content)
    stop = HEAD + fields[7] + fields[8]
    if xxhash.xxh3_64_intdigest(content[8:stop]) != fields[0] or fields[1] != stop or not _fits(fields, size):
        return "", None
    try:
        name = content[HEAD : HEAD + fields[8]].decode()
    except UnicodeDecodeError:
        return "", None
    return name, entry_of(fields, content[HEAD + fields[8] : stop])


def _fits(fields: tuple[int, ...], size: int) -> bool:
    """Whether an unpacked ROW can describe a block in a file of `size` bytes."""
    _, offset, stored, raw, _, _, _, _, name_size, kind, how = fields
    return offset + stored <= size and kind in (BYTES, ARRAY) and name_size > 0 and (how == ZSTD or (how == 0 and raw == stored))


def _name_of(file: Path) -> str | None:
    try:
        with open(file, "rb") as opened:
            head, size = opened.read(HEAD), os.fstat(opened.fileno()).st_size
            sizes = sum(ROW_STRUCT.unpack(head)[7:9]) if len(head) == HEAD else 0
            return _parsed(head + opened.read(min(sizes, size)), size)[0] or None
    except (FileNotFoundError, IsADirectoryError):
        return None
