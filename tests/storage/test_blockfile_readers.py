"""Readers of a BlockFile, in threads and processes, while one writes: whole, current blocks, views that never change."""

import gc
import os
import signal
import struct
import sys
import threading
import time

import numpy as np
import pytest
import xxhash

from nbtrade import BlockFile
from nbtrade.errors import BlockNotFound
from nbtrade.storage.blockfile import commit

STEP = 256 << 10


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.blocks"


def stamped(name, version, n):
    """A block that says what it is, all over: name, version, checksum of both repeated."""
    head = struct.pack("<qq", int(name), version)
    return (head + xxhash.xxh3_64_digest(head)) * (n // 24 + 1)


def version_of(name, data):
    """The version of a stamped block. Raises when it is torn, mixed or another's."""
    head = data[:16]
    assert data == (head + xxhash.xxh3_64_digest(head)) * (len(data) // 24), "torn or mixed"
    number, version = struct.unpack("<qq", head)
    assert number == int(name), "another's"
    return version


class Traffic:
    """One writer and n readers in threads, for some seconds. `written[name]`: the last version that was put before a later read began."""

    def __init__(self, path, seconds, n_readers, n_names=70):
        self.names = [str(i) for i in range(n_names)]
        self.written = dict.fromkeys(self.names, 0)
        self.wrong = []
        self.n_reads = [0] * n_readers
        self.n_puts = 0
        with BlockFile(path, step=STEP, interval=0.005) as blocks:
            self.blocks = blocks
            blocks.put_many({name: self.block(name, 0) for name in self.names})
            self.until = time.monotonic() + seconds
            threads = [threading.Thread(target=self.guarded, args=(self.read, i)) for i in range(n_readers)]
            threads.append(threading.Thread(target=self.guarded, args=(self.write, 0)))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.stats = blocks.stats()
            assert blocks.verify().ok

    def block(self, name, version):
        n = (50, 500, 4000, 9000, 30_000)[int(name) % 5]
        data = stamped(name, version, n)
        return np.frombuffer(data, np.uint8) if int(name) % 10 == 4 else data

    def guarded(self, run, i):
        try:
            run(i)
        except BaseException as error:
            self.wrong.append(repr(error))
            self.until = 0
            raise

    def write(self, _):
        version = 0
        while time.monotonic() < self.until:
            version += 1
            for name in self.names[version % 7 :: 7]:
                self.blocks.put(name, self.block(name, version))
                self.written[name] = version
                self.n_puts += 1
            if version % 50 == 0:
                self.blocks.flush()

    def read(self, i):
        views, k = {}, i
        while time.monotonic() < self.until:
            name = self.names[k % len(self.names)]
            least = self.written[name]
            value = self.blocks.get(name)
            version = version_of(name, bytes(value))
            assert version >= least, f"stale: {version} of {name}, {least} was put before"
            if isinstance(value, np.ndarray):
                views[k % 3] = (name, version, value)
                for held, version, view in views.values():
                    assert version_of(held, bytes(view)) == version, "a held view changed"
            if k % 40 == 0:
                for name, data in zip(self.names, self.blocks.get_many(self.names), strict=True):
                    version_of(name, bytes(data))
            self.n_reads[i] += 1
            k += 7


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.minute)])
def test_ten_reader_threads_and_a_writer(path, monkeypatch, seconds):
    """Ten readers and a writer: no block is torn, stale or mixed, held views never change; with checkpoints all along."""
    monkeypatch.setattr(commit, "JOURNAL_MIN", 200_000)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # threads take turns more often than they would
    try:
        traffic = Traffic(path, seconds, 10)
    finally:
        sys.setswitchinterval(usual)
    assert traffic.wrong == []
    assert min(traffic.n_reads) > 20 * seconds
    assert traffic.n_puts > 50 * seconds
    assert traffic.stats["groups"] > 5 * seconds
    assert traffic.stats["file_bytes"] < 64 << 20  # pages are recycled


# --- other processes ---------------------------------------------------------------------------------------------
def follow(path, names, pipe, seconds):
    """Read in a separate process: complete blocks, versions that never go back, held views that never change."""
    newest, views, n = dict.fromkeys(names, 0), {}, 0
    until = time.monotonic() + seconds
    with BlockFile(path, "r") as blocks:
        while time.monotonic() < until:
            for name in names:
                value = blocks.get(name)
                version = version_of(name, bytes(value))
                assert version >= newest[name], "went back"
                newest[name] = version
                if isinstance(value, np.ndarray):
                    views[n % 5] = (name, version, value)
                    for held, version, view in views.values():
                        assert version_of(held, bytes(view)) == version, "a held view changed"
                n += 1
            for name, value in zip(names * 3, blocks.get_many(names * 3), strict=True):
                version = version_of(name, bytes(value))
                assert version >= newest[name], "went back"
                newest[name] = version
        os.write(pipe, struct.pack("<qq", n, max(newest.values())))


def test_processes_follow_a_writer(path, monkeypatch):
    """Three processes read while one writes, checkpoints and compacts: whole blocks, never an older version, held views never change."""
    monkeypatch.setattr(commit, "JOURNAL_MIN", 100_000)
    names = [str(i) for i in range(30)]
    sizes = {name: (50, 4000, 30_000)[int(name) % 3] for name in names}
    there, here = os.pipe()
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many({name: stamped(name, 0, n) for name, n in sizes.items()})
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            status = 1
            try:
                follow(path, names, here, 3)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(here)
    until, version = time.monotonic() + 3.3, 0
    with BlockFile(path, step=STEP, interval=0.001) as blocks:
        while time.monotonic() < until:
            version += 1
            for name, n in sizes.items():
                data = stamped(name, version, n)
                blocks.put(name, np.frombuffer(data, np.uint8) if n == 30_000 else data)
            blocks.flush()
            if version % 150 == 0:
                blocks.vacuum()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    said = os.read(there, 1 << 16)
    os.close(there)
    for n, newest in struct.iter_unpack("<qq", said):
        assert n > 300
        assert newest > 5


def test_a_reader_sees_a_commit_at_once(path):
    """When flush has returned, the next read elsewhere has it: puts, deletions, renames, across checkpoints and vacuums."""
    with BlockFile(path, step=STEP) as blocks, BlockFile(path, "r") as reader:
        for i in range(30):
            blocks.put_many({f"n{i}": b"%d" % i, "same": b"%d" % i})
            if i % 3 == 2:
                blocks.delete(f"n{i - 1}")
                blocks.rename(f"n{i}", f"moved{i}")
            blocks.flush()
            if i % 5 == 0:
                blocks.checkpoint()
            if i % 7 == 0:
                blocks.vacuum()
            assert reader.get("same") == b"%d" % i
            assert reader.list() == blocks.list()
            assert len(reader) == len(blocks)
            assert dict(reader.scan()) == dict(blocks.scan())
            assert reader.get_many(reader.list()) == blocks.get_many(blocks.list())


# --- leases --------------------------------------------------------------------------------------------------------
def churn(blocks, n=12):
    """Groups that would reuse every page that is free."""
    for i in range(n):
        blocks.put("churn", np.full(8192, i))
        blocks.flush()


@pytest.mark.parametrize("mode", ["a", "r"])
def test_pages_under_a_view_are_not_recycled(path, mode):
    """A view, also one of a view, keeps its pages through updates, deletion and close; when it is gone they are free again."""
    array = np.arange(8192)
    blocks = BlockFile(path, step=STEP)
    blocks.put("a", array)
    blocks.flush()
    reader = blocks if mode == "a" else BlockFile(path, "r")
    view = reader.get("a")[5:].reshape(-1)[:100]
    gc.collect()
    blocks.put("a", array * 2)
    churn(blocks)
    blocks.delete("a")
    churn(blocks)
    assert (view == array[5:105]).all()
    assert blocks.stats()["held_bytes"] == array.nbytes
    reader.close()
    if mode == "a":
        blocks = BlockFile(path, step=STEP)
    churn(blocks)
    assert (view == array[5:105]).all()
    del view
    churn(blocks, 3)
    assert blocks.stats()["held_bytes"] == 0
    blocks.close()


def test_a_killed_reader_holds_nothing(path):
    """A reader process that is killed while it has views: its pages come back."""
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many({f"a{i}": np.full(8192, i) for i in range(5)})
    there, here = os.pipe()
    child = os.fork()
    if not child:
        reader = BlockFile(path, "r")
        views = [reader.get(name) for name in reader]
        os.write(here, b"%d" % len(views))
        signal.pause()
    assert os.read(there, 1) == b"5"
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many({f"a{i}": np.full(8192, -i) for i in range(5)})
        churn(blocks)
        assert blocks.stats()["held_bytes"] == 5 * 65536
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        churn(blocks)
        assert blocks.stats()["held_bytes"] == 0
    os.close(there)
    os.close(here)


def test_steady_updates_need_no_more_room(path, monkeypatch):
    """Updating the same blocks again and again settles in size: pages are recycled, of arrays, packed small blocks, journal and base."""
    monkeypatch.setattr(commit, "JOURNAL_MIN", 100_000)
    with BlockFile(path, step=STEP) as blocks:
        sizes = []
        for i in range(300):
            blocks.put_many({f"small{k}": bytes([i % 256]) * 300 for k in range(40)})
            blocks.put_many({f"large{k}": np.full(3000, i) for k in range(4)})
            blocks.flush()
            sizes.append(blocks.stats()["file_bytes"])
        assert sizes[-1] == sizes[100]
        stats = blocks.stats()
        used = stats["file_bytes"] - stats["free_bytes"] - stats["waiting_bytes"]
        assert used < 300_000


def test_scattered_updates_do_not_fill_the_file(path):
    """Packed pages with few live blocks are joined at checkpoints: random updates of small blocks take a few times their size."""
    rng = np.random.default_rng(1)
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many({f"{k}": os.urandom(200) for k in range(1000)})
        live = 200_000
        for _ in range(600):
            blocks.put_many({f"{k}": os.urandom(200) for k in rng.integers(0, 1000, 20)})
            blocks.flush()
            if blocks.session.committer.journal_bytes > 100_000:
                blocks.checkpoint()
        stats = blocks.stats()
        used = stats["file_bytes"] - stats["free_bytes"] - stats["waiting_bytes"] - stats["base_bytes"] - stats["journal_bytes"]
        assert used < 4 * live
        assert len(blocks) == 1000
        assert blocks.verify().ok


def test_many_at_once_are_what_each_is(path):
    """Bytes, empty ones, arrays, empty ones, compressed and renamed blocks, of base and journal, for writer and reader, first and again."""
    content = {"bytes": b"abc", "none": b"", "array": np.arange(5), "empty": np.zeros((0, 3)), "large": np.arange(9000.0), "ä": b"name"}

    def check(blocks):
        for _ in range(2):
            for names in (list(content), ["bytes"], ["none", "bytes", "none"], ["bytes", "packed", "gone to"], []):
                right = [content.get(name, b"z" * 999) for name in names]
                assert all(map(same, blocks.get_many(names), right))
                assert all(map(same, map(blocks.get, names), right))
            for names in (["bytes", "gone"], ["deleted"], ["never"]):
                with pytest.raises(BlockNotFound):
                    blocks.get_many(names)

    with BlockFile(path) as blocks, BlockFile(path, mode="r") as reader:
        blocks.put_many(content)
        blocks.put("packed", b"z" * 999, compress=3)
        blocks.put_many({"gone": b"z" * 999, "deleted": b"1"})
        blocks.rename("gone", "gone to")
        blocks.delete("deleted")
        for settle in (blocks.flush, blocks.checkpoint):
            settle()
            check(blocks)
            check(reader)
        content["bytes"] = b"another"
        blocks.put("bytes", content["bytes"])
        check(blocks)
        blocks.flush()
        check(blocks)
        check(reader)


def same(value, right):
    """Equal, of one type, dtype and shape."""
    if isinstance(right, bytes):
        return type(value) is bytes and value == right
    return value.dtype == right.dtype and value.shape == right.shape and bool((value == right).all())
