"""kill -9, full and failing disks, newer versions, several writers: committed blocks survive, and errors name the fault."""

import errno
import os
import random
import signal
import struct
import tempfile
import time
from pathlib import Path

import pytest

from crash_kit import CountingDisk, FailingDisk
from nbtrade import BlockFile
from nbtrade.errors import BlockFileError, BlockFileLocked, BlockWriteError
from nbtrade.storage.blockfile.layout import PAGE, VERSION, pack_slot

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
    """A writer killed at a random moment, 200 times: the lock is free, the last durable group there, the next whole or absent."""
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


# --- disks that fail -------------------------------------------------------------------------------------------
def groups_on(disk, path, n, mirror):
    """Write n groups; returns (blocks that must exist, blocks that may replace them, whether the failure was reported)."""
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
            told = error.errno == disk.code and "intact" in str(error)
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
    """Disk full or an I/O error at each single call: a clear error, committed blocks remain readable, after a reopen too."""
    n = 0
    while True:
        path = tmp_path / f"{n}.blocks"
        disk = FailingDisk(n, code, short=short)
        sure, maybe, told = groups_on(disk, path, 6, mirror)
        if disk.failed is None:
            break
        assert told
        if disk.failed == "fallocate":
            assert len(sure) >= 5 or not sure  # it continues after a full disk
        with BlockFile(path, mirror=mirror, **QUIET) as blocks:
            assert content(blocks) in ([sure] if maybe is None else [sure, maybe])
            assert blocks.verify().ok
            blocks.put("after", b"1")
        with BlockFile(path, "r") as blocks:
            assert blocks.get("after") == b"1"
        n += 1
    assert n > 25


def test_a_full_disk_is_survived(path):
    """While the disk stays full every flush raises; once there is room again, groups are written."""
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
    """Data in the page cache after a failed sync may never reach the disk: every write raises until the file is opened again."""
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


# --- versions, owners, calls -------------------------------------------------------------------------------------
def test_a_newer_format_is_refused_and_not_touched(path):
    """A file of a newer format version is rejected by readers and writers, and stays unchanged."""
    with BlockFile(path, **QUIET) as blocks:
        slot = blocks.session.catalog.slot
    with open(path, "r+b") as file:
        for at in (0, PAGE):
            file.seek(at)
            file.write(pack_slot(slot._replace(version=VERSION + 1)))
    before = path.read_bytes()
    for mode in ("r", "a"):
        with pytest.raises(BlockFileError, match=rf"format {VERSION + 1}; this nbtrade reads up to {VERSION}. Upgrade"):
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
    """500 updates, one by one: at most 10 catalog writes, 6 syncs and no read; extensions are at most a tenth of extend-per-allocation."""
    disk = CountingDisk()
    reads = []
    for name in ("pread", "preadv", "read"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real: reads.append(args) or real(*args))
    with BlockFile(path, disk=disk) as blocks:
        blocks.put_many({f"b{i}": os.urandom(4096) for i in range(2000)})
        blocks.flush()
        before, records = disk.calls.copy(), blocks.session.committer.n_records
        reads.clear()
        for i in range(500):
            blocks.put(f"b{i * 3}", os.urandom(4096))
        blocks.flush()
        calls = disk.calls - before
        assert blocks.session.committer.n_records - records <= 10
        assert calls["fdatasync"] + calls["fsync"] <= 6
        assert calls["pwrite"] + calls["pwritev"] <= 30
        assert reads == []
        assert disk.calls["fallocate"] <= 2000 / 10
