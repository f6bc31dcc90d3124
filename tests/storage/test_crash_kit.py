"""The crash kit itself: it must find the stores that are wrong, or its silence means nothing."""

import errno
import os

import pytest

from crash_kit import CHANGES, CountingDisk, FailingDisk, RebootedDisk, RecordingDisk, torn_states
from nbtrade.storage.disk import Disk

FLAGS = os.O_RDWR | os.O_CREAT


def replace(disk, folder, data, *, sync=True, names=True):
    """Rewrite `x`: to a side file, synced or not, renamed over, the folder synced or not."""
    fd = disk.open(folder / "x.new", FLAGS | os.O_TRUNC)
    disk.pwrite(fd, data, 0)
    if sync:
        disk.fdatasync(fd)
    disk.close(fd)
    disk.rename(folder / "x.new", folder / "x")
    if names:
        disk.sync_folder(folder)


def broken(folder, states):
    """The states in which `x` has neither the promised content nor the one being promised."""
    wrong = 0
    for state in states:
        path = state.restore(folder) / "x"
        found = path.read_bytes() if path.exists() else None
        wrong += found not in (state.promised, state.next)
    return wrong


@pytest.mark.parametrize(("sync", "names"), [(True, True), (False, True), (True, False)])
def test_the_right_way_to_replace_survives_and_each_step_is_needed(tmp_path, sync, names):
    """Write, sync, rename, sync the folder: no state breaks it; leave a sync out, and the kit finds states that do."""
    disk = RecordingDisk(tmp_path / "live")
    (tmp_path / "live").mkdir()
    for data in (b"a" * 3000, b"b" * 1500, b"c" * 2000):
        replace(disk, tmp_path / "live", data, sync=sync, names=names)
        disk.mark(data)
    states = list(torn_states(disk))
    assert len(states) > 20
    assert (broken(tmp_path / "crash", states) == 0) == (sync and names)


def test_a_write_in_place_is_torn_by_sectors(tmp_path):
    """Three sectors written over: eight outcomes until the sync, one after it."""
    disk = RecordingDisk(tmp_path)
    fd = disk.open(tmp_path / "x", FLAGS)
    disk.pwrite(fd, b"a" * 1536, 0)
    disk.fdatasync(fd)
    disk.sync_folder(tmp_path)
    disk.mark("a")
    disk.pwritev(fd, [b"b" * 500, b"b" * 1036], 0)
    disk.fdatasync(fd)
    disk.mark("b")
    disk.close(fd)
    outcomes = {state.files["x"] for state in torn_states(disk) if state.promised == "a"}
    assert outcomes == {b"".join(p * 512 for p in (x, y, z)) for x in (b"a", b"b") for y in (b"a", b"b") for z in (b"a", b"b")}
    assert {state.files["x"] for state in torn_states(disk) if state.promised == "b"} == {b"b" * 1536}


def test_what_a_failed_sync_lost_stays_lost(tmp_path):
    """After a failed sync a later one promises nothing of the same bytes, until they are written again."""
    disk = RecordingDisk(tmp_path)
    fd = disk.open(tmp_path / "x", FLAGS)
    disk.pwrite(fd, b"a" * 512, 0)
    disk.fdatasync(fd)
    disk.sync_folder(tmp_path)
    disk.pwrite(fd, b"b" * 512, 0)
    disk.lose(fd)
    disk.pwrite(fd, b"c" * 512, 512)
    disk.fdatasync(fd)
    disk.mark("lost")
    disk.pwrite(fd, b"d" * 512, 0)
    disk.fdatasync(fd)
    disk.mark("written again")
    disk.close(fd)
    found = {
        which: {state.files["x"][::512] for state in torn_states(disk) if state.promised == which} for which in ("lost", "written again")
    }
    assert found == {"lost": {b"ac", b"bc", b"dc"}, "written again": {b"dc"}}


def test_lengths_are_lost_like_bytes(tmp_path):
    """An append that is not synced may leave the old length, the new one with the bytes, or with zeros."""
    disk = RecordingDisk(tmp_path)
    fd = disk.open(tmp_path / "x", FLAGS)
    disk.sync_folder(tmp_path)
    disk.mark(0)
    disk.pwrite(fd, b"abc", 0)
    disk.close(fd)
    assert {state.files["x"] for state in torn_states(disk) if state.promised == 0} == {b"", b"abc", b"\0\0\0"}


def test_mapped_places_are_filled_with_anything(tmp_path):
    """Bytes that a mapping writes come as recorded, as zeros, and as noise."""
    disk = RecordingDisk(tmp_path)
    fd = disk.open(tmp_path / "x", FLAGS)
    disk.pwrite(fd, b"data" * 100, 0)
    disk.fdatasync(fd)
    disk.sync_folder(tmp_path)
    for i in range(30):
        disk.mark(i)
    disk.close(fd)
    found = {
        state.files["x"][8:16] for state in torn_states(disk, volatile=[("x", 8, 8)]) if "x" in state.files and state.promised is not None
    }
    assert {bytes(8), b"datadata"} < found
    assert len(found) > 3


def do_all(disk, folder):
    """One of each change."""
    fd = disk.open(folder / "y", FLAGS)
    try:
        disk.fallocate(fd, 0, 100)
        disk.pwrite(fd, bytes(range(256)) * 20, 0)
        disk.pwritev(fd, [b"x" * 1500, b"", b"y" * 1500], 5120)
        disk.fdatasync(fd)
        disk.ftruncate(fd, 8000)
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.rename(folder / "y", folder / "x")
    disk.sync_folder(folder)
    disk.unlink(folder / "x")


@pytest.mark.parametrize("short", [False, True])
def test_every_change_can_fail(tmp_path, short):
    """At each n another call fails, until all have; short writes are continued."""
    failed = []
    for n in range(len(CHANGES)):
        disk = FailingDisk(n, errno.ENOSPC, short=short)
        with pytest.raises(OSError, match="No space"):
            do_all(disk, tmp_path)
        failed.append(disk.failed)
    assert sorted(failed) == sorted(CHANGES)
    do_all(FailingDisk(len(CHANGES), errno.EIO, short=short), tmp_path)


def test_writes_are_whole_when_the_system_writes_less(tmp_path):
    """`pwrite` and `pwritev` continue where the system stopped."""
    disk = FailingDisk(10**9, errno.EIO, short=True)
    fd = disk.open(tmp_path / "x", FLAGS)
    parts = [bytes([i]) * (i * 700) for i in range(8)]
    disk.pwritev(fd, parts, 3)
    disk.pwrite(fd, b"z" * 5000, 30_000)
    assert disk.pread(fd, 10**6, 3) == b"".join(parts).ljust(29_997, b"\0") + b"z" * 5000
    disk.close(fd)


def test_calls_are_counted_and_boots_differ(tmp_path):
    """CountingDisk counts by name; a RebootedDisk is another boot of the same machine."""
    disk = CountingDisk()
    do_all(disk, tmp_path)
    assert disk.calls == dict.fromkeys(CHANGES, 1)
    assert Disk().boot() == Disk().boot() != RebootedDisk().boot()
    assert 0 < RebootedDisk().boot() < 2**63
