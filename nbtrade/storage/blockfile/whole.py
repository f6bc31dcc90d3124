"""All blocks of a file: scanned in file order, or verified."""

from collections.abc import Callable, Iterator
from typing import Any

import xxhash

from nbtrade.errors import CorruptBlock
from nbtrade.storage.blockfile.layout import Entry
from nbtrade.storage.blockfile.reader import BlockReader
from nbtrade.storage.blockfile.repair import Damage, Report, catalog_damage
from nbtrade.storage.blockfile.scan import read_windows
from nbtrade.storage.blockfile.session import Session
from nbtrade.storage.blockfile.values import value_of

_hash = xxhash.xxh3_64_intdigest


class FileReader(BlockReader):
    """Operations on all blocks of a file."""

    def _settle(self) -> Session:
        """The session, after all queued changes are committed."""
        raise NotImplementedError

    def _in_writer(self, function: Callable[[], Any]) -> Any:
        """Call `function` while nothing is committed: in the writer thread, if there is one."""
        raise NotImplementedError

    def scan(self, prefix: str = "", *, read_ahead: bool = True) -> Iterator[tuple[str, Any]]:
        """Iterate over all blocks in file order, with large reads. Queued changes are made durable first.

        Parameters
        ----------
        prefix : str
            Of the names to include.
        read_ahead : bool
            Let the system load the next blocks while the current ones are processed.

        Yields
        ------
        tuple of (str, bytes or numpy.ndarray)
            Name and value.

        Raises
        ------
        CorruptBlock
            If a block is damaged beyond repair.
        OSError
            If the disk cannot read.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("scanned.blocks") as blocks:
        ...     blocks.put_many({"day/1": b"one", "day/2": b"two", "other": b""})
        ...     dict(blocks.scan("day/"))
        {'day/1': b'one', 'day/2': b'two'}
        """
        session = self._settle()
        entries = session.entries(prefix)
        for window, data in read_windows(session.file, self.pool, entries, read_ahead):
            for name, entry in window.items:
                stored = data[entry.offset - window.start : entry.end - window.start].tobytes()
                if _hash(stored) == entry.check:
                    yield name, value_of(stored, entry, name)
                elif name in self:  # replaced in the meantime, or damaged
                    yield name, self.get(name)

    def verify(self, prefix: str = "", *, catalog: bool = True) -> Report:
        """Read and check everything, and repair damaged blocks that have a valid copy.

        Parameters
        ----------
        prefix : str
            Of the names to check.
        catalog : bool
            Whether to check the catalog as well.

        Returns
        -------
        Report
            Blocks and bytes checked, the list of damage, and `ok`.

        Raises
        ------
        OSError
            If the disk cannot read.

        Examples
        --------
        >>> from nbtrade import BlockFile
        >>> with BlockFile("verified.blocks") as blocks:
        ...     blocks.put("a", b"12345")
        ...     report = blocks.verify()
        >>> report.ok, report.n_blocks, report.n_bytes
        (True, 1, 5)
        """
        session = self._settle()
        entries = session.entries(prefix)
        damaged: list[Damage] = []
        n_bytes = 0
        for window, data in read_windows(session.file, self.pool, entries, read_ahead=True):
            for name, entry in window.items:
                n_bytes += entry.end - entry.offset
                if _hash(data[entry.offset - window.start : entry.end - window.start]) != entry.check:
                    damaged += self._verified_again(name, entry)
        if catalog:
            damaged += self._in_writer(lambda: catalog_damage(self._current()))
        return Report(len(entries), n_bytes, damaged)

    def _verified_again(self, name: str, entry: Entry) -> list[Damage]:
        session = self._current()
        if session.find(name) != entry:
            return []
        try:
            self._repair(session, name, entry)
        except CorruptBlock:
            return [Damage(name, entry.offset, "block", healed=False)]
        return [Damage(name, entry.offset, "block", healed=True)]
