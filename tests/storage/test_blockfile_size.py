"""BlockFile in large: offsets behind 16 GiB, many names."""

import sys
import threading

import numpy as np
import pytest

from crash_kit import LazyDisk
from nbtrade import BlockFile
from nbtrade.storage.disk import Disk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.blocks"


class Sparse(Disk):
    """Grows files without taking room on the disk."""

    def fallocate(self, fd, offset, n):
        self.ftruncate(fd, offset + n)


def test_files_over_16_gib(path):
    """Blocks behind 16 GiB are written, read, mapped, checked and found again."""
    with BlockFile(path, step=17 << 30, disk=Sparse()) as blocks:
        skipped = blocks.session.committer.allocator.free.take(16 << 18)
        blocks.put_many({"small": b"far out", "array": np.arange(9000)})
        blocks.flush()
        assert skipped is not None
        assert blocks.info("small").offset > 16 << 30
    with BlockFile(path, step=17 << 30, disk=Sparse()) as blocks:
        assert blocks.get("small") == b"far out"
        assert (blocks.get("array") == np.arange(9000)).all()
        assert blocks.verify().ok


def test_100000_blocks(path):
    """Many names: found after a checkpoint without reading the catalog, listed by prefix, with a bounded cache."""
    with BlockFile(path, cached=500) as blocks:
        blocks.put_many({f"{k % 100:02d}/{k:06d}": b"%d" % k for k in range(100_000)})
        blocks.checkpoint()
    with BlockFile(path, cached=500) as blocks:
        assert len(blocks) == 100_000
        assert all(blocks.get(f"{k % 100:02d}/{k:06d}") == b"%d" % k for k in range(0, 100_000, 67))
        assert blocks.stats()["cached_entries"] == 500
        assert len(blocks.list("07/")) == 1000
        assert blocks.verify().ok


class CountingDisk(LazyDisk):
    """Counts bytes written."""

    n_bytes = 0

    def pwrite(self, fd, data, offset):
        self.n_bytes += len(data)
        return super().pwrite(fd, data, offset)

    def pwritev(self, fd, buffers, offset):
        self.n_bytes += sum(map(len, buffers))
        return super().pwritev(fd, buffers, offset)


class Work:
    """What each step costs in calls, of Python and C functions in all threads, and in bytes written: no clock, no noise."""

    def __init__(self):
        self.disk, self.n_calls, self.steps = CountingDisk(), 0, {}

    def count(self, frame, event, _):
        self.n_calls += event in ("call", "c_call")

    def step(self, name, function):
        before = self.n_calls, self.disk.n_bytes
        answer = function()
        self.steps[name] = self.n_calls - before[0], self.disk.n_bytes - before[1]
        return answer

    def __enter__(self):
        threading.setprofile(self.count)
        sys.setprofile(self.count)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)
        threading.setprofile(None)


def life_of(path, n):
    """The cost of each step in the life of a file of n blocks; each step's answer is checked."""
    names = [f"{k % 100:02d}/{k:07d}" for k in range(n)]
    values = [b"%d" % k * 4 for k in range(n)]
    some = np.random.default_rng(n).permutation(n)[: n // 10].tolist()
    with Work() as work:
        with BlockFile(path, disk=work.disk) as blocks:
            work.step("put", lambda: (blocks.put_many(zip(names, values, strict=True)), blocks.flush()))
            work.step("base", blocks.checkpoint)  # else small files are read from the journal, and large ones from the base
        with work.step("open", lambda: BlockFile(path, disk=work.disk)) as blocks:
            assert work.step("get", lambda: [blocks.get(names[k]) for k in some]) == [values[k] for k in some]
            assert work.step("list", lambda: blocks.list("07/")) == names[7::100]
            assert dict(work.step("scan", lambda: list(blocks.scan()))) == dict(zip(names, values, strict=True))
            work.step("delete", lambda: ([blocks.delete(name) for name in names[::2]], blocks.flush()))
            before = blocks.stats()
            work.step("checkpoint", blocks.checkpoint)
            assert blocks.stats()["checkpoints"] == before["checkpoints"] + 1
            work.step("vacuum", blocks.vacuum)
            report = work.step("verify", blocks.verify)
            assert (report.ok, report.n_blocks) == (True, n // 2)
            assert blocks.list() == sorted(names[1::2])
    return work.steps


def test_steps_scale(path):
    """Eight times the blocks take at most 24 times the calls and the bytes written in any step: quadratic work would take 64."""
    small, large = (life_of(path.with_suffix(f".{n}"), n) for n in (10_000, 80_000))
    for name, cost in small.items():
        for few, many in zip(cost, large[name], strict=True):
            assert many <= 24 * max(few, 1000), (name, cost, large[name])
    assert small["put"][1] > 10_000
    assert small["get"][0] > 1000


def test_joining_blocks_writes_one_base(path, monkeypatch):
    """When a checkpoint moves so many blocks that their records alone would call for another one, it is still one."""
    n = 40_000
    with BlockFile(path, disk=LazyDisk()) as blocks:
        blocks.put_many({f"{k:06d}": b"%040d" % k for k in range(n)})
        blocks.checkpoint()
        for k in range(n):
            if k % 8:
                blocks.delete(f"{k:06d}")
        blocks.flush()
        before = blocks.stats()
        monkeypatch.setattr("nbtrade.storage.blockfile.commit.JOURNAL_MAX", 1 << 16)
        blocks.checkpoint()
        after = blocks.stats()
        assert after["groups"] == before["groups"] + n // 8 // 1000
        assert after["checkpoints"] == before["checkpoints"] + 1
        assert all(blocks.get(f"{k:06d}") == b"%040d" % k for k in range(0, n, 8))
        assert blocks.verify().ok
