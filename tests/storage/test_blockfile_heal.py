"""Flipped bits in a BlockFile: all are found, what has a valid copy is healed, nothing damaged gets a new checksum."""

import random
import struct
import time

import numpy as np
import pytest

from crash_kit import CountingDisk
from nbtrade import BlockFile
from nbtrade.errors import CorruptBlock
from nbtrade.storage.blockfile.layout import PAGE, SLOT_SIZE

QUIET = {"step": 64 << 10, "interval": 1e6}  # groups are committed by flush alone


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.blocks"


def content(blocks):
    return dict(blocks.scan())


def content_of(blocks):
    return {name: blocks.get(name) for name in blocks.list()}


# --- flipped bits ----------------------------------------------------------------------------------------------
def flip(path, at, bit=0):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


@pytest.fixture
def rich(path):
    """A file with everything in it: base, journal, small and large blocks, arrays, compressed ones. Returns (path, content, layout)."""
    rng = random.Random(3)
    with BlockFile(path, **QUIET) as blocks:
        blocks.put_many({f"small/{i}": rng.randbytes(rng.randint(1, 400)) for i in range(40)})
        blocks.put("array", np.arange(3000), metadata={"a": 1})
        blocks.checkpoint()
        blocks.put_many({f"late/{i}": rng.randbytes(5000) for i in range(3)})
        blocks.put("packed", np.zeros(5000), compress=3)
        blocks.flush()
        blocks.delete("small/3")
        blocks.rename("small/4", "renamed")
        blocks.flush()
        slot, file_n = blocks.session.catalog.slot, blocks.session.catalog.position.at
        places = {name: (blocks.info(name).offset, blocks.info(name).stored) for name in blocks}
        expected = content_of(blocks)
    catalog = [(0, SLOT_SIZE), (PAGE, SLOT_SIZE), (slot.base_at, slot.base_size), (slot.journal_at, file_n - slot.journal_at)]
    return path, expected, places, catalog


def equal(a, b):
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def test_10000_flipped_bits_are_all_found(rich):
    """Any bit of any block: `get` raises, naming block and offset. Any bit of slots, base or journal: the file does not open, or opens with
    the right content and `verify` lists the damage."""
    path, expected, places, catalog = rich
    rng = random.Random(4)
    with BlockFile(path, "r") as reader:
        names = [name for name, (_, n) in places.items() if n]
        for _ in range(8_500):
            name = rng.choice(names)
            offset, n = places[name]
            at, bit = offset + rng.randrange(n), rng.randrange(8)
            flip(path, at, bit)
            with pytest.raises(CorruptBlock) as caught:
                reader.get(name)
            assert (caught.value.name, caught.value.offset) == (name, offset)
            assert repr(name) in str(caught.value)
            flip(path, at, bit)
        assert reader.verify().ok
    opened, told_of = 0, set()
    for _ in range(1_500):
        start, n = rng.choice(catalog)
        at, bit = start + rng.randrange(n), rng.randrange(8)
        if is_padding(path, at, catalog):
            continue
        flip(path, at, bit)
        try:
            with BlockFile(path, "r") as reader:
                opened += 1
                assert not reader.verify().ok
                assert all(equal(reader.get(name), value) for name, value in expected.items())
        except CorruptBlock as error:
            told_of.add(error.name)
        flip(path, at, bit)
    assert opened > 300
    assert told_of == {"catalog"}


def is_padding(path, at, catalog):
    """Zeros behind a record, up to its last page's end: nothing is stored there."""
    start, n = catalog[3]
    if not start <= at < start + n:
        return False
    with open(path, "rb") as file:
        file.seek(start)
        data, where = file.read(n), 0
    while where < n:
        _, _, _, n_rows, heap, size, _, _ = struct.unpack_from("<8sQQQQQII", data, where)
        if where <= at - start < where + size:
            return at - start >= where + 64 + n_rows * 64 + heap
        where += size
    return True


def test_verify_lists_all_damaged_blocks(rich):
    """Damage of several blocks is listed by name and offset; the others are unchanged; putting a block again repairs it."""
    path, expected, places, _ = rich
    hurt = ["small/7", "late/1", "array"]
    for name in hurt:
        flip(path, places[name][0] + 5)
    with BlockFile(path, **QUIET) as blocks:
        report = blocks.verify()
        assert sorted(d.name for d in report.damaged) == sorted(hurt)
        assert {d.offset for d in report.damaged} == {places[name][0] for name in hurt}
        with pytest.raises(CorruptBlock):
            blocks.vacuum()
        assert all(equal(blocks.get(name), value) for name, value in expected.items() if name not in hurt)
        for name in hurt:
            blocks.put(name, expected[name])
            assert equal(blocks.get(name), expected[name])
        blocks.flush()
        assert blocks.verify().ok
        blocks.vacuum()
        assert all(equal(blocks.get(name), value) for name, value in expected.items())


def test_a_mirror_heals_blocks(path):
    """With a mirror a damaged block is read from it and rewritten; damage of both copies raises."""
    with BlockFile(path, mirror=True, **QUIET) as blocks:
        blocks.put_many({"a": b"a" * 300, "m": np.arange(9000)})
        blocks.flush()
        offset, n = blocks.info("a").offset, blocks.info("m").offset
        flip(path, offset)
        flip(path, n)
        assert blocks.get("a") == b"a" * 300
        assert (blocks.get("m") == np.arange(9000)).all()
        blocks.flush()
        assert blocks.info("a").offset != offset
        assert blocks.verify().ok
        for file in (path, str(path) + ".mirror"):
            flip(file, blocks.info("a").offset)
        with pytest.raises(CorruptBlock, match="its mirror has no valid copy either"):
            blocks.get("a")
    with BlockFile(path, "r") as reader:
        flip(path, reader.info("m").offset)
        assert (reader.get("m") == np.arange(9000)).all()


@pytest.mark.parametrize("part", range(4))
def test_a_mirror_heals_the_registry(path, part):
    """Slots, base and journal come from the mirror when they are damaged, for readers and writers; the writer rewrites them."""
    with BlockFile(path, mirror=True, **QUIET) as blocks:
        blocks.put_many({f"n{i}": bytes([i]) * 100 for i in range(50)})
        blocks.checkpoint()
        for i in range(5):
            blocks.put("x", bytes([i]))
            blocks.flush()
        slot = blocks.session.catalog.slot
        expected = content(blocks)
    if part == 0:
        flip(path, 30)
        flip(path, PAGE + 30)
    else:
        flip(path, (0, slot.base_at + slot.base_size - 9, slot.journal_at + 40, slot.journal_at + 2 * PAGE + 70)[part])
    with BlockFile(path, "r") as reader:
        assert content(reader) == expected
        assert not reader.verify().ok
    with BlockFile(path, **QUIET) as blocks:
        assert content(blocks) == expected
        assert not blocks.verify().ok
        blocks.checkpoint()
        blocks.flush()
    with BlockFile(path, **QUIET) as blocks:
        assert blocks.verify().ok
        assert content(blocks) == expected


def test_an_equal_version_before_heals(path):
    """The same bytes put again: while the version before is not written over, it heals the new one."""
    with BlockFile(path, **QUIET) as blocks:
        for _ in range(2):
            blocks.put("a", b"same" * 100)
            blocks.flush()
        offset = blocks.info("a").offset
        flip(path, offset)
        assert blocks.get("a") == b"same" * 100
        blocks.flush()
        assert blocks.info("a").offset != offset
        assert blocks.verify().ok


def test_a_queued_version_is_what_is_read(path):
    """A block that is damaged in the file and queued again is read from the queue."""
    with BlockFile(path, **QUIET) as blocks:
        blocks.put("a", b"old")
        blocks.flush()
        flip(path, blocks.info("a").offset)
        blocks.put("a", b"new")
        assert blocks.get("a") == b"new"


def test_writes_are_verified_in_the_background(path):
    """With verify_writes a block that the disk did not keep is healed from the mirror, or raised by the next call."""

    class Forgetful(CountingDisk):
        lies = False

        def pwritev(self, fd, buffers, offset):
            if self.lies and len(buffers[0]) == 5000 and fd == self.first:
                buffers = [bytes(5000), *buffers[1:]]
            super().pwritev(fd, buffers, offset)

        def open(self, path, flags, mode=0o644):
            fd = super().open(path, flags, mode)
            self.first = getattr(self, "first", fd)
            return fd

    for mirror in (True, False):
        disk = Forgetful()
        file = path.with_name(f"{mirror}")
        blocks = BlockFile(file, disk=disk, mirror=mirror, verify_writes=True, **QUIET)
        disk.lies = True
        blocks.put("a", b"x" * 5000)
        if mirror:
            blocks.flush()
            disk.lies = False
            until(lambda: blocks.session.catalog.group == 2 or "a" in blocks.queued)  # noqa: B023
            blocks.flush()
            assert blocks.verify().ok
            blocks.close()
        else:
            with pytest.raises(CorruptBlock, match="'a'"):  # noqa: PT012 - the check may be through before flush has returned
                blocks.flush()
                until(lambda: blocks.writer.error)  # noqa: B023
                blocks.put("b", b"")
            blocks.close()


def until(condition):
    """Wait for another thread, at most ten seconds."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")
