"""kill -9, full and failing disks, flipped bits and newer versions: what was committed stays, what is wrong is said, what can be healed is healed."""

import errno
import os
import random
import signal
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from crash_kit import CountingDisk, FailingDisk

from nbtrade import BlockFile
from nbtrade.errors import BlockFileError, BlockFileLocked, BlockWriteError, CorruptBlock
from nbtrade.store.blocks.layout import PAGE, SLOT_SIZE, VERSION, pack_slot

STEP = 64 << 10
QUIET = {"step": STEP, "interval": 1e6}  # groups are committed by flush alone


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.blocks"


@pytest.fixture
def fast_path(tmp_path):
    """In memory where there is such a folder: a killed process loses nothing that it wrote, synced or not."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path / "x.blocks"
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder) / "x.blocks"


def content(blocks):
    return dict(blocks.scan())


# --- kill -9 ---------------------------------------------------------------------------------------------------
def after_groups(i):
    """What is there after groups 0 .. i: ten blocks stamped with i, one that only group i has."""
    stamp = struct.pack("<q", i)
    sizes = (0, 50, 300, 4088, 5000, 20_000)
    return {f"b{k}": stamp * (sizes[k % 6] // 8) for k in range(10)} | {f"only/{i}": stamp} if i >= 0 else {}


def write_until_killed(path, pipe, i):
    blocks = BlockFile(path, **QUIET)
    while True:
        i += 1
        blocks.put_many(after_groups(i))
        if i:
            blocks.delete(f"only/{i - 1}")
        blocks.flush()
        os.write(pipe, struct.pack("<q", i))


def killed(path, i, seconds):
    """Fork a writer, kill it after some time; the last group that it said was durable."""
    there, here = os.pipe()
    child = os.fork()
    if not child:
        try:
            write_until_killed(path, here, i)
        finally:
            os._exit(1)
    os.close(here)
    first = os.read(there, 8)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    data = first
    while more := os.read(there, 1 << 16):
        data += more
    os.close(there)
    return struct.unpack("<q", data[-8:])[0]


def test_200_kills_lose_nothing(fast_path):
    """A writer killed at a random moment, 200 times on one file: the lock is free at once, the last durable group is there, the next is whole or
    absent."""
    path, rng = fast_path, random.Random(1)
    i, went_on = -1, 0
    for _ in range(200):
        acknowledged = killed(path, i, rng.random() * 0.004)
        with BlockFile(path, **QUIET) as blocks:
            seen = content(blocks)
            assert blocks.verify().ok
        (i,) = [k for k in (acknowledged, acknowledged + 1) if seen == after_groups(k)]
        went_on += i > acknowledged
    assert i > 250
    print(f"{i} groups, {went_on} kills between a group's end and its report")


# --- disks that fail -------------------------------------------------------------------------------------------
def groups_on(disk, path, n, mirror):
    """Write n groups; (what is surely there, what may be there instead, whether it was told of the failure)."""
    sure, maybe, told = {}, None, False
    try:
        blocks = BlockFile(path, disk=disk, mirror=mirror, **QUIET)
    except OSError:
        return sure, maybe, True
    for i in range(n):
        puts = {f"b{i % 3}": bytes([i]) * (30_000 * (i % 4) + 5), f"n{i}": b"x"}
        before = disk.failed
        try:
            blocks.put_many(puts)
            blocks.flush()
            sure |= puts
        except BlockWriteError as error:
            told = True
            assert error.errno == disk.code
            assert "is intact" in str(error)
            if maybe is None and before is None:
                maybe = sure | puts
        assert content_of(blocks) in (sure, maybe)  # maybe: its slot could not be written, after it was durable
    try:
        blocks.close()
    except OSError:
        told = True
    assert blocks.pool.rented == 0
    return sure, maybe, told


def content_of(blocks):
    return {name: blocks.get(name) for name in blocks.list()}


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("code", "short"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_a_disk_that_fails_once_loses_only_what_it_says(tmp_path, code, short, mirror):
    """Disk full or an I/O error at each single call: a clear error, what was committed is intact and readable, and after a reopen all is as it
    was said; unless a sync failed, later groups are written."""
    n = 0
    while True:
        path = tmp_path / f"{n}.blocks"
        disk = FailingDisk(n, code, short=short)
        sure, maybe, told = groups_on(disk, path, 6, mirror)
        if disk.failed is None:
            break
        assert told
        if disk.failed == "fallocate":
            assert len(sure) >= 5 or not sure  # it goes on after a full disk
        with BlockFile(path, mirror=mirror, **QUIET) as blocks:
            assert content(blocks) in ([sure] if maybe is None else [sure, maybe])
            assert blocks.verify().ok
            blocks.put("after", b"1")
        with BlockFile(path, "r") as blocks:
            assert blocks.get("after") == b"1"
        n += 1
    assert n > 25


def test_a_full_disk_is_survived(path):
    """While the disk stays full every flush says so; once there is room again, groups are written."""
    disk = FailingDisk(10**9, errno.ENOSPC, names=("fallocate",), again=True)
    with BlockFile(path, disk=disk, **QUIET) as blocks:
        blocks.put("a", b"1")
        blocks.flush()
        disk.n = disk.i + 1
        for _ in range(3):
            blocks.put("large", bytes(10 * STEP))
            with pytest.raises(BlockWriteError, match=r"No space left.*1 queued changes.*'large'.*put them again"):
                blocks.flush()
            assert blocks.list() == ["a"]
        blocks.put("small", b"2")
        blocks.flush()
        disk.n = 10**9
        blocks.put("large", bytes(10 * STEP))
        blocks.flush()
        assert content(blocks) == {"a": b"1", "small": b"2", "large": bytes(10 * STEP)}


def test_after_a_failed_sync_nothing_more_is_written(path):
    """What the system has after a failed sync may never reach the disk: every write says so until the file is opened again."""
    disk = FailingDisk(10**9, errno.EIO, names=("fdatasync",))
    blocks = BlockFile(path, disk=disk, **QUIET)
    blocks.put("a", b"1")
    blocks.flush()
    disk.n = disk.i + 1
    for i in range(3):
        blocks.put("b", bytes([i]))
        with pytest.raises(BlockWriteError, match="open the file again"):
            blocks.flush()
        assert content_of(blocks) == {"a": b"1"}
    blocks.close()
    with BlockFile(path, **QUIET) as blocks:
        assert blocks.get("a") == b"1"


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
        slot, file_n = blocks.opened.registry.slot, blocks.opened.registry.position.at
        places = {name: (blocks.info(name).offset, blocks.info(name).stored) for name in blocks}
        expected = content_of(blocks)
    registry = [(0, SLOT_SIZE), (PAGE, SLOT_SIZE), (slot.base_at, slot.base_size), (slot.journal_at, file_n - slot.journal_at)]
    return path, expected, places, registry


def equal(a, b):
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def test_10000_flipped_bits_are_all_found(rich):
    """Any bit of any block: `get` raises, naming block and offset. Any bit of slots, base or journal: the file does not open, or opens with
    the right content and `verify` says what is damaged."""
    path, expected, places, registry = rich
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
    opened = 0
    for _ in range(1_500):
        start, n = rng.choice(registry)
        at, bit = start + rng.randrange(n), rng.randrange(8)
        if is_padding(path, at, registry):
            continue
        flip(path, at, bit)
        try:
            with BlockFile(path, "r") as reader:
                opened += 1
                assert not reader.verify().ok
                assert all(equal(reader.get(name), value) for name, value in expected.items())
        except CorruptBlock as error:
            assert error.name in ("registry", "superblock")
        flip(path, at, bit)
    assert opened > 300


def is_padding(path, at, registry):
    """Zeros behind a record, up to its last page's end: nothing is stored there."""
    start, n = registry[3]
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
    """Damage of several blocks is listed by name and offset; the others are as they were; putting a block again repairs it."""
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
    """With a mirror a damaged block is read from it, and written anew; damage of both copies raises."""
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
    """Slots, base and journal come from the mirror when they are damaged, for readers and writers; the writer writes them anew."""
    with BlockFile(path, mirror=True, **QUIET) as blocks:
        blocks.put_many({f"n{i}": bytes([i]) * 100 for i in range(50)})
        blocks.checkpoint()
        for i in range(5):
            blocks.put("x", bytes([i]))
            blocks.flush()
        slot = blocks.opened.registry.slot
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
    """A block that is damaged in the file and queued anew is read from the queue."""
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
            until(lambda: blocks.opened.registry.group == 2 or "a" in blocks.queued)  # noqa: B023
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


# --- versions, owners, calls -------------------------------------------------------------------------------------
def test_a_newer_format_is_refused_and_not_touched(path):
    """A file of a newer format version says so, to readers and writers, and stays as it is."""
    with BlockFile(path, **QUIET) as blocks:
        slot = blocks.opened.registry.slot
    with open(path, "r+b") as file:
        for at in (0, PAGE):
            file.seek(at)
            file.write(pack_slot(slot._replace(version=VERSION + 1)))
    before = path.read_bytes()
    for mode in ("r", "a"):
        with pytest.raises(BlockFileError, match=rf"format {VERSION + 1}, this nbtrade reads up to {VERSION}. Upgrade"):
            BlockFile(path, mode)
    assert path.read_bytes() == before


def test_one_of_many_processes_becomes_the_writer(path):
    """Eight processes race for the writer's place: exactly one has it, the others are told its pid."""
    BlockFile(path, **QUIET).close()
    for _ in range(10):
        there, here = os.pipe()
        go, ready = os.pipe()
        children = []
        for _ in range(8):
            child = os.fork()
            if not child:
                os.close(ready)
                os.read(go, 1)
                try:
                    kept = BlockFile(path, **QUIET)
                    os.write(here, b"w")
                    time.sleep(5)
                    kept.close()
                except BlockFileLocked:
                    os.write(here, b"l")
                finally:
                    os._exit(0)
            children.append(child)
        os.close(ready)
        got = b""
        while len(got) < 8:
            got += os.read(there, 8)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for fd in (there, here, go):
            os.close(fd)
        assert got.count(b"w") == 1


def test_500_updates_take_few_calls(path, monkeypatch):
    """500 updates, one by one: at most 10 registry writes, 6 syncs and no read; extensions are at most a tenth of extend-per-allocation."""
    disk = CountingDisk()
    reads = []
    for name in ("pread", "preadv", "read"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real: reads.append(args) or real(*args))
    with BlockFile(path, disk=disk) as blocks:
        blocks.put_many({f"b{i}": os.urandom(4096) for i in range(2000)})
        blocks.flush()
        before, records = disk.calls.copy(), blocks.opened.committer.n_records
        reads.clear()
        for i in range(500):
            blocks.put(f"b{i * 3}", os.urandom(4096))
        blocks.flush()
        calls = disk.calls - before
        assert blocks.opened.committer.n_records - records <= 10
        assert calls["fdatasync"] + calls["fsync"] <= 6
        assert calls["pwrite"] + calls["pwritev"] <= 30
        assert reads == []
        assert disk.calls["fallocate"] <= 2000 / 10
