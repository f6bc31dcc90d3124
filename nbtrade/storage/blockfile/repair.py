"""Repair: valid copies of damaged blocks, and the report of a verification.

A copy is valid if it matches the checksum computed when the block was put; a checksum is never recomputed to match the data.
Sources, in order: the previous version, if the same bytes were put again; the mirror. A valid copy is queued to be written to
new pages.
"""

from collections.abc import Callable
from typing import NamedTuple

import xxhash

from nbtrade.errors import CorruptBlock
from nbtrade.storage.blockfile.layout import Entry
from nbtrade.storage.blockfile.session import Session

_hash = xxhash.xxh3_64_intdigest


class Damage(NamedTuple):
    """Damage at one offset. name : of the block, "" for the catalog;  healed : a valid copy was found and is being rewritten."""

    name: str
    offset: int
    what: str
    healed: bool


class Report(NamedTuple):
    """The result of `verify`. n_bytes : stored bytes checked."""

    n_blocks: int
    n_bytes: int
    damaged: list[Damage]

    @property
    def ok(self) -> bool:
        """Whether no damage was found."""
        return not self.damaged


def valid_copy(session: Session, name: str, entry: Entry) -> bytes | None:
    """The stored bytes of `entry` from another source, or None."""
    n = entry.end - entry.offset
    places: list[Callable[[], bytes | None]] = []
    if session.committer:
        names, rows = session.committer.previous
        same = [i for i, other in enumerate(names) if other == name and rows["check"][i] == entry.check and rows["stored"][i] == n]
        places += [lambda i=i: session.file.read(int(rows["offset"][i]), n) for i in same]  # type: ignore[misc]
    places.append(lambda: session.file.read_mirror(entry.offset, n))
    for read in places:
        data = read()
        if data is not None and len(data) == n and _hash(data) == entry.check:
            return data
    return None


def corrupt(session: Session, name: str, entry: Entry) -> CorruptBlock:
    """The error for a block without a valid copy."""
    mirror = "its mirror has no valid copy either" if session.file.mirror_fd is not None else "there is no mirror"
    return CorruptBlock(
        f"{session.file.path}: block {name!r} ({entry.end - entry.offset:,} bytes at offset {entry.offset:,}, group {entry.group}) "
        f"is damaged: its checksum differs, and {mirror}. The disk or another program changed it; "
        "put it again, or restore the file. `verify()` lists all damage.",
        name,
        entry.offset,
    )


def catalog_damage(session: Session) -> list[Damage]:
    """Damage outside of blocks: slots, base, journal."""
    catalog = session.catalog
    found = [Damage("", int(what.rsplit(" ", 1)[1]), what, healed=False) for what in catalog.damage_of_slots()]
    found += [Damage("", -1, what, healed=True) for what in catalog.healed]
    slot, file = catalog.slot, session.file
    if slot.base_size and _hash(file.read(slot.base_at, slot.base_size)) != slot.base_check:
        found.append(Damage("", slot.base_at, "catalog base", healed=False))
    at = catalog.damaged_record()
    if at is not None:
        found.append(Damage("", at, "catalog record", healed=False))
    return found
