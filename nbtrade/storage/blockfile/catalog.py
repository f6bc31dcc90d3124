"""The catalog of a block file: slots, base and journal, read into an Index, and the tail that a crash may have left.

    slot (group 41) -> base (group 17) + records 18 .. 41 = index        what readers see
                       record 42, 43                                     the tail after a crash: durable or torn

A slot is written after its group has been synced, but is not synced itself. So after a crash there may be records after the slot's group.
All but the last are durable, because a record is written only after the sync of the previous one; the last one is valid if its
blocks match its checksums. Otherwise its group was never acknowledged, and all of it is dropped.
"""

import os
import struct

import numpy as np
import xxhash

from nbtrade.errors import BlockFileError, CorruptBlock
from nbtrade.storage.blockfile.file import PagedFile, mirror_of
from nbtrade.storage.blockfile.index import Index
from nbtrade.storage.blockfile.journal import Position, Record, replay
from nbtrade.storage.blockfile.layout import DELETED, PAGE, SEQUENCE_AT, SLOT_SIZE, VERSION, Slot, pages_of, unpack_slot
from nbtrade.storage.blockfile.snapshot_index import SnapshotIndex

_hash = xxhash.xxh3_64_intdigest


def slots_of(head: bytes) -> list[Slot | None]:
    """The two slots at the start of a file."""
    return [unpack_slot(head[at : at + SLOT_SIZE]) for at in (0, PAGE)]


def newest(slots: list[Slot | None]) -> Slot | None:
    """The valid slot with the higher sequence."""
    valid = [slot for slot in slots if slot is not None]
    return max(valid, key=lambda slot: slot.sequence) if valid else None


def check_version(slot: Slot, path: object) -> None:
    """Raise BlockFileError if the file has a newer format."""
    if slot.version > VERSION:
        raise BlockFileError(
            f"{path} has block file format {slot.version}; this nbtrade reads up to {VERSION}. Upgrade nbtrade; the file was not changed."
        )


class Catalog:
    """The index of `file` and the end of its journal. `healed`: parts that had to be read from the mirror."""

    def __init__(self, file: PagedFile, cached: int) -> None:
        self.file = file
        self.cached = cached
        self.healed: list[str] = []
        self.slot: Slot
        self.index = Index()
        self.group = 0
        self.position = Position(0, 0)
        self.segments: list[Position] = []
        self.sequences = file.view[: 2 * PAGE].cast("Q")

    # --- slots ----------------------------------------------------------------------------------------
    def sequence(self) -> int:
        """The newest sequence number in the mapping. It changes with every commit of any process."""
        a, b = self.sequences[SEQUENCE_AT // 8], self.sequences[(PAGE + SEQUENCE_AT) // 8]
        return max(a, b)

    def read_slot(self) -> Slot | None:
        """The newest valid slot of the file, otherwise of its mirror, otherwise None."""
        slots = slots_of(self.file.read(0, 2 * PAGE))
        slot = newest(slots)
        if slot is None and (head := self.file.read_mirror(0, 2 * PAGE)) is not None:
            slot = newest(slots_of(head))
            if slot is not None:
                self.healed.append("both slots")
        return slot

    def damage_of_slots(self) -> list[str]:
        """Faults of the slots. In a file without a second commit one slot is unused."""
        head = self.file.read(0, 2 * PAGE)
        return [
            f"slot {name} at offset {at}"
            for name, at, slot in zip("AB", (0, PAGE), slots_of(head), strict=True)
            if slot is None and any(head[at : at + SLOT_SIZE])
        ]

    # --- loading --------------------------------------------------------------------------------------
    def load(self, slot: Slot) -> None:
        """Read base and journal up to the slot's group. Raises CorruptBlock if they are damaged and no mirror has a valid copy."""
        index = Index(self._base(slot), slot.n_blocks, self.cached)
        self.slot = slot._replace(base_at=-1)  # until everything is read: after a failure the next attempt starts over
        self.group, self.position = slot.base_group, Position(slot.journal_at, slot.journal_stop)
        self.segments = [self.position]
        self._replay(slot, index)
        self.slot, self.index = slot, index

    def catch_up(self, slot: Slot) -> None:
        """Apply the commits since `load`, up to this slot."""
        if (slot.base_at, slot.base_group) != (self.slot.base_at, self.slot.base_group):
            self.load(slot)
            return
        self._replay(slot, self.index)
        self.slot, self.index.n_blocks = slot, slot.n_blocks

    def _base(self, slot: Slot) -> SnapshotIndex:
        data = self._base_bytes(slot)
        try:
            base = SnapshotIndex(data, slot.base_at)
            if data:
                base.check(self._size())
                if not self.file.readonly:
                    base.check_rows()
        except (ValueError, struct.error) as error:
            raise CorruptBlock(
                f"{self.file.path}: the catalog's base at offset {slot.base_at:,} is inconsistent: {error}. Restore the file.",
                "catalog",
                slot.base_at,
            ) from None
        return base

    def _size(self) -> int:
        """Current size of the file in bytes."""
        return os.fstat(self.file.fd).st_size

    def _base_bytes(self, slot: Slot) -> "memoryview | bytes":
        if not slot.base_size:
            return b""
        data: memoryview | bytes = self.file.view[slot.base_at : slot.base_at + slot.base_size]
        if slot.base_at + slot.base_size <= self._size() and _hash(data) == slot.base_check:
            return data
        mirrored = self.file.read_mirror(slot.base_at, slot.base_size)
        if mirrored is not None and _hash(mirrored) == slot.base_check:
            self.healed.append(f"base at offset {slot.base_at}")
            return mirrored
        raise CorruptBlock(
            f"{self.file.path}: the catalog's base at offset {slot.base_at:,} ({slot.base_size:,} bytes) is damaged, and "
            f"{mirror_of(self.file.path).name} has no valid copy. Restore the file from a backup.",
            "catalog",
            slot.base_at,
        )

    def _replay(self, slot: Slot, index: Index) -> None:
        """Apply the records after `position` up to the slot's group; starting at a damaged one, those of the mirror."""
        for read, source in ((self.file.read, "file"), (self._mirrored, "mirror")):
            if self.group >= slot.group:
                return
            if source == "mirror":
                self.healed.append(f"record {self.group + 1} at offset {self.position.at}")
            for behind, record in replay(read, slot.file_id, self.group + 1, self.position, self._size()):
                self._pass(behind, record, index)
                if self.group == slot.group:
                    return
        if self.group < slot.group:
            raise CorruptBlock(
                f"{self.file.path}: the catalog's record of group {self.group + 1} at offset {self.position.at:,} is damaged; it and "
                f"{slot.group - self.group - 1} committed groups after it cannot be read. Restore the file, or its mirror, from a backup.",
                "catalog",
                self.position.at,
            )

    def _mirrored(self, at: int, n: int) -> bytes:
        return self.file.read_mirror(at, n) or b""

    def _pass(self, behind: Position, record: Record | None, index: Index) -> None:
        self.position = behind
        if record is None:
            self.segments.append(behind)
        else:
            index.apply(record.names, record.rows, record.metas)
            self.group = record.group

    # --- the tail -------------------------------------------------------------------------------------
    def take_tail(self) -> list[tuple[int, int]]:
        """Apply the durable groups after the slot's; returns (offset, size) of everything they wrote. Only while no writer is active."""
        steps = list(replay(self.file.read, self.slot.file_id, self.group + 1, self.position, self._size()))
        while steps and steps[-1][1] is None:
            steps.pop()
        if steps and not self._is_whole(steps[-1][1]):
            steps.pop()
            while steps and steps[-1][1] is None:
                steps.pop()
        written = []
        for behind, record in steps:
            if record is None:
                written.append((self.position.at, PAGE))
            else:
                self._count(record)
                written += [(at, n) for at, n, _ in _written(record)]
                written.append((record.at, record.size))
            self._pass(behind, record, self.index)
        return written

    def _count(self, record: Record) -> None:
        was_there = np.count_nonzero(self.index.numbers(record.names))
        self.index.n_blocks += int(np.count_nonzero(record.rows["kind"])) - int(was_there)

    def _is_whole(self, record: Record | None) -> bool:
        """Whether all blocks that this group wrote are valid."""
        assert record
        if record.synced:
            return True
        return all(self.file.has(at, at + n, check) for at, n, check in _written(record))

    def damaged_record(self) -> int | None:
        """Offset of the first journal record up to the slot's group that is invalid in the file, or None."""
        group, position = self.slot.base_group, Position(self.slot.journal_at, self.slot.journal_stop)
        for behind, record in replay(self.file.read, self.slot.file_id, group + 1, position, self._size()):
            position = behind
            group = record.group if record else group
        return None if group >= self.slot.group else position.at

    # --- for the writer -------------------------------------------------------------------------------
    def extents(self) -> list[tuple[int, int]]:
        """Pages of the catalog itself: (first, n) of the base and every journal segment."""
        found = [(one.at // PAGE, (one.stop - one.at) // PAGE) for one in self.segments]
        if self.slot.base_size:
            found.append((self.slot.base_at // PAGE, pages_of(self.slot.base_size)))
        return found


def _written(record: Record) -> list[tuple[int, int, int]]:
    """(offset, bytes, checksum) of the blocks that a group wrote."""
    rows = record.rows[(record.rows["kind"] != DELETED) & (record.rows["group"] == record.group)]
    return list(zip(rows["offset"].tolist(), rows["stored"].tolist(), rows["check"].tolist(), strict=True))
