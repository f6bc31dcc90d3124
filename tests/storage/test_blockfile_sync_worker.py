"""Work in parallel with a sync: both end, errors of either are raised, and a group whose sync fails does not exist."""

import errno
import os
import threading

import numpy as np
import pytest

from crash_kit import FailingDisk, LazyDisk
from nbtrade import BlockFile
from nbtrade.errors import BlockWriteError
from nbtrade.storage.blockfile.index import Index
from nbtrade.storage.blockfile.sync_worker import NICE, SyncWorker

QUIET = {"step": 64 << 10, "interval": 1e6}  # groups are committed by flush alone


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.blocks"


@pytest.fixture
def sync_worker():
    sync_worker = SyncWorker()
    yield sync_worker
    sync_worker.close()


def threads_named(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def everything(blocks):
    """Content, count and metadata, as a reader of any kind sees them."""
    content = {name: np.asarray(blocks.get(name)).tobytes() for name in blocks.list()}
    assert len(blocks) == len(content)
    assert {name for name, _ in blocks.scan()} == set(content)
    return content, {name: blocks.metadata(name) for name in content}


# --- the thread ----------------------------------------------------------------------------------------------
def test_work_is_done_while_the_other_waits(sync_worker):
    """The work runs in another thread, during the wait, and its answer comes back."""
    began, met = threading.Event(), []

    def work():
        began.set()
        return threading.get_ident()

    for _ in range(3):
        began.clear()
        assert sync_worker.run(work, lambda: met.append(began.wait(10))) != threading.get_ident()
    assert met == [True] * 3


def test_errors_of_both_are_raised_when_both_have_ended(sync_worker):
    """An error of the work is raised; one of the wait too, and only when the work has ended; the thread continues."""
    done = []

    def fail():
        raise OSError(errno.EIO, "wait")

    with pytest.raises(ZeroDivisionError):
        sync_worker.run(lambda: 1 // 0, lambda: done.append("wait"))
    with pytest.raises(OSError, match="wait"):
        sync_worker.run(lambda: done.append("work"), fail)
    assert done == ["wait", "work"]
    with pytest.raises(OSError, match="wait"):
        sync_worker.run(lambda: 1 // 0, fail)
    assert sync_worker.run(lambda: 7, lambda: None) == 7


def test_only_the_thread_is_nice(sync_worker):
    """Everything else keeps its priority."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    there = sync_worker.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), lambda: None)
    assert there == min(before + NICE, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_the_thread_ends_with_the_file(path):
    """Every open file that has committed has one such thread, and none is left when it is closed; a vacuum leaves one."""
    before = len(threads_named("nbtrade-blocks-index"))
    with BlockFile(path, disk=LazyDisk(), **QUIET) as blocks:
        for _ in range(3):
            blocks.put("a", b"1")
            blocks.vacuum()
        blocks.put("a", b"2")
        blocks.flush()
        assert len(threads_named("nbtrade-blocks-index")) == before + 1
    assert len(threads_named("nbtrade-blocks-index")) == before


# --- a failed group --------------------------------------------------------------------------------------------
def change_all(blocks):
    blocks.put_many({"based": b"new", "added": b"new", "array": np.arange(3.0)})
    blocks.put("large", np.arange(9000) + 1, metadata={"new": 1})
    blocks.rename("kept", "renamed")
    blocks.delete("doomed")
    blocks.rename("based doomed", "added too")


def filled(path, disk):
    """A file with names in the base, over it, and deleted over it."""
    blocks = BlockFile(path, disk=disk, **QUIET)
    blocks.put_many({"based": b"1", "based doomed": b"22", "gone": b"333", "kept": b""})
    blocks.checkpoint()
    blocks.put("large", np.arange(9000), metadata={"old": 1})
    blocks.put_many({"array": np.arange(5), "doomed": b"4444", "over": b"5"}, metadata={"n": 3})
    blocks.delete("gone")
    blocks.flush()
    return blocks


def test_a_group_whose_sync_failed_is_taken_back(path):
    """Names in the base, over it, new, deleted and renamed are what they were, and nothing more is written, no checkpoint either."""
    disk = FailingDisk(10**9, errno.EIO, names=("fdatasync",))
    blocks = filled(path, disk)
    before = everything(blocks)
    change_all(blocks)
    assert blocks.get("based") == b"new"
    disk.n = disk.i + 1
    with pytest.raises(BlockWriteError, match="open the file again"):
        blocks.flush()
    assert everything(blocks) == before
    with pytest.raises(BlockWriteError, match="open the file again"):
        blocks.checkpoint()
    assert everything(blocks) == before
    blocks.close()
    with BlockFile(path, **QUIET) as blocks:  # its record was complete on this disk: all of the group or none
        names = set(blocks.list())
        assert names == set(before[0]) or {"added", "added too", "renamed"} <= names


@pytest.mark.parametrize("step", ["numbers", "rows", "apply"])
def test_a_group_that_failed_in_memory_is_taken_back(path, monkeypatch, step):
    """Memory runs out at any step in parallel with the sync: the same, with an error that states it."""
    blocks = filled(path, LazyDisk())
    before = everything(blocks)
    change_all(blocks)
    real = getattr(Index, step)

    def fail(*args):
        monkeypatch.setattr(Index, step, real)
        raise MemoryError

    monkeypatch.setattr(Index, step, fail)
    with pytest.raises(MemoryError):
        blocks.flush()
    assert everything(blocks) == before
    blocks.put("more", b"1")
    with pytest.raises(BlockWriteError, match="open the file again"):
        blocks.flush()
    assert everything(blocks) == before
    blocks.close()


# --- the table -------------------------------------------------------------------------------------------------
def test_more_changes_than_were_reserved(path, monkeypatch):
    """The table of changed rows grows beyond its reserved size."""
    monkeypatch.setattr("nbtrade.storage.blockfile.index.RESERVED", 4)
    expected = {}
    with BlockFile(path, disk=LazyDisk(), **QUIET) as blocks:
        for i in range(6):
            group = {f"{k:02d}": b"%d" % (i * k) for k in range(i, 4 * i + 3)}
            expected |= group
            blocks.put_many(group)
            blocks.put(f"array {i}", np.full(3, i), metadata={"i": i})
            blocks.flush()
        assert {name: blocks.get(name) for name in expected} == expected
        assert blocks.get_many(list(expected)) == list(expected.values())
        assert [blocks.get(f"array {i}").tolist() for i in range(6)] == [[i] * 3 for i in range(6)]
        assert [blocks.metadata(f"array {i}") for i in range(6)] == [{"i": i} for i in range(6)]
    with BlockFile(path, "r") as blocks:
        assert {name: blocks.get(name) for name in expected} == expected
