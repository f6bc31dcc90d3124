"""BlockFile in large: offsets behind 16 GiB, many names."""

import time

import numpy as np
import pytest
from crash_kit import LazyDisk

from nbtrade import BlockFile
from nbtrade.store.disk import Disk


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
        skipped = blocks.opened.committer.space.free.take(16 << 18)
        blocks.put_many({"small": b"far out", "array": np.arange(9000)})
        blocks.flush()
        assert skipped is not None
        assert blocks.info("small").offset > 16 << 30
    with BlockFile(path, step=17 << 30, disk=Sparse()) as blocks:
        assert blocks.get("small") == b"far out"
        assert (blocks.get("array") == np.arange(9000)).all()
        assert blocks.verify().ok


def test_100000_blocks(path):
    """Many names: found after a checkpoint without reading the registry, listed by prefix, with a bounded cache."""
    with BlockFile(path, cached=500) as blocks:
        blocks.put_many({f"{k % 100:02d}/{k:06d}": b"%d" % k for k in range(100_000)})
        blocks.checkpoint()
    with BlockFile(path, cached=500) as blocks:
        assert len(blocks) == 100_000
        assert all(blocks.get(f"{k % 100:02d}/{k:06d}") == b"%d" % k for k in range(0, 100_000, 67))
        assert blocks.stats()["cached_entries"] == 500
        assert len(blocks.list("07/")) == 1000
        assert blocks.verify().ok


def life_of(path, n):
    """Seconds of each step in the life of a file of n blocks; each step's answer is checked."""
    seconds = {}

    def step(name, function):
        start = time.perf_counter()
        answer = function()
        seconds[name] = time.perf_counter() - start
        return answer

    names = [f"{k % 100:02d}/{k:07d}" for k in range(n)]
    values = [b"%d" % k * 4 for k in range(n)]
    some = np.random.default_rng(n).permutation(n)[: n // 10].tolist()
    with BlockFile(path, disk=LazyDisk()) as blocks:
        step("put", lambda: (blocks.put_many(zip(names, values, strict=True)), blocks.flush()))
    with step("open", lambda: BlockFile(path, disk=LazyDisk())) as blocks:
        assert step("get", lambda: [blocks.get(names[k]) for k in some]) == [values[k] for k in some]
        assert step("list", lambda: blocks.list("07/")) == names[7::100]
        assert dict(step("scan", lambda: list(blocks.scan()))) == dict(zip(names, values, strict=True))
        step("delete", lambda: ([blocks.delete(name) for name in names[::2]], blocks.flush()))
        before = blocks.stats()
        step("checkpoint", blocks.checkpoint)
        assert blocks.stats()["checkpoints"] == before["checkpoints"] + 1
        step("vacuum", blocks.vacuum)
        report = step("verify", blocks.verify)
        assert (report.ok, report.n_blocks) == (True, n // 2)
        assert blocks.list() == sorted(names[1::2])
    return seconds


@pytest.mark.minute
def test_steps_scale(path):
    """Eight times the blocks take at most 24 times as long in any step: quadratic work would take 64 times."""
    small, large = (life_of(path.with_suffix(f".{n}"), n) for n in (25_000, 200_000))
    slow = {name: (small[name], large[name]) for name in small if large[name] > 24 * max(small[name], 0.02)}
    assert not slow


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
        monkeypatch.setattr("nbtrade.store.blocks.commit.JOURNAL_MOST", 1 << 16)
        blocks.checkpoint()
        after = blocks.stats()
        assert after["groups"] == before["groups"] + n // 8 // 1000
        assert after["checkpoints"] == before["checkpoints"] + 1
        assert all(blocks.get(f"{k:06d}") == b"%040d" % k for k in range(0, n, 8))
        assert blocks.verify().ok
