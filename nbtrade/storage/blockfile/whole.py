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
    """What BlockFile does with all blocks."""

    def _settle(self) -> Session:
        """The file, with everything that was queued."""
        raise NotImplementedError

    def _in_writer(self, function: Callable[[], Any]) -> Any:
        """Run where nothing is committed meanwhile, if this object writes."""
        raise NotImplementedError

    def scan(self, prefix: str = "", *, read_ahead: bool = True) -> Iterator[tuple[str, Any]]:
        """(name, value) of all blocks in file order, by large reads; with `read_ahead` the next ones are under way meanwhile.

        What is queued when it starts is made durable first. Raises CorruptBlock, OSError.
        """
        session = self._settle()
        entries = session.entries(prefix)
        for window, data in read_windows(session.file, self.pool, entries, read_ahead):
            for name, entry in window.items:
                stored = data[entry.offset - window.start : entry.end - window.start].tobytes()
                if _hash(stored) == entry.check:
                    yield name, value_of(stored, entry, name)
                elif name in self:  # replaced meanwhile, or damaged
                    yield name, self.get(name)

    def verify(self, prefix: str = "", *, catalog: bool = True) -> Report:
        """Read and check everything, heal what can be healed, and say what is damaged."""
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
