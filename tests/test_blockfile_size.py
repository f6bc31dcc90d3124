"""BlockFile in large: offsets behind 16 GiB, many names."""

import numpy as np
import pytest

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
