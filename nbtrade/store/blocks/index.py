"""Names to entries: what changed since the base was written, over the base, with a bounded cache of what was looked up there.

    overlay   dict name -> Entry        from journal records; an entry of kind DELETED hides the base's
    base      mapped, see base.py
    recent    the cache: least recently used entries of the base go first

An Index is replaced as a whole when the base is; its cache cannot go stale, because a base never changes. A look-up takes no lock:
dicts change in one step under the interpreter's lock, and the overlay is asked first.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from nbtrade.store.blocks.base import Base
from nbtrade.store.blocks.layout import DELETED, Entry

CACHED = 100_000  # entries of the base kept decoded: about 40 MB


class Index:
    """base : Base or none;  cached : most entries in the cache."""

    def __init__(self, base: Base | None = None, n_blocks: int = 0, cached: int = CACHED) -> None:
        self.base = base or Base()
        self.overlay: dict[str, Entry] = {}
        self.recent: OrderedDict[str, Entry] = OrderedDict()
        self.cached = cached
        self.n_blocks = n_blocks
        self.find_overlay = self.overlay.get

    def find(self, name: str) -> Entry | None:
        """The entry of a name, or None."""
        entry = self.find_overlay(name)
        if entry is not None:
            return entry if entry.kind else None
        try:
            entry = self.recent[name]
            self.recent.move_to_end(name)
        except KeyError:  # never looked up, or just dropped by another thread
            return self._find_in_base(name)
        return entry

    def _find_in_base(self, name: str) -> Entry | None:
        entry = self.base.find(name)
        if entry is not None:
            self.recent[name] = entry
            while len(self.recent) > self.cached:
                try:
                    self.recent.popitem(last=False)
                except KeyError:  # other threads have dropped the rest
                    break
        return entry

    def found(self, names: Sequence[str]) -> dict[str, Entry]:
        """The entries of those names that have one."""
        overlaid = zip(names, map(self.find_overlay, names), strict=True)
        found = {name: entry or self.find(name) for name, entry in overlaid}
        return {name: entry for name, entry in found.items() if entry is not None and entry[3]}

    def apply(self, names: Iterable[str], entries: Iterable[Entry], n_added: int) -> None:
        """One group's changes."""
        self.overlay.update(zip(names, entries, strict=True))
        self.n_blocks += n_added

    def names(self, prefix: str = "") -> list[str]:
        """All names that start with `prefix`, ascending."""
        overlay = dict(self.overlay)
        found = [name for name in self.base.with_prefix(prefix.encode()) if name not in overlay] if self.base.n else []
        found += [name for name, entry in overlay.items() if entry.kind != DELETED and name.startswith(prefix)]
        found.sort()
        return found

    def items(self) -> Iterator[tuple[str, Entry]]:
        """All (name, entry), in no order."""
        overlay = dict(self.overlay)
        of_base = ((self.base.name(row).decode(), row) for row in range(self.base.n))
        kept = ((name, self.base.entry(row)) for name, row in of_base if name not in overlay)
        return itertools.chain(kept, ((name, entry) for name, entry in overlay.items() if entry.kind != DELETED))

    def changes(self) -> list[tuple[str, Entry | None]]:
        """What the next base has to take up."""
        return [(name, entry if entry.kind else None) for name, entry in self.overlay.items()]
